import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms import ASFT, ExpRSFT
from recsys_posttrain.algorithms.signals import learned_value, no_baseline
from recsys_posttrain.algorithms.weights import (
    capped,
    explained_share,
    value_error,
    value_head,
    weight_metrics,
)


def test_capped_exponents_by_hand():
    """The cap 2 is at log 2 above the centre: 0 or 1; None is none."""
    exponent = doubles(3.0, 0.5, -9.0)
    assert capped(exponent, None).tolist() == [3, 0.5, -9]
    torch.testing.assert_close(capped(exponent, 2.0), doubles(math.log(2), 0.5, -9.0))
    torch.testing.assert_close(capped(exponent, 2.0, 1.0), doubles(1 + math.log(2), 0.5, -9.0))


def test_all_exponential_weights_have_one_cap():
    assert ASFT().weight_cap == ExpRSFT().weight_cap == 20


def test_the_explained_share_by_hand():
    """Rewards 1, 3, 5 have variance 8/3. A baseline of 1, 3, 3 misses by 4/3 on average: 1/2. The
    mean explains 0, a constant 5 has error (16 + 4) / 3: -3/2. Equal rewards: 0, not 0/0."""
    reward = doubles(1.0, 3.0, 5.0)
    for baseline, share in (
        (doubles(1.0, 3.0, 5.0), 1),
        (doubles(1.0, 3.0, 3.0), 0.5),
        (doubles(3.0, 3.0, 3.0, grad=True), 0),
        (doubles(5.0, 5.0, 5.0), -1.5),
    ):
        found = explained_share(baseline, reward)
        torch.testing.assert_close(found.item(), float(share))
        assert not found.requires_grad
    assert explained_share(doubles(1.0, 1.0), doubles(4.0, 4.0)).item() == 0


def test_value_error_trains_the_value_only():
    """(3 - 5)^2 = 4, its derivative in the value 2 (3 - 5) = -4."""
    value, target = doubles(3.0, grad=True), doubles(5.0, grad=True)
    error = value_error(value, target)
    error.sum().backward()
    torch.testing.assert_close(error.detach(), doubles(4.0))
    torch.testing.assert_close(value.grad, doubles(-4.0))
    assert target.grad is None


def test_weight_metrics_by_hand():
    """Weights 1, 1, 4: mean 2, max 4, (1 + 1 + 4)^2 / (3 (1 + 1 + 16)) = 36 / 54 = 2 / 3."""
    metrics = weight_metrics(doubles(1.0, 1.0, 4.0, grad=True), torch.tensor([True, True, False]))
    assert {name: round(value.item(), 12) for name, value in metrics.items()} == {
        "weight/mean": 2.0,
        "weight/max": 4.0,
        "weight/effective_share": round(2 / 3, 12),
        "weight/capped": round(2 / 3, 12),
    }
    assert not any(value.requires_grad for value in metrics.values())


def test_weight_metrics_of_weights_that_vanish():
    assert [value.item() for value in weight_metrics(doubles(0.0, 0.0)).values()] == [0, 0, 0, 0]


def test_value_head_starts_at_zero_and_draws_nothing():
    before = torch.get_rng_state()
    head = value_head(learned_value, 3)["value"]
    assert torch.equal(torch.get_rng_state(), before)
    assert head(torch.ones(2, 3)).tolist() == [[0.0], [0.0]]
    assert head.weight.requires_grad
    assert value_head(no_baseline, 3) == {}, "another baseline needs no critic"
