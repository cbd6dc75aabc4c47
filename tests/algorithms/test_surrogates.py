import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.grpo import group_advantage
from recsys_posttrain.algorithms.surrogates import (
    ecpo_surrogate,
    forward_kl,
    gbpo_surrogate,
    group_metrics,
    ppo_surrogate,
)


def slopes(surrogate, cases):
    """Loss and d loss / d log pi of rows (pi, pi_old, A), at a clip of 0.2."""
    new, old, advantage = doubles(*cases).unbind(dim=1)
    log_prob = new.log().requires_grad_()
    loss = surrogate(log_prob, old.log(), advantage, 0.2)
    loss.sum().backward()
    return loss.detach(), log_prob.grad


def test_advantages_by_hand():
    """Rewards 1 2 3 have mean 2 and standard deviation 1; equal ones have no advantage."""
    reward = doubles([1.0, 2.0, 3.0], [3.7, 3.7, 3.7])
    torch.testing.assert_close(group_advantage(reward, scale=False)[0], doubles(-1.0, 0.0, 1.0))
    scaled = group_advantage(reward, scale=True)
    torch.testing.assert_close(scaled[0], doubles(-1, 0, 1) / 1.0001)
    assert scaled[1].abs().max() < 1e-11


def test_ppo_by_hand():
    """Ratios 1, 2 and 1/2: a gain counts up to 1.2, a loss down to 0.8, a mistake in full."""
    cases = [0.2, 0.2, 3.0], [0.4, 0.2, 3.0], [0.4, 0.2, -3.0], [0.1, 0.2, -3.0]
    loss, slope = slopes(ppo_surrogate, cases)
    torch.testing.assert_close(loss, doubles(-3.0, -3.6, 6.0, 2.4))
    torch.testing.assert_close(slope, doubles(-3.0, 0.0, 6.0, 0.0))


def test_ecpo_is_ppo_but_for_a_bad_item_that_became_likelier():
    """Its ratio 2 is held at 1 + 0.2 + 0.1 with a slope of that size; a ratio of 1.25 is not."""
    cases = [0.4, 0.2, -3.0], [0.25, 0.2, -3.0], [0.4, 0.2, 3.0], [0.1, 0.2, -3.0], [0.2, 0.2, 3.0]
    loss, slope = slopes(ecpo_surrogate, cases)
    torch.testing.assert_close(loss, doubles(3.9, 3.75, -3.6, 2.4, -3.0))
    torch.testing.assert_close(slope, doubles(3.9, 3.75, 0.0, 0.0, -3.0))


def test_gbpo_by_hand():
    """Good: pi / max(pi_old, pi). Bad: pi / max(pi_old, 1 - pi), the slope of a cross-entropy times
    |A| at most: 0.1 / 0.9, and 0.8 / 0.4 where pi_old is the larger."""
    cases = [0.1, 0.2, 3.0], [0.4, 0.2, 3.0], [0.1, 0.2, -3.0], [0.8, 0.4, -3.0], [1.0, 0.4, -3.0]
    loss, slope = slopes(gbpo_surrogate, cases)
    expected = doubles(-1.5, -3.0, 1 / 3, 6.0, 7.5)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(slope, expected)


def test_without_a_step_all_are_the_policy_gradient():
    """At pi = pi_old, where it is below 1/2, but for GBPO's bad items: pi / (1 - pi)."""
    cases = [[0.2, 0.2, 3.0], [0.4, 0.4, -2.0]]
    for surrogate in (ppo_surrogate, ecpo_surrogate):
        torch.testing.assert_close(slopes(surrogate, cases)[1], doubles(-3.0, 2.0))
    torch.testing.assert_close(slopes(gbpo_surrogate, cases)[1], doubles(-3.0, 4 / 3))


def test_the_kl_penalty_by_hand():
    """pi = 1/4, pi_ref = 1/2: 2 - log 2 - 1, with slope 1 - 2; equal policies give 0."""
    log_prob = doubles(0.25, 0.3).log().requires_grad_()
    value = forward_kl(log_prob, doubles(0.5, 0.3).log())
    value.sum().backward()
    torch.testing.assert_close(value.detach(), doubles(1 - math.log(2), 0.0))
    torch.testing.assert_close(log_prob.grad, doubles(-1.0, 0.0))


def test_the_kl_penalty_has_the_gradient_of_the_forward_kl():
    """Enumerated at pi = pi_old: in the logit v it is pi_v - pi_ref_v."""
    logits, reference = doubles(0.3, -1.0, 0.8, 0.1, grad=True), doubles(0.4, 0.3, 0.2, 0.1)
    log_pi = logits.log_softmax(dim=0)
    (log_pi.exp().detach() * forward_kl(log_pi, reference.log())).sum().backward()
    torch.testing.assert_close(logits.grad, log_pi.exp().detach() - reference)


def test_the_kl_penalty_goes_on_in_a_straight_line():
    """e^10 per unit of log(pi_ref / pi), less the unit of -log; far out it is finite in float32."""
    for unit in (1.0, 5.0, 5e4):
        log_prob = torch.tensor(-10.0 - unit, requires_grad=True)
        value = forward_kl(log_prob, torch.tensor(0.0))
        value.backward()
        expected = math.exp(10) * (1 + unit) - 10 - unit - 1
        torch.testing.assert_close(value.item(), expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(log_prob.grad.item(), 1 - math.exp(10), rtol=1e-6, atol=0)


def test_the_group_gradient_is_that_of_the_value():
    """All 27 groups of G = 3 items of pi_old = pi, enumerated: -(1 - 1/3) times that of
    E_pi[R]."""
    logits, reward = doubles(0.3, -1.0, 0.8, grad=True), doubles(1.0, 4.0, 2.0)
    group_G3 = torch.cartesian_prod(*[torch.arange(3)] * 3)
    log_pi = logits.log_softmax(dim=0)
    chance_G = log_pi.detach()[group_G3].sum(dim=1).exp()
    advantage_G3 = group_advantage(reward[group_G3], scale=False)
    new_G3 = log_pi[group_G3]
    loss_G3 = ppo_surrogate(new_G3, new_G3.detach(), advantage_G3, 0.2)
    (chance_G * loss_G3.mean(dim=1)).sum().backward()
    pi = log_pi.detach().exp()
    torch.testing.assert_close(logits.grad, -(2 / 3) * pi * (reward - pi @ reward))


def test_metrics_by_hand():
    """Two groups of two at pi_old = 1/2; the second has equal rewards."""
    new, old = doubles([0.75, 0.25], [0.5, 0.5]).log(), doubles([0.5] * 2, [0.5] * 2).log()
    reward = doubles([5.0, 1.0], [3.0, 3.0])
    advantage = group_advantage(reward, scale=False)
    found = group_metrics(new, old, old, advantage, reward, clip=0.2)
    torch.testing.assert_close(found["ratio/mean"], doubles([1.5, 0.5], [1.0, 1.0]))
    assert found["clip_ratio/high"].tolist() == [[1, 0], [0, 0]]
    assert found["clip_ratio/low"].tolist() == [[0, 1], [0, 0]]
    torch.testing.assert_close(found["reward_std"], doubles(math.sqrt(8), 0.0))
    assert found["frac_reward_zero_std"].tolist() == [0, 1]
    kl = doubles([2 / 3 - 1 + math.log(1.5), 1 - math.log(2)], [0, 0])
    torch.testing.assert_close(found["kl/loss"], kl)
    assert torch.equal(found["reward"], reward)
