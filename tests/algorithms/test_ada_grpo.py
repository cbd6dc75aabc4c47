import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import BC, GRPO, AdaGRPO
from recsys_posttrain.algorithms.ada_grpo import separated


def test_the_share_that_is_separated_by_hand():
    """Of others with rewards 1, 2, 3, 4 those below 3 are 1/2; none is left to separate from."""
    rewards = doubles([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0])
    other = torch.tensor([[True] * 4, [False] * 4])
    assert separated(doubles([3.0], [9.0]), rewards, other).tolist() == [0.5, 0.0]


def test_whole_loss_against_a_numpy_oracle(tabular):
    """Samples of pi_old are replayed from the seed; gates of both kinds are open and shut."""
    batch, actors = tabular.random(members=2, seed=1)
    group = GRPO(samples=6, clip=0.1, kl_coefficient=0.3)
    actors.generator.manual_seed(5)
    algorithm = AdaGRPO(coefficient=0.7, confident=0.4, separation=0.5, group=group)
    output = algorithm.loss(batch, actors)
    items_NK = actors.old.sample(batch, 6, torch.Generator().manual_seed(5))[0].numpy()
    policy, old, reference, score = tabular.tables(actors)
    expected, gates = [], []
    contexts = (batch.real(batch.history_BT) - 1).tolist()
    for drawn, x, a in zip(items_NK - 1, contexts, (batch.action_N - 1).tolist(), strict=True):
        rewards, loss = score[x, drawn], 0.0
        for v, reward in zip(drawn, rewards, strict=True):
            advantage = (reward - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
            ratio, d = policy[x, v] / old[x, v], np.log(reference[x, v] / policy[x, v])
            held = min(max(ratio, 0.9), 1.1)
            loss += 0.3 * (np.exp(d) - d - 1) - min(ratio * advantage, held * advantage)
        others = [score[x, v] < score[x, a] for v in drawn if v != a]
        gates.append((policy[x, a] < 0.4, np.mean(others) >= 0.5))
        expected.append(0.7 * all(gates[-1]) * loss / 6 - np.log(policy[x, a]))
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    assert {(True, True), (True, False), (False, True)} <= set(gates)
    opened = float(np.mean([all(each) for each in gates]))
    torch.testing.assert_close(output.metrics["gate"].item(), opened)
    assert output.metrics["reward"].item() == pytest.approx(
        np.mean([score[x, drawn].mean() for x, drawn in zip(contexts, items_NK - 1, strict=True)])
    )
    assert not any(value.requires_grad for value in output.metrics.values())


def slope(algorithm, batch, actors):
    actors.clear_cache()
    actors.zero_grad()
    actors.generator.manual_seed(5)
    algorithm.loss(batch, actors).loss_N.sum().backward()
    return actors.policy.backbone.logits.grad.clone()


@pytest.mark.parametrize("shut", [{"coefficient": 0.0}, {"confident": 0.0}])
def test_without_the_gate_it_is_behaviour_cloning(shut, tabular):
    batch, actors = tabular.random()
    found = slope(AdaGRPO(separation=0.0, **shut), batch, actors)
    torch.testing.assert_close(found, slope(BC(), batch, actors))


def test_with_an_open_gate_it_is_cloning_plus_grpo(tabular):
    batch, actors = tabular.random()
    group = GRPO(samples=4, kl_coefficient=0.5)
    found = slope(AdaGRPO(0.7, confident=1.1, separation=0.0, group=group), batch, actors)
    expected = slope(BC(), batch, actors) + 0.7 * slope(group, batch, actors)
    torch.testing.assert_close(found, expected)


def test_both_bounds_of_the_gate(tabular):
    """pi = 1/2 is not below 1/2; all samples are items of lower reward, a share of 1. pi_old only
    draws item 2."""
    actors = tabular.actors(scores=[[4.0, 2.0]], old=[[0.0, 99.0]])
    for confident, separation, is_open in ((0.5, 1.0, 0), (0.51, 1.0, 1)):
        algorithm = AdaGRPO(confident=confident, separation=separation)
        metrics = algorithm.loss(tabular.batch(), actors).metrics
        assert metrics["gate"].item() == is_open
        assert metrics["gate/separation"].item() == 1
    torch.testing.assert_close(metrics["nll"].item(), float(np.log(2)))


def test_pi_old_is_renewed_as_its_group_says(tabular):
    actors = tabular.actors([[0.0, 99.0]], [[0.0, 99.0]], [[2.0, 4.0]], old=[[99.0, 0.0]])
    algorithm = AdaGRPO(group=GRPO(refresh_every=2))
    for step, reward in ((1, 2), (2, 4)):
        actors.clear_cache()
        actors.step = step
        algorithm.after_step(actors)
        batch = tabular.batch([[1]], [[2]])
        assert algorithm.loss(batch, actors).metrics["reward"].item() == reward
