"""The rule of repeats in a study and a sweep: printed, recorded, in the names of stages."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.data.repeats import excluded_for
from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study
from recsys_posttrain.sweep.load import Options as SweepOptions
from recsys_posttrain.sweep.load import name_of
from recsys_posttrain.sweep.objective import mean
from recsys_posttrain.untrained import Popularity

HERE = Path(__file__).parents[1]
LOG = HERE / "inputs" / "saw_everything_then_again.csv"


@pytest.fixture(scope="module", autouse=True)
def work(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield


@pytest.mark.parametrize(
    ("overrides", "rule", "said", "unshowable"),
    [
        ((), "allowed", "what a user had may be shown again (as measured)", 0),
        (("repeats=never",), "never", "8 of 24 test targets are left out: their users had them", 8),
    ],
)
def test_a_study_says_what_the_rule_is_and_what_it_leaves_out(
    overrides, rule, said, unshowable, capsys
):
    """8 of 24 users chose all 5 items and then one of them again: 8 of 96 choices."""
    options = Options(overrides=overrides, dataset=str(LOG), seeds=1, workers=1)
    folder = run_study(HERE / "small_study.py", options)
    line = [line for line in capsys.readouterr().out.splitlines() if "choices repeat" in line]
    assert len(line) == 1
    assert line[0].startswith("8.3% of choices repeat an item: ")
    assert said in line[0]
    record = json.loads((folder / "run.json").read_text())
    assert (record["repeats"], record["targets_unshowable"]) == (rule, unshowable)
    assert (record["targets"], record["targets_undefined"]) == (24 - unshowable, {})
    rows = pd.read_parquet(folder / "rows.parquet")
    counts = rows.groupby("method")["user_id"].nunique()
    assert (counts == 24 - unshowable).all()
    assert not rows["reward/proxy@10"].isna().any()
    log_of = pd.read_csv(LOG).groupby("user_id")["item_id"].apply(list)
    for (_, user), frame in rows.groupby(["method", "user_id"]):
        log = log_of[user]
        shown = sum(item > 0 for item in frame["top10"].iloc[0])
        assert shown == (5 if rule == "allowed" else 5 - len(set(log[:-1])))


def test_the_rule_is_in_the_names_of_stages_that_it_changes():
    study = load_study(HERE / "small_study.py", (), str(LOG), seeds=1, data_root=None)
    base = study.runs[0]
    measured, same, other = (
        Pipeline(replace(base.setup, repeats=rule), Path("runs")).keys
        for rule in (None, "allowed", "never")
    )
    assert measured.pretrain == same.pretrain
    assert measured.pretrain.folder != other.pretrain.folder
    assert measured.posttrain(base).folder != other.posttrain(base).folder
    popular = replace(base, algorithm=Popularity())
    rows = [keys.rows(popular, "test").folder for keys in (measured, same, other)]
    assert rows[0] == rows[1] != rows[2]
    assert measured.reward().folder == other.reward().folder


def test_what_a_policy_is_a_softmax_over_is_in_the_names_of_its_stages():
    study = load_study(HERE / "small_study.py", (), str(LOG), seeds=1, data_root=None)
    base = study.runs[0]
    pipeline = Pipeline(replace(base.setup, repeats="never"), Path("runs"))
    over_all = pipeline.at(replace(pipeline.setup, catalogue="all"))
    assert excluded_for(pipeline.data.validation) is not None
    assert excluded_for(over_all.data.validation) is None
    run = replace(base, setup=pipeline.setup)
    eligible, everything = pipeline.keys, over_all.keys
    assert eligible.pretrain.folder != everything.pretrain.folder
    assert eligible.posttrain(run).folder != everything.posttrain(run).folder
    assert eligible.reward().folder == everything.reward().folder
    with pytest.raises(UserError, match='catalogue=\'seen\' must be "eligible" or "all"'):
        replace(base.setup, catalogue="seen")


def test_a_sweep_takes_the_rule_into_its_base_and_its_name():
    file = HERE / "small_sweep.py"
    changes = ("repeats=never",), ()
    ruled, plain = (SweepOptions(str(LOG), changes=each).sweep(file) for each in changes)
    assert (ruled.base.setup.repeats, plain.base.setup.repeats) == ("never", None)
    assert name_of(file, plain) + "-repeats-never" == name_of(file, ruled)


def test_a_sweeps_value_leaves_undefined_rows_out():
    sweep = replace(SweepOptions(str(LOG)).sweep(HERE / "small_sweep.py"), metric="reward/proxy@10")
    values = [1.0, math.nan, 3.0]
    rows = pd.DataFrame({"reward": [5.0, 5.0, 4.0], "reward/proxy@10": values})
    assert mean(rows, sweep, RewardScale()) == np.mean([1.0, 3.0])
