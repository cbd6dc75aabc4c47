"""Every algorithm where a sample stands for the catalogue (training/catalogue.py)."""

import numpy as np
import pytest
import torch
from everyone import ITEMS, LENGTHS, everyone, gradients, is_random, run

from recsys_posttrain.algorithms import BC, WBC
from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.losses.negatives import Negatives
from recsys_posttrain.training.catalogue import sample_of, with_sample

EVERYTHING = Negatives(torch.arange(1, ITEMS + 1), torch.ones(ITEMS))  # each once, weight 1
EVEN = torch.full((ITEMS,), 1 / ITEMS, dtype=torch.float64)


@everyone
def test_a_sample_of_everything_is_the_catalogue(algorithm, small):
    """Loss and gradients of a method without draws are those of exact sums."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    if is_random(algorithm, batch, actors):
        pytest.skip("it draws, and places are drawn in another order than items")
    sampled = batch._replace(catalogue_sample=sample_of(batch, EVERYTHING, ITEMS))
    exact, found = run(algorithm, batch, actors), run(algorithm, sampled, actors)
    torch.testing.assert_close(found.loss_N, exact.loss_N, rtol=2e-5, atol=2e-5)
    was, now = gradients(algorithm, batch, actors), gradients(algorithm, sampled, actors)
    assert was.keys() == now.keys()
    largest = max(float(each.abs().max()) for each in was.values() if each is not None)
    for name in was:
        assert (was[name] is None) == (now[name] is None), name
        if was[name] is not None:
            np.testing.assert_allclose(now[name], was[name], rtol=1e-4, atol=1e-5 * largest)


@everyone
def test_a_sample_reaches_the_policy(algorithm, small):
    """Loss, metrics and gradients are finite, and two samples give two losses, unless the method
    sums over nothing."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
    losses = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        sampled = with_sample(batch, EVEN, 3, generator)
        output = run(algorithm, sampled, actors)
        assert output.loss_N.shape == batch.action_N.shape
        assert output.loss_N.isfinite().all()
        assert all(value.isfinite() for value in output.metrics.values())
        for name, gradient in gradients(algorithm, sampled, actors).items():
            assert gradient is None or gradient.isfinite().all(), name
            assert gradient is None or not gradient.is_sparse, name
        losses.append(output.loss_N.detach())
    sums = algorithm != WBC()  # sigmoids of logits
    assert torch.equal(losses[0], losses[1]) != sums


@everyone
def test_extreme_logits_with_a_sample(algorithm, small):
    batch = small.batch(LENGTHS, ITEMS)
    for seed in range(5):
        actors = small.actors(algorithm, ITEMS, seed=seed, scale=300.0)
        sampled = with_sample(batch, EVEN, 3, torch.Generator().manual_seed(seed))
        for name, gradient in gradients(algorithm, sampled, actors).items():
            assert gradient is None or gradient.isfinite().all(), f"{name}, seed {seed}"


def test_a_position_where_nothing_but_the_logged_item_is_left(small):
    """pi of that item is 1, whatever was drawn."""
    batch, actors = small.batch(LENGTHS, ITEMS), small.actors(BC(), ITEMS)
    others = [[v for v in range(1, ITEMS + 1) if v != item] for item in batch.action_N.tolist()]
    ends_N1 = torch.arange(len(others) + 1) * (ITEMS - 1)
    excluded = Excluded(torch.tensor([v for row in others for v in row]), ends_N1)
    batch = batch._replace(excluded=excluded)
    sampled = with_sample(batch, EVEN, 4, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(actors.policy.log_prob(sampled).detach(), 0, atol=1e-5)
    items_NK, log_prob_NK = actors.policy.sample(sampled, 3, torch.Generator().manual_seed(0))
    assert (items_NK == batch.action_N[:, None]).all()
    np.testing.assert_allclose(log_prob_NK, 0, atol=1e-5)
