"""The projected correlation against an enumeration, its limits, and what errors do to it."""

import numpy as np
import pytest
import torch
from data_factory import made_corpus, made_sequences
from sklearn.linear_model import LinearRegression

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.evaluation import projected
from recsys_posttrain.evaluation.projected import (
    correlation_under,
    projected_correlation,
    projection,
)
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.control import ConstantReward
from recsys_posttrain.rewards.noise import Gaussian, Independent, ItemBias, RewardNoise, UserBias
from recsys_posttrain.types import Targets

USERS, ITEMS, LENGTH, WIDTH = 120, 17, 9, 4
SEEN = [[3, 1, 4], [5], list(range(1, 17)), list(range(1, 18)), [9, 2, 6, 2]]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class OfHidden(RewardModel):
    """A linear function of the reference's hidden state for each item, plus hidden columns."""

    max_length = LENGTH

    def __init__(self, reference, factor_VR, extra=None):
        super().__init__()
        self.reference, self.factor_VR, self.extra = reference, factor_VR, extra

    def member_factors(self, batch):
        hidden_ND = self.reference.hidden_states(batch)
        state_NR = torch.cat([torch.ones(len(hidden_ND), 1), hidden_ND], dim=1)
        factor_VR = self.factor_VR
        if self.extra is not None:
            state_NR = torch.cat([state_NR, self.extra(batch, state_NR)], dim=1)
            factor_VR = torch.cat([factor_VR, drawn(ITEMS, 1, seed=8)], dim=1)
        return state_NR[None], factor_VR[None]


@pytest.fixture(scope="module")
def split():
    generator = np.random.default_rng(0)
    items = np.concatenate([generator.permutation(ITEMS)[:LENGTH] + 1 for _ in range(USERS)])
    return LeaveOneOut().split(
        made_corpus([LENGTH] * USERS, items=items.tolist(), item_ids=np.arange(1, ITEMS + 1))
    )


@pytest.fixture(scope="module")
def reference():
    backbone = SASRec(dim=WIDTH, blocks=1, heads=1, feed_forward=8, max_length=LENGTH)
    policy = FrozenPolicy(new_policy(backbone, ITEMS, seed=0))
    policy.backbone.item_embedding.weight *= 12
    return policy


@pytest.fixture(scope="module")
def model(reference):
    return OfHidden(reference, drawn(ITEMS, WIDTH + 1, seed=1))


def value_of(model, split):
    return model.last_factors(split.test.history, split.test.times_N, split.test.users_N)


def measured(model, split, reference, value=None):
    value = value_of(model, split) if value is None else value
    return projected_correlation(model, value, reference, split, split.test)


def test_the_correlation_is_that_of_the_enumerated_items():
    """Row by row with numpy.cov: without what was seen: one item left, none, one seen twice."""
    history = made_sequences([len(seen) for seen in SEEN], SEEN)
    count = len(SEEN)
    targets = Targets(
        history,
        torch.ones(count).long(),
        torch.ones(count),
        torch.arange(count),
        torch.arange(count),
    )
    pairs = [(drawn(count, 3, seed=s), drawn(ITEMS, 3, seed=s + 10)) for s in range(3)]
    found_N = correlation_under(*pairs, targets).numpy()
    for row, seen in enumerate(SEEN):
        left = [v for v in range(ITEMS) if v + 1 not in seen]
        if len(left) < 2:
            assert np.isnan(found_N[row])
            continue
        logit, first, second = (
            (state[row] @ factor.T)[left].double().numpy() for state, factor in pairs
        )
        weight = np.exp(logit - logit.max())
        (xx, xy), (_, yy) = np.cov(first, second, aweights=weight / weight.sum(), ddof=0)
        assert found_N[row] == pytest.approx(xy / np.sqrt(xx * yy), abs=1e-6)
    allowed = correlation_under(*pairs, Targets(*_fields(targets), repeats="allowed"))
    assert not allowed.isnan().any()


def _fields(targets):
    return targets.history, targets.items_N, targets.rewards_N, targets.times_N, targets.users_N


def test_no_chunk_and_no_slice_changes_it(split, reference, model, monkeypatch):
    scores = reference.scores(split.test.history, split.test.times_N)
    factors = value_of(model, split)
    other = drawn(len(split.test.items_N), 2), drawn(ITEMS, 2, seed=3)
    whole_N = correlation_under(scores, factors, other, split.test)
    monkeypatch.setattr(projected, "LARGEST_BUFFER", 8 * projected.TEMPORARIES * ITEMS * 3)
    monkeypatch.setattr("recsys_posttrain.evaluation.ranking.ITEMS_AT_A_TIME", 5)
    for chunk in (1, 200):
        again_N = correlation_under(scores, factors, other, split.test, chunk)
        torch.testing.assert_close(again_N, whole_N, rtol=0, atol=1e-9)


def test_the_projection_is_the_least_squares_fit_of_each_item(split, reference):
    """By scikit-learn, for each item on its own, of a model that has more than hidden states."""
    model = OfHidden(
        reference,
        drawn(ITEMS, WIDTH + 1),
        lambda batch, _: batch.history_BT[batch.mask_BT][:, None].float().sin(),
    )
    hidden, predicted = [], []
    for batch in fixed_batches(split.train, LENGTH, 50):
        hidden.append(reference.hidden_states(batch).double().numpy())
        predicted.append(model.score_all(batch).double().numpy())
    hidden_ND, predicted_NV = np.concatenate(hidden), np.concatenate(predicted)
    fitted_NV = LinearRegression().fit(hidden_ND, predicted_NV).predict(hidden_ND)
    assert np.square(predicted_NV - fitted_NV).mean() > 0.1  # there is something to leave out
    weight_QR, factor_VR = projection(model, reference, split)
    weight_QV = weight_QR @ factor_VR.double().T
    found_NV = np.column_stack([np.ones(len(hidden_ND)), hidden_ND]) @ weight_QV.numpy()
    np.testing.assert_allclose(found_NV, fitted_NV, atol=1e-4)


def test_what_the_policy_can_represent_correlates_wholly_with_itself(split, reference, model):
    found = measured(model, split, reference)
    assert found.value == pytest.approx(1, abs=1e-6)
    assert found.targets == USERS
    state_NR, factor_VR = value_of(model, split)
    turned = measured(model, split, reference, (-state_NR, factor_VR))
    assert turned.value == pytest.approx(-1, abs=1e-6)
    assert turned.low <= turned.value <= turned.high


def test_an_error_orthogonal_to_hidden_states_changes_nothing(split, reference, model, monkeypatch):
    """Its states are what a regression on the hidden states leaves of random ones, all at once."""
    monkeypatch.setattr(projected, "SEQUENCES", USERS)

    def residual(batch, state_NQ):
        noise_N1 = 5 * drawn(len(state_NQ), 1, seed=5)
        return noise_N1 - state_NQ @ torch.linalg.lstsq(state_NQ, noise_N1).solution

    wrong = OfHidden(reference, model.factor_VR, residual)
    assert wrong.score_all(next(fixed_batches(split.train, LENGTH, USERS))).std() > 4
    right = measured(model, split, reference)
    found = measured(wrong, split, reference, value_of(model, split))
    assert found.value == pytest.approx(right.value, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (UserBias(3.0), 0.999999, 1.0),  # the same for all items
        (ItemBias(3.0, resampled=True), 0.999999, 1.0),  # 0 on average
        (ItemBias(3.0), -0.5, 0.8),
        (Gaussian(20.0), -0.8, 0.8),
    ],
)
def test_an_error_counts_as_far_as_it_changes_the_order(split, reference, model, kind, low, high):
    noisy = RewardNoise(model=kind, seed=2).on_model(model, split, reference)
    found = measured(noisy, split, reference, value_of(model, split))
    assert low <= found.value <= high


def test_errors_that_no_state_follows_average_out(split, reference, model):
    """An item bias of the same deviation does not."""
    values = [
        measured(
            RewardNoise(model=kind, seed=2).on_model(model, split, reference),
            split,
            reference,
            value_of(model, split),
        ).value
        for kind in (Independent(1.5), ItemBias(1.5))
    ]
    assert values[0] > 0.9 > values[1] + 0.1


def test_a_constant_reward_says_nothing_and_a_constant_truth_cannot_be_said(
    split, reference, model
):
    constant = ConstantReward(3.3, ITEMS, LENGTH)
    assert measured(constant, split, reference, value_of(model, split))[:3] == (0, 0, 0)
    found = measured(model, split, reference, value_of(constant, split))
    assert np.isnan(found.value)
    assert found.targets == 0


def test_the_interval_is_over_users(split, reference, model):
    """Every target three times: the same interval, because there are no more users."""
    value = drawn(USERS, 2, seed=6), drawn(ITEMS, 2, seed=7)
    once = measured(model, split, reference, value)
    test = split.test
    rows = torch.arange(USERS).repeat(3)
    history = made_sequences(
        [LENGTH - 1] * 3 * USERS,
        [test.history.items_E.view(USERS, -1)[row].tolist() for row in rows],
    )
    # Times and rewards of the history are no input of this backbone.
    thrice = Targets(
        history, test.items_N[rows], test.rewards_N[rows], test.times_N[rows], test.users_N[rows]
    )
    found = projected_correlation(model, (value[0][rows], value[1]), reference, split, thrice)
    assert found[:3] == pytest.approx(once[:3], abs=1e-6)
    assert found.targets == 3 * once.targets
    spread = (once.high - once.low) / 2
    scores = reference.scores(test.history, test.times_N)
    correlation_N = correlation_under(scores, value_of(model, split), value, test)
    assert spread == pytest.approx(1.96 * float(correlation_N.std()) / USERS**0.5, rel=0.15)
