import math

import numpy as np
import torch
from data_factory import doubles

from recsys_posttrain.algorithms.dpo import DPO, dpo_loss
from recsys_posttrain.algorithms.losers import LoggedVersusLosers, Losers, SampledLosers
from recsys_posttrain.algorithms.pairs import Pairs
from recsys_posttrain.algorithms.sdpo import SDPO, sdpo_loss


def test_loss_by_hand():
    """beta 2; exp(2 lr) is 4 for the preferred item and 1, 4, 7 for the others. Against all three
    its share is 4/16, so log 4, and the derivatives in lr are 2 times (4/16 - 1, 1/16, 4/16, 7/16);
    against the second other alone it is 4/8, against none 1."""
    values = doubles([4.0, 1.0, 4.0, 7.0]).log() / 2
    for rejected, expected, slope in (
        ([True, True, True], math.log(4), [-1.5, 0.125, 0.5, 0.875]),
        ([False, True, False], math.log(2), [-1.0, 0.0, 1.0, 0.0]),
        ([False, False, False], 0.0, [0.0, 0.0, 0.0, 0.0]),
    ):
        ratio_NK = values.clone().requires_grad_()
        loss_N = sdpo_loss(ratio_NK, torch.tensor([[False, *rejected]]), beta=2.0)
        loss_N.sum().backward()
        torch.testing.assert_close(loss_N.detach(), doubles(expected))
        torch.testing.assert_close(ratio_NK.grad, doubles(slope))


def test_against_the_papers_form_in_numpy():
    """-log sigmoid(-log sum exp(beta (lr_l - lr_w))), and its softmax gradient, to 1e-9."""
    generator = np.random.default_rng(0)
    lr, rejected = generator.normal(size=(200, 6)), generator.random((200, 6)) < 0.6
    rejected[:, 0], rejected[:, 1] = False, True
    for beta in (0.3, 1.0, 8.0):
        ratio_NK = torch.tensor(lr, requires_grad=True)
        loss_N = sdpo_loss(ratio_NK, torch.tensor(rejected), beta)
        loss_N.sum().backward()
        total = (np.exp(beta * (lr - lr[:, :1])) * rejected).sum(axis=1)
        expected = -np.log(1 / (1 + np.exp(np.log(total))))
        np.testing.assert_allclose(loss_N.detach().numpy(), expected, atol=1e-9, rtol=1e-12)
        slope = beta * np.exp(beta * (lr - lr[:, :1])) * rejected / (1 + total)[:, None]
        slope[:, 0] = -slope.sum(axis=1)
        np.testing.assert_allclose(ratio_NK.grad.numpy(), slope, atol=1e-9, rtol=1e-12)


def test_the_mask_is_left_as_it_is():
    rejected_NK = torch.tensor([[False, True, False]])
    sdpo_loss(torch.zeros(1, 3), rejected_NK, 1.0)
    assert rejected_NK.tolist() == [[False, True, False]]


def test_one_loser_is_dpo(tabular):
    """Loss, gradient and metrics; and the loss of equal policies with n losers is log(1 + n)."""

    def losers(batch, actors):
        two_N = torch.full_like(batch.action_N, 2)
        items_NK = torch.stack([two_N, torch.ones_like(two_N), two_N + 1], dim=1)
        first = (batch.user_N == 0)[:, None]
        return Losers(items_NK, torch.tensor([False, True, False]) & first)

    def pairs(batch, actors):
        items_NK, rejected_NK = losers(batch, actors)
        return Pairs(items_NK[:, 0], items_NK[:, 1], rejected_NK[:, 1])

    found = []
    for algorithm in (DPO(0.7, pairs), SDPO(0.7, losers)):
        batch, actors = tabular.random()
        output = algorithm.loss(batch, actors)
        output.loss_N[output.counted_N].sum().backward()
        found.append((output, actors.policy.backbone.logits.grad))
    (one, grad), (several, other_grad) = found
    torch.testing.assert_close(one.loss_N[one.counted_N], several.loss_N[one.counted_N])
    torch.testing.assert_close(grad, other_grad)
    assert torch.equal(one.counted_N, several.counted_N)
    assert several.metrics.pop("pairs/rejected") == 1
    assert one.metrics.keys() == several.metrics.keys()
    for name, value in one.metrics.items():
        torch.testing.assert_close(value, several.metrics[name])
        assert not several.metrics[name].requires_grad
    mask = torch.tensor([[False, True, True, True]])
    torch.testing.assert_close(sdpo_loss(torch.zeros(1, 4), mask, 5.0).item(), math.log(4))
    torch.testing.assert_close(
        sdpo_loss(doubles([0.0, 0.4]), mask[:, :2], 5.0), dpo_loss(doubles(-0.4), 5.0)
    )


def test_whole_loss_and_metrics_against_a_numpy_oracle(tabular):
    """Samples are replayed from the seed; losers, loss and metrics are recomputed in loops."""
    for source in (SampledLosers(5, width=1.0), LoggedVersusLosers(5, width=1.0)):
        batch, actors = tabular.random(members=3)
        actors.generator.manual_seed(3)
        output = SDPO(beta=0.8, losers=source).loss(batch, actors)
        items_NK = actors.reference.sample(batch, 5, torch.Generator().manual_seed(3))[0].numpy()
        policy, _, reference, mean = tabular.tables(actors)
        ratio, members = np.log(policy / reference), actors.reward.scores.numpy()
        kept, counts = [], []
        for n, (b, t) in enumerate(batch.mask_BT.nonzero().tolist()):
            x, drawn = int(batch.history_BT[b, t]) - 1, items_NK[n] - 1
            if isinstance(source, SampledLosers):
                best = drawn[np.argmax(mean[x, drawn])]
                gap = members[:, x, [best]] - members[:, x][:, drawn]
                losers = drawn[gap.mean(axis=0) > gap.std(axis=0)]
            else:
                best = int(batch.action_N[n]) - 1
                upper = mean[x, drawn] + members[:, x][:, drawn].std(axis=0)
                losers = drawn[(batch.reward_N[n].item() > upper) & (drawn != best)]
            expected = np.log(1 + np.exp(0.8 * (ratio[x, losers] - ratio[x, best])).sum())
            assert abs(output.loss_N[n].item() - expected) < 1e-9
            counts.append(len(losers) > 0)
            if counts[-1]:
                log_prob = np.log(policy[x, [best, *losers]])
                both = ratio[x, best], ratio[x, losers].mean()
                kept.append((*both, log_prob[0], log_prob[1:].mean(), len(losers)))
        assert output.counted_N.tolist() == counts
        assert any(counts)
        lr_w, lr_l, log_w, log_l, losers = np.mean(kept, axis=0)
        for name, value in {
            "rewards/chosen": 0.8 * lr_w,
            "rewards/rejected": 0.8 * lr_l,
            "logps/chosen": log_w,
            "logps/rejected": log_l,
            "pairs/rejected": losers,
        }.items():
            assert abs(output.metrics[name].item() - value) < 1e-9
