import itertools
import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import ExactPPO, OfflinePPO
from recsys_posttrain.algorithms.clipped import (
    clipped_loss,
    is_clipped,
    kl_loss,
    means,
    sample_metrics,
    sampled_terms,
)


def test_clipped_loss_and_its_gradient_by_hand():
    """clip 0.2, so the ratio is held in [0.8, 1.2]; columns: ratio, A, loss, d loss / d ratio.

    A gain counts up to 1.2 and a loss down to 0.8, beyond which there is no gradient; on the other
    side the surrogate is never clipped, so mistakes are always corrected.
    """
    cases = doubles(
        [1.0, 2.0, -2.0, -2.0],
        [1.1, 2.0, -2.2, -2.0],
        [1.5, 2.0, -2.4, 0.0],
        [0.5, 2.0, -1.0, -2.0],
        [0.5, -2.0, 1.6, 0.0],
        [1.5, -2.0, 3.0, 2.0],
        [0.9, -2.0, 1.8, 2.0],
        [3.0, 0.0, 0.0, 0.0],
    )
    ratio, advantage, loss, gradient = cases.unbind(dim=1)
    ratio = ratio.clone().requires_grad_()
    ours = clipped_loss(ratio, torch.ones(8, dtype=torch.float64), advantage, clip=0.2)
    ours.sum().backward()
    torch.testing.assert_close(ours.detach(), loss)
    torch.testing.assert_close(ratio.grad, gradient)
    below, above = is_clipped(ratio.detach(), torch.ones(8), advantage, clip=0.2)
    assert [below.nonzero().tolist(), above.nonzero().tolist()] == [[[4]], [[2]]]


def test_the_two_scales_of_the_clipped_loss_agree():
    """pi_old = 0.3 and pi = 0.45 or 0.15, ratios 1.5 and 0.5: the second form is 0.3 times the
    first, and clipped where the advantage has the sign of the move."""
    for ratio, advantage in itertools.product((1.5, 0.5), (2.0, -2.0)):
        ratio_form = clipped_loss(doubles(ratio), doubles(1.0), doubles(advantage), 0.2)
        sums = doubles(0.3 * ratio), doubles(0.3), doubles(advantage), 0.2
        torch.testing.assert_close(clipped_loss(*sums), 0.3 * ratio_form)
        below, above = is_clipped(*sums)
        assert below.item() == (ratio < 1 and advantage < 0)
        assert above.item() == (ratio > 1 and advantage > 0)


def test_kl_loss_by_hand():
    """pi_old = 1/4, pi = 1/2, pi_ref = 1/8: rho = 2, pi_ref / pi_old = 1/2, log ratio log 4:
    2 log 4 - 2 + 1/2 = 1.2726. Equal policies give 0."""
    value = kl_loss(doubles(2.0), doubles(0.5), doubles(math.log(4)))
    torch.testing.assert_close(value, doubles(2 * math.log(4) - 1.5))
    assert kl_loss(doubles(1.0), doubles(1.0), doubles(0.0)).item() == 0


def test_the_kl_estimate_is_unbiased_in_value_and_gradient():
    """Enumerated, not sampled: sum_a pi_old(a) estimate(a) against KL(pi || pi_ref), whose gradient
    in the logit v is pi_v (log(pi_v / pi_ref_v) - KL); all three policies differ."""
    logits = doubles(0.3, -1.0, 0.8, 0.1, grad=True)
    old, reference = doubles(0.1, 0.2, 0.3, 0.4), doubles(0.4, 0.3, 0.2, 0.1)
    log_pi = logits.log_softmax(dim=0)
    estimate = kl_loss(log_pi.exp() / old, reference / old, log_pi - reference.log())
    assert (estimate >= 0).all()
    (old * estimate).sum().backward()

    pi = np.exp(log_pi.detach().numpy())
    log_ratio = np.log(pi / reference.numpy())
    kl = (pi * log_ratio).sum()
    torch.testing.assert_close((old * estimate).sum().item(), kl)
    torch.testing.assert_close(logits.grad, torch.from_numpy(pi * (log_ratio - kl)))


def test_sampled_terms_by_hand():
    """pi_old = 1/4, pi = 1/2, pi_ref = 1/8, A = 1: rho = 2, of which 1.2 counts; KL as above."""
    log_prob = doubles(0.5, grad=True).log()
    constants = doubles(0.25).log(), doubles(0.125).log(), doubles(1.0)
    found = sampled_terms(log_prob, *constants, clip=0.2)
    expected = doubles(-1.2), doubles(2 * math.log(4) - 1.5), doubles(2.0)
    torch.testing.assert_close(tuple(each.detach() for each in found), expected)
    metrics = means(sample_metrics(log_prob, *constants, clip=0.2))
    numbers = {"kl": 2 * math.log(4) - 1.5, "ratio/mean": 2.0}
    numbers |= {"clip_ratio": 1.0, "clip_ratio/high": 1.0, "clip_ratio/low": 0.0}
    assert {name: each.item() for name, each in metrics.items()} == pytest.approx(numbers)
    assert not any(each.requires_grad for each in metrics.values())


@pytest.mark.parametrize("algorithm", [OfflinePPO(refresh_every=3), ExactPPO(refresh_every=3)])
def test_old_is_renewed_every_few_steps_and_the_reference_never(tabular, algorithm):
    _, actors = tabular.random()
    first_old = actors.old.backbone.logits.clone()
    reference = actors.reference.backbone.logits.clone()
    for step in (1, 2):
        actors.step = step
        algorithm.after_step(actors)
        assert torch.equal(actors.old.backbone.logits, first_old)
    actors.step = 3
    algorithm.after_step(actors)
    assert torch.equal(actors.old.backbone.logits, actors.policy.backbone.logits)
    assert torch.equal(actors.reference.backbone.logits, reference)
