import math

import numpy as np
import torch
from data_factory import doubles
from scipy.special import softmax

from recsys_posttrain.algorithms import AWAC, BC
from recsys_posttrain.algorithms.awac import row_softmax
from recsys_posttrain.algorithms.signals import no_baseline, observed_reward


def test_weights_by_hand():
    """Exponents log 1, log 3 are shares 1/4 and 3/4 of a row of two, times 2; a row of one weighs
    1; and exponents of 1000 do not overflow."""
    found = row_softmax(doubles(0.0, math.log(3), -7.0, 1e3, 1e3), torch.tensor([0, 1, 0, 0, 1]))
    torch.testing.assert_close(found, doubles(0.5, 1.5, 1.0, 1.0, 1.0))


def test_loss_and_gradient_by_hand(tabular):
    """pi = (1/4, 3/4), r_hat = (2, 4): V = 3.5 of the policy, not 3 of the even reference. In one
    row A is -1.5 and .5, so at temperature 2 / log 3 the weights are 1/2 and 3/2: the gradient is
    (1/2)(-3/4, 3/4) + (3/2)(1/4, -1/4) = 0, where pi has the shares of the weights."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), scores=[[2.0, 4.0]])
    output = AWAC(temperature=2 / math.log(3)).loss(
        tabular.batch([[1, 1]], [[1, 2]], [[0.0, 0]]), actors
    )
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.detach(), doubles(math.log(2), 1.5 * math.log(4 / 3)))
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.0, 0.0]))
    torch.testing.assert_close(output.metrics["advantage/mean"].item(), -0.5)
    torch.testing.assert_close(output.metrics["weight/max"].item(), 1.5)


def test_whole_loss_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    policy, _, _, score = tabular.tables(actors)
    expected = []
    for row in range(2):
        x, a = (
            each[row][batch.mask_BT[row]].numpy() - 1
            for each in (batch.history_BT, batch.actions_BT)
        )
        advantage = score[x, a] - (policy[x] * score[x]).sum(axis=1)
        expected += list(-len(x) * softmax(advantage / 0.6) * np.log(policy[x, a]))
    found = AWAC(temperature=0.6).loss(batch, actors).loss_N.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_what_a_users_rewards_share_divides_out(tabular):
    """One star more for everything in the first row."""
    algorithm = AWAC(reward=observed_reward, baseline=no_baseline)
    batch, actors = tabular.random()
    more = batch._replace(rewards_BT=batch.rewards_BT + torch.tensor([[1.0], [0.0]]))
    before, after = (algorithm.loss(each, actors).loss_N for each in (batch, more))
    torch.testing.assert_close(before, after)


def test_limits_of_the_temperature(tabular):
    """Infinite: cloning. Near 0: the best of each row alone, times the length of the row."""
    batch, actors = tabular.random()
    cloned_N = BC().loss(batch, actors).loss_N
    torch.testing.assert_close(AWAC(temperature=math.inf).loss(batch, actors).loss_N, cloned_N)
    cold = AWAC(temperature=1e-3, reward=observed_reward, baseline=no_baseline)
    weight_N = doubles(3.0, 0, 0, 2, 0)  # rewards 5 1 3 and 4 2
    torch.testing.assert_close(cold.loss(batch, actors).loss_N, weight_N * cloned_N)
