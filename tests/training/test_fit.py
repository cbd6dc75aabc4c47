"""A killed run ends in the bytes of an unbroken one; early stopping: test_early_stopping.py.

As a script, this file is the process that the last test kills.
"""

import copy
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
from recsys_posttrain.guard import Guard
from recsys_posttrain.losses import SampledSoftmax
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.training import fit as fit_file
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain

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
    return pretrain(tiny.data, tiny.backbone, PLAN, 0, folder, loss=SampledSoftmax(negatives=5))


def ppo(tiny, folder):
    """Random samples, and a pi_old between two refreshes when the epoch ends."""
    algorithm = OfflinePPO(samples=2, refresh_every=3)
    return posttrain(tiny.policy, tiny.data, algorithm, tiny.reward, PLAN, 0, folder)


def asft(tiny, folder):
    """A head with weights and an optimiser state of its own."""
    return posttrain(tiny.policy, tiny.data, ASFT(), tiny.reward, PLAN, 0, folder)


def guarded(tiny, folder):
    """Stopped by a bound, with the weights of an earlier step."""
    plan = replace(PLAN, guard=Guard(kl=0.1, every=2))
    return posttrain(tiny.policy, tiny.data, ASFT(), tiny.reward, plan, 0, folder)


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


BEFORE, AFTER = "training_step", "optimizer_step"


def die_once_per_step(monkeypatch, moment, error):
    """Every step is a process's last one, once. Returns the steps at which somebody died."""
    step_of_module = getattr(TrainingModule, moment)
    died = []

    def step(module, *arguments, **options):
        if moment == BEFORE and module.steps_done not in died and module.steps_done > 0:
            died.append(module.steps_done)
            raise error
        result = step_of_module(module, *arguments, **options)
        if moment == AFTER and module.steps_done not in died:
            died.append(module.steps_done)
            raise error
        return result

    monkeypatch.setattr(TrainingModule, moment, step)
    return died


def until_it_ends(train, tiny, folder, error=Killed):
    for _ in range(100):
        try:
            return train(tiny, folder)
        except error:
            pass
    raise AssertionError("no attempt got further than the one before")


ALL = (without_patience, with_patience, with_average, with_negatives, ppo, asft, guarded)
DEATHS = [(Killed, BEFORE, train) for train in ALL]
DEATHS += [
    (error, moment, train)
    for error, moment in ((Killed, AFTER), (KeyboardInterrupt, BEFORE), (KeyboardInterrupt, AFTER))
    for train in (without_patience, ppo)
]


@pytest.mark.parametrize(("error", "moment", "train"), DEATHS)
def test_killed_or_interrupted_at_every_step(
    error, moment, train, tiny, unbroken, tmp_path, monkeypatch, checkpoint_every_step
):
    """After the optimiser each step is done twice: what it did was not kept, and must not show.
    Python delivers Ctrl-C between any two instructions: a half-done step must not be kept."""
    died = die_once_per_step(monkeypatch, moment, error)
    ends = error if error is Killed else (error, SystemExit)
    result = reached(tmp_path, until_it_ends(train, tiny, tmp_path, ends))
    steps = result[1].steps
    if error is Killed:
        assert died == list(range(1, steps + (moment == AFTER)))
    assert len(died) >= steps - 1
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


@pytest.mark.parametrize("train", [without_patience, with_patience, asft, guarded])
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
    assert fitted.best_step + 4 == fitted.steps < 36


def test_the_guard_stopped_that_run_on_the_way(unbroken):
    fitted = unbroken(guarded)[1]
    assert 0 < fitted.best_step == fitted.steps - 2 < STEPS - 2


def test_a_checkpoint_is_written_only_now_and_then(tiny, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(fit_file, "save_tensors", lambda path, tensors: written.append(path))
    asft(tiny, tmp_path)
    assert written == []
    monkeypatch.setattr(fit_file, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    asft(tiny, tmp_path)
    assert len(written) == STEPS


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
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["checkpoint.safetensors", "metrics.jsonl"]
    assert_same(reached(folder, without_patience(tiny, folder)), unbroken(without_patience))


if __name__ == "__main__":
    in_a_process(*sys.argv[1:])
