import math

import torch
from data_factory import doubles

from recsys_posttrain.algorithms.margin import (
    log_ratios,
    loss_of_pairs,
    preference_metrics,
    side_metrics,
)
from recsys_posttrain.algorithms.pairs import Pairs

THREE_TO_ONE = doubles([1.0, 3.0]).log()


def second_over_first(batch, actors):
    """Item 2 is preferred to item 1, in sequence 0 alone."""
    two_N = torch.full_like(batch.action_N, 2)
    return Pairs(two_N, torch.ones_like(two_N), batch.user_N == 0)


def test_log_ratios_by_hand(tabular):
    """pi = (1/4, 3/4), pi_ref = (1/2, 1/2): lr is log(1/2) and log(3/2). The gradient of log pi(2)
    is (-1/4, 1/4), and (0, 1) where the normaliser is held constant."""
    for constant, gradient in ((False, [-0.25, 0.25]), (True, [0.0, 1.0])):
        actors = tabular.actors(policy=THREE_TO_ONE)
        items_NK = torch.tensor([[1, 2, 2]])
        ratio_NK, log_prob_NK = log_ratios(
            tabular.batch(), actors, items_NK, constant_normaliser=constant
        )
        torch.testing.assert_close(log_prob_NK.detach().exp(), doubles([0.25, 0.75, 0.75]))
        torch.testing.assert_close(ratio_NK.detach().exp(), doubles([0.5, 1.5, 1.5]))
        ratio_NK[0, 1].backward()
        torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles(gradient))


def test_loss_of_pairs_by_hand(tabular):
    """The margin is log(3/2) - log(1/2) = log 3. A loss of 5 margins has the gradient (-5, 5), and
    minus log pi(2) half of (1/4, -1/4) more."""
    for coefficient, gradient in ((0.0, [-5.0, 5.0]), (0.5, [-4.875, 4.875])):
        actors = tabular.actors(policy=THREE_TO_ONE)
        batch = tabular.batch([[1, 0]] * 3, [[1, 0]] * 3, [[0.0, 0]] * 3)
        output = loss_of_pairs(
            batch, actors, second_over_first, lambda margin_N: 5 * margin_N, 2.0, coefficient
        )
        expected = 5 * math.log(3) - coefficient * math.log(0.75)
        torch.testing.assert_close(output.loss_N.detach(), doubles(*[expected] * 3))
        assert output.counted_N.tolist() == [True, False, False]
        output.loss_N[0].backward()
        torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles(gradient))
        assert math.isclose(output.metrics["rewards/chosen"], 2 * math.log(1.5))
        assert math.isclose(output.metrics["logps/rejected"], math.log(0.25))
        assert not any(each.requires_grad for each in output.metrics.values())


def test_preference_metrics_by_hand():
    """beta 2, the third pair is dropped. A margin of 0 is not won."""
    ratio_N2 = doubles([3.0, 1.0], [0.5, 0.5], [-9.0, 9.0], grad=True)
    log_prob_N2 = doubles([-1.0, -4.0], [-3.0, -2.0], [-9.0, -9.0])
    metrics = preference_metrics(ratio_N2, log_prob_N2, torch.tensor([True, True, False]), 2.0)
    assert {name: each.item() for name, each in metrics.items()} == {
        "rewards/chosen": 3.5,
        "rewards/rejected": 1.5,
        "rewards/margins": 2.0,
        "rewards/accuracies": 0.5,
        "logps/chosen": -2.0,
        "logps/rejected": -3.0,
        "pairs/kept": 2 / 3,
        "pairs/dropped": 1.0,
    }
    assert not any(each.requires_grad for each in metrics.values())


def test_side_metrics_by_hand():
    ratio_N, log_prob_N = doubles(1.0, 3.0, 8.0, grad=True), doubles(-1.0, -2.0, -8.0)
    metrics = side_metrics("good", ratio_N, log_prob_N, torch.tensor([True, True, False]), 0.5)
    assert {name: each.item() for name, each in metrics.items()} == {
        "rewards/good": 1.0,
        "logps/good": -1.5,
    }
    assert not any(each.requires_grad for each in metrics.values())
