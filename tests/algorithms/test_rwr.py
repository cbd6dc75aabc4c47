import math

import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.rwr import RWR, linear_weight
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.errors import UserError


def test_linear_weight_by_hand():
    """Rewards 1 and 5 over a mean of 4: 0.25 and 1.25."""
    weight = linear_weight(torch.tensor([1.0, 5.0]), torch.tensor(4.0))
    assert weight.tolist() == [0.25, 1.25]


def test_loss_by_hand(tabular):
    """Two items, even odds: -log pi = log 2. The log's rewards 1, 3, 5 have mean 3, whatever this
    batch holds, so rewards 5 and 1 weigh 5/3 and 1/3: losses 1.1552 and 0.2310."""
    output = RWR().loss(tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]]), tabular.actors())
    torch.testing.assert_close(output.loss_N.detach(), doubles(5 / 3, 1 / 3) * math.log(2))
    torch.testing.assert_close(output.metrics["weight/mean"].item(), 1.0)
    torch.testing.assert_close(output.metrics["weight/max"].item(), 5 / 3)


def test_gradient_is_the_weight_times_that_of_cloning(tabular):
    """Reward 2 over mean 3 at pi = (1/4, 3/4), a = 1: 2/3 * (1/4 - 1, 3/4)."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    RWR().loss(tabular.batch(rewards=[[2.0]]), actors).loss_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-0.5, 0.5]))


def test_it_climbs_the_bound_of_local_policy_improvement(tabular):
    """Four items under b, logged so often as b says. E[r (1 + log(pi / b))] is at most E_pi[r] and,
    but for terms without pi, minus the mean reward times the mean loss; at pi = b both have the
    gradient of E_pi[r]."""
    count, reward = [1, 2, 3, 4], doubles(1.0, 5.0, 0.0, 2.0)
    items = [[v + 1 for v, often in enumerate(count) for _ in range(often)]]
    rewards = [[reward[v - 1].item() for v in items[0]]]
    behaviour = doubles(count)[0] / 10
    generator = torch.Generator().manual_seed(0)
    for distance in (0.0, 0.3, 3.0):
        noise = distance * torch.randn(4, generator=generator, dtype=torch.float64)
        logits = (behaviour.log() + noise)[None]
        actors = tabular.actors(logits, logits, rewards=rewards[0])
        loss = RWR().loss(tabular.batch([[1] * 10], items, rewards), actors).loss_N.mean()
        loss.backward()
        free = logits.clone().requires_grad_()
        value = (free.softmax(dim=1)[0] * reward).sum()
        value.backward()
        mean = sum(rewards[0]) / 10
        bound = (behaviour * reward * (1 - behaviour.log())).sum() - mean * loss.detach()
        assert bound <= value + 1e-12
        assert torch.isclose(bound, value) == (distance == 0)
        slope = -mean * actors.policy.backbone.logits.grad
        assert torch.allclose(slope, free.grad) == (distance == 0)


def test_reward_can_be_the_model(tabular):
    """r_hat = 6 over the log's mean 3 doubles log 2."""
    actors = tabular.actors(scores=torch.full((1, 2), 6.0))
    output = RWR(reward=model_reward).loss(tabular.batch(rewards=[[1.0]]), actors)
    torch.testing.assert_close(output.loss_N.item(), 2 * math.log(2))


def test_a_mean_of_zero_is_refused(tabular):
    with pytest.raises(UserError, match="mean logged reward is 0"):
        RWR().loss(tabular.batch(rewards=[[1.0]]), tabular.actors(rewards=(-1.0, 1.0)))
