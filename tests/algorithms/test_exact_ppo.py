import numpy as np
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.clipped import clipped_loss, kl_loss
from recsys_posttrain.algorithms.exact_ppo import ExactPPO


def test_exact_loss_and_metrics_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    output = ExactPPO(clip=0.1, kl_coefficient=0.3).loss(batch, actors)
    policy, old, reference, score = tabular.tables(actors)
    expected, kl, rewards, below, above = np.zeros(5), [], [], [], []
    for n, x in enumerate((batch.real(batch.history_BT) - 1).tolist()):
        advantage = score[x] - (old[x] * score[x]).sum()
        expected[n] = sum(
            old[x, v]
            * tabular.clipped_term(policy[x, v], old[x, v], reference[x, v], advantage[v], 0.1, 0.3)
            for v in range(5)
        )
        kl.append((policy[x] * np.log(policy[x] / reference[x])).sum())
        rewards.append((policy[x] * score[x]).sum())
        ratio = policy[x] / old[x]
        below.append((old[x] * (advantage < 0) * (ratio < 0.9)).sum())
        above.append((old[x] * (advantage > 0) * (ratio > 1.1)).sum())
    torch.testing.assert_close(output.loss_N.detach(), torch.from_numpy(expected))
    torch.testing.assert_close(output.metrics["kl/loss"].item(), float(np.mean(kl)))
    torch.testing.assert_close(output.metrics["reward/expected"].item(), float(np.mean(rewards)))
    shares = {"/low": np.mean(below), "/high": np.mean(above), "": np.mean(np.add(below, above))}
    for side, share in shares.items():
        assert share > 0
        torch.testing.assert_close(output.metrics[f"clip_ratio{side}"].item(), float(share))


def test_the_exact_gradient_is_the_expectation_of_the_sampled_one(tabular):
    """The sampled objective is enumerated over all actions of one context, weighted by pi_old."""
    _, actors = tabular.random()
    batch = tabular.batch(rewards=[[3.0]])
    ExactPPO(clip=0.1, kl_coefficient=0.3).loss(batch, actors).loss_N.sum().backward()
    exact = actors.policy.backbone.logits.grad[0].clone()

    _, old, reference, score = (torch.from_numpy(table[0]) for table in tabular.tables(actors))
    logits = actors.policy.backbone.logits.detach()[0].clone().requires_grad_()
    log_pi = logits.log_softmax(dim=0)
    ratio = log_pi.exp() / old
    surrogate = clipped_loss(ratio, torch.ones_like(old), score - old @ score, 0.1)
    kl = kl_loss(ratio, reference / old, log_pi - reference.log())
    (old * (surrogate + 0.3 * kl)).sum().backward()
    torch.testing.assert_close(exact, logits.grad)


def test_at_the_start_the_gradient_is_the_policy_gradient(tabular):
    """pi = pi_old = pi_ref = (1/4, 3/4), r_hat = (4, 0), so A = (3, -1): the gradient of -E_pi[A]
    in the logits is -pi_v A_v = (-0.75, 0.75), and the KL term has none."""
    logits = doubles([1.0, 3.0]).log()
    actors = tabular.actors(logits, logits, [[4.0, 0.0]])
    output = ExactPPO().loss(tabular.batch(), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-0.75, 0.75]))


def test_the_exact_tilt_is_the_fixed_point(tabular):
    """With pi_old = pi, the gradient is 0 at pi = pi_ref exp(r_hat / c) / Z and nowhere near it."""
    reference = doubles([1.0, 2.0, 5.0]).log()
    scores = doubles([3.0, 1.0, 2.0])
    for factor, is_flat in ((1.0, True), (0.5, False)):
        tilt = reference + factor * scores / 0.7
        actors = tabular.actors(reference, tilt, scores, old=tilt)
        ExactPPO(kl_coefficient=0.7).loss(tabular.batch(), actors).loss_N.sum().backward()
        gradient = actors.policy.backbone.logits.grad
        assert torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-12) == is_flat
