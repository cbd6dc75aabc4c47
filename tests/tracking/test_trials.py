"""The curves of trials: of a sweep and of a grid, whose files are written here by hand."""

import json

import pandas as pd
import pytest
from offline_reader import curve, read
from study_factory import isolate_wandb

from recsys_posttrain.tracking import curves, offline_runs
from recsys_posttrain.tracking import mirror as tracking
from recsys_posttrain.tracking.mirror import mirror, sync, track

COLUMNS = ["algorithm", "noise", "trial", "state", "reason", "value", "seconds", "stage", "param.t"]
DONE = ["PPO", "", 0, "complete", "", 0.3125, 2.5, "posttrain-a", "2"]
RUNNING = ["PPO", "", 1, "running", "", None, None, "posttrain-b", "4"]


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    isolate_wandb(monkeypatch, tmp_path / "wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def folder(tmp_path):
    """Of a sweep; trainings are beside it."""
    path = tmp_path / "runs" / "drawn"
    path.mkdir(parents=True)
    return path


def trials(folder, *rows, name="trials-so-far.csv", columns=COLUMNS):
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    frame[columns].to_csv(folder / name, index=False)


def training(folder, stage, *losses, has_ended=True):
    """Logs these losses, one per step."""
    place = folder.parent / (f"stages/{stage}" if has_ended else f".partial-{stage}")
    place.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": step + 1, "loss": loss}) for step, loss in enumerate(losses)]
    (place / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


def points(*losses):
    return [{"train/step": step + 1, "train/loss": loss} for step, loss in enumerate(losses)]


def test_a_killed_sweep_has_its_trials_with_their_curves(folder, capfd):
    trials(folder, DONE, RUNNING)
    training(folder, "posttrain-a", 3.0, 2.0, 1.5)
    training(folder, "posttrain-b", 4.0, 3.5, has_ended=False)
    assert "2 new runs, offline" in sync(folder)
    found = read(folder, capfd)
    assert sorted(found) == ["PPO/clean/trial 0", "PPO/clean/trial 1"]
    done, running = found["PPO/clean/trial 0"], found["PPO/clean/trial 1"]
    assert curve(done) == points(3.0, 2.0, 1.5)
    assert curve(running) == points(4.0, 3.5)
    assert (done["history"][-1]["value"], done["history"][-1]["state"]) == (0.3125, "complete")
    assert running["history"][-1]["state"] == "running"
    assert {run["job_type"] for run in found.values()} == {"trial"}
    axes = {each["glob_name"]: each["step_metric"] for each in done["axes"] if "glob_name" in each}
    assert axes["train/*"] == "train/step"
    assert done["config"]["update"]["param"] == {"t": 2.0}
    assert "0 new runs" in sync(folder)


def test_what_has_ended_is_written_once_and_the_end_writes_the_rest(folder, capfd):
    """Also where a later trial makes words of a column that held numbers, which names the runs."""
    trials(folder, DONE, RUNNING)
    training(folder, "posttrain-a", 3.0)
    training(folder, "posttrain-b", 4.0, has_ended=False)
    assert mirror(folder).written == 2
    before = {name: run["path"] for name, run in read(folder, capfd).items()}
    (folder.parent / ".partial-posttrain-b").rename(folder.parent / "stages" / "posttrain-b")
    (folder / "trials-so-far.csv").unlink()
    done = [*RUNNING[:3], "complete", "", 0.25, 1.5, *RUNNING[7:]]
    failed = ["PPO", "", 2, "failed", "the loss is not finite", None, 1.0, "posttrain-c", "mean"]
    trials(folder, DONE, done, failed, name="trials.csv")
    assert mirror(folder).written == 2
    after = {name: run["path"] for name, run in read(folder, capfd).items()}
    assert after["PPO/clean/trial 0"] == before["PPO/clean/trial 0"]
    identities = [path.name.rpartition("-")[2] for path in before.values()]
    assert {path.name.rpartition("-")[2] for path in after.values()} > set(identities)
    assert mirror(folder).written == 0


def test_several_tuning_seeds_have_one_curve_their_mean(folder, capfd):
    """The second has come to two steps of three."""
    trials(folder, [*RUNNING[:7], "posttrain-a posttrain-b", "4"])
    training(folder, "posttrain-a", 4.0, 2.0, 1.0)
    training(folder, "posttrain-b", 2.0, 1.0, has_ended=False)
    mirror(folder)
    (run,) = read(folder, capfd).values()
    assert curve(run) == points(3.0, 1.5, 1.0)


def test_an_older_table_without_stages_has_trials_without_curves(folder, capfd):
    training(folder, "posttrain-a", 3.0)
    trials(folder, DONE, name="trials.csv", columns=[c for c in COLUMNS if c != "stage"])
    assert "1 new runs, offline" in sync(folder)
    (run,) = read(folder, capfd).values()
    assert curve(run) == []
    assert run["history"][-1]["value"] == 0.3125


def test_a_policy_of_a_grid_is_a_run_with_its_worth(folder, capfd):
    config = {"class": "Run", "strength": "KL 2", "noise": None}
    plan = {"name": "PPO, KL 2", "seed": 3, "stage": "posttrain-a", "config": config}
    plan |= {"kind": "trial", "values": {"value": 0.25}}
    later = plan | {"seed": 4, "stage": "posttrain-z"}  # not begun
    curves.write_plan(folder, [plan, later])
    training(folder, "posttrain-a", 3.0, 2.0)
    assert mirror(folder).written == 1
    (run,) = read(folder, capfd).values()
    assert (run["display_name"], run["job_type"]) == ("PPO, KL 2/3", "trial")
    assert curve(run) == points(3.0, 2.0)
    assert run["history"][-1]["value"] == 0.25
    assert run["config"]["update"]["strength"] == "KL 2"


@pytest.fixture
def written(monkeypatch):
    """The names of what would be written, in this order, without W&B."""
    found = []
    monkeypatch.setattr(tracking, "_write", lambda entry, *more: found.append(entry.name))
    monkeypatch.setattr(offline_runs, "complete", lambda *more: None)
    return found


def test_what_is_in_training_comes_first_and_time_has_an_end(folder, written):
    ended = [[*DONE[:2], number, *DONE[3:7], f"posttrain-{number}", "2"] for number in range(5)]
    trials(folder, *ended, [*RUNNING[:2], 5, *RUNNING[3:]])
    for number in range(5):
        training(folder, f"posttrain-{number}", 3.0)
    training(folder, "posttrain-b", 4.0, has_ended=False)
    assert mirror(folder, seconds=-1.0)[:2] == (0, 6)
    assert written == []
    assert mirror(folder)[:2] == (6, 0)
    assert written[0] == "PPO/clean/trial 5"


def test_what_is_left_over_is_said_and_a_sync_writes_it(folder, capfd):
    trials(folder, DONE)
    training(folder, "posttrain-a", 3.0)
    line = track(folder, seconds=-1.0)
    assert f"0 new runs, 1 more are written by recsys-posttrain wandb-sync {folder}" in line
    assert "1 new runs, offline" in sync(folder)


def test_a_look_at_what_is_there_reads_no_curve(folder, monkeypatch):
    """So that a thousand cost little."""
    trials(folder, DONE, RUNNING)
    training(folder, "posttrain-a", 3.0)
    training(folder, "posttrain-b", 4.0, has_ended=False)
    mirror(folder)

    def refuse(*arguments):
        raise AssertionError("was read again")

    monkeypatch.setattr(curves, "curve", refuse)
    assert mirror(folder).written == 0
    training(folder, "posttrain-b", 4.0, 3.0, has_ended=False)
    with pytest.raises(AssertionError, match="read again"):
        mirror(folder)
