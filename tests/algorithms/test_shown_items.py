"""What was shown and not chosen as negatives of WBC and KTO, and positions in the slate."""

import math

import pandas as pd
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import BC, DPO, KTO, WBC
from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.algorithms.shown_items import (
    ShownItems,
    drawn,
    slate_position,
)
from recsys_posttrain.algorithms.shown_pairs import ShownPairs
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.excluded import is_excluded
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.control import ConstantReward
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.windows import Windows


def test_wbc_adds_a_bad_example_for_each_slate_by_hand(tabular):
    """Logits (0, log 3, log 2), a mean reward of 3. Position 1: item 2 with 5, s = 2; item 3 was
    shown, sigmoid 2/3, and weighs 1.5. Position 2: nothing was shown beside it."""
    algorithm = WBC(negatives=ShownItems(weight=1.5, draws=3))
    logits, even = doubles([1.0, 3.0, 2.0]).log(), [[0.0] * 3]
    actors = tabular.actors(even, logits, even, algorithm=algorithm)
    batch = tabular.with_shown(tabular.batch([[1, 1]], [[2, 2]], [[5.0, 2.0]]), [3], [])
    loss_N = algorithm.loss(batch, actors).loss_N
    expected = doubles(-2 * math.log(0.75) + 1.5 * math.log(3), math.log(4))
    torch.testing.assert_close(loss_N.detach(), expected)
    loss_N.sum().backward()
    slope = doubles([0.0, -2 / 4 + 3 / 4, 1.5 * 2 / 3])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, slope)


def test_kto_adds_a_bad_example_for_each_slate_by_hand(tabular):
    """pi = pi_ref, so the point is 0 and every ratio too: a good item loses 1/2 of 3, a bad one 1/2
    of 5, and what was shown beside the first 1/2 of 5 times its weight of 0.4."""
    algorithm = KTO(2.0, ones, 3.0, 5.0, negatives=ShownItems(weight=0.4, draws=2))
    batch = tabular.with_shown(tabular.batch([[1, 1]], [[1, 2]], [[2.0, 0.0]]), [2, 2], [])
    actors = tabular.actors()
    output = algorithm.loss(batch, actors)
    torch.testing.assert_close(output.loss_N.detach(), doubles(1.5 + 1.0, 2.5))
    output.loss_N[0].backward()
    good, bad = 3 * 2 / 4, 0.4 * 5 * 2 / 4
    wanted = doubles([-good / 2 - bad / 2, good / 2 + bad / 2])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, wanted)


def ones(batch, actors):
    return torch.ones_like(batch.reward_N)


@pytest.mark.parametrize("kind", [WBC, KTO])
def test_without_what_was_shown_nothing_changes(kind, tabular):
    batch, actors = tabular.random(algorithm=kind())
    nothing = tabular.with_shown(batch, *[[]] * len(batch.action_N))
    found = []
    for algorithm, each in ((kind(), batch), (kind(negatives=ShownItems()), nothing)):
        actors.generator.manual_seed(3)
        found.append(algorithm.loss(each, actors).loss_N.detach())
    if kind is WBC:
        assert torch.equal(*found)
    with pytest.raises(UserError, match="ShownItems: the log does not say what was shown"):
        kind(negatives=ShownItems()).loss(batch, actors)


def test_draws_are_even_places_of_the_position_s_own_slate(tabular):
    """The numbers behind them are drawn again from the seed."""
    slates = [[5], [6, 7, 8, 9], [], [4, 3], []]
    batch = tabular.batch([[1] * 5], [[1, 1, 2, 1, 2]], [[0.0] * 5])
    batch = tabular.with_shown(batch, *slates)
    items_NK, is_kept_NK = drawn(batch, torch.Generator().manual_seed(3), 50, "x")
    generator = torch.Generator().manual_seed(3)
    uniform_NK = torch.rand(5, 50, generator=generator, dtype=torch.float64).tolist()
    for items, kept, uniform, slate in zip(
        items_NK.tolist(), is_kept_NK.tolist(), uniform_NK, slates, strict=True
    ):
        assert items == [slate[math.floor(u * len(slate))] if slate else 2 for u in uniform]
        assert set(items) == set(slate or [2])
        assert all(kept) if slate else not any(kept)


def test_what_its_windows_close_is_excluded():
    """Item 3 may be shown from 10 s to 20 s, item 5 from 10 s to 30 s, item 2 always."""
    windows = Windows(
        torch.tensor([3, 5]), torch.tensor([[10, 10]]), until_LU=torch.tensor([[20, 30]])
    )
    nothing = torch.tensor([], dtype=torch.int64)
    times_N = torch.tensor([15, 25])
    excluded = Excluded(nothing, torch.tensor([0, 0, 0]), windows=windows, times_N=times_N)
    items_NK = torch.tensor([[3, 5, 2], [2, 5, 3]])
    assert is_excluded(excluded, items_NK).tolist() == [[False] * 3, [False, False, True]]
    assert not is_excluded(excluded._replace(windows=None), items_NK).any()


def test_what_may_not_be_shown_and_the_choice_itself_are_no_negatives(tabular):
    """Only item 3 of three counts, in about a third of the draws."""
    algorithm = WBC(negatives=ShownItems(draws=600))
    logits, even = doubles([1.0, 3.0, 2.0, 5.0]).log(), [[0.0] * 4]
    actors = tabular.actors(even, logits, even, algorithm=algorithm)
    batch = tabular.with_shown(tabular.batch([[1]], [[2]], [[5.0]]), [2, 3, 4])
    excluded = Excluded(torch.tensor([4]), torch.tensor([0, 1]))
    batch = type(batch)(*batch._replace(excluded=excluded))
    more = algorithm.loss(batch, actors).loss_N.item() + 2 * math.log(0.75)
    assert more / math.log(3) == pytest.approx(1 / 3, abs=0.1)


def test_with_a_part_that_reads_none_a_log_without_rewards_will_do():
    without = [WBC(negatives=ShownItems()), KTO(negatives=ShownItems()), DPO(pairs=ShownPairs())]
    assert not any(reads_rewards(each) for each in (BC(), *without))
    assert all(reads_rewards(each) for each in (WBC(), KTO(), DPO()))


@pytest.mark.parametrize(
    "algorithm", [WBC(negatives=ShownItems()), KTO(beta=4.0, negatives=ShownItems())]
)
def test_choices_rise_above_what_was_shown_where_all_rewards_are_equal(algorithm):
    """Even items are shown beside each choice of an odd one."""
    frame = pd.DataFrame(
        [
            (user, 2 * place + 1 - is_shown, place, 1 - is_shown)
            for user in range(20)
            for place in range(1, 9)
            for is_shown in (0, 1)
        ],
        columns=["user_id", "item_id", "timestamp", "chosen"],
    )
    known = [(99 + n, 2 * n, t, 1) for n in range(1, 9) for t in range(3)]
    frame = pd.concat([frame, pd.DataFrame(known, columns=list(frame))])
    data = LeaveOneOut().split(corpus_of(interactions_of(frame, {})))
    policy = new_policy(
        SASRec(dim=8, blocks=1, feed_forward=16, max_length=8), data.corpus.num_items, 0
    )
    reward = ConstantReward(3.0, data.corpus.num_items, 8)
    short = Training(epochs=15, batch_size=8, learning_rate=0.01)
    better, _ = posttrain(policy, data, algorithm, reward, short)
    is_odd_V = torch.tensor(data.corpus.item_ids % 2 == 1)

    def gap(of):
        hidden_ND = of.last_hidden_states(data.test.history)[:20]
        logit_NV = hidden_ND @ of.item_embedding_VD.detach().T
        return float(logit_NV[:, is_odd_V].mean() - logit_NV[:, ~is_odd_V].mean())

    assert gap(better) > gap(policy) + 0.1


def test_a_position_is_a_signal(tabular):
    batch = tabular.with_shown(tabular.batch([[1, 1]], [[2, 2]], [[5.0, 2.0]]), [1], [])
    with pytest.raises(UserError, match="slate_position: the log has no column position"):
        slate_position(batch, None)
    batch = tabular.with_shown(batch, [1], [], positions=torch.tensor([4.0, 7.0]))
    assert slate_position(batch, None).tolist() == [4.0, 7.0]
