"""What an experiment file and the command line make of a study, before anything runs."""

from pathlib import Path

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.worlds.jester import Jester

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")


def load(text, tmp_path, csv, *overrides, name="other.py"):
    (tmp_path / name).write_text(text)
    return load_study(tmp_path / name, overrides, str(csv), None, None)


def test_overrides_reach_the_runs_that_have_the_field(tmp_path, small_ratings_csv):
    changes = ("algorithm.temperature=0.25", "posttraining.epochs=7", "backbone.dim=16")
    study = load(STUDY, tmp_path, small_ratings_csv, *changes)
    assert study.runs[1].algorithm.temperature == 0.25
    assert [run.posttraining.epochs for run in study.runs] == [7, 7, 7]
    assert [run.setup.backbone.dim for run in study.runs] == [16, 16, 16]
    assert study.seeds == (0,)
    assert load(STUDY + "\nSEEDS = (3, 5)", tmp_path, small_ratings_csv).seeds == (3, 5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "algorithm.temprature=0.3",
            "no run of the study has this field; did you mean 'algorithm.temperature'",
        ),
        ("posttraining.epoch=3", "Training has no field 'epoch'; did you mean 'posttraining.epoch"),
        ("posttraining.epochs=many", "takes a whole number or none, not 'many'"),
        ("algorithm.temperature=-1", "temperature=-1.0 must be above 0"),
        ("algorithm.refresh_every=0", "refresh_every=0 must be at least 1"),
        ("epochs", "write it as name=value"),
    ],
)
def test_overrides_that_cannot_be(override, message, tmp_path, small_ratings_csv):
    with pytest.raises(UserError, match=message):
        load(STUDY, tmp_path, small_ratings_csv, override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X = 1", "other.py defines no RUNS: give it a list RUNS of Run"),
        ("RUNS = []", "other.py defines no RUNS"),
        ("RUNS = [1, 2]", "other.py defines no RUNS"),
        (STUDY + "RUNS += [BASE]", "two runs are called 'BC'; give one of them a name="),
        (STUDY + "RUNS += [replace(BASE, name='ExpRSFT')]", "two runs are called 'ExpRSFT'"),
        (
            STUDY + "wide = replace(SETUP, backbone=SASRec(dim=16))\n"
            "RUNS += [replace(BASE, name='wide', setup=wide)]",
            "two setups are called 'SASRec'; give one of them a name=",
        ),
        (
            STUDY + "from recsys_posttrain.data import GlobalTime\n"
            "RUNS += [replace(BASE, name='x', setup=replace(SETUP, split=GlobalTime()))]",
            "all runs of one study must share dataset, split, thresholds, repeats, never_shown, ",
        ),
        (STUDY + "FULL_SEEDS = 1", "FULL_SEEDS=1 must be True or False"),
        (STUDY + "EQUAL_WITHIN = 0.0", "EQUAL_WITHIN=0.0 must be a share above 0"),
    ],
)
def test_experiment_files_that_cannot_be_run(text, message, tmp_path, small_ratings_csv):
    with pytest.raises(UserError, match=message):
        load(text, tmp_path, small_ratings_csv)


def test_an_experiment_must_be_a_python_file(tmp_path, small_ratings_csv):
    with pytest.raises(UserError, match=r"other.txt is not a Python file"):
        load(STUDY, tmp_path, small_ratings_csv, name="other.txt")


def test_a_study_keeps_its_own_dataset_unless_another_is_asked_for(tmp_path, small_ratings_csv):
    """A world has fields that its name alone would lose."""
    text = STUDY.replace("Setup(", "Setup(dataset=Jester(users=50, seed=3),", 1)
    path = tmp_path / "jesters.py"
    path.write_text("from recsys_posttrain.worlds.jester import Jester\n" + text)
    own = load_study(path, ["dataset.length=20"], None, None, "somewhere")
    assert {run.setup.dataset for run in own.runs} == {Jester(users=50, length=20, seed=3)}
    assert {run.setup.dataset.data_root for run in own.runs} == {"somewhere"}
    assert load_study(path, [], None, None, None).runs[0].setup.dataset.data_root is None
    asked = load_study(path, [], "jester", None, "somewhere")
    assert {run.setup.dataset for run in asked.runs} == {Jester()}
    assert load_study(path, [], str(small_ratings_csv), None, None).name == "jesters-small"
    with pytest.raises(
        UserError, match=r"--data-root x is for named datasets; .*small.csv is read"
    ):
        load_study(path, [], str(small_ratings_csv), None, "x")
    with pytest.raises(UserError, match="users=8000, but 7,200 users rated all 100 jokes"):
        load_study(path, ["dataset.users=8000"], None, None, None)
