import math

import numpy as np
import pytest
import torch
from data_factory import doubles
from sklearn.metrics import log_loss

from recsys_posttrain.algorithms import WBC
from recsys_posttrain.algorithms.shown_items import ShownItems
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.algorithms.wbc import wbc_loss
from recsys_posttrain.errors import UserError


def test_loss_and_gradient_by_hand():
    """q = log 3, sigmoid 3/4: s = 2 loses -2 log(3/4) with slope -2 / 4; s = -1 loses log 4 with
    slope 3/4; s = 0 loses nothing."""
    score = doubles(*[math.log(3)] * 3, grad=True)
    loss = wbc_loss(score, doubles(2.0, -1.0, 0.0))
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), doubles(-2 * math.log(0.75), math.log(4), 0.0))
    torch.testing.assert_close(score.grad, doubles(-0.5, 0.75, 0.0))


def test_it_is_the_weighted_log_loss_of_a_public_package():
    generator = np.random.default_rng(0)
    score, signal = generator.normal(size=50) * 3, generator.normal(size=50)
    for q, s in zip(score, signal, strict=True):
        expected = log_loss(
            [s > 0], [1 / (1 + np.exp(-q))], sample_weight=[abs(s)], normalize=False, labels=[0, 1]
        )
        assert wbc_loss(doubles(q), doubles(s)).item() == pytest.approx(expected, rel=0, abs=1e-9)


def test_at_best_the_score_says_the_probability_of_good():
    """Three of four are good: no slope at q = log 3."""
    score = doubles(math.log(3), grad=True)
    wbc_loss(score, doubles(1.0, 1.0, 1.0, -1.0)).sum().backward()
    torch.testing.assert_close(score.grad, doubles(0.0))


def test_whole_loss_and_its_gradients_by_hand(tabular):
    """The log's mean is 3; logits (0, log 3). Rewards 5 and 2 of item 2 are s = 2 and -1, with
    slopes -1/2 and 3/4 in its logit and 30 times their sum in the bias. Item 1, which no reward
    names, has none: there is no softmax in the loss."""
    algorithm = WBC()
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), algorithm=algorithm)
    output = algorithm.loss(tabular.batch([[1, 1]], [[2, 2]], [[5.0, 2.0]]), actors)
    output.loss_N.sum().backward()
    expected = doubles(-2 * math.log(0.75), math.log(4))
    torch.testing.assert_close(output.loss_N.detach(), expected)
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([0.0, 0.25]))
    torch.testing.assert_close(actors.heads["bias"].bias.grad, doubles(7.5))


def test_metrics_by_hand(tabular):
    """Scores log 3 of item 2 and 0 of item 1, which is right about nothing; three rewards are
    above the mean of 3, of which one has the right score."""
    algorithm = WBC()
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), algorithm=algorithm)
    batch = tabular.batch([[1] * 4], [[2, 1, 1, 2]], [[5.0, 5.0, 4.0, 1.0]])
    metrics = algorithm.loss(batch, actors).metrics
    found = {name: each.item() for name, each in metrics.items()}
    assert found == {"signal/positive": 0.75, "signal/accuracy": 0.25}
    right = algorithm.loss(tabular.batch([[1, 1]], [[2, 2]], [[5.0, 4.0]]), actors).metrics
    assert right["signal/accuracy"] == 1, "both are good, and their score is above 0"
    assert not any(each.requires_grad for each in metrics.values())


def test_the_learned_bias_is_added_to_the_logit(tabular):
    """30 (0.1 log 3 + 0.2) more."""
    algorithm = WBC(centre=4.0)
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log(), algorithm=algorithm)
    with torch.no_grad():
        actors.heads["bias"].weight.copy_(doubles([0.0, 0.1]))
        actors.heads["bias"].bias.fill_(0.2)
    output = algorithm.loss(tabular.batch([[1]], [[1]], [[5.0]]), actors)
    score = 3 * math.log(3) + 6
    torch.testing.assert_close(output.loss_N.item(), math.log1p(math.exp(-score)))


def test_the_reward_can_be_the_model(tabular):
    """r_hat = 4 is 1 above the log's mean: log(4/3)."""
    algorithm = WBC(reward=model_reward)
    actors = tabular.actors(
        policy=doubles([1.0, 3.0]).log(), scores=[[2.0, 4.0]], algorithm=algorithm
    )
    output = algorithm.loss(tabular.batch([[1]], [[2]], [[1.0]]), actors)
    torch.testing.assert_close(output.loss_N.item(), math.log(4 / 3))


def test_a_choice_has_a_signal_of_1_where_all_rewards_are_equal(tabular):
    """Logits (0, log 3, log 2): both choices have a sigmoid of 3/4; what was shown beside the first
    has one of 2/3, and weighs 1.5."""
    algorithm = WBC(negatives=ShownItems(weight=1.5, draws=3))
    logits, even = doubles([1.0, 3.0, 2.0]).log(), [[0.0] * 3]
    actors = tabular.actors(even, logits, even, rewards=[3.0] * 5, algorithm=algorithm)
    batch = tabular.with_shown(tabular.batch([[1, 1]], [[2, 2]], [[3.0, 3.0]]), [3], [])
    loss_N = algorithm.loss(batch, actors).loss_N.detach()
    choice = math.log(4 / 3)
    torch.testing.assert_close(loss_N, doubles(choice + 1.5 * math.log(3), choice))


@pytest.mark.parametrize(("centre", "rewards"), [(1.0, [1, 3]), (5.5, [1, 5]), (None, [3, 3])])
def test_a_centre_without_rewards_on_both_sides_is_refused(centre, rewards, tabular):
    actors = tabular.actors(rewards=rewards, algorithm=WBC())
    with pytest.raises(UserError, match=r"WBC: centre=\d.* must be between .* use BC"):
        WBC(centre=centre).loss(tabular.batch(), actors)
