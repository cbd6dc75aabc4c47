"""Early stopping by hand, and the log of a training."""

import json

import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.plan import Training
from recsys_posttrain.training.fit import Fitted, fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.types import LossOutput


class Counter(torch.nn.Module):
    """Its weight goes up by the learning rate with every step (a constant gradient, Adam)."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.0))


def count(values, patience, folder=None):
    """A training whose epochs are judged by `values`; returns weight, Fitted and modes."""
    model, judged, modes = Counter(), iter(values), []
    plan = Training(len(values), 1, learning_rate=1.0, warmup_steps=0, patience=patience)

    def objective(batch):
        return LossOutput(-model.weight.expand_as(batch.reward_N), {"mine": torch.tensor(5.0)})

    def validate():
        modes.append(model.training)
        return {"value": next(judged)}

    module = TrainingModule(model, objective, plan, 0, dropout=True)
    stream = BatchStream(made_sequences(3 * [2]), 5, plan.batch_size, plan.epochs, 0)
    fitted = fit(module, stream, folder, validate=validate, monitor="value")
    return float(model.weight.detach()), fitted, modes


@pytest.mark.parametrize(
    ("values", "patience", "steps", "best_epoch"),
    [
        ([1, 3, 3, 2, 9], 2, 12, 2),  # the earlier of two equal epochs stays
        ([5, 4, 3, 2, 1], 1, 6, 1),
        ([1, 2, 3, 4, 5], 1, 15, 5),
        ([-3, -4, -2, -5, -6], 2, 15, 3),
    ],
)
def test_early_stopping_by_hand(values, patience, steps, best_epoch):
    weight, fitted, modes = count(values, patience)
    best = max(values[: steps // 3])
    assert fitted == Fitted(steps, 3 * best_epoch, best)
    assert weight == pytest.approx(3 * best_epoch, rel=1e-4)
    assert modes == [False] * (steps // 3)


def test_without_patience_the_last_weights_stay():
    weight, fitted, _ = count([5, 4, 3, 2, 1], None)
    assert fitted == Fitted(15, 15, None)
    assert weight == pytest.approx(15, rel=1e-4)


def test_the_log_has_a_line_every_ten_steps_and_two_at_each_epochs_end(tmp_path):
    count([1, 2, 3, 4], None, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training = [line["step"] for line in lines if "loss" in line]
    assert training == [3, 6, 9, 10, 12]
    judged = {line["step"]: line["value"] for line in lines if "value" in line}
    assert judged == {3: 1, 6: 2, 9: 3, 12: 4}
    assert lines[0].keys() == {"step", "loss", "mine"}
    assert lines[0]["loss"] == pytest.approx(-2, rel=1e-4), "of the step, before it was taken"
