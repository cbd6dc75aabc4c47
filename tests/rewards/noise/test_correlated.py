"""Judges whose errors correlate with the model's: by hand, and their rules in a study."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise import (
    Gaussian,
    ItemBias,
    PopularityBias,
    RewardNoise,
    Starvation,
)
from recsys_posttrain.rewards.noise.correlated import correlated, judge_column
from recsys_posttrain.studies.rules import CORRELATED, RULES
from recsys_posttrain.studies.setup import Setup

LENGTH = 8


class Silent(RewardModel):
    """A judge that says 3 of everything: what it says more is its error."""

    max_length = LENGTH

    def member_factors(self, batch):
        return torch.full((1, len(batch.action_N), 1), 3.0), torch.ones(1, 30, 1)


def field_of(*values):
    """The same error of three items in every context."""
    return lambda batch: (torch.ones(2, 1), torch.tensor(values)[:, None])


def product(columns):
    state_NQ, factor_VQ = columns
    return state_NQ @ factor_VQ.T


def test_errors_by_hand():
    """.6 (1, 2, 3) + .8 (10, 0, -5), in each of two contexts."""
    model, own = field_of(1.0, 2.0, 3.0), field_of(10.0, 0.0, -5.0)
    found = product(correlated(model, own, 0.6)(None))
    torch.testing.assert_close(found, torch.tensor([[8.6, 1.2, -2.2]] * 2))
    torch.testing.assert_close(product(correlated(model, own, 0.0)(None)), product(own(None)))
    assert correlated(model, own, 1.0) is model


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [ItemBias, Gaussian])
def test_the_judge_errs_as_much_and_correlates_so(small, kind, rho):
    """Over 2,000 draws of the errors of one pair, for bands of four standard errors."""
    train = small.data.train
    batch = batch_of(train, (train.lengths_N >= 2).nonzero()[:1, 0], LENGTH)
    item_NK = torch.full((len(batch.action_N), 1), 7)
    errors = []
    for seed in range(2000):
        noise = RewardNoise(kind(0.8), seed=seed)
        judge = noise.on_judge(Silent(), small.data, small.reference, rho)
        model = noise.on_model(Silent(), small.data, small.reference)
        errors.append([float(each.score(batch, item_NK)[0, 0]) - 3 for each in (model, judge)])
    model_R, judge_R = np.array(errors).T
    np.testing.assert_allclose(judge_R.std(), 0.8, rtol=4 / np.sqrt(4000))
    found = np.corrcoef(model_R, judge_R)[0, 1]
    assert found == pytest.approx(rho, abs=4 * (1 - rho**2) / np.sqrt(2000) + 1e-5)
    if rho == 1:
        np.testing.assert_array_equal(model_R, judge_R)


def test_errors_that_are_not_drawn_reach_no_judge():
    assert RewardNoise(ItemBias(0.5)).reaches_judges
    others = (PopularityBias(0.5), Starvation(0.5), Gaussian(0.5, resampled=True), None)
    assert not any(RewardNoise(each).reaches_judges for each in others)
    assert not RewardNoise(log=ItemBias(0.5)).reaches_judges


def test_each_judge_is_a_rule_and_no_other_correlation_is_known():
    assert [RULES[name].source for name in CORRELATED] == [judge_column(r) for r in (0, 0.5, 1)]
    assert list(CORRELATED) == ["judge, errors 0", "judge, errors 0.5", "judge, errors 1"]
    Setup(judge_errors=(0.0, 1.0))
    with pytest.raises(UserError, match=r"judge_errors=\(0\.3,\) can hold 0, 0\.5, 1"):
        Setup(judge_errors=(0.3,))


def test_every_noise_of_the_study_reaches_judges_or_says_that_it_does_not(small, monkeypatch):
    """Flipped ratings are drawn too, but are no field that another judge could have."""
    experiments = Path(__file__).parents[3] / "experiments"
    monkeypatch.syspath_prepend(experiments)
    import noise_vs_quality

    noises = {kind: levels[0] for kind, levels in noise_vs_quality.MODEL_NOISE.items()}
    noises |= {kind: levels[0] for kind, levels in noise_vs_quality.BETTER.items()}
    reached = set()
    for kind, level in noises.items():
        noise = RewardNoise(model=kind(level))
        if noise.reaches_judges:
            assert noise.on_judge(Silent(), small.data, small.reference, 0.5) is not None
            reached.add(kind.__name__)
    assert reached == {"ItemBias", "UserBias", "Gaussian", "Independent"}
