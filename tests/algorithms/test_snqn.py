import numpy as np
import torch
from cloning import assert_clones
from q_oracle import assert_renews_every_third_step, oracle, perturb

from recsys_posttrain.algorithms import BC, SNQN
from recsys_posttrain.algorithms.q_learning import QLearning


def test_whole_loss_against_a_numpy_oracle(tabular):
    algorithm = SNQN(coefficient=0.3, q=QLearning(discount=0.7, samples=5))
    batch, actors = tabular.random(algorithm)
    perturb(actors.heads)
    contexts = batch.real(batch.history_BT) - 1
    nll = -np.log(tabular.tables(actors)[0][contexts, batch.action_N - 1])
    expected = nll + 0.3 * np.array(oracle(batch, actors, batch.reward_N.tolist(), 0.0, 0.7))
    output = algorithm.loss(batch, actors)
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(output.metrics["nll"].item(), float(nll.mean()))
    assert not any(value.requires_grad for value in output.metrics.values())


def test_without_a_coefficient_it_is_behaviour_cloning(tabular):
    algorithm = SNQN(coefficient=0.0)
    batch, actors = tabular.random(algorithm)
    perturb(actors.heads)
    assert_clones(algorithm, batch, actors)


def test_the_gradient_is_that_of_cloning_and_of_the_error(tabular):
    """The head bends the states that the policy reads; a new one, which is 0, does not."""
    algorithm = SNQN(coefficient=0.3, q=QLearning(samples=5))
    batch, actors = tabular.random(algorithm)

    def slope(loss):
        actors.clear_cache()
        actors.zero_grad()
        loss().sum().backward()
        return actors.policy.backbone.logits.grad.clone()

    cloning = slope(lambda: BC().loss(batch, actors).loss_N)
    torch.testing.assert_close(slope(lambda: algorithm.loss(batch, actors).loss_N), cloning)
    perturb(actors.heads)
    bent = 0.3 * slope(lambda: algorithm.q.learn(batch, actors).error_N)
    assert bent.any()
    found = slope(lambda: algorithm.loss(batch, actors).loss_N)
    torch.testing.assert_close(found, cloning + bent)


def test_the_target_is_renewed_as_its_field_says(tabular):
    algorithm = SNQN(q=QLearning(renew_every=3))
    actors = tabular.actors(algorithm=algorithm)
    perturb(actors.heads)
    assert_renews_every_third_step(algorithm, actors)
