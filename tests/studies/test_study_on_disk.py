"""Studies: curves, lost and damaged stages, the table again, own algorithms, kills."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from study_factory import result, stages

from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.study import study_table

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
OWN = (Path(__file__).parents[1] / "own_algorithm.py").read_text(encoding="utf-8")


def test_weights_on_the_way_give_curves(run, copied, capsys):
    """8 steps, kept after 3 and 8; every seed and run has its own, all from the same reference."""
    folder = run(copied, "posttraining.snapshots=2", seeds=2)
    points = pd.read_parquet(folder / "curves.parquet")
    assert points["step"].tolist() == 6 * [0, 3, 8]
    assert points["method"].unique().tolist() == ["BC", "ExpRSFT", "OfflinePPO"]
    assert points["seed"].unique().tolist() == [0, 1]
    start = points[points["step"] == 0]
    assert (start["kl"] == 0).all()
    assert start["reward/proxy"].nunique() == 1
    rows = pd.read_parquet(folder / "rows.parquet")
    kl = rows.groupby(["method", "seed"])["kl"].mean()
    for row in points[points["step"] == 8].itertuples():
        assert row.kl == pytest.approx(kl[row.method, row.seed], rel=1e-5)
    text = (folder / "over_optimisation.md").read_text()
    assert text.startswith("Over-optimisation on small, test targets; 2 seeds")
    assert "No truth and no judge" in text
    said = capsys.readouterr().out
    assert "Gains over the reference" in said
    assert "over_optimisation.png" in said
    assert (folder / "over_optimisation.png").is_file()
    before = stages(copied)
    run(copied, "posttraining.snapshots=2", seeds=2)
    assert "0 built" in capsys.readouterr().out
    assert stages(copied) == before


def test_a_lost_stage_is_made_again_alone(run, finished, copied):
    record = json.loads((copied / "study-small" / "run.json").read_text())
    lost = record["stages"]["OfflinePPO/0"]["folder"]
    before = stages(copied)
    shutil.rmtree(copied / "stages" / lost)
    run(copied)
    after = stages(copied)
    assert {name for name in after if after[name] != before[name]} == {lost}
    assert result(copied) == result(finished)


def test_a_damaged_stage_is_named_and_nothing_else_is_touched(run, finished, copied):
    record = json.loads((copied / "study-small" / "run.json").read_text())
    path = copied / "stages" / record["stages"]["reward"]["folder"] / "reward.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    before = stages(copied)
    with pytest.raises(
        UserError, match=rf"{path} is damaged: its SHA-256 .*: delete the folder {path.parent}"
    ):
        run(copied)
    assert stages(copied) == before
    assert result(copied) == result(finished)
    shutil.rmtree(path.parent)
    run(copied)
    assert result(copied) == result(finished)


def test_the_table_again_and_relative_to_another(finished, copied, capsys):
    folder = copied / "study-small"
    study_table(folder, "BC", None, folder)
    assert result(copied) == result(finished)
    study_table(folder, "BC", "ExpRSFT", copied / "paper" / "first")
    assert "percent of ExpRSFT" in capsys.readouterr().out
    assert b"percent of ExpRSFT" in (copied / "paper" / "first" / "table.md").read_bytes()
    study_table(folder, "BC", "ExpRSFT")
    assert "percent of ExpRSFT" in capsys.readouterr().out
    assert result(copied) == result(finished), "only printed"
    with pytest.raises(UserError, match="no method 'PPO'"):
        study_table(folder, "PPO", None)
    with pytest.raises(UserError, match=r"run.json does not exist: give the folder of a finished"):
        study_table(copied, "BC", None)


def test_an_algorithm_may_live_in_the_experiment_file(run, copied):
    """It takes part in the stage's name with its own code."""
    runs = "RUNS = [BASE, replace(BASE, algorithm=Mine())]"
    Path("own.py").write_text(STUDY + OWN + runs)
    rows = pd.read_parquet(run(copied, file="own.py") / "rows.parquet")
    assert rows["method"].drop_duplicates().tolist()[2:] == ["BC", "Mine"]
    columns = ["rank", "kl", "mrr"]
    first, second = (rows[rows["method"] == name][columns].to_numpy() for name in ("BC", "Mine"))
    assert (first == second).all(), "strength 1 is behaviour cloning"


PROCESS = """
import sys
from recsys_posttrain.training import fit
fit.SECONDS_BETWEEN_CHECKPOINTS = 0.0
from recsys_posttrain.__main__ import main
sys.exit(main())
"""


def test_kill_9_twice_and_the_table_is_the_same_bytes(run, finished, tmp_path, small_ratings_csv):
    """Once in pretraining, once anywhere after it; the third attempt ends the study."""
    moments = random.Random()
    for reached in (".partial-pretrain*", ".partial-posttrain*"):
        options = ["--dataset", str(small_ratings_csv), "--output", str(tmp_path)]
        options += ["--seeds", "1", "--workers", "1"]
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, "run", "study.py", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(reached)) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert stages(tmp_path).keys() < stages(finished).keys(), "something was left to do"
    run(tmp_path)
    assert result(tmp_path) == result(finished)
