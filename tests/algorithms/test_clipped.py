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
    sample_metrics,
    sampled_terms,
)
from recsys_posttrain.algorithms.signals import reference_value
from recsys_posttrain.algorithms.weights import means


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
    numbers = {"kl/loss": 2 * math.log(4) - 1.5, "ratio/mean": 2.0}
    numbers |= {"clip_ratio": 1.0, "clip_ratio/high": 1.0, "clip_ratio/low": 0.0}
    assert {name: each.item() for name, each in metrics.items()} == pytest.approx(numbers)
    assert not any(each.requires_grad for each in metrics.values())


BASELINES = (0.0, 4.0, 7.5)  # below, at and above E_pi[r_hat] in the test that follows


@pytest.mark.parametrize("baseline", BASELINES)
def test_at_ratios_of_1_the_expected_gradient_is_that_of_any_baseline(baseline):
    """pi = pi_old = (0.2, 0.3, 0.5) and r_hat = (2, 7, 3), whose mean is 4: the gradient of
    -E_pi[r_hat] in the logits is -pi_v (r_v - 4) = (0.4, -0.9, 0.5), whatever the baseline is. Of a
    single sample a it is -(r_a - b) ([v = a] - pi_v), which depends on b."""
    pi, reward = doubles(0.2, 0.3, 0.5), doubles(2.0, 7.0, 3.0)
    logits = pi.log().requires_grad_()
    log_pi = logits.log_softmax(dim=0)
    surrogate, _, _ = sampled_terms(log_pi, pi.log(), pi.log(), reward - baseline, clip=0.2)
    (gradient,) = torch.autograd.grad((pi * surrogate).sum(), logits, retain_graph=True)
    torch.testing.assert_close(gradient, doubles(0.4, -0.9, 0.5))
    (of_first,) = torch.autograd.grad(surrogate[0], logits)
    torch.testing.assert_close(of_first, -(2 - baseline) * doubles(0.8, -0.3, -0.5))


@pytest.mark.parametrize(
    "algorithm", [OfflinePPO(kl_coefficient=0.1, samples=32), ExactPPO(kl_coefficient=0.1)]
)
def test_late_in_training_as_much_is_clipped_from_below_as_from_above(tabular, algorithm):
    low, high = late_clip_shares(tabular, algorithm)
    assert min(low, high) > 0.3 * max(low, high), f"clipped from below {low}, from above {high}"


def test_against_the_references_value_clipping_is_one_sided(tabular):
    """What the baseline of pi_old is for: by then nearly all that is sampled is above pi_ref."""
    algorithm = OfflinePPO(kl_coefficient=0.1, samples=32, baseline=reference_value)
    low, high = late_clip_shares(tabular, algorithm)
    assert low < 0.1 * high, f"clipped from below {low}, from above {high}"


def late_clip_shares(tabular, algorithm, contexts=6, items=12, steps=60):
    """The shares clipped from below and above, over the second half of a training by AdamW in a
    world whose reference is even and whose rewards are normal."""
    generator = torch.Generator().manual_seed(0)
    scores_XV = torch.randn(contexts, items, generator=generator, dtype=torch.float64)
    even_XV = torch.zeros_like(scores_XV)
    actors = tabular.actors(even_XV, even_XV, scores_XV)
    batch = tabular.batch(
        [[x] for x in range(1, contexts + 1)], [[1]] * contexts, [[0.0]] * contexts
    )
    optimizer = torch.optim.AdamW(actors.policy.parameters(), lr=0.1)
    shares = []
    for step in range(1, steps + 1):
        actors.clear_cache()
        output = algorithm.loss(batch, actors)
        optimizer.zero_grad()
        output.loss_N.mean().backward()
        optimizer.step()
        actors.step = step
        algorithm.after_step(actors)
        shares.append([output.metrics[f"clip_ratio/{side}"].item() for side in ("low", "high")])
    return np.mean(shares[steps // 2 :], axis=0)


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
