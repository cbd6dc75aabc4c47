import math

import numpy as np
import pytest
import torch

from recsys_posttrain.algorithms.offline_ppo import (
    ExactPPO,
    OfflinePPO,
    clipped_loss,
    is_clipped,
    kl_loss,
)
from recsys_posttrain.algorithms.signals import learned_value, no_baseline
from recsys_posttrain.errors import UserError


def doubles(*values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def test_clipped_loss_and_its_gradient_by_hand():
    """clip 0.2, so the ratio is held in [0.8, 1.2]; columns: ratio, A, loss, d loss / d ratio.

    A gain counts up to 1.2 and a loss down to 0.8, beyond which there is no gradient; on the other
    side the surrogate is never clipped, so mistakes are always corrected.
    """
    cases = doubles(
        [1.0, 2.0, -2.0, -2.0],
        [1.1, 2.0, -2.2, -2.0],
        [1.5, 2.0, -2.4, 0.0],
        [0.5, 2.0, -1.0, -2.0],
        [0.5, -2.0, 1.6, 0.0],
        [1.5, -2.0, 3.0, 2.0],
        [0.9, -2.0, 1.8, 2.0],
        [3.0, 0.0, 0.0, 0.0],
    )
    ratio, advantage, loss, gradient = cases.unbind(dim=1)
    ratio = ratio.clone().requires_grad_()
    ours = clipped_loss(ratio, torch.ones(8, dtype=torch.float64), advantage, clip=0.2)
    ours.sum().backward()
    torch.testing.assert_close(ours.detach(), loss)
    torch.testing.assert_close(ratio.grad, gradient)
    clipped = is_clipped(ratio.detach(), torch.ones(8), advantage, clip=0.2)
    assert clipped.tolist() == [False, False, True, False, True, False, False, False]


def test_the_two_scales_of_the_clipped_loss_agree():
    """With pi_old = 0.3 and pi = 0.45 the ratio is 1.5: the second form is 0.3 times the first."""
    for advantage in (2.0, -2.0):
        ratio_form = clipped_loss(doubles(1.5), doubles(1.0), doubles(advantage), 0.2)
        sum_form = clipped_loss(doubles(0.45), doubles(0.3), doubles(advantage), 0.2)
        torch.testing.assert_close(sum_form, 0.3 * ratio_form)
        assert is_clipped(doubles(0.45), doubles(0.3), doubles(advantage), 0.2).item() == (
            advantage > 0
        )


def test_kl_loss_by_hand():
    """pi_old = 1/4, pi = 1/2, pi_ref = 1/8: rho = 2, pi_ref / pi_old = 1/2, log ratio log 4:
    2 log 4 - 2 + 1/2 = 1.2726. Equal policies give 0."""
    value = kl_loss(doubles(2.0), doubles(0.5), doubles(math.log(4)))
    torch.testing.assert_close(value, doubles(2 * math.log(4) - 1.5))
    assert kl_loss(doubles(1.0), doubles(1.0), doubles(0.0)).item() == 0


def test_the_kl_estimate_is_unbiased_in_value_and_gradient():
    """Enumerated, not sampled: sum_a pi_old(a) estimate(a) against KL(pi || pi_ref), whose gradient
    in the logit v is pi_v (log(pi_v / pi_ref_v) - KL); all three policies differ."""
    logits = doubles(0.3, -1.0, 0.8, 0.1, grad=True)
    old, reference = doubles(0.1, 0.2, 0.3, 0.4), doubles(0.4, 0.3, 0.2, 0.1)
    log_pi = logits.log_softmax(dim=0)
    estimate = kl_loss(log_pi.exp() / old, reference / old, log_pi - reference.log())
    assert (estimate >= 0).all()
    (old * estimate).sum().backward()

    pi = np.exp(log_pi.detach().numpy())
    log_ratio = np.log(pi / reference.numpy())
    kl = (pi * log_ratio).sum()
    torch.testing.assert_close((old * estimate).sum().item(), kl)
    torch.testing.assert_close(logits.grad, torch.from_numpy(pi * (log_ratio - kl)))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def tables(actors):
    """Probabilities of policy, old and reference, and r_hat, as NumPy tables [X, V]."""
    logits = (each.backbone.logits.detach().numpy() for each in (actors.policy, actors.old))
    policy, old = (np.array([softmax(row) for row in table]) for table in logits)
    reference = np.array([softmax(row) for row in actors.reference.backbone.logits.numpy()])
    return policy, old, reference, actors.reward.scores.numpy().mean(axis=0)


def one_term(policy, old, reference, advantage, clip, coefficient):
    """The sampled objective of one action, with branches where the package has minima."""
    ratio = policy / old
    held = min(max(ratio, 1 - clip), 1 + clip)
    surrogate = min(ratio * advantage, held * advantage)
    kl = ratio * math.log(policy / reference) - ratio + reference / old
    return -surrogate + coefficient * kl


def test_sampled_loss_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    algorithm = OfflinePPO(samples=6, clip=0.1, kl_coefficient=0.3)
    actors.generator.manual_seed(5)
    output = algorithm.loss(batch, actors)
    items_BTK = actors.old.sample(batch, 6, torch.Generator().manual_seed(5))[0].numpy()
    policy, old, reference, score = tables(actors)

    expected = np.zeros((2, 3))
    for b, t in batch.mask_BT.nonzero().tolist():
        x = int(batch.history_BT[b, t]) - 1
        value = (reference[x] * score[x]).sum()
        expected[b, t] = np.mean(
            [
                one_term(policy[x, v], old[x, v], reference[x, v], score[x, v] - value, 0.1, 0.3)
                for v in items_BTK[b, t] - 1
            ]
        )
    torch.testing.assert_close(output.loss_BT.detach(), torch.from_numpy(expected))
    ratios = [
        (policy / old)[batch.history_BT[b, t] - 1, v - 1]
        for b, t in batch.mask_BT.nonzero().tolist()
        for v in items_BTK[b, t]
    ]
    torch.testing.assert_close(output.metrics["ratio/mean"].item(), float(np.mean(ratios)))
    kl = []
    for b, t in batch.mask_BT.nonzero().tolist():
        for v in items_BTK[b, t]:
            p, o, r = (
                table[batch.history_BT[b, t] - 1, v - 1] for table in (policy, old, reference)
            )
            kl.append(p / o * np.log(p / r) - p / o + r / o)
    torch.testing.assert_close(output.metrics["kl"].item(), float(np.mean(kl)))
    assert 0 < output.metrics["clip_ratio"].item() <= np.mean(np.abs(np.array(ratios) - 1) > 0.1)
    assert not any(value.requires_grad for value in output.metrics.values())


def test_exact_loss_and_metrics_against_a_numpy_oracle(tabular):
    batch, actors = tabular.random(members=2)
    output = ExactPPO(clip=0.1, kl_coefficient=0.3).loss(batch, actors)
    policy, old, reference, score = tables(actors)
    expected, kl, rewards, clipped = np.zeros((2, 3)), [], [], []
    for b, t in batch.mask_BT.nonzero().tolist():
        x = int(batch.history_BT[b, t]) - 1
        advantage = score[x] - (reference[x] * score[x]).sum()
        expected[b, t] = sum(
            old[x, v] * one_term(policy[x, v], old[x, v], reference[x, v], advantage[v], 0.1, 0.3)
            for v in range(5)
        )
        kl.append((policy[x] * np.log(policy[x] / reference[x])).sum())
        rewards.append((policy[x] * score[x]).sum())
        ratio = policy[x] / old[x]
        stopped = np.where(advantage > 0, ratio > 1.1, ratio < 0.9)
        clipped.append((old[x] * stopped).sum())
    torch.testing.assert_close(output.loss_BT.detach(), torch.from_numpy(expected))
    torch.testing.assert_close(output.metrics["kl"].item(), float(np.mean(kl)))
    torch.testing.assert_close(output.metrics["reward/expected"].item(), float(np.mean(rewards)))
    torch.testing.assert_close(output.metrics["clip_ratio"].item(), float(np.mean(clipped)))


def test_the_exact_gradient_is_the_expectation_of_the_sampled_one(tabular):
    """The sampled objective is enumerated over all actions of one context, weighted by pi_old."""
    batch, actors = tabular.random()
    batch = tabular.batch([[1]], [[1]], [[3.0]])
    ExactPPO(clip=0.1, kl_coefficient=0.3).loss(batch, actors).loss_BT.sum().backward()
    exact = actors.policy.backbone.logits.grad[0].clone()

    _, old, reference, score = (torch.from_numpy(table[0]) for table in tables(actors))
    logits = actors.policy.backbone.logits.detach()[0].clone().requires_grad_()
    log_pi = logits.log_softmax(dim=0)
    ratio = log_pi.exp() / old
    surrogate = clipped_loss(ratio, torch.ones_like(old), score - reference @ score, 0.1)
    kl = kl_loss(ratio, reference / old, log_pi - reference.log())
    (old * (surrogate + 0.3 * kl)).sum().backward()
    torch.testing.assert_close(exact, logits.grad)


def test_at_the_start_the_gradient_is_the_policy_gradient(tabular):
    """pi = pi_old = pi_ref = (1/4, 3/4), r_hat = (4, 0), so A = (3, -1): the gradient of -E_pi[A]
    in the logits is -pi_v A_v = (-0.75, 0.75), and the KL term has none."""
    logits = doubles([1.0, 3.0]).log()
    actors = tabular.actors(logits, logits, [[4.0, 0.0]])
    output = ExactPPO().loss(tabular.batch([[1]], [[1]], [[0.0]]), actors)
    output.loss_BT.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-0.75, 0.75]))


def test_the_exact_tilt_is_the_fixed_point(tabular):
    """With pi_old = pi, the gradient is 0 at pi = pi_ref exp(r_hat / c) / Z and nowhere near it."""
    reference = doubles([1.0, 2.0, 5.0]).log()
    scores = doubles([3.0, 1.0, 2.0])
    batch = tabular.batch([[1]], [[1]], [[0.0]])
    for factor, is_flat in ((1.0, True), (0.5, False)):
        tilt = reference + factor * scores / 0.7
        actors = tabular.actors(reference, tilt, scores, old=tilt)
        ExactPPO(kl_coefficient=0.7).loss(batch, actors).loss_BT.sum().backward()
        gradient = actors.policy.backbone.logits.grad
        assert torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-12) == is_flat


def test_the_baseline_is_a_signal(tabular):
    """One item: rho = 1 and no KL, so the loss is -(r_hat - b): -2 without a baseline, 0 with."""
    actors = tabular.actors([[0.0]], [[0.0]], [[2.0]])
    batch = tabular.batch([[1]], [[1]], [[0.0]])
    for algorithm in (OfflinePPO, ExactPPO):
        assert algorithm(baseline=no_baseline).loss(batch, actors).loss_BT.item() == -2
        assert algorithm().loss(batch, actors).loss_BT.item() == 0


def test_a_learned_critic_regresses_on_the_sampled_rewards(tabular):
    """One item with r_hat = 2, V = the log's mean 3 at first: the surrogate is -(2 - 3) = 1, the
    squared error 1, its half added: 1.5; the bias's gradient is 0.5 * 2 (3 - 2) = 1, so none came
    through the advantage. The policy has a single choice, hence no gradient."""
    algorithm = OfflinePPO(baseline=learned_value, value_coefficient=0.5)
    actors = tabular.actors([[0.0]], [[0.0]], [[2.0]], algorithm=algorithm)
    output = algorithm.loss(tabular.batch([[1]], [[1]], [[0.0]]), actors)
    output.loss_BT.sum().backward()
    assert output.loss_BT.item() == 1.5
    assert actors.heads["value"].bias.grad.tolist() == [1.0]
    assert output.metrics["value/error"].item() == 1
    assert not output.metrics["value/error"].requires_grad
    assert OfflinePPO().heads(1) == {}


@pytest.mark.parametrize("algorithm", [OfflinePPO(refresh_every=3), ExactPPO(refresh_every=3)])
def test_old_is_renewed_every_few_steps_and_the_reference_never(tabular, algorithm):
    _, actors = tabular.random()
    first_old = actors.old.backbone.logits.clone()
    reference = actors.reference.backbone.logits.clone()
    for step in (1, 2):
        actors.step = step
        algorithm.after_step(actors)
        assert torch.equal(actors.old.backbone.logits, first_old)
    actors.step = 3
    algorithm.after_step(actors)
    assert torch.equal(actors.old.backbone.logits, actors.policy.backbone.logits)
    assert torch.equal(actors.reference.backbone.logits, reference)


def test_old_shares_the_policys_states_until_the_policy_steps(tabular, monkeypatch):
    """They are the same then; one step later pi_old is behind, and is asked itself."""
    batch, actors = tabular.random()
    actors.step = 3
    OfflinePPO(refresh_every=3).after_step(actors)
    own = actors.old.states(batch)
    actors.forget()
    calls, forward = [], type(actors.old.backbone).forward
    monkeypatch.setattr(
        type(actors.old.backbone),
        "forward",
        lambda self, history: (calls.append(self), forward(self, history))[1],
    )
    old = actors.old_at(batch)
    with torch.no_grad():
        assert torch.equal(old.states(batch), own)
    assert actors.old.backbone not in calls
    assert actors.policy.states(batch).requires_grad
    actors.forget()
    actors.step = 4
    with torch.no_grad():
        actors.policy.backbone.logits += 1
    assert torch.equal(actors.old_at(batch).states(batch), own)
    assert actors.old.backbone in calls


@pytest.mark.parametrize(
    "wrong", [{"clip": 0.0}, {"clip": 1.0}, {"kl_coefficient": -0.1}, {"refresh_every": 0}]
)
@pytest.mark.parametrize("algorithm", [OfflinePPO, ExactPPO])
def test_a_field_out_of_range_is_refused(algorithm, wrong):
    with pytest.raises(UserError, match=f"{algorithm.__name__}: {next(iter(wrong))}="):
        algorithm(**wrong)


def test_fields_of_one_form_only():
    with pytest.raises(UserError, match="samples=0"):
        OfflinePPO(samples=0)
    with pytest.raises(UserError, match="value_coefficient=-1"):
        OfflinePPO(value_coefficient=-1)
    with pytest.raises(UserError, match="learned_value"):
        ExactPPO(baseline=learned_value)
