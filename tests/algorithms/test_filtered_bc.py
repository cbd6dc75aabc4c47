import math

import numpy as np
import pytest
import torch
from data_factory import doubles

from recsys_posttrain.algorithms import BC, FilteredBC
from recsys_posttrain.algorithms.signals import model_reward
from recsys_posttrain.errors import UserError
from recsys_posttrain.ops.softmax import masked_mean
from recsys_posttrain.reward_scale import RewardScale


def test_loss_by_hand(tabular):
    """pi = (1/4, 3/4); rewards 5, 3, 4: the second is left out, and the mean is over two."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    batch = tabular.batch([[1, 1, 1]], [[1, 1, 2]], [[5.0, 3.0, 4.0]])
    output = FilteredBC().loss(batch, actors)
    assert output.counted_N.tolist() == [True, False, True]
    expected = doubles(math.log(4), 0, math.log(4 / 3))
    torch.testing.assert_close(output.loss_N.detach(), expected)
    mean = masked_mean(output.loss_N, output.counted_N)
    torch.testing.assert_close(mean.item(), (math.log(4) + math.log(4 / 3)) / 2)
    torch.testing.assert_close(output.metrics["filter/kept"].item(), 2 / 3)


def test_gradient_is_that_of_cloning_where_it_is_kept(tabular):
    """pi = (1/4, 3/4): (1/4 - 1, 3/4) for item 1 with reward 5; nothing for item 2 with 1."""
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]])
    FilteredBC().loss(batch, actors).loss_N.sum().backward()
    torch.testing.assert_close(actors.policy.backbone.logits.grad, doubles([-0.75, 0.75]))


def test_a_threshold_that_everything_reaches_is_cloning(tabular):
    actors = tabular.actors(policy=doubles([1.0, 3.0]).log())
    batch = tabular.batch([[1, 1]], [[1, 2]], [[1.0, 3.0]])
    output, cloned = (each.loss(batch, actors) for each in (FilteredBC(threshold=1.0), BC()))
    assert torch.equal(output.loss_N, cloned.loss_N)
    assert bool(output.counted_N.all())


def test_reward_can_be_the_model(tabular):
    actors = tabular.actors(scores=((2.0, 6.0),))
    batch = tabular.batch([[1, 1]], [[1, 2]], [[5.0, 1.0]])
    output = FilteredBC(reward=model_reward).loss(batch, actors)
    assert output.counted_N.tolist() == [False, True]


@pytest.mark.parametrize(
    ("scale", "liked"),
    [(RewardScale(), 4.0), (RewardScale(liked=5.0, zero=-10.0, unit=5.0), 3.0)],
)
def test_liked_is_what_the_scale_of_the_log_says(scale, liked, tabular):
    """A reward of 5, from -10 in steps of 5 to a star, is 3 stars."""
    assert scale.liked_stars == liked
    actors = tabular.actors()
    actors.log = actors.log._replace(liked=scale.liked_stars)
    batch = tabular.batch([[1, 1]], [[1, 2]], [[liked, np.nextafter(liked, 0)]])
    assert FilteredBC().loss(batch, actors).counted_N.tolist() == [True, False]


def test_a_threshold_that_nothing_reaches_is_refused(tabular):
    with pytest.raises(UserError, match=r"threshold of 6 stars \(the largest is 5\); give a lower"):
        FilteredBC(threshold=6.0).loss(tabular.batch(), tabular.actors())
