"""Who is in which part: disjoint, complete, of the asked size, and asked about the last events."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from data_factory import made_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import UserHoldout
from recsys_posttrain.data.user_holdout import both_logs
from recsys_posttrain.errors import UserError

EVEN = UserHoldout(0.2, 0.2, 0.2, 0.2, 0.2, validation_positions=1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 6), min_size=15, max_size=40),
    st.tuples(*[st.integers(2, 5)] * 5),
    st.integers(0, 3),
    st.integers(1, 7),
)
def test_the_parts_share_nobody_and_hold_everybody(lengths, weights, seed, positions):
    """A validation user's last events are targets, as many as have one before them."""
    shares = [weight / sum(weights) for weight in weights]
    plan = UserHoldout(*shares, seed=seed, validation_positions=positions)
    corpus = made_corpus(lengths)
    try:
        split = plan.split(corpus)
    except UserError:
        return
    bounds = corpus.sequences.offsets_N1.tolist()
    everything = [corpus.sequences.items_E[a:b].tolist() for a, b in pairwise(bounds)]
    held = []
    assert split.judge is not None
    for part in (split.train, split.reward, split.judge):
        assert len(part) == len(lengths)
        found = [part.items_E[a:b].tolist() for a, b in pairwise(part.offsets_N1.tolist())]
        users = {user for user, items in enumerate(found) if items}
        assert [found[user] for user in sorted(users)] == [everything[u] for u in sorted(users)]
        held.append(users)
    for targets, most in ((split.validation, positions), (split.test, 1)):
        users_N = targets.users_N.tolist()
        events = [
            (user, at)
            for user in sorted(set(users_N))
            for at in range(max(1, lengths[user] - most), lengths[user])
        ]
        assert users_N == [user for user, _ in events], "in the order of the corpus and in time"
        pasts = targets.history.items_E.split(targets.history.lengths_N.tolist())
        found = zip(events, targets.items_N.tolist(), pasts, strict=True)
        for (user, at), item, past in found:
            assert [*past.tolist(), item] == everything[user][: at + 1]
        places = [bounds[user] + at for user, at in events]
        assert targets.times_N.tolist() == [10 * place for place in places]
        assert targets.rewards_N.tolist() == [place / 2 for place in places]
        held.append(set(users_N))
    together = [user for users in held for user in users]
    assert len(together) == len(set(together))
    missing = set(range(len(lengths))) - set(together)
    assert all(lengths[user] == 1 for user in missing), "only those who can have no target"
    if min(lengths) > 1:
        edges = [round(len(lengths) * sum(weights[:n]) / sum(weights)) for n in range(6)]
        wanted = [b - a for a, b in pairwise(edges)]
        # A boundary at a half may be rounded to either side.
        assert all(abs(len(users) - size) <= 1 for users, size in zip(held, wanted, strict=True))


@pytest.mark.parametrize(
    ("plan", "lengths", "sizes"),
    [(UserHoldout(), [3] * 100, [40, 15, 15, 20, 20]), (EVEN, [2] * 7, [1, 2, 1, 2, 1])],
)
def test_shares_and_their_boundaries(plan, lengths, sizes):
    """Seven users in fifths: 1.4, 2.8, 4.2 and 5.6 are rounded to 1, 3, 4 and 6. Ten validation
    users of three events have two targets each."""
    split = plan.split(made_corpus(lengths))
    trained = [int((part.lengths_N > 0).sum()) for part in (split.train, split.reward, split.judge)]
    assert [*trained, len(split.validation.items_N), len(split.test.items_N)] == sizes


def test_the_seed_decides_who_is_where():
    corpus = made_corpus([2] * 60)
    first, same, other = (
        replace(EVEN, seed=seed).split(corpus).test.users_N.tolist() for seed in (1, 1, 2)
    )
    assert first == same
    assert first != other


def test_a_user_is_in_each_part_as_often_as_its_share_says():
    corpus = made_corpus([2] * 10)
    plan = UserHoldout(0.3, 0.1, 0.1, 0.2, 0.3)
    tested = torch.cat([replace(plan, seed=seed).split(corpus).test.users_N for seed in range(200)])
    # Binomial(200, .3): 60 with a deviation of 6.5; four of them for ten counts at once.
    assert (torch.bincount(tested, minlength=10) - 60).abs().max() <= 26


@pytest.mark.parametrize(
    ("plan", "lengths", "message"),
    [
        (
            UserHoldout(0.5, 0.1, 0.1, 0.1, 0.1),
            [2] * 10,
            r"UserHoldout: the shares train=0.5, reward=0.1, judge=0.1, validation=0.1, test=0.1 "
            r"must each be above 0 and sum to 1, not to 0.9\.",
        ),
        (EVEN, [2] * 4, r"of its 4, \d fall into the \w+ part and none of them has two events"),
        (EVEN, [1] * 50, "of its 50, 10 fall into the train part and none of them has two events"),
    ],
)
def test_what_cannot_be_split(plan, lengths, message):
    with pytest.raises(UserError, match=message):
        plan.split(made_corpus(lengths))


def test_the_label_names_every_share():
    assert UserHoldout().label == (
        "disjoint users (0.4 policy, 0.15 reward model, 0.15 judge, 0.1 validation with 5 events "
        "each, 0.2 test)"
    )


def test_imitation_may_learn_from_the_reward_models_users_too():
    """Of ten users two are the policy's and two the reward model's: all events of these four."""
    corpus = made_corpus([2, 3] * 5)
    split = EVEN.split(corpus)
    both = both_logs(split)
    known = (split.train.lengths_N + split.reward.lengths_N) > 0
    assert int(known.sum()) == 4
    assert both.lengths_N.tolist() == (corpus.sequences.lengths_N * known).tolist()
    items = [*split.train.items_E.tolist(), *split.reward.items_E.tolist()]
    assert sorted(both.items_E.tolist()) == sorted(items)
    with pytest.raises(UserError, match="has the same users for policy and reward model"):
        both_logs(replace(split, reward=split.train))
