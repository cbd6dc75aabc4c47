"""Early stopping, the log, and that a killed run ends in the bytes of an unbroken one.

As a script, this file is the process that the last test kills.
"""

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from recsys_posttrain.algorithms import ASFT, OfflinePPO
from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.losses import SampledSoftmax
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.training import fit as fit_file
from recsys_posttrain.training.fit import Fitted, fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.types import LossOutput

PLAN = Training(epochs=3, batch_size=16, learning_rate=0.02, warmup_steps=6)  # 4 steps an epoch
STEPS = 12


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


def with_patience(tiny, folder):
    plan = Training(epochs=9, batch_size=16, learning_rate=0.1, warmup_steps=2, patience=1)
    return pretrain(tiny.data, tiny.backbone, plan, 0, folder)


def with_average(tiny, folder):
    """Of the weights, while a best is looked for among the averages."""
    plan = replace(PLAN, ema_decay=0.9, patience=3)
    return pretrain(tiny.data, tiny.backbone, plan, 0, folder)


def without_patience(tiny, folder):
    return pretrain(tiny.data, tiny.backbone, PLAN, 0, folder)


def with_negatives(tiny, folder):
    """Drawn anew in every step."""
    loss = SampledSoftmax(negatives=5)
    return pretrain(tiny.data, tiny.backbone, PLAN, 0, folder, loss=loss)


def ppo(tiny, folder):
    """Random samples, and a pi_old between two refreshes when the epoch ends."""
    algorithm = OfflinePPO(samples=2, refresh_every=3)
    return posttrain(tiny.policy, tiny.data, algorithm, tiny.reward, PLAN, 0, folder)


def asft(tiny, folder):
    """A head with weights and an optimiser state of its own."""
    return posttrain(tiny.policy, tiny.data, ASFT(), tiny.reward, PLAN, 0, folder)


def reached(folder, trained):
    policy, fitted = trained
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"], "no checkpoint is left"
    return policy.state_dict(), fitted, (folder / "metrics.jsonl").read_bytes()


def assert_same(first, second):
    for name, value in first[0].items():
        assert torch.equal(value, second[0][name]), name
    assert first[0].keys() == second[0].keys()
    assert first[1:] == second[1:]


@pytest.fixture(scope="module")
def unbroken(tiny, tmp_path_factory):
    """What each training reaches when nothing happens to it, made when first asked for."""
    known = {}

    def of(train):
        if train not in known:
            folder = tmp_path_factory.mktemp("unbroken")
            known[train] = reached(folder, train(tiny, folder))
        return known[train]

    return of


@pytest.fixture
def checkpoint_every_step(monkeypatch):
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)


@pytest.fixture(autouse=True)
def interrupts_stay_possible():
    """Lightning ignores SIGINT for good after one; pytest's own Ctrl-C must survive that."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


MOMENTS = {
    "before the step": ("training_step", True),
    "after the optimiser": ("optimizer_step", False),
}


def die_once_per_step(monkeypatch, moment, error):
    """Every step is a process's last one, once. Returns the steps at which somebody died."""
    name, first = MOMENTS[moment]
    step_of_module = getattr(TrainingModule, name)
    died = []

    def step(module, *arguments, **options):
        if first and module.steps_done not in died and module.steps_done > 0:
            died.append(module.steps_done)
            raise error
        result = step_of_module(module, *arguments, **options)
        if not first and module.steps_done not in died:
            died.append(module.steps_done)
            raise error
        return result

    monkeypatch.setattr(TrainingModule, name, step)
    return died


def until_it_ends(train, tiny, folder, error=Killed):
    for _ in range(100):
        try:
            return train(tiny, folder)
        except error:
            pass
    raise AssertionError("no attempt got further than the one before")


@pytest.mark.parametrize(
    "train", [without_patience, with_patience, with_average, with_negatives, ppo, asft]
)
def test_killed_before_every_step(train, tiny, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    died = die_once_per_step(monkeypatch, "before the step", Killed)
    result = reached(tmp_path, until_it_ends(train, tiny, tmp_path))
    assert died == list(range(1, result[1].steps))
    assert_same(result, unbroken(train))


@pytest.mark.parametrize("train", [without_patience, ppo])
def test_killed_between_a_step_and_its_checkpoint(train, tiny, unbroken, tmp_path, monkeypatch):
    """Each step is done twice: what it did was not kept, and must not show."""
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    died = die_once_per_step(monkeypatch, "after the optimiser", Killed)
    result = reached(tmp_path, until_it_ends(train, tiny, tmp_path))
    assert died == list(range(1, STEPS + 1))
    assert_same(result, unbroken(train))


@pytest.mark.parametrize("train", [without_patience, ppo])
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_from_the_keyboard(train, moment, tiny, unbroken, tmp_path, monkeypatch):
    """Python delivers Ctrl-C between any two instructions: a half-done step must not be kept."""
    died = die_once_per_step(monkeypatch, moment, KeyboardInterrupt)
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    error = (KeyboardInterrupt, SystemExit)
    result = reached(tmp_path, until_it_ends(train, tiny, tmp_path, error))
    assert len(died) >= STEPS - 1
    assert_same(result, unbroken(train))


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize("train", [with_patience, asft])
def test_interrupted_while_an_epoch_is_judged(
    train, error, tiny, unbroken, tmp_path, monkeypatch, checkpoint_every_step
):
    name = "pretrain.validation_ndcg" if train is with_patience else "posttrain.evaluate"
    target = f"recsys_posttrain.training.{name}"
    module, _, function = target.rpartition(".")
    judge = getattr(sys.modules[module], function)
    calls = []

    def sometimes(*arguments, **options):
        calls.append(0)
        if len(calls) in (1, 3):
            raise error
        return judge(*arguments, **options)

    monkeypatch.setattr(target, sometimes)
    result = reached(tmp_path, until_it_ends(train, tiny, tmp_path, (error, SystemExit)))
    assert len(calls) >= 4
    assert_same(result, unbroken(train))


@pytest.mark.parametrize("train", [without_patience, with_patience, asft])
def test_killed_after_the_last_step(
    train, tiny, unbroken, tmp_path, monkeypatch, checkpoint_every_step
):
    """The last step of the plan, or the step that ended its patience."""
    expected = unbroken(train)  # before training is forbidden below
    whole_fit = pl.Trainer.fit

    def dies_at_the_end(*arguments, **options):
        whole_fit(*arguments, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "fit", dies_at_the_end)
        with pytest.raises(Killed):
            train(tiny, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()

    def no_more(*arguments):
        raise AssertionError("a step was taken after the last one")

    monkeypatch.setattr(TrainingModule, "training_step", no_more)
    assert_same(reached(tmp_path, train(tiny, tmp_path)), expected)


def test_patience_ended_that_run_early(unbroken):
    fitted = unbroken(with_patience)[1]
    assert fitted.steps < 36
    assert fitted.steps == fitted.best_step + 4


def test_a_report_hears_of_every_validation_also_after_a_kill(
    tiny, tmp_path, checkpoint_every_step
):
    """What it raises ends the training there and is kept out of the way of going on."""

    def run(report):
        posttrain(tiny.policy, tiny.data, ASFT(), tiny.reward, PLAN, 0, tmp_path, report=report)

    heard = []

    def killed(metrics):
        heard.append(metrics)
        if len(heard) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(killed)
    again = []
    run(again.append)
    assert again[:2] == heard[:2], "the third was not yet in the checkpoint, and is made again"
    assert again[2] == heard[2]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert again == list(fit_file.validations(lines))
    assert len(again) == 4


def test_a_checkpoint_is_written_only_now_and_then(tiny, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(fit_file, "save_tensors", lambda path, tensors: written.append(path))
    asft(tiny, tmp_path)
    assert written == []
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    asft(tiny, tmp_path)
    assert len(written) == STEPS


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
    stream = BatchStream(pairs(3), 5, plan.batch_size, plan.epochs, 0)
    fitted = fit(module, stream, folder, validate=validate, monitor="value")
    return float(model.weight.detach()), fitted, modes


def pairs(count):
    """`count` sequences of two events."""
    from recsys_posttrain.types import Sequences

    ones = torch.ones(2 * count)
    return Sequences(ones.long(), ones, ones.long(), torch.arange(0, 2 * count + 1, 2))


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


def test_without_a_folder_nothing_is_written(
    tiny, tmp_path, monkeypatch, checkpoint_every_step, unbroken
):
    monkeypatch.chdir(tmp_path)
    policy, fitted = asft(tiny, None)
    assert list(tmp_path.iterdir()) == []
    weights, same, _ = unbroken(asft)
    assert fitted == same
    assert all(torch.equal(value, weights[name]) for name, value in policy.state_dict().items())


@pytest.mark.parametrize("train", [without_patience, asft])
def test_training_leaves_the_global_random_state_alone(train, tiny):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)
        expected = torch.rand(5)
        torch.manual_seed(987)
        train(tiny, None)
        assert torch.equal(torch.rand(5), expected)


def test_what_goes_into_training_is_not_changed(tiny):
    before = copy.deepcopy(tiny.policy.state_dict())
    ppo(tiny, None)
    assert all(torch.equal(before[name], v) for name, v in tiny.policy.state_dict().items())


def in_a_process(csv, cache, folder):
    """Killed by itself at step 6 of 12, in the middle of the second epoch."""
    fit_file.SECONDS_BETWEEN_CHECKPOINTS = -1.0
    step_of_module = TrainingModule.training_step

    def step(module, batch, index):
        if module.steps_done == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_of_module(module, batch, index)

    TrainingModule.training_step = step
    data = LeaveOneOut().split(prepare(RatingsFile(csv), cache=Path(cache)))
    backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10, dropout=0.2)
    pretrain(data, backbone, PLAN, 0, Path(folder))


def test_a_process_killed_in_the_middle_of_an_epoch(tiny, unbroken, small_ratings_csv, tmp_path):
    folder = tmp_path / "training"
    folder.mkdir()
    arguments = [str(each) for each in (small_ratings_csv, tmp_path / "cache", folder)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in folder.iterdir()] == ["checkpoint.safetensors"]
    assert_same(reached(folder, without_patience(tiny, folder)), unbroken(without_patience))


if __name__ == "__main__":
    in_a_process(*sys.argv[1:])
