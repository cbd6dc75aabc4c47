"""The lower bound of a reward model whose members say (1, 2, 8) and (3, 4, 2) for three items."""

import pytest
import torch
from data_factory import doubles, random_sequences

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.pessimistic import PessimisticReward
from recsys_posttrain.models.reward_model import RewardModel

MEMBERS = [1.0, 2.0, 8.0], [3.0, 4.0, 2.0]  # means 2, 3, 5, standard deviations 1, 1, 3


class Members(RewardModel):
    """Each member says the same everywhere."""

    def __init__(self, *members):
        super().__init__()
        self.max_length, self.item_ids = 5, "the ids"
        self.factor_MV1 = doubles(*members)[..., None]

    def member_factors(self, batch):
        return self.factor_MV1.new_ones(
            len(self.factor_MV1), len(batch.action_N), 1
        ), self.factor_MV1


@pytest.fixture
def batch():
    return batch_of(random_sequences([3], 3), torch.arange(1), max_length=4)


def test_scores_intervals_and_spreads_by_hand(batch):
    """Less half a deviation: 1.5, 2.5 and 3.5; two deviations around them. The members' difference
    of items 2 and 1 is 1 and 1, of items 3 and 1 7 and -1, so 3 +- 4, whatever was taken off."""
    model = PessimisticReward(Members(*MEMBERS), 0.5)
    assert not model.is_read
    items_NK = torch.tensor([[1, 2, 3]] * 2)
    expected = [[1.5, 2.5, 3.5]] * 2
    assert model.score(batch, items_NK).tolist() == expected
    assert model.is_read
    interval = model.interval(batch, items_NK, width=2.0)
    assert interval.mean_NK.tolist() == expected
    assert interval.lower_NK.tolist() == [[-0.5, 0.5, -2.5]] * 2
    assert interval.upper_NK.tolist() == [[3.5, 4.5, 9.5]] * 2
    spread_NK = model.difference_spread(batch, items_NK, torch.ones_like(items_NK))
    assert spread_NK.tolist() == [[0.0, 0.0, 4.0]] * 2


def test_it_stands_in_for_the_model_that_it_holds(batch):
    inner = Members(*MEMBERS)
    inner.is_resampled = True
    model = PessimisticReward(inner, 0.5)
    assert (model.max_length, model.item_ids, model.is_resampled) == (5, "the ids", True)
    items_NK = torch.tensor([[1, 2, 3]] * 2)
    model.score(batch, items_NK)
    inner.factor_MV1 = 2 * inner.factor_MV1
    model.clear_cache()
    assert model.score(batch, items_NK).tolist() == [[3.0, 5.0, 7.0]] * 2


def test_without_a_penalty_it_is_the_model(batch):
    inner = Members(*MEMBERS)
    items_NK = torch.tensor([[1, 2, 3]] * 2)
    found = PessimisticReward(inner, 0.0).interval(batch, items_NK, 1.5)
    for ours, plain in zip(found, inner.interval(batch, items_NK, 1.5), strict=True):
        torch.testing.assert_close(ours, plain)


def test_sums_over_the_catalogue_are_refused(batch):
    model = PessimisticReward(Members(*MEMBERS), 0.5)
    one = torch.tensor([[1]])
    for ask in (
        lambda: model.factors(batch),
        lambda: model.score_all(batch),
        lambda: model.member_scores(batch, one),
    ):
        with pytest.raises(UserError, match=r"no exact sum over the catalogue.* take a baseline"):
            ask()


def test_a_model_that_knows_no_doubt_is_refused(batch):
    """One member, or members that agree."""
    one = [1.0, 2.0, 3.0]
    for members, said in (
        ([one], "is one model, which does not say how sure it is"),
        ([one, one], "nothing of how unsure it is; give RewardFactors"),
    ):
        model = PessimisticReward(Members(*members), 0.5)
        with pytest.raises(UserError, match=said):
            model.score(batch, torch.tensor([[1, 2]] * 2))
