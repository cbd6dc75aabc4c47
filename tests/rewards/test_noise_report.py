"""The report on noises whose truth is known.

The states here are drawn, not computed by a network: only their number and width matter.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise import (
    Flips,
    Gaussian,
    Independent,
    ItemBias,
    PopularityBias,
    RareOptimism,
    RewardNoise,
    UserBias,
)
from recsys_posttrain.rewards.noise_report import model_report, noise_report
from recsys_posttrain.types import Corpus, Sequences

USERS, ITEMS, LENGTH = 400, 25, 6


class OfItems(RewardModel):
    """Predicts a number per item."""

    max_length = LENGTH

    def __init__(self, score_V):
        super().__init__()
        self.score_V = score_V

    def member_factors(self, batch):
        one_N1 = torch.ones_like(batch.reward_N)[:, None]
        return one_N1[None], self.score_V[None, :, None]


@pytest.fixture(scope="module")
def world():
    """Everyone rates an item by its quality, and nothing else matters."""
    generator = np.random.default_rng(0)
    quality_V = torch.from_numpy(generator.uniform(1, 5, ITEMS)).float()
    popularity_V = generator.dirichlet(np.ones(ITEMS))
    lengths = generator.integers(4, 10, USERS)
    items_E = torch.from_numpy(generator.choice(ITEMS, lengths.sum(), p=popularity_V) + 1)
    sequences = Sequences(
        items_E,
        quality_V[items_E - 1],
        torch.arange(len(items_E)),
        torch.tensor([0, *lengths]).cumsum(0),
    )
    corpus = Corpus("made", sequences, np.arange(USERS), np.arange(1, ITEMS + 1), "0" * 64)
    backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=LENGTH)
    reference = FrozenPolicy(new_policy(backbone, ITEMS, seed=0))
    reference.backbone.item_embedding.weight *= 20
    return LeaveOneOut().split(corpus), reference, OfItems(quality_V)


def report_on(world, kind, **options):
    data, reference, clean = world
    noise = RewardNoise(model=kind, seed=1)
    noisy = noise.on_model(clean, data, reference)
    judged_N = torch.arange(0, USERS, 4)
    return model_report(noisy, clean, data, judged_N, **options)


@pytest.mark.parametrize(
    "kind",
    [
        *(ItemBias(0.5), PopularityBias(0.5), Gaussian(0.5), RareOptimism(0.5), UserBias(0.5)),
        *(Independent(0.5), ItemBias(0.5, resampled=True), Gaussian(0.5, resampled=True)),
    ],
)
def test_the_deviation_of_the_errors_is_the_level(world, kind):
    report = report_on(world, kind)
    # Few items, users or directions are drawn, so the deviation is near the level only.
    assert report["error_deviation"] == pytest.approx(0.5, rel=0.4)


def test_the_report_measures_against_log_clean_model_and_truth(world):
    """The clean model is right, so every error is the noise's own."""
    data, reference, clean = world
    report = report_on(world, ItemBias(0.7))
    assert report["clean_rmse"] == pytest.approx(0, abs=1e-6)
    assert report["clean_pairwise_accuracy"] == 1
    noisy = RewardNoise(model=ItemBias(0.7), seed=1).on_model(clean, data, reference)
    one_position = batch_of(made_corpus([2], items=[1, 1]).sequences, torch.tensor([0]), LENGTH)
    noisy_V = noisy.draw(1)(one_position)[1][:, 0].double().numpy()
    clean_V = clean.score_V.double().numpy()
    both_V = clean_V + noisy_V
    assert report["error_deviation"] == pytest.approx(noisy_V.std(), rel=1e-5)

    squares, accuracies = [], []
    for user in range(0, USERS, 4):
        start, stop = data.train.offsets_N1[user : user + 2].tolist()
        items = (data.train.items_E[start:stop] - 1).tolist()[-LENGTH - 1 :][1:]
        squares += [noisy_V[v] ** 2 for v in items]
        pairs = [(a, b) for a in items for b in items if clean_V[a] > clean_V[b]]
        ordered = [float(both_V[a] > both_V[b]) for a, b in pairs]
        accuracies += [np.mean(ordered)] if ordered else []
    assert report["rmse"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    assert report["pairwise_accuracy"] == pytest.approx(np.mean(accuracies), rel=1e-6)
    assert report["pairwise_accuracy"] < 1


@pytest.mark.parametrize("kind", [ItemBias(0.5), ItemBias(0.5, resampled=True), Flips(0.5)])
def test_a_noisy_log_is_measured_against_the_clean_one(world, kind):
    data, reference, clean = world
    noise = RewardNoise(log=kind, seed=1)
    report = noise_report(noise, clean, clean, data, reference, torch.arange(100))
    assert set(report) == {"log"}
    frozen_kind = replace(kind, resampled=False)
    log = RewardNoise(log=frozen_kind, seed=1).on_log(data, reference).sequences
    error_E = (log.rewards_E - data.train.rewards_E).double().numpy()
    assert report["log"]["rmse"] == pytest.approx(np.sqrt(np.square(error_E).mean()))
    assert 0.5 < report["log"]["pairwise_accuracy"] < 1


def test_a_report_has_the_parts_that_the_noise_has(world):
    data, reference, clean = world
    both = RewardNoise(model=UserBias(0.5), log=Flips(0.1))
    noisy = both.on_model(clean, data, reference)
    report = noise_report(both, noisy, clean, data, reference, torch.arange(100))
    assert set(report) == {"model", "log"}
    assert report["model"]["error_deviation"] > 0
    assert noise_report(RewardNoise(), clean, clean, data, reference, torch.arange(9)) == {}


def test_without_noise_there_is_no_error(world):
    report = report_on(world, ItemBias(0))
    assert report["error_deviation"] == 0
    assert report["rmse"] == report["clean_rmse"]
