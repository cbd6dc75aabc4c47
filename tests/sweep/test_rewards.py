"""Sweeps of logs whose rewards are not 1..5 stars."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.sweep.run import Options, run_sweep

SWEEP = """
from rewards_study import BC, RWR
from small_sweep import RATE
from recsys_posttrain.algorithms import ExpRSFT
from recsys_posttrain.sweep.definition import Method, Sweep

METHODS = tuple(Method(algorithm, RATE) for algorithm in (BC.algorithm, RWR(), ExpRSFT()))
SWEEP = Sweep(base=BC, methods=METHODS, trials=2, seeds=(0,))
"""


@pytest.fixture(scope="module")
def logs(in_a_folder):
    """By name, the same log in another unit each, and one of ones."""
    tests = Path(__file__).resolve().parents[1]
    sys.path += [str(tests), str(tests / "studies")]
    from test_rewards import write_log

    Path("rated.py").write_text(SWEEP)
    return {
        "stars": write_log("stars.csv", lambda stars: stars),
        "signed": write_log("signed.csv", lambda stars: stars - 3),
        "ones": write_log("ones.csv", lambda stars: np.ones(len(stars))),
    }


def run(dataset, output, **chosen):
    options = Options(dataset=dataset, output=Path(output), thresholds=Thresholds(**chosen))
    return run_sweep(Path("rated.py"), options)


def test_the_unit_of_rewards_changes_no_trial_and_no_choice(logs):
    found = []
    for name in ("stars", "signed"):
        folder = run(logs[name], "units")
        trials = pd.read_csv(folder / "trials.csv").drop(columns=["seconds", "stage"])
        chosen = json.loads((folder / "run.json").read_text())["sweep"]["chosen"]
        found.append((trials, chosen))
    pd.testing.assert_frame_equal(found[0][0], found[1][0], check_exact=True)
    assert found[0][1] == found[1][1]
    assert found[0][0]["value"].notna().all()


def test_a_method_that_these_rewards_do_not_fit_costs_the_others_nothing(logs, tmp_path):
    """With a zero of 1 on -2..2 the mean is below it, and RWR has no weights in any trial."""
    folder = run(logs["signed"], tmp_path, zero=1.0)
    rows = pd.read_parquet(folder / "rows.parquet")
    baselines = ["Popularity", "Pretrained", "ItemMean", "RewardArgmax", "Tilt", "FilteredBC"]
    assert rows["method"].unique().tolist() == [*baselines, "BC", "ExpRSFT"]
    caption = (folder / "table.md").read_text().partition("\n")[0]
    assert "no row for RWR, no trial completed: RWR: the mean logged reward is -" in caption


def test_rewards_that_cannot_choose_are_refused_before_anything_is_trained(logs, tmp_path):
    reason = r"^Sweep: over=liked cannot choose settings on the validation targets of ones \(every"
    with pytest.raises(UserError, match=reason):
        run(logs["ones"], tmp_path)
    text = SWEEP.replace("METHODS,", "METHODS[1:],")
    Path("readers.py").write_text(text)
    options = Options(dataset=logs["ones"], output=tmp_path)
    with pytest.raises(UserError, match=r"^Sweep: none of its methods can be tuned on ones, whose"):
        run_sweep(Path("readers.py"), options)
    assert not (tmp_path / "stages").exists()


def test_the_command_of_the_table_has_the_thresholds():
    options = Options(thresholds=Thresholds(liked="80%", zero=-3.0))
    wanted = "recsys-posttrain sweep a.py --liked=80% --reward-zero=-3"
    assert options.command(Path("a.py")) == wanted
