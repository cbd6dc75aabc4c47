import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import GRPO
from recsys_posttrain.algorithms.surrogates import ecpo_surrogate, gbpo_surrogate


@pytest.mark.parametrize("scale", [True, False])
def test_whole_loss_against_a_numpy_oracle(scale, tabular):
    """Samples of pi_old are replayed from the seed; groups are those of a position."""
    batch, actors = tabular.random(members=2)
    algorithm = GRPO(samples=6, scale_rewards=scale, clip=0.1, kl_coefficient=0.3)
    actors.generator.manual_seed(5)
    output = algorithm.loss(batch, actors)
    items_NK = actors.old.sample(batch, 6, torch.Generator().manual_seed(5))[0].numpy()
    policy, old, reference, score = tabular.tables(actors)
    expected, kl, spread = np.zeros(5), [], []
    for n, x in enumerate((batch.real(batch.history_BT) - 1).tolist()):
        rewards = score[x, items_NK[n] - 1]
        spread.append(rewards.std(ddof=1))
        for v, reward in zip(items_NK[n] - 1, rewards, strict=True):
            advantage = reward - rewards.mean()
            if scale:
                advantage /= spread[-1] + 1e-4
            ratio, d = policy[x, v] / old[x, v], np.log(reference[x, v] / policy[x, v])
            held = min(max(ratio, 0.9), 1.1)
            kl.append(np.exp(d) - d - 1)
            expected[n] += (0.3 * kl[-1] - min(ratio * advantage, held * advantage)) / 6
    np.testing.assert_allclose(output.loss_N.detach().numpy(), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(output.metrics["kl/loss"].item(), float(np.mean(kl)))
    torch.testing.assert_close(output.metrics["reward_std"].item(), float(np.mean(spread)))
    assert not any(value.requires_grad for value in output.metrics.values())


def test_equal_rewards_leave_the_penalty_alone(tabular):
    """pi = (1/4, 3/4) and pi_ref = pi_old = 1/2: k3 of item 1 is 1 - log 2, of item 2 2/3 - 1 +
    log(3/2); they are drawn alike often."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), scores=[[3.0, 3.0]])
    batch = tabular.batch([[1] * 400], [[1] * 400], [[0.0] * 400])
    output = GRPO(kl_coefficient=2.0).loss(batch, actors)
    items_NK = actors.old.sample(batch, 8, torch.Generator())[0]
    share = (items_NK == 1).double().mean().item()
    k3 = share * (1 - math.log(2)) + (1 - share) * (math.log(1.5) - 1 / 3)
    torch.testing.assert_close(output.loss_N.mean().item(), 2 * k3)
    assert 0.4 < share < 0.6
    assert output.metrics["frac_reward_zero_std"].item() == 1


@pytest.mark.parametrize("surrogate", [ecpo_surrogate, gbpo_surrogate])
def test_the_surrogate_is_a_field(surrogate, tabular):
    batch, actors = tabular.random()
    losses = []
    for algorithm in (GRPO(surrogate=surrogate, kl_coefficient=0.0), GRPO(kl_coefficient=0.0)):
        actors.generator.manual_seed(5)
        losses.append(algorithm.loss(batch, actors).loss_N)
    assert not torch.allclose(*losses)


def test_samples_are_of_pi_old_which_is_renewed(tabular):
    """pi_old can only draw item 1, the policy and the reference only item 2."""
    actors = tabular.actors([[0.0, 99.0]], [[0.0, 99.0]], [[2.0, 4.0]], old=[[99.0, 0.0]])
    actors.generator.manual_seed(0)
    algorithm = GRPO(refresh_every=2)
    assert algorithm.loss(tabular.batch(), actors).metrics["reward"].item() == 2
    for step, reward in ((1, 2), (2, 4)):
        actors.clear_cache()
        actors.step = step
        algorithm.after_step(actors)
        assert algorithm.loss(tabular.batch(), actors).metrics["reward"].item() == reward
