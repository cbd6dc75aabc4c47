import math

import pytest
import torch
from data_factory import doubles
from scipy.stats import expectile

from recsys_posttrain.algorithms import ASFT, CQL, ExpRSFT
from recsys_posttrain.algorithms.signals import learned_value, no_baseline
from recsys_posttrain.algorithms.weights import (
    capped,
    expectile_error,
    explained_share,
    exponential_weight,
    learned_bias,
    means,
    value_error,
    value_head,
    weight_metrics,
)
from recsys_posttrain.errors import UserError


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


def test_expectile_error_by_hand():
    """At level .8 a target above counts .8 and one below .2: (3 - 5)^2 and (3 - 1)^2."""
    value, target = doubles(3.0, 3.0, grad=True), doubles(5.0, 1.0, grad=True)
    error = expectile_error(value, target, 0.8)
    error.sum().backward()
    torch.testing.assert_close(error.detach(), doubles(3.2, 0.8))
    torch.testing.assert_close(value.grad, doubles(-3.2, 0.8))
    assert target.grad is None


def test_the_least_expectile_error_is_at_the_expectile():
    """That of a public package, for 30 draws at three levels."""
    target = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for level in (0.2, 0.5, 0.95):
        value = doubles(float(expectile(target.numpy(), level)), grad=True)
        expectile_error(value, target, level).mean().backward()
        assert abs(value.grad.item()) < 1e-9


def test_exponential_weights_by_hand():
    """At temperature 2: e and, held at 3, e^2; without a gradient."""
    advantage = doubles(2.0, 4.0, grad=True)
    weight, is_capped = exponential_weight(advantage, 2.0, 3.0)
    torch.testing.assert_close(weight, doubles(math.e, 3.0))
    assert is_capped.tolist() == [False, True]
    assert not weight.requires_grad


def test_the_learned_bias_counts_30_times_and_bends_the_policy(tabular):
    """State (1, 2) times weights (0.1, 0.3), plus 0.5; its gradient in the state is 30 times the
    weights."""
    actors = tabular.actors(policy=((1.0, 2.0),), algorithm=CQL())
    with torch.no_grad():
        actors.heads["bias"].weight.copy_(doubles([0.1, 0.3]))
        actors.heads["bias"].bias.fill_(0.5)
    bias_N = learned_bias(tabular.batch(), actors)
    torch.testing.assert_close(bias_N.detach(), doubles(36.0))
    bias_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([3.0, 9.0]))


@pytest.mark.parametrize("cap", [0.0, -1.0])
def test_a_cap_that_no_weight_can_keep_is_refused(cap):
    with pytest.raises(UserError, match=rf"ExpRSFT: weight_cap={cap} must be above 0, or None"):
        ExpRSFT(weight_cap=cap)
    assert ExpRSFT(weight_cap=None).weight_cap is None


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


def test_means_have_no_gradient():
    metrics = means({"a": doubles(1.0, 4.0, grad=True), "b": doubles([0.0, 1.0], [1.0, 1.0])})
    assert {name: each.item() for name, each in metrics.items()} == {"a": 2.5, "b": 0.75}
    assert not metrics["a"].requires_grad


def test_value_head_starts_at_zero_and_draws_nothing():
    before = torch.get_rng_state()
    head = value_head(learned_value, 3)["value"]
    assert torch.equal(torch.get_rng_state(), before)
    assert head(torch.ones(2, 3)).tolist() == [[0.0], [0.0]]
    assert head.weight.requires_grad
    assert value_head(no_baseline, 3) == {}, "another baseline needs no critic"
