"""What follows from a reward model's factors, against loops over members, positions and items."""

import numpy as np
import pytest
import torch
from data_factory import random_sequences

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import RewardModel, score_next
from recsys_posttrain.rewards.predictions import predict_logged

ITEMS, MEMBERS, RANK = 6, 3, 2


class Tables(RewardModel):
    """The state is a row of a table for the latest item; counts how often it is asked."""

    max_length = 4

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.state_MXR = torch.randn(MEMBERS, ITEMS + 1, RANK, generator=generator)
        self.factor_MVR = torch.randn(MEMBERS, ITEMS, RANK, generator=generator)
        self.asked = 0

    def member_factors(self, batch):
        self.asked += 1
        return self.state_MXR[:, batch.real(batch.history_BT)], self.factor_MVR

    def slow_score(self, member, latest_item, item):
        state, factor = self.state_MXR[member, latest_item], self.factor_MVR[member, item - 1]
        return sum(float(s) * float(f) for s, f in zip(state, factor, strict=True))


@pytest.fixture
def model():
    return Tables()


@pytest.fixture
def sequences():
    return random_sequences([5, 2, 7, 3], ITEMS)


@pytest.fixture
def batch(sequences):
    return batch_of(sequences, torch.arange(4), max_length=4)


def slow_scores(model, batch, items_NK):
    """[M, N, K]"""
    scores = np.zeros((MEMBERS, *items_NK.shape))
    latest_N = batch.history_BT[batch.mask_BT].tolist()
    for m, n, k in np.ndindex(*scores.shape):
        scores[m, n, k] = model.slow_score(m, latest_N[n], int(items_NK[n, k]))
    return scores


def test_scores_of_candidates_are_the_slow_loop(model, batch):
    generator = torch.Generator().manual_seed(2)
    items_NK = torch.randint(1, ITEMS + 1, (len(batch.action_N), 3), generator=generator)
    expected = slow_scores(model, batch, items_NK)
    np.testing.assert_allclose(model.member_scores(batch, items_NK), expected, atol=1e-6)
    np.testing.assert_allclose(model.score(batch, items_NK), expected.mean(axis=0), atol=1e-6)
    for width in (1.0, 2.5):
        mean, lower, upper = model.interval(batch, items_NK, width)
        np.testing.assert_allclose(mean, expected.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(mean - lower, width * expected.std(axis=0), atol=1e-5)
        np.testing.assert_allclose(upper - mean, width * expected.std(axis=0), atol=1e-5)
    for bound in model.interval(batch, items_NK, 0):
        np.testing.assert_allclose(bound, expected.mean(axis=0), atol=1e-6)
    spread_NK = model.difference_spread(batch, items_NK, items_NK.flip(1))
    difference_MNK = expected - expected[..., ::-1]
    np.testing.assert_allclose(spread_NK, difference_MNK.std(axis=0), atol=1e-5)
    assert not model.difference_spread(batch, items_NK, items_NK).any()


def test_scores_of_all_items_and_the_product_of_the_factors_are_the_slow_loop(model, batch):
    every_NV = torch.arange(1, ITEMS + 1).expand(len(batch.action_N), ITEMS)
    expected_NV = slow_scores(model, batch, every_NV).mean(axis=0)
    np.testing.assert_allclose(model.score_all(batch), expected_NV, atol=1e-6)
    state_NR, factor_VR = model.factors(batch)
    assert state_NR.shape == (len(batch.action_N), MEMBERS * RANK)
    np.testing.assert_allclose(state_NR @ factor_VR.T, expected_NV, atol=1e-6)


def test_the_next_action_is_scored_after_the_whole_history(model, sequences):
    items_NK = torch.tensor([[1, 2], [3, 4], [5, 6], [6, 1]])
    latest_N = sequences.items_E[sequences.offsets_N1[1:] - 1]
    found_NK = score_next(model, sequences, items_NK)
    for n, k in np.ndindex(4, 2):
        asked = int(latest_N[n]), int(items_NK[n, k])
        expected = np.mean([model.slow_score(m, *asked) for m in range(MEMBERS)])
        assert float(found_NK[n, k]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("next_times_N", [None, torch.tensor([90, 91, 92, 93])])
def test_the_time_of_the_scored_action_is_in_the_batch(model, sequences, next_times_N, monkeypatch):
    """Events are at seconds 0 to 16; histories of 5, 2, 7 and 3 events, windows of 4."""
    seen = []
    factors = model.member_factors
    monkeypatch.setattr(model, "member_factors", lambda batch: seen.append(batch) or factors(batch))
    score_next(model, sequences, torch.ones(4, 1, dtype=torch.int64), next_times_N)
    (batch,) = seen
    assert batch.sequences_B.tolist() == [2, 0, 3, 1]
    assert batch.history_times_BT.tolist() == [
        [10, 11, 12, 13],
        [1, 2, 3, 4],
        [14, 15, 16, 0],
        [5, 6, 0, 0],
    ]
    last = [13, 4, 16, 6] if next_times_N is None else [92, 90, 93, 91]
    assert batch.action_times_BT.tolist() == [
        [11, 12, 13, last[0]],
        [2, 3, 4, last[1]],
        [15, 16, last[2], 0],
        [6, last[3], 0, 0],
    ]


def test_factors_are_computed_once_per_batch_and_carry_no_gradient(model, batch, sequences):
    model.state_MXR.requires_grad_()
    first, _ = model.factors(batch)
    model.score_all(batch)
    assert model.asked == 1
    assert not first.requires_grad
    model.factors(batch_of(sequences, torch.arange(4), max_length=4))
    assert model.asked == 2
    model.clear_cache()
    model.factors(batch)
    assert model.asked == 3


def test_a_reward_model_must_define_its_factors(batch):
    with pytest.raises(TypeError, match="RewardModel does not define member_factors"):
        RewardModel().score_all(batch)


class OfItems(RewardModel):
    """A user's own callable: the number of the item."""

    max_length = 4

    def score(self, batch, items_NK):
        return items_NK.double()


def test_a_class_that_scores_given_items_only_is_judged_but_gives_no_sums(batch, sequences):
    model = OfItems()
    latest = latest_events(sequences, torch.arange(4), 5)
    first_E = torch.isin(torch.arange(len(latest.items_E)), latest.offsets_N1)
    assert predict_logged(model, latest).tolist() == latest.items_E[~first_E].tolist()
    message = "OfItems scores given items only, and here the rewards of the whole catalogue"
    for asked in (model.factors, model.score_all):
        with pytest.raises(UserError, match=message):
            asked(batch)
    items_NK = torch.tensor([[1, 2], [3, 4], [5, 6], [6, 1]])
    assert torch.equal(score_next(model, sequences, items_NK), items_NK.float())
