import numpy as np
import torch
from data_factory import doubles
from q_oracle import assert_renews_every_third_step, oracle, perturb, table

from recsys_posttrain.algorithms import SA2C, SNQN
from recsys_posttrain.algorithms.q_learning import QLearning
from recsys_posttrain.algorithms.sa2c import advantage


def test_the_advantage_by_hand():
    """Over (6, 1, 2) the mean is 3, over 5 alone itself; nothing flows through it."""
    logged, drawn = doubles(6.0, 5.0, grad=True), doubles([1.0, 2.0, 9.0], [7.0, 7.0, 7.0])
    counts = torch.tensor([[True, True, False], [False, False, False]])
    found = advantage(logged, drawn, counts)
    torch.testing.assert_close(found, doubles(3.0, 0.0))
    assert not found.requires_grad


def test_whole_loss_against_a_numpy_oracle(tabular):
    algorithm = SA2C(
        coefficient=0.3, weight_cap=0.35, cloning_steps=0, q=QLearning(discount=0.7, samples=5)
    )
    batch, actors = tabular.random(algorithm)
    perturb(actors.heads)
    q, policy, weights, gains, nll = table(actors, "q"), tabular.tables(actors)[0], [], [], []
    for x, a in zip(batch.real(batch.history_BT) - 1, batch.action_N - 1, strict=True):
        gains.append(q[x, a] - q[x].mean())
        weights.append(min(max(gains[-1], 0.0), 0.35))
        nll.append(-np.log(policy[x, a]))
    error = np.array(oracle(batch, actors, batch.reward_N.tolist(), 0.0, 0.7))
    expected = np.array(weights) * nll + 0.3 * error
    output = algorithm.loss(batch, actors)
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    assert min(weights) == 0
    assert max(weights) == 0.35
    assert any(0 < each < 0.35 for each in weights)
    torch.testing.assert_close(output.metrics["weight/mean"].item(), float(np.mean(weights)))
    torch.testing.assert_close(output.metrics["advantage/mean"].item(), float(np.mean(gains)))
    torch.testing.assert_close(output.metrics["q/error"].item(), float(error.mean()))
    assert not any(value.requires_grad for value in output.metrics.values())


def test_the_first_steps_are_those_of_snqn(tabular):
    sa2c, snqn = SA2C(cloning_steps=3), SNQN()
    batch, actors = tabular.random(sa2c)
    perturb(actors.heads)
    for step, is_cloning in ((2, True), (3, False)):
        losses = []
        for algorithm in (sa2c, snqn):
            actors.clear_cache()
            actors.step = step
            actors.generator.manual_seed(5)
            losses.append(algorithm.loss(batch, actors).loss_N)
        assert torch.equal(*losses) == is_cloning


def test_the_gradient_is_weighted_and_none_flows_through_the_weight(tabular):
    """Q = (4, 0) for logged 1: A = 4 - 2 = 2; pi = (1/4, 3/4): 2 (1/4 - 1, 3/4)."""
    algorithm = SA2C(coefficient=0.0, cloning_steps=0, q=QLearning(samples=2))
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), algorithm=algorithm)
    with torch.no_grad():
        actors.heads["q"].bias[0] = 4
    algorithm.loss(tabular.batch(), actors).loss_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-1.5, 1.5]))
    assert not actors.heads["q"].bias.grad.any()


def test_the_target_is_renewed(tabular):
    algorithm = SA2C(q=QLearning(renew_every=3))
    actors = tabular.actors(algorithm=algorithm)
    perturb(actors.heads)
    assert_renews_every_third_step(algorithm, actors)
