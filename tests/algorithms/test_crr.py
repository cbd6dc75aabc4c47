import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import ASFT, BC, CRR
from recsys_posttrain.algorithms.signals import model_reward, reference_value

LOGITS = doubles([1.0, 3.0]).log()  # pi = (1/4, 3/4)


def test_the_filter_by_hand(tabular):
    """r_hat = (2, 3.2, 4) and pi = (1/4, 1/4, 1/2): V = 3.3, above the even reference's 3.07. Item
    2 is below the one and above the other, and is left out, as is item 1."""
    actors = tabular.actors([[0.0] * 3], doubles([1.0, 1.0, 2.0]).log(), [[2.0, 3.2, 4.0]])
    output = CRR().loss(tabular.batch([[1, 1, 1]], [[1, 2, 3]], [[0.0] * 3]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.detach(), doubles(0, 0, math.log(2)))
    slope = doubles([0.25, 0.25, -0.5])
    torch.testing.assert_close(actors.policy.backbone.logits.grad, slope)
    metrics = {name: each.item() for name, each in output.metrics.items()}
    assert metrics["advantage/positive"] == pytest.approx(1 / 3)
    assert metrics["advantage/mean"] == pytest.approx(9.2 / 3 - 3.3)
    assert metrics["weight/capped"] == 0


def test_an_advantage_of_0_is_left_out(tabular):
    """Both are worth 3 whatever the policy is."""
    actors = tabular.actors(scores=[[3.0, 3.0]])
    assert CRR().loss(tabular.batch(), actors).loss_N.item() == 0


def test_whole_exponential_loss_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    policy, _, _, score = tabular.tables(actors)
    expected = []
    for x, a in zip(batch.real(batch.history_BT) - 1, batch.action_N - 1, strict=True):
        advantage = score[x, a] - (policy[x] * score[x]).sum()
        expected.append(-min(math.exp(advantage / 0.7), 1.5) * math.log(policy[x, a]))
    output = CRR(temperature=0.7, weight_cap=1.5).loss(batch, actors)
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    assert 0 < output.metrics["weight/capped"] < 1


def test_an_infinite_temperature_is_cloning(tabular):
    batch, actors = tabular.random()
    found = CRR(temperature=math.inf).loss(batch, actors).loss_N
    torch.testing.assert_close(found, BC().loss(batch, actors).loss_N)


def test_while_the_policy_is_the_reference_the_exponential_form_is_asft(tabular):
    actors = tabular.actors(LOGITS, LOGITS, [[2.0, 4.0]])
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]])
    expected = ASFT(model_reward, reference_value, temperature=0.5).loss(batch, actors).loss_N
    torch.testing.assert_close(CRR(temperature=0.5).loss(batch, actors).loss_N, expected)
