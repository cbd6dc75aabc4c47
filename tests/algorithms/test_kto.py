import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.kto import KTO, kto_loss
from recsys_posttrain.algorithms.shown_items import ShownItems
from recsys_posttrain.algorithms.signals import item_mean, learned_value, reference_value, user_mean
from recsys_posttrain.errors import UserError
from recsys_posttrain.ops.softmax import masked_mean


def half(batch, actors):
    """A threshold of 1/2 for tests."""
    return torch.full_like(batch.reward_N, 0.5)


def test_loss_by_hand():
    """beta 2, a point of 1: a ratio log(3) / 2 above it is a gain of log 3, whose sigmoid is 3/4. A
    good item then loses 1/4 and a bad one 3/4; the derivative is -+ 2 * 3/4 * 1/4. The point is a
    constant. One below it is the other way round."""
    gain = math.log(3) / 2
    ratio = doubles(1 + gain, 1 + gain, 1 - gain, 1.0, grad=True)
    point = doubles(1.0, 1.0, 1.0, 1.0, grad=True)
    loss = kto_loss(ratio, point, torch.tensor([True, False, True, False]), beta=2.0)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), doubles(0.25, 0.75, 0.75, 0.5))
    torch.testing.assert_close(ratio.grad, doubles(-0.375, 0.375, -0.375, 0.5))
    assert point.grad is None


def test_against_numpy_and_the_closed_form_gradient():
    """To 1e-9 at random ratios."""
    generator = np.random.default_rng(0)
    lr, point, good = generator.normal(size=200), generator.random(200), generator.random(200) < 0.5
    for beta in (0.1, 1.0, 8.0):
        ratio = torch.tensor(lr, requires_grad=True)
        loss = kto_loss(ratio, torch.tensor(point), torch.tensor(good), beta)
        loss.sum().backward()
        sigma = 1 / (1 + np.exp(-beta * (lr - point)))
        expected = np.where(good, 1 - sigma, sigma)
        np.testing.assert_allclose(loss.detach().numpy(), expected, atol=1e-9, rtol=1e-12)
        slope = np.where(good, -1, 1) * beta * sigma * (1 - sigma)
        np.testing.assert_allclose(ratio.grad.numpy(), slope, atol=1e-9, rtol=1e-12)


def test_at_the_reference_good_items_rise_and_bad_ones_fall(tabular):
    """pi = pi_ref = (1/2, 1/2), item 1 is logged, beta 2. Good: the gradient is that of
    -3 (2 / 4) log pi(1), (-3/4, 3/4); bad, with a weight of 5: (5/4, -5/4)."""
    for reward, expected in ((1.0, [-0.75, 0.75]), (0.0, [1.25, -1.25])):
        batch, actors = tabular.batch(rewards=[[reward]]), tabular.actors()
        output = KTO(2.0, half, good_weight=3.0, bad_weight=5.0).loss(batch, actors)
        output.loss_N.sum().backward()
        torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles(expected))
        assert output.counted_N.tolist() == [True]


def test_whole_loss_and_metrics_against_a_numpy_oracle(tabular):
    """The draws are replayed from the seed; no gradient flows through the reference point. Some of
    their means are below 0."""
    batch, actors = tabular.random()
    items_NK = actors.policy.sample(batch, 2, torch.Generator().manual_seed(3))[0].numpy()
    actors.generator.manual_seed(3)
    batch = batch._replace(history_rewards_BT=doubles([3.0, 3, 5], [1, 5, 0]))
    output = KTO(beta=0.6, good_weight=0.7, bad_weight=1.3, samples=2).loss(batch, actors)
    policy, _, reference, _ = tabular.tables(actors)
    # Means so far: 3, 3, 11/3; 1, 3.
    good = [True, False, False, True, False]
    gradient, losses, implied, log_probs, means, kls = np.zeros_like(policy), [], [], [], [], []
    for n, (b, t) in enumerate(batch.mask_BT.nonzero().tolist()):
        x, a = int(batch.history_BT[b, t]) - 1, int(batch.actions_BT[b, t]) - 1
        means.append(np.log(policy[x] / reference[x])[items_NK[n] - 1].mean())
        kl = max(0, means[-1])
        lr = math.log(policy[x, a] / reference[x, a])
        sigma = 1 / (1 + math.exp(-0.6 * (lr - kl)))
        losses.append(0.7 * (1 - sigma) if good[n] else 1.3 * sigma)
        slope = (-0.7 if good[n] else 1.3) * 0.6 * sigma * (1 - sigma)
        gradient[x] += slope * (np.arange(5) == a) - slope * policy[x]
        implied.append(0.6 * lr)
        log_probs.append(math.log(policy[x, a]))
        kls.append(kl)
    np.testing.assert_allclose(output.loss_N.detach().numpy(), losses, atol=1e-9, rtol=0)
    output.loss_N.sum().backward()
    found = actors.policy.backbone.logits.grad.numpy()
    np.testing.assert_allclose(found, gradient, atol=1e-9, rtol=0)
    assert output.counted_N.all()
    assert min(means) < 0 < max(means)
    implied, log_probs, good = np.array(implied), np.array(log_probs), np.array(good)
    expected = {
        "rewards/chosen": implied[good].mean(),
        "rewards/rejected": implied[~good].mean(),
        "rewards/margins": implied[good].mean() - implied[~good].mean(),
        "logps/chosen": log_probs[good].mean(),
        "logps/rejected": log_probs[~good].mean(),
        "kl/loss": np.mean(kls),
        "kto/good": 0.4,
    }
    assert output.metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(output.metrics[name].item() - value) < 1e-9, name
        assert not output.metrics[name].requires_grad


def test_a_reward_at_the_threshold_does_not_count(tabular):
    """Neither an equal one, nor one that a mean in float32 rounds away from it."""
    rewards = [[0.5, 0.5 + 1e-5, 0.5 - 1e-5, 0.6, 0.4]]
    batch = tabular.batch([[1] * 5], [[1] * 5], rewards)
    output = KTO(threshold=half).loss(batch, tabular.actors())
    assert output.counted_N.tolist() == [False, False, False, True, True]
    assert output.metrics["kto/good"] == 0.2


def test_other_thresholds_split_otherwise(tabular):
    """Item 2 has a mean of 1 star; the reference's expected reward is 2."""
    batch = tabular.batch([[1] * 2], [[2] * 2], [[1.5, 2.5]], [[3.0, 3.0]])
    actors = tabular.actors(scores=[[1.0, 3.0]])
    goods = [
        KTO(threshold=threshold).loss(batch, actors).metrics["kto/good"].item()
        for threshold in (user_mean, reference_value, item_mean)
    ]
    assert goods == [0.0, 0.5, 1.0]


def test_a_batch_of_good_items_alone_has_finite_metrics(tabular):
    output = KTO(threshold=half).loss(tabular.batch(rewards=[[1.0]]), tabular.actors())
    assert output.metrics["rewards/rejected"] == 0
    assert masked_mean(output.loss_N, output.counted_N).item() == 0.5


def test_a_choice_is_good_where_all_rewards_are_equal(tabular):
    """pi = pi_ref: a choice loses 1/2 of 3, and what was shown 1/2 of 5 times its weight of 0.4."""
    batch = tabular.with_shown(tabular.batch([[1, 1]], [[1, 2]], [[3.0, 3.0]]), [2], [])
    algorithm = KTO(2.0, good_weight=3.0, bad_weight=5.0, negatives=ShownItems(0.4, draws=2))
    output = algorithm.loss(batch, tabular.actors(rewards=[3.0] * 5))
    torch.testing.assert_close(output.loss_N.detach(), doubles(1.5 + 1.0, 1.5))
    assert output.metrics["kto/good"] == 1


def test_what_it_cannot_learn_from_is_refused(tabular):
    with pytest.raises(UserError, match=r"KTO: .* threshold=learned_value"):
        KTO(threshold=learned_value)
    actors = tabular.actors(rewards=[3.7] * 5)
    with pytest.raises(UserError, match=r"KTO: every logged reward is 3.7 stars.* use BC"):
        KTO().loss(tabular.batch(), actors)
