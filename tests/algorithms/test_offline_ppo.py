import numpy as np
import torch

from recsys_posttrain.algorithms.offline_ppo import OfflinePPO
from recsys_posttrain.algorithms.signals import learned_value
from recsys_posttrain.losses.negatives import Negatives
from recsys_posttrain.training.catalogue import sample_of


def test_sampled_loss_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    algorithm = OfflinePPO(samples=6, clip=0.1, kl_coefficient=0.3)
    actors.generator.manual_seed(5)
    output = algorithm.loss(batch, actors)
    items_NK = actors.old.sample(batch, 6, torch.Generator().manual_seed(5))[0].numpy()
    policy, old, reference, score = tabular.tables(actors)
    expected, ratios, kl = np.zeros(5), [], []
    for n, x in enumerate((batch.real(batch.history_BT) - 1).tolist()):
        value = (old[x] * score[x]).sum()
        for v in items_NK[n] - 1:
            p, o, r = policy[x, v], old[x, v], reference[x, v]
            expected[n] += tabular.clipped_term(p, o, r, score[x, v] - value, 0.1, 0.3) / 6
            ratios.append(p / o)
            kl.append(p / o * np.log(p / r) - p / o + r / o)
    torch.testing.assert_close(output.loss_N.detach(), torch.from_numpy(expected))
    torch.testing.assert_close(output.metrics["ratio/mean"].item(), float(np.mean(ratios)))
    torch.testing.assert_close(output.metrics["kl/loss"].item(), float(np.mean(kl)))
    assert 0 < output.metrics["clip_ratio"].item() <= np.mean(np.abs(np.array(ratios) - 1) > 0.1)
    assert not any(value.requires_grad for value in output.metrics.values())


def test_a_learned_critic_regresses_on_the_sampled_rewards(tabular):
    """One item with r_hat = 2, V = the log's mean 3 at first: the surrogate is -(2 - 3) = 1, the
    squared error 1 is added: 2; the gradient in V is 2 (3 - 2) = 2, in the bias 30 times that, so
    none came through the advantage. The policy has a single choice, hence no gradient."""
    algorithm = OfflinePPO(baseline=learned_value)
    actors = tabular.actors([[0.0]], [[0.0]], [[2.0]], algorithm=algorithm)
    output = algorithm.loss(tabular.batch(), actors)
    output.loss_N.sum().backward()
    assert output.loss_N.item() == 2
    assert actors.heads["value"].bias.grad.tolist() == [60.0]
    assert output.metrics["value/error"].item() == 1
    assert not output.metrics["value/error"].requires_grad
    assert OfflinePPO().heads(1, 1) == {}


def test_with_a_sample_for_the_catalogue_none_comes_through_the_advantage_either(tabular):
    algorithm = OfflinePPO(baseline=learned_value)
    actors = tabular.actors([[0.0]], [[0.0]], [[2.0]], algorithm=algorithm)
    one = Negatives(torch.tensor([1]), torch.ones(1))
    batch = tabular.batch()
    sampled = batch._replace(catalogue_sample=sample_of(batch, one, 1))
    algorithm.loss(sampled, actors).loss_N.sum().backward()
    assert actors.heads["value"].bias.grad.tolist() == [60.0]


def test_old_shares_the_policys_states_until_the_policy_steps(tabular, monkeypatch):
    """They are the same then; one step later pi_old is behind, and is asked itself."""
    batch, actors = tabular.random()
    actors.step = 3
    OfflinePPO(refresh_every=3).after_step(actors)
    own = actors.old.hidden_states(batch)
    actors.clear_cache()
    calls, forward = [], type(actors.old.backbone).forward
    monkeypatch.setattr(
        type(actors.old.backbone),
        "forward",
        lambda self, history: (calls.append(self), forward(self, history))[1],
    )
    old = actors.old_at(batch)
    with torch.no_grad():
        assert torch.equal(old.hidden_states(batch), own)
    assert actors.old.backbone not in calls
    assert actors.policy.hidden_states(batch).requires_grad
    actors.clear_cache()
    actors.step = 4
    with torch.no_grad():
        actors.policy.backbone.logits += 1
    assert torch.equal(actors.old_at(batch).hidden_states(batch), own)
    assert actors.old.backbone in calls
