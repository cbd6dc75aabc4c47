import math

import numpy as np
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import TopKREINFORCE
from recsys_posttrain.algorithms.signals import no_baseline
from recsys_posttrain.algorithms.topk_reinforce import top_k_weight

LOGITS = doubles([1.0, 3.0]).log()  # pi = (1/4, 3/4)


def test_weights_by_hand():
    """K = 3. pi = 1/4, b = 1/2: (1/2) 3 (3/4)^2. pi = 1/2, b = 1/32: 16, held at 10, times
    3 (1/2)^2. pi = 1: nothing."""
    weight, ratio, is_capped = top_k_weight(
        doubles(0.25, 0.5, 1.0).log(), doubles(1 / 2, 1 / 32, 1).log(), 3, 10
    )
    torch.testing.assert_close(weight, doubles(27 / 32, 7.5, 0.0))
    torch.testing.assert_close(ratio, doubles(0.5, 10.0, 1.0))
    assert is_capped.tolist() == [False, True, False]


def test_a_ratio_beyond_float32_is_held():
    assert top_k_weight(torch.tensor(-1.0), torch.tensor(-500.0), 1, 10.0)[1].item() == 10


def test_ratios_below_the_cap_are_not_said_to_be_capped():
    """Whatever exp and log round in float32."""
    logged = -20 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert not top_k_weight(logged + 0.1, logged, 1, 10.0)[2].any()


def test_loss_and_gradient_by_hand(tabular):
    """pi = 1/4, pi_ref = 1/2, K = 2: (1/2) 2 (3/4) = 3/4; r = 5 and E_ref[r_hat] = 3: w = 3/2.
    Loss (3/2) log 4, gradient (3/2) (1/4 - 1, 3/4): none came through the weight."""
    actors = tabular.actors(policy=LOGITS, scores=[[2.0, 4.0]])
    output = TopKREINFORCE(items=2).loss(tabular.batch(rewards=[[5.0]]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), 1.5 * math.log(4))
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-1.125, 1.125]))
    expected = {
        "weight/mean": 0.75,
        "weight/max": 0.75,
        "weight/effective_share": 1.0,
        "weight/capped": 0.0,
        "ratio/mean": 0.5,
        "advantage/mean": 2.0,
        "propensity/estimated": 1.0,
    }
    assert output.metrics.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(output.metrics[name].item(), value)


def test_it_climbs_the_value_of_a_list_of_k_draws(tabular):
    """Over what pi_ref logs, its gradient is that of -sum_a (r_a - b) (1 - (1 - pi_a)^K): the
    chance of each item to be among K draws, times what it is worth more than the baseline. K = 1
    is the value of the policy."""
    reference, logits = doubles([0.1, 0.2, 0.3, 0.4]).log(), doubles([0.3, -1.0, 0.8, 0.1])
    rewards, scores = doubles(5.0, 1.0, 4.0, 2.0), doubles([3.0, 2.0, 4.0, 1.0])
    baseline = float(reference[0].exp() @ scores[0])
    for items in (1, 3):
        actors = tabular.actors(reference, logits, scores)
        batch = tabular.batch([[1]] * 4, [[1], [2], [3], [4]], rewards[:, None].tolist())
        algorithm = TopKREINFORCE(items=items, weight_cap=None)
        (reference[0].exp() * algorithm.loss(batch, actors).loss_N).sum().backward()
        own = logits.clone().requires_grad_()
        chance = 1 - (1 - own.softmax(dim=1)) ** items
        (-(chance * (rewards - baseline)).sum()).backward()
        torch.testing.assert_close(actors.policy.backbone.logits.grad, own.grad)


def test_whole_loss_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    policy, _, reference, score = tabular.tables(actors)
    expected, capped = [], 0
    for x, a, r in zip(
        batch.real(batch.history_BT) - 1, batch.action_N - 1, batch.reward_N, strict=True
    ):
        p, b = policy[x, a], reference[x, a]
        gain = r.item() - (reference[x] * score[x]).sum()
        expected.append(-min(p / b, 0.8) * 4 * (1 - p) ** 3 * gain * math.log(p))
        capped += p / b > 0.8
    output = TopKREINFORCE(items=4, weight_cap=0.8).loss(batch, actors)
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    assert 0 < capped < 5
    assert output.metrics["weight/capped"].item() == capped / 5


def test_the_propensity_of_the_log_is_taken_where_it_has_one(tabular):
    """b = 1/8, not pi_ref = 1/2: the ratio is 2; K = 1, r = 5: 10 log 4."""
    batch = tabular.batch(rewards=[[5.0]])._replace(propensities_BT=torch.tensor([[0.125]]))
    algorithm = TopKREINFORCE(items=1, baseline=no_baseline)
    output = algorithm.loss(batch, tabular.actors(policy=LOGITS))
    torch.testing.assert_close(output.loss_N.item(), 10 * math.log(4))
    assert output.metrics["propensity/estimated"].item() == 0
