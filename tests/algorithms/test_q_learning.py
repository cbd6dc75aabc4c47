import numpy as np
import pytest
import torch
from data_factory import doubles
from q_oracle import oracle, perturb, table

from recsys_posttrain.algorithms import SNQN
from recsys_posttrain.algorithms.q_learning import QLearning, counted_mean
from recsys_posttrain.algorithms.signals import model_reward

EVEN = [[0.0, 0.0]]  # a state of zeros: Q is the head's bias alone


def test_errors_by_hand(tabular):
    """Q = (2, -1), so the best item is 1, of which the target says 4; d = 1/2, mean 3. Item 2 was
    logged with r = 5: (-1 - (2 + 2))^2 = 25; item 1, drawn, earns 1: (2 - (-2 + 2))^2 = 4. At the
    last position item 1 was logged, which nothing is known about; item 2: (-1 - 0)^2 = 1."""
    actors = tabular.actors(policy=EVEN, algorithm=SNQN())
    with torch.no_grad():
        actors.heads["q"].bias.copy_(doubles(2.0, -1.0, 0.0))
        actors.heads["target"].bias.copy_(doubles(4.0, 9.0, 0.0))
    batch = tabular.batch([[1, 1]], [[2, 1]], [[5.0, 4.0]])
    learned = QLearning(negative_reward=1.0, samples=2).learn(batch, actors)
    torch.testing.assert_close(learned.error_N.detach(), doubles(29.0, 1.0))
    learned.error_N.sum().backward()
    # 2 (Q - goal): of item 1 2 * 2, of item 2 2 * -5 + 2 * -1; the level has 30 times their sum.
    torch.testing.assert_close(actors.heads["q"].bias.grad, doubles(4.0, -12.0, -240.0))
    metrics = {name: each.item() for name, each in learned.metrics().items()}
    assert metrics == pytest.approx({"q/logged": 0.5, "q/drawn": 0.5, "q/error": 15.0})
    assert not any(each.requires_grad for each in learned.metrics().values())


@pytest.mark.parametrize("discount", [0.0, 0.8])
def test_errors_against_a_numpy_oracle(discount, tabular):
    batch, actors = tabular.random(SNQN(), members=2)
    perturb(actors.heads)
    score = tabular.tables(actors)[3]
    contexts = batch.real(batch.history_BT) - 1
    for reward, rewards in (
        ({}, batch.reward_N.tolist()),
        ({"reward": model_reward}, score[contexts, batch.action_N - 1]),
    ):
        method = QLearning(discount=discount, negative_reward=0.7, samples=5, **reward)
        actors.clear_cache()
        found = method.learn(batch, actors).error_N.detach().numpy()
        expected = oracle(batch, actors, rewards, 0.7, discount)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_random_targets_keep_their_size_and_lose_their_sign(tabular):
    batch, actors = tabular.random(SNQN())
    perturb(actors.heads)
    method = QLearning(samples=5, random_targets=True)
    actors.generator.manual_seed(3)
    found = method.learn(batch, actors).error_N.detach().numpy()
    replay = torch.Generator().manual_seed(3)
    torch.rand(5, generator=replay, dtype=torch.float64)  # the draws of the items
    signs = torch.randint(2, (5, 6), generator=replay).numpy() * 2.0 - 1
    expected = oracle(batch, actors, batch.reward_N.tolist(), 0.0, 0.5, signs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert (signs == 1).any()
    assert (signs == -1).any()


def test_states_of_targets_have_no_gradient(tabular):
    """The state after the last action of the only context is another context, 2."""
    actors = tabular.actors([[0.0, 0.0]] * 2, [[0.0, 0.0]] * 2, algorithm=SNQN())
    perturb(actors.heads)
    batch = tabular.batch([[1, 2]], [[2, 1]], [[5.0, 4.0]])
    QLearning(discount=0.9).learn(batch, actors).error_N[0].backward()
    slope = actors.policy.backbone.logits.grad
    assert slope[0].all()
    assert not slope[1].any()


def test_a_position_on_its_own_learns_from_drawn_items_alone(tabular):
    actors = tabular.actors(policy=EVEN, algorithm=SNQN())
    losses = []
    for reward in (1.0, 5.0):
        batch = tabular.batch([[1]], [[1]], [[reward]])
        losses.append(QLearning(samples=2).learn(batch, actors).error_N.item())
    assert losses == [9.0, 9.0]  # (0 - (0 - 3))^2


def test_the_mean_of_those_that_count():
    values, counts = doubles([1.0, 2.0, 6.0], [1.0, 2.0, 3.0]), torch.tensor([[1, 0, 1], [0, 0, 0]])
    torch.testing.assert_close(counted_mean(values, counts.bool()), doubles(3.5, 0.0))


def test_it_finds_the_discounted_value(tabular):
    """A reward of 5 for item 1 at every step, 2 above the mean: Q = 2 / (1 - 1/2) = 4. Item 2 earns
    1 and leaves the state: -2 + 4 / 2 = 0."""
    method = QLearning(negative_reward=1.0, samples=2, renew_every=4)
    actors = tabular.actors(policy=EVEN, algorithm=SNQN(q=method))
    batch = tabular.batch([[1] * 4], [[1] * 4], [[5.0] * 4])
    optimizer = torch.optim.AdamW(actors.heads.parameters(), lr=0.01, weight_decay=0.0)
    for step in range(1, 501):
        actors.clear_cache()
        optimizer.zero_grad()
        method.learn(batch, actors).error_N.mean().backward()
        optimizer.step()
        actors.step = step
        SNQN(q=method).after_step(actors)
    np.testing.assert_allclose(table(actors, "q"), [[4.0, 0.0]], atol=0.05)
