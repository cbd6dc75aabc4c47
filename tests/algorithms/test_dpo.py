import math

import numpy as np
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.dpo import DPO, dpo_loss
from recsys_posttrain.algorithms.pairs import Pairs, SampledPairs


def second_over_first(batch, actors):
    """A pair source for tests: item 2 is preferred to item 1, in sequence 0 alone."""
    two_N = torch.full_like(batch.action_N, 2)
    return Pairs(two_N, torch.ones_like(two_N), batch.user_N == 0)


def test_loss_by_hand():
    """beta 2: margins 0 and log 3 / 2 give sigmoids 1/2 and 3/4, hence log 2 and log(4/3); the
    derivative in the margin is -beta (1 - sigmoid) = -1 and -1/2."""
    margin = doubles(0.0, math.log(3) / 2, grad=True)
    loss = dpo_loss(margin, beta=2.0)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), doubles(math.log(2), math.log(4 / 3)))
    torch.testing.assert_close(margin.grad, doubles(-1.0, -0.5))


def test_loss_metrics_and_gradient_by_hand(tabular):
    """pi = (1/4, 3/4), pi_ref = (1/2, 1/2); chosen 2, rejected 1, beta 2.

    lr_w = log(3/2), lr_l = log(1/2), margin log 3, so sigmoid(2 log 3) = 9/10: loss -log 0.9. The
    gradient is -beta (1 - 0.9) on the chosen logit and its opposite on the rejected one (the two
    normalisers cancel): (0.2, -0.2).
    """
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    batch = tabular.batch([[1, 0]] * 3, [[1, 0]] * 3, [[0.0, 0]] * 3)
    output = DPO(beta=2.0, pairs=second_over_first).loss(batch, actors)
    output.loss_N[output.counted_N].sum().backward()
    torch.testing.assert_close(output.loss_N[0].item(), -math.log(0.9))
    assert output.counted_N.tolist() == [True, False, False]
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.2, -0.2]))
    expected = {
        "rewards/chosen": 2 * math.log(1.5),
        "rewards/rejected": 2 * math.log(0.5),
        "rewards/margins": 2 * math.log(3),
        "rewards/accuracies": 1.0,
        "logps/chosen": math.log(0.75),
        "logps/rejected": math.log(0.25),
        "pairs/kept": 1 / 3,
        "pairs/dropped": 2.0,
    }
    assert output.metrics.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(output.metrics[name].item(), value)
        assert not output.metrics[name].requires_grad


def test_accuracy_counts_only_margins_above_zero(tabular):
    """Policy and reference swapped: the margin is -log 3. At equal policies it is 0: not won."""
    logits = doubles([1.0, 3.0]).log()
    batch = tabular.batch()
    for policy in (torch.zeros(1, 2), logits):
        output = DPO(pairs=second_over_first).loss(batch, tabular.actors(logits, policy))
        assert output.metrics["rewards/accuracies"].item() == 0


def test_the_nll_term_raises_the_chosen_log_probability(tabular):
    """0.5 * -log(3/4) more loss, and 0.5 (pi_v - [v = 2]) = (0.125, -0.125) more gradient."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    algorithm = DPO(beta=2.0, pairs=second_over_first, nll_coefficient=0.5)
    output = algorithm.loss(tabular.batch(), actors)
    output.loss_N.sum().backward()
    torch.testing.assert_close(output.loss_N.item(), -math.log(0.9) - 0.5 * math.log(0.75))
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.325, -0.325]))


def test_equal_policies_lose_log_2(tabular):
    logits = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    actors = tabular.actors(logits, logits)
    loss = DPO(pairs=second_over_first).loss(tabular.batch(), actors).loss_N
    torch.testing.assert_close(loss.item(), math.log(2))


def test_whole_loss_against_a_numpy_oracle(tabular):
    """Samples are replayed from the seed; pairs and loss are recomputed in loops."""
    batch, actors = tabular.random(members=3)
    actors.generator.manual_seed(3)
    algorithm = DPO(beta=0.8, pairs=SampledPairs(4, width=2.0), nll_coefficient=0.1)
    output = algorithm.loss(batch, actors)
    items_NK = actors.reference.sample(batch, 4, torch.Generator().manual_seed(3))[0].numpy()
    policy = actors.policy.backbone.logits.detach().numpy()
    reference = actors.reference.backbone.logits.numpy()
    policy, reference = (
        table - np.log(np.exp(table).sum(axis=1, keepdims=True)) for table in (policy, reference)
    )
    for n, (b, t) in enumerate(batch.mask_BT.nonzero().tolist()):
        x = int(batch.history_BT[b, t]) - 1
        drawn = items_NK[n] - 1
        scores = actors.reward.scores.numpy()[:, x, drawn]
        best, worst = np.argmax(scores.mean(axis=0)), np.argmin(scores.mean(axis=0))
        winner, loser = drawn[best], drawn[worst]
        difference = scores[:, best] - scores[:, worst]
        assert output.counted_N[n].item() == (difference.mean() > 2.0 * difference.std())
        ratio = policy[x] - reference[x]
        expected = np.log1p(np.exp(-0.8 * (ratio[winner] - ratio[loser]))) - 0.1 * policy[x, winner]
        torch.testing.assert_close(output.loss_N[n].item(), float(expected))
    assert 0 < output.counted_N.sum() < len(output.counted_N)
