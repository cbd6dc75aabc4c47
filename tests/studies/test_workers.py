"""A study whose runs are made by several processes: the same rows, mistakes and resumption."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.progress import Done, Progress
from recsys_posttrain.studies import engine
from recsys_posttrain.studies import execute as study_runs
from recsys_posttrain.studies.execute import Options, build_in_processes, number_of_workers
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.study import run_study

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
OWN = (Path(__file__).parents[1] / "own_algorithm.py").read_text(encoding="utf-8")
NOISE = """
from recsys_posttrain.rewards.noise import RewardNoise, Starvation
starved = RewardNoise(model=Starvation(0.5))
short = replace(BASE.posttraining, snapshots=1)
"""
RUNS = """
RUNS = [
    replace(BASE, algorithm=Mine()),
    replace(RUNS[2], name="starved", noise=starved),
    replace(RUNS[2], name="starved, curve", noise=starved, posttraining=short),
]
"""


@pytest.fixture(autouse=True, scope="module")
def world(tmp_path_factory):
    """A working directory outside any repository, so that no commit enters the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        Path("study.py").write_text(STUDY + OWN + NOISE + RUNS)
        yield


@pytest.fixture(scope="module")
def run(world, small_ratings_csv):
    def run_on_the_small_file(output, workers, file="study.py", seeds=1):
        csv = str(small_ratings_csv)
        options = Options(dataset=csv, seeds=seeds, workers=workers, output=Path(output))
        return run_study(Path(file), options)

    return run_on_the_small_file


@pytest.fixture(scope="module")
def alone(run):
    return run("alone", workers=1)


def result(folder):
    """The bytes of every file but run.json, which says how long each stage took, and the log."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {
        path.name: path.read_bytes()
        for path in files
        if path.name not in ("run.json", "workers.log")
    }


def stages(output):
    return {path.name: path.stat().st_mtime_ns for path in (Path(output) / "stages").iterdir()}


def lines(printed):
    """title -> time or "reused", of the lines of stages."""
    found = re.findall(r"^  (\S.*?) +(reused|\d+\.\d s)$", printed, re.MULTILINE)
    assert len(found) == len(dict(found)), "each stage has one line"
    return dict(found)


def test_two_workers_make_the_same_bytes_and_a_rerun_starts_none(
    run, alone, tmp_path, capsys, monkeypatch
):
    """With an algorithm of the experiment file, and a reward model that two runs share."""
    capsys.readouterr()
    folder = run(tmp_path, workers=2)
    assert result(folder) == result(alone)
    assert stages(tmp_path).keys() == stages("alone").keys()
    printed = capsys.readouterr().out
    said = lines(printed)
    assert "reused" not in said.values()
    assert len(said) == len(stages(tmp_path))
    assert f"\n0 stages reused, {len(said)} built, " in printed
    assert {"Mine, seed 0", "starved, seed 0", "starved, curve, seed 0"} <= said.keys()
    assert len([title for title in said if title.startswith("reward model, ")]) == 1

    before = stages(tmp_path)
    monkeypatch.setattr(engine, "answered", None)
    assert result(run(tmp_path, workers=2)) == result(alone)
    assert stages(tmp_path) == before
    again = capsys.readouterr().out
    assert set(lines(again).values()) == {"reused"}
    # Only stages that are there already read it, so nobody asks for it.
    asked = said.keys() - {"reward model, Starvation(level=0.5)"}
    assert lines(again).keys() == asked
    assert f"\n{len(asked)} stages reused, 0 built, " in again


def test_a_stage_that_one_worker_made_is_not_reused_because_another_found_it(
    small_ratings_csv, tmp_path, monkeypatch
):
    """Whoever found it may be heard of first."""
    options = Options(dataset=str(small_ratings_csv), output=tmp_path)
    old, new = (tmp_path / "stages" / name for name in ("reward-old", "reward-new"))
    old.mkdir(parents=True)
    heard = [
        ((0, 0), ([Done("old", old, None), Done("new", new, None)], "")),
        ((1, 0), ([Done("old", old, None), Done("new", new, 0.3)], "")),
    ]
    monkeypatch.setattr(engine, "answered", lambda *arguments: iter(heard))
    said, file = [], Path("study.py")
    progress = Progress(said.append)
    missing = SimpleNamespace(stages_of=lambda *_: [SimpleNamespace(folder=tmp_path / "missing")])
    pipeline = SimpleNamespace(root=tmp_path, at=lambda setup: missing)
    build_in_processes(file, options, options.study(file), pipeline, progress, 2, {})
    assert said == [Done("old", old, None), Done("new", new, 0.3)]


def test_an_interrupted_study_goes_on_with_what_is_left(run, alone, tmp_path, monkeypatch):
    finished = engine.answered

    def interrupted(*arguments):
        pairs = finished(*arguments)
        yield next(pairs)
        pairs.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "answered", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, workers=2)
    before = stages(tmp_path)
    assert len([name for name in before if name.startswith("evaluate-")]) < 2 + 3
    monkeypatch.setattr(engine, "answered", finished)
    folder = run(tmp_path, workers=2)
    assert result(folder) == result(alone)
    after = stages(tmp_path)
    assert before.items() <= after.items()


def test_a_method_whose_training_fails_is_left_out_with_its_reason(run, tmp_path):
    """The others have their rows; nothing is trained twice."""
    runs = "RUNS = [BASE, replace(BASE, algorithm=Mine(3e38))]"
    Path("failing.py").write_text(STUDY + OWN + runs)
    folder = run(tmp_path, workers=2, file="failing.py")
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows["method"].unique().tolist() == ["Popularity", "Pretrained", "BC"]
    left_out = json.loads((folder / "run.json").read_text())["left_out"]
    assert re.match(r"seed 0: the loss became (inf|nan) at step 0; lower", left_out["Mine"])
    kept = pd.Series(list(stages(tmp_path)))
    assert kept.str.startswith("pretrain-").sum() == 1


def test_how_many_workers(small_ratings_csv, monkeypatch):
    study = load_study(Path("study.py"), [], str(small_ratings_csv), 2, None)  # six runs
    monkeypatch.setattr(study_runs, "cores", lambda: 4)
    assert number_of_workers(Options(), study) == 4
    assert number_of_workers(Options(workers=1), study) == 1
    assert number_of_workers(Options(workers=6), study) == 6
    assert number_of_workers(Options(workers=7), study) == 6
    assert number_of_workers(Options(device="cuda"), study) == 1
    assert number_of_workers(Options(device="cuda", workers=1), study) == 1
    assert number_of_workers(Options(), study._replace(seeds=(0,), runs=study.runs[:1])) == 1
    monkeypatch.setattr(study_runs, "cores", lambda: 64)
    assert number_of_workers(Options(), study._replace(seeds=tuple(range(9)))) == 8
    with pytest.raises(UserError, match=r"^--workers 0: give at least 1\.$"):
        number_of_workers(Options(workers=0), study)
    reason = r"^--workers 2: only one process can use --device cuda:1; leave --workers out, or "
    with pytest.raises(UserError, match=reason):
        number_of_workers(Options(device="cuda:1", workers=2), study)
