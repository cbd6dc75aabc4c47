import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.asft import ASFT
from recsys_posttrain.algorithms.bc import BC
from recsys_posttrain.algorithms.exp_rsft import ExpRSFT
from recsys_posttrain.algorithms.signals import (
    ReferenceSoftValue,
    learned_value,
    model_reward,
    no_baseline,
    observed_reward,
    reference_value,
)


def test_the_cap_by_hand(tabular):
    """b = 3; rewards 3 + 2 log 3, 3 and 3 - 2 log 2 at temperature 2 weigh 3, 1 and 1/2; the cap
    2.5 stops the first, a third of them; and 20 stops a reward of 10,000, where exp overflows."""
    high, others = 3 + 2 * math.log(3), [3.0, 3 - 2 * math.log(2)]
    for reward, cap, largest, share in (
        (high, None, 3.0, 0),
        (high, 2.5, 2.5, 1 / 3),
        (1e4, 20.0, 20.0, 1 / 3),
    ):
        batch = tabular.batch([[1] * 3], [[1] * 3], [[reward, *others]])
        output = ASFT(temperature=2.0, weight_cap=cap).loss(
            batch, tabular.actors(scores=[[2.0, 4.0]])
        )
        expected = math.log(2) * doubles(largest, 1.0, 0.5)
        torch.testing.assert_close(output.loss_N.detach(), expected)
        assert output.metrics["weight/capped"].item() == pytest.approx(share)


def test_the_default_baseline_is_the_references_value_and_needs_no_head(tabular):
    """E_{pi_ref}[r_hat] = 3 whatever the policy is; R = 5 at temperature 2 weighs e."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), scores=[[2.0, 4.0]])
    output = ASFT(temperature=2.0).loss(tabular.batch(rewards=[[5.0]]), actors)
    torch.testing.assert_close(output.metrics["weight/mean"].item(), math.e)
    assert ASFT().heads(2, 2) == {}


def test_what_the_baseline_explains_is_logged(tabular):
    """Two contexts whose r_hat is 2 and 4, each rewarded 1 and 3, 3 and 5: variance 2, error 1 and
    R^2 = 1/2, also where the weight's own reward is the model's."""
    actors = tabular.actors([[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2, [[2.0, 2.0], [4.0, 4.0]])
    batch = tabular.batch([[1, 1, 2, 2]], [[1, 2, 1, 2]], [[1.0, 3.0, 3.0, 5.0]])
    for reward in (observed_reward, model_reward):
        output = ASFT(reward=reward).loss(batch, actors)
        assert output.metrics["baseline/r2"].item() == pytest.approx(0.5)


def test_loss_and_gradient_by_hand(tabular):
    """R = 5, b = 3 at temperature 2: w = e. At pi = (1/4, 3/4), a = 1: loss e log 4 and gradient
    e (1/4 - 1, 3/4). The reference is even and r_hat = (2, 4), so E_ref[r_hat] = 3."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), scores=[[2.0, 4.0]])
    algorithm = ASFT(baseline=reference_value, temperature=2.0)
    output = algorithm.loss(tabular.batch(rewards=[[5.0]]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), math.e * math.log(4))
    expected = math.e * doubles([-0.75, 0.75])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, expected)
    torch.testing.assert_close(output.metrics["weight/mean"].item(), math.e)
    torch.testing.assert_close(output.metrics["advantage/mean"].item(), 2.0)
    assert algorithm.heads(2, 2) == {}


def test_the_reward_can_be_the_model(tabular):
    """r_hat(a = 2) = 4 and b = 3 at temperature 1: w = e, whatever the logged reward is."""
    actors = tabular.actors(scores=[[2.0, 4.0]])
    algorithm = ASFT(reward=model_reward, baseline=reference_value)
    output = algorithm.loss(tabular.batch([[1]], [[2]], [[1.0]]), actors)
    torch.testing.assert_close(output.loss_N.item(), math.e * math.log(2))


def test_learned_value_by_hand(tabular):
    """The log's mean is 3 and the head is new, so V = 3; R = 5: w = min(e^2, 4) = 4 and, at
    pi = (1/4, 3/4), a = 1, loss 4 log 4 + (3 - 5)^2 = 4 log 4 + 4. The squared error's gradient in
    V is 2 (3 - 5) = -4; the head counts 30 times, so it is -120 in its bias, and in its weights
    -120 times the state log(1, 3). The policy feels only 4 (1/4 - 1, 3/4)."""
    algorithm = ASFT(baseline=learned_value, weight_cap=4.0)
    logits = doubles([1.0, 3.0]).log()
    actors = tabular.actors(policy=logits, algorithm=algorithm)
    output = algorithm.loss(tabular.batch(rewards=[[5.0]]), actors)
    output.loss_N.sum().backward()
    head = actors.heads["value"]
    torch.testing.assert_close(output.loss_N.item(), 4 * math.log(4) + 4)
    torch.testing.assert_close(head.bias.grad, doubles(-120.0))
    torch.testing.assert_close(head.weight.grad, -120 * logits)
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-3.0, 3.0]))
    assert not any(value.requires_grad for value in output.metrics.values())


def test_the_weight_has_no_gradient_in_the_learned_value(tabular):
    """At V = R = 3, where the squared error has none, the head gets none from the weight."""
    algorithm = ASFT(baseline=learned_value)
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), algorithm=algorithm)
    algorithm.loss(tabular.batch(rewards=[[3.0]]), actors).loss_N.sum().backward()
    assert actors.heads["value"].bias.grad.item() == 0
    assert actors.policy.backbone.logits.grad.abs().sum() > 0


def test_the_learned_value_explains_rewards_within_a_hundred_steps_at_the_policys_rate(tabular):
    """Rewards are 3 + 1 and 3 - 1 by context, and noise of variance 1 on them, so that R^2 is at
    most 1/2. With the policy's rate of 3e-4 the weights of V travel at most .03, which would leave
    it constant: R^2 at most .05."""
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    algorithm = ASFT(baseline=learned_value)
    actors = tabular.actors(reference, reference, [[3.0, 3.0]] * 2, algorithm=algorithm)
    generator = torch.Generator().manual_seed(0)
    context_BT = torch.randint(2, (50, 20), generator=generator)
    noise_BT = torch.randn(50, 20, generator=generator, dtype=torch.float64)
    batch = tabular.batch((context_BT + 1).tolist(), (context_BT + 1).tolist(), noise_BT.tolist())
    batch = batch._replace(rewards_BT=4 - 2 * context_BT + noise_BT)
    optimizer = torch.optim.AdamW([p for p in actors.parameters() if p.requires_grad], lr=3e-4)
    for _ in range(100):
        actors.clear_cache()
        output = algorithm.loss(batch, actors)
        optimizer.zero_grad()
        output.loss_N.mean().backward()
        optimizer.step()
    assert 0.4 < output.metrics["baseline/r2"] < 0.6


@pytest.mark.parametrize(
    "hot", [ASFT(baseline=reference_value, temperature=math.inf), ExpRSFT(math.inf)]
)
def test_an_infinite_temperature_is_behaviour_cloning(tabular, hot):
    batch, actors = tabular.random()
    torch.testing.assert_close(hot.loss(batch, actors).loss_N, BC().loss(batch, actors).loss_N)


def test_without_baseline_and_cap_it_is_exp_rsft_times_a_constant(tabular):
    """ExpRSFT divides by the mean weight of the log, here of rewards 1, 3, 5."""
    batch, actors = tabular.random()
    mean_weight = (math.exp(0.5) + math.exp(1.5) + math.exp(2.5)) / 3
    ours = ASFT(baseline=no_baseline, temperature=2.0, weight_cap=None).loss(batch, actors)
    theirs = ExpRSFT(temperature=2.0).loss(batch, actors)
    torch.testing.assert_close(ours.loss_N, mean_weight * theirs.loss_N)


def test_with_the_soft_value_the_exact_tilt_is_its_fixed_point(tabular):
    """If the log is pi_ref itself, sum_a pi_ref(a) w(a) (-log pi(a)) with w = exp(r_hat / t) / Z(x)
    is smallest, and flat, at pi = pi_ref exp(r_hat / t) / Z: the gradient there is 0. And
    E_ref[w] = 1 for each context. The log is enumerated: one row per context and item."""
    reference = doubles([1.0, 2.0, 5.0], [4.0, 3.0, 1.0]).log()
    scores = doubles([3.0, 1.0, 2.0], [1.0, 5.0, 4.0])
    actors = tabular.actors(reference, reference + scores / 0.7, scores)
    batch = tabular.batch([[1]] * 3 + [[2]] * 3, [[1], [2], [3]] * 2, [[0.0]] * 6)
    share_B = reference.softmax(dim=1).flatten()

    algorithm = ASFT(model_reward, ReferenceSoftValue(0.7), temperature=0.7, weight_cap=None)
    loss_N = algorithm.loss(batch, actors).loss_N
    weight_B = loss_N.detach() / -actors.policy.log_prob(batch).detach()
    torch.testing.assert_close((share_B * weight_B).reshape(2, 3).sum(dim=1), doubles(1.0, 1.0))
    (share_B * loss_N).sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.0] * 3, [0.0] * 3))


@pytest.mark.parametrize("normalised", [True, False])
def test_the_state_blind_counter_example(tabular, normalised):
    """Two equally likely contexts whose behaviour is 0.9 / 0.1 and 0.1 / 0.9 and whose rewards are
    always 1 and always 0. A policy blind to the context should be even: neither context prefers an
    item more than the other. It is, with Z(x); without, the rewarded context outvotes the other:
    pi(1) = (0.9 e^(1/t) + 0.1) / (e^(1/t) + 1), at t = 0.5."""
    e = math.exp(2.0)
    best = 0.5 if normalised else (0.9 * e + 0.1) / (e + 1)
    reference = doubles([0.9, 0.1], [0.1, 0.9]).log()
    blind = doubles([best, 1 - best], [best, 1 - best]).log()
    actors = tabular.actors(reference, blind, doubles([1.0, 1.0], [0.0, 0.0]))
    batch = tabular.batch([[1], [1], [2], [2]], [[1], [2], [1], [2]], [[1.0], [1.0], [0.0], [0.0]])

    baseline = ReferenceSoftValue(0.5) if normalised else no_baseline
    algorithm = ASFT(observed_reward, baseline, temperature=0.5, weight_cap=None)
    loss_B = algorithm.loss(batch, actors).loss_N
    (doubles(0.9, 0.1, 0.1, 0.9) * loss_B).sum().backward()
    blind_gradient = actors.policy.backbone.logits.grad.sum(dim=0)
    torch.testing.assert_close(blind_gradient, doubles(0.0, 0.0))
