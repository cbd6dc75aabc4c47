import math

import numpy as np
import pytest
import torch
from cloning import assert_clones
from data_factory import doubles

from recsys_posttrain.algorithms import ASFT, IQL
from recsys_posttrain.algorithms.signals import learned_value, model_reward, observed_reward

LOGITS = doubles([1.0, 3.0]).log()  # pi = (1/4, 3/4)


def test_loss_and_gradients_by_hand(tabular):
    """V = 3, the log's mean. r_hat = 5 at temperature 2 weighs e and is above: error .8 * 4, slope
    in V -.8 * 4; r_hat = 1 weighs 1/e and is below: .2 * 4, slope .2 * 4. The bias gets 30 times
    their sum -2.4, and the policy w (pi - [v = a]) alone."""
    algorithm = IQL(level=0.8, temperature=2.0)
    actors = tabular.actors(policy=LOGITS, scores=[[5.0, 1.0]], algorithm=algorithm)
    output = algorithm.loss(tabular.batch([[1, 1]], [[1, 2]], [[0.0, 4.0]]), actors)
    output.loss_N.sum().backward()
    e = math.e
    expected = doubles(e * math.log(4) + 3.2, math.log(4 / 3) / e + 0.8)
    torch.testing.assert_close(output.loss_N.detach(), expected)
    torch.testing.assert_close(actors.heads["value"].bias.grad, doubles(-72.0))
    slope = e * doubles([-0.75, 0.75]) + doubles([0.25, -0.25]) / e
    torch.testing.assert_close(actors.policy.backbone.logits.grad, slope)
    torch.testing.assert_close(output.metrics["value/error"].item(), 2.0)
    torch.testing.assert_close(output.metrics["advantage/mean"].item(), 0.0)
    torch.testing.assert_close(output.metrics["weight/mean"].item(), (e + 1 / e) / 2)
    # Of the logged rewards, 0 and 4, V = 3 explains 1 - (9 + 1) / (4 + 4).
    torch.testing.assert_close(output.metrics["baseline/r2"].item(), -0.25)
    assert not any(value.requires_grad for value in output.metrics.values())


def test_whole_loss_against_a_numpy_oracle(tabular):
    algorithm = IQL(level=0.9, temperature=0.5, weight_cap=3.0)
    batch, actors = tabular.random(algorithm, members=2)
    with torch.no_grad():
        for parameter in actors.heads.parameters():
            parameter += torch.linspace(-0.05, 0.04, parameter.numel()).view_as(parameter)
    logits, head = actors.policy.backbone.logits.detach().numpy(), actors.heads["value"]
    value = 3 + 30 * (logits @ head.weight.detach().numpy()[0] + head.bias.detach().numpy())
    policy, _, _, score = tabular.tables(actors)
    expected = []
    for x, a in zip(batch.real(batch.history_BT) - 1, batch.action_N - 1, strict=True):
        gap = score[x, a] - value[x]
        weight = min(math.exp(gap / 0.5), 3.0)
        error = (0.9 if gap > 0 else 0.1) * gap**2
        expected.append(-weight * math.log(policy[x, a]) + error)
    found = algorithm.loss(batch, actors)
    np.testing.assert_allclose(found.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    assert 0 < found.metrics["weight/capped"] < 1


def test_the_middle_level_is_asft_with_a_learned_value(tabular):
    """Both errors are (V - Q)^2, that of IQL times 1/2."""
    iql, asft = IQL(level=0.5), ASFT(model_reward, learned_value)
    batch, actors = tabular.random(iql)
    error_N = (learned_value(batch, actors) - model_reward(batch, actors)) ** 2
    expected_N = asft.loss(batch, actors).loss_N - error_N / 2
    torch.testing.assert_close(iql.loss(batch, actors).loss_N, expected_N)


def test_an_infinite_temperature_clones(tabular):
    algorithm = IQL(temperature=math.inf)
    batch, actors = tabular.random(algorithm)
    assert_clones(algorithm, batch, actors)


def test_the_learned_value_finds_the_expectile_of_what_was_logged(tabular):
    """Rewards 1 and 5 alike often: the .9 expectile v has .9 (5 - v) = .1 (v - 1): 4.6."""
    algorithm = IQL(level=0.9, reward=observed_reward)
    actors = tabular.actors(policy=LOGITS, algorithm=algorithm)
    batch = tabular.batch([[1, 1]], [[1, 2]], [[1.0, 5.0]])
    optimizer = torch.optim.AdamW(actors.heads.parameters(), lr=3e-4)
    for _ in range(2000):
        actors.clear_cache()
        optimizer.zero_grad()
        algorithm.loss(batch, actors).loss_N.mean().backward()
        optimizer.step()
    found = learned_value(batch, actors)[0].item()
    assert found == pytest.approx(4.6, abs=0.02)
    r2 = algorithm.loss(batch, actors).metrics["baseline/r2"].item()
    assert r2 == pytest.approx(1 - (found**2 - 6 * found + 13) / 4, abs=1e-6)
