import math

import numpy as np
import pytest
import torch
from cloning import assert_clones
from data_factory import doubles
from scipy.special import log_softmax

from recsys_posttrain.algorithms import ReturnConditioned
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.errors import UserError

LOGITS = doubles([1.0, 3.0]).log()  # pi = (1/4, 3/4)


def perturb(heads):
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter += torch.linspace(-0.3, 0.4, parameter.numel()).view_as(parameter)


def test_loss_and_gradient_by_hand(tabular):
    """The highest logged reward is 5, so r = 3 is a gap of -2. W = 0 and w = (log 3, 0) / -2 move
    the state by (log 3, 0): even odds, loss log 2. Gradient (1/2 - 1, 1/2) in the state, -2 times
    that in w, and that times the state in W."""
    algorithm = ReturnConditioned()
    actors = tabular.actors(policy=LOGITS, algorithm=algorithm)
    head = actors.heads["outcome"]
    with torch.no_grad():
        head.bias[0] = -math.log(3) / 2
    output = algorithm.loss(tabular.batch(rewards=[[3.0]]), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), math.log(2))
    slope = doubles(-0.5, 0.5)
    torch.testing.assert_close(actors.policy.backbone.logits.grad, slope[None])
    torch.testing.assert_close(head.bias.grad, -2 * slope)
    torch.testing.assert_close(head.weight.grad, -2 * slope[:, None] * LOGITS)
    assert output.metrics["outcome/gap"].item() == -2
    torch.testing.assert_close(output.metrics["outcome/shift"].item(), 1.0)
    assert not any(value.requires_grad for value in output.metrics.values())


@pytest.mark.parametrize("settings", [{}, {"outcome": 4.0, "reward": model_reward}])
def test_whole_loss_against_a_numpy_oracle(settings, tabular):
    algorithm = ReturnConditioned(**settings)
    batch, actors = tabular.random(algorithm, members=2)
    perturb(actors.heads)
    weight, bias = (each.detach().numpy() for each in actors.heads["outcome"].parameters())
    state, score = actors.policy.backbone.logits.detach().numpy(), tabular.tables(actors)[3]
    expected = []
    for x, a, r in zip(
        batch.real(batch.history_BT) - 1, batch.action_N - 1, batch.reward_N, strict=True
    ):
        gap = score[x, a] - 4 if settings else r.item() - 5
        expected.append(-log_softmax(state[x] + gap * (weight @ state[x] + bias))[a])
    found = algorithm.loss(batch, actors).loss_N.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_at_the_outcome_itself_it_is_behaviour_cloning(tabular):
    algorithm = ReturnConditioned(outcome=4.0)
    _, actors = tabular.random(algorithm)
    perturb(actors.heads)
    batch = tabular.batch([[1, 3, 2]], [[3, 2, 5]], [[4.0] * 3])
    assert_clones(algorithm, batch, actors)


@pytest.mark.parametrize(("outcome", "best"), [(None, 1), (5.0, 1), (1.0, 2)])
def test_the_policy_is_the_one_at_the_outcome_that_was_asked_for(outcome, best, tabular):
    """Item 1 was always chosen with 5 stars and item 2 with 1, alike often: the policy itself,
    without a head, then shows what was chosen at the outcome. Cloning shows both."""
    algorithm = ReturnConditioned(outcome)
    actors = tabular.actors(algorithm=algorithm)
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]])
    optimizer = torch.optim.AdamW(
        [each for each in actors.parameters() if each.requires_grad], lr=0.05
    )
    for _ in range(200):
        actors.clear_cache()
        optimizer.zero_grad()
        algorithm.loss(batch, actors).loss_N.mean().backward()
        optimizer.step()
    actors.clear_cache()
    items = torch.tensor([[best], [best]])
    assert actors.policy.log_prob(batch, items).exp().min() > 0.95
    assert actors.policy.state_dict().keys() == actors.reference.state_dict().keys()


@pytest.mark.parametrize(
    ("outcome", "rewards", "said"),
    [
        (0.5, (1.0, 5.0), "outcome=0.5 must be from"),
        (6.0, (1.0, 5.0), r"outcome=6 must be from .*\(1 and 5 stars\)"),
        (math.nan, (1.0, 5.0), "outcome=nan"),
        (None, (4.0, 4.0), "all are equal use BC"),
    ],
)
def test_an_outcome_that_nobody_had_is_refused(outcome, rewards, said, tabular):
    algorithm = ReturnConditioned(outcome)
    actors = tabular.actors(rewards=rewards, algorithm=algorithm)
    with pytest.raises(UserError, match=f"ReturnConditioned: .*{said}"):
        algorithm.loss(tabular.batch(), actors)


@pytest.mark.parametrize("outcome", [1.0, 5.0])
def test_the_ends_of_the_log_may_be_asked_for(outcome, tabular):
    algorithm = ReturnConditioned(outcome)
    actors = tabular.actors(rewards=(1.0, 5.0), algorithm=algorithm)
    assert algorithm.loss(tabular.batch(), actors).loss_N.isfinite().all()
