"""Flips and starvation: how much changes, for whom, and that nothing else does."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data_factory import made_corpus, random_sequences
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.noise import Flips, RewardNoise, Starvation
from recsys_posttrain.rewards.noise.data_noise import flipped


def test_flipped_by_hand():
    """Of the values 1, 2 and 4: below one half the next one up, from there on the one after."""
    values_K = torch.tensor([1.0, 2.0, 4.0])
    rewards = torch.tensor([[1.0, 1.0, 2.0], [2.0, 4.0, 4.0]])
    which = torch.tensor([[0.0, 0.5, 0.49], [0.99, 0.0, 0.5]])
    always, never = torch.zeros_like(which), torch.full_like(which, 0.999)
    expected = torch.tensor([[2.0, 4.0, 4.0], [1.0, 1.0, 2.0]])
    assert torch.equal(flipped(rewards, torch.stack([always, which], -1), values_K, 0.3), expected)
    assert torch.equal(flipped(rewards, torch.stack([never, which], -1), values_K, 0.3), rewards)


@pytest.mark.parametrize("level", [0.1, 0.6, 1.0])
def test_the_level_is_the_probability_and_every_other_rating_is_as_likely(level):
    """20,000 events: bands that a right draw leaves once in a million."""
    log = random_sequences([200] * 100, 5)
    after_E, before_E = Flips(level).log(log, 3).rewards_E.numpy(), log.rewards_E.numpy()
    changed = int((after_E != before_E).sum())
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], len(before_E), level)
    assert low <= changed <= high
    others = np.array([(after_E - before_E)[after_E != before_E] % 5 == k for k in range(1, 5)])
    assert stats.chisquare(others.sum(axis=1)).pvalue > 1e-6
    squares = np.square(after_E - before_E)
    every = np.array([[a, b] for a in range(1, 6) for b in range(1, 6)])
    share_R = np.bincount(before_E.astype(int), minlength=6)[1:] / len(before_E)
    expected = sum(share_R[a - 1] * level / 4 * (a - b) ** 2 for a, b in every)
    assert abs(squares.mean() - expected) < 5 * squares.std() / math.sqrt(len(squares))


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=2, max_size=6),
    more=st.integers(0, 4),
    seed=st.integers(0, 2**40),
    user=st.integers(0, 5),
)
def test_a_flip_depends_on_seed_user_and_place_only(lengths, more, seed, user):
    """Other users' events come and go, and the user's own later ones."""
    user %= len(lengths)
    lengths[user] += 1
    other = [length + more if n == user else max(0, length - 1) for n, length in enumerate(lengths)]

    def flips(events_N):
        """Of the user's first events. One more user, so that every log has all five values."""
        log = random_sequences([*events_N, 5], 5)
        log.rewards_E[-5:] = torch.arange(1, 6)
        start = sum(events_N[:user])
        log.rewards_E[start : start + lengths[user]] = 3
        return Flips(0.5).log(log, seed).rewards_E[start : start + lengths[user]].tolist()

    assert flips(lengths) == flips(other)


def test_another_seed_flips_others():
    log = random_sequences([50] * 4, 5)
    one, same, other = (Flips(0.5).log(log, seed).rewards_E for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_higher_level_flips_more_of_the_same():
    log = random_sequences([50] * 4, 5)
    low_E, high_E = (Flips(level).log(log, 1).rewards_E for level in (0.2, 0.6))
    was_flipped_E = low_E != log.rewards_E
    assert torch.equal(low_E[was_flipped_E], high_E[was_flipped_E])
    assert (high_E != log.rewards_E).sum() > was_flipped_E.sum() > 0


def test_a_log_of_one_rating_cannot_be_flipped():
    with pytest.raises(UserError, match="every rating of the log is 3, so there is no other"):
        Flips(0.5).log(made_corpus([4], rewards=[3] * 4).sequences, 0)


def test_flips_of_a_step_are_of_events_not_of_roles():
    log = random_sequences([9, 5, 7, 40], 5)
    batch = batch_of(log, torch.tensor([0, 1, 2, 3]), 10)
    noise = RewardNoise(log=Flips(0.5, resampled=True))
    redraw = noise.on_log(SimpleNamespace(train=log), SimpleNamespace(max_length=10))
    assert redraw.sequences is log
    changed = redraw.redraw(batch, 1)
    real_BT = batch.mask_BT
    later_BT = real_BT[:, 1:]
    past_N = changed.history_rewards_BT[:, 1:][later_BT]
    assert torch.equal(past_N, changed.rewards_BT[:, :-1][later_BT])
    assert set(changed.rewards_BT[real_BT].tolist()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert not changed.rewards_BT[~real_BT].any()
    assert not changed.history_rewards_BT[~real_BT].any()
    flips = int((changed.rewards_BT != batch.rewards_BT)[real_BT].sum())
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], int(real_BT.sum()), 0.5)
    assert low <= flips <= high
    assert not torch.equal(changed.rewards_BT, redraw.redraw(batch, 2).rewards_BT)


@settings(max_examples=40, deadline=None)
@given(users=st.integers(1, 60), level=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_starvation_leaves_out_its_share_of_the_users(users, level, seed):
    fit_N = torch.arange(users) * 3
    kept = Starvation(level).users(fit_N, seed).tolist()
    assert len(kept) == len(set(kept)) == max(1, round(users * (1 - level)))
    assert set(kept) <= set(fit_N.tolist())
    fewer = Starvation(level + (1 - level) / 2).users(fit_N, seed).tolist()
    assert set(fewer) <= set(kept)


def test_starvation_of_another_seed_leaves_out_others():
    fit_N = torch.arange(40)
    one, other = (set(Starvation(0.5).users(fit_N, seed).tolist()) for seed in (0, 1))
    assert one != other
