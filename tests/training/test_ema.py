import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.training.ema import WeightAverage
from recsys_posttrain.training.pretrain import pretrain, validation_ndcg


@pytest.fixture
def scale():
    """One trained number, 4 at first, and one that is frozen."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(4.0)
    model.bias.requires_grad_(False)
    return model


def test_the_average_by_hand(scale):
    """Share min(0.25, (1 + step) / (10 + step)): 2 / 11 at step 1, 1/4 at steps 2 (3 / 12) and 3.
    The weight is 0 from step 1 on: 4 (2 / 11) / 4 / 4 = 1 / 22."""
    average = WeightAverage(scale, decay=0.25)
    assert average.weights.keys() == {"weight"}
    with torch.no_grad():
        scale.weight.zero_()
    found = []
    for step in (1, 2, 3):
        average.update(step)
        found.append(average.weights["weight"].item())
    assert found == pytest.approx([8 / 11, 2 / 11, 1 / 22])
    assert scale.weight.item() == 0


def test_in_place_exchanges_and_brings_back(scale):
    average = WeightAverage(scale, decay=0.5)
    with torch.no_grad():
        scale.weight.fill_(1.0)
    with average.in_place():
        assert scale.weight.item() == 4
    assert scale.weight.item() == 1
    assert average.weights["weight"].item() == 4


@pytest.mark.parametrize("patience", [None, 5])
def test_training_keeps_the_average_of_its_steps(tiny, patience):
    """Against the weights after each of the first steps, averaged in a plain loop."""
    assert BatchStream(tiny.data.train, 10, 1000, 1, 0).steps_per_epoch == 1  # and one validation
    plan = Training(steps=3, batch_size=1000, learning_rate=0.05, warmup_steps=1)
    after = [pretrain(tiny.data, tiny.backbone, replace(plan, steps=n))[0] for n in (1, 2, 3)]
    expected = new_policy(tiny.backbone, 40, seed=0).state_dict()
    values = []
    judged = copy.deepcopy(tiny.policy)
    for step, policy in enumerate(after, start=1):
        share = min(0.3, (1 + step) / (10 + step))
        expected = {
            name: share * value + (1 - share) * policy.state_dict()[name]
            for name, value in expected.items()
        }
        judged.load_state_dict(expected)
        values.append((validation_ndcg(judged.eval(), tiny.data), step, expected))
    kept, fitted = pretrain(
        tiny.data, tiny.backbone, replace(plan, ema_decay=0.3, patience=patience)
    )
    if patience is not None:
        value, step, expected = max(values, key=lambda each: (each[0], -each[1]))
        assert (fitted.best_step, fitted.best_value) == (step, pytest.approx(value))
    for name, value in kept.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
