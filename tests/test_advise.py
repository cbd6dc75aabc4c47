"""`advise` from data to verdict, on a small file."""

import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from recsys_posttrain import advise
from recsys_posttrain.errors import UserError
from recsys_posttrain.plan import Training
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble


@pytest.fixture
def small_reward(monkeypatch):
    """One epoch of a small ensemble."""
    small = RewardEnsemble(members=2, rank=2, training=Training(epochs=1))
    small = replace(small, encoder=replace(small.encoder, dim=8, blocks=1, feed_forward=8))

    def setup(dataset, split):
        plan = Training(steps=2, batch_size=8)
        backbone = replace(small.encoder, max_length=8)
        return Setup(dataset, split, backbone=backbone, pretraining=plan, reward=small)

    monkeypatch.setattr(advise, "Setup", setup)


def test_advice_on_a_file(small_ratings_csv, tmp_path, own_cache, small_reward):
    text = advise.advise_on(str(small_ratings_csv), None, None, tmp_path, "cpu")
    assert "trained with the defaults" in text
    assert "pairwise accuracy" in text
    assert "best naive: " in text
    assert "noise_vs_quality-jester" in text
    assert "not enough evidence: the study is of jester" in text
    again = advise.advise_on(str(small_ratings_csv), None, None, tmp_path, "cpu")
    assert again == text  # from the stages


def test_a_study_with_the_projected_correlation_asks_for_it(
    small_ratings_csv, tmp_path, own_cache, small_reward
):
    """By the judge, since a file has no truth."""
    folder = tmp_path / "studies" / "mine"
    shutil.copytree(advise.RESULTS / "noise_vs_quality-jester", folder)
    table = pd.read_csv(folder / "table.csv")
    table.assign(projected_truth=table["pairwise_accuracy"]).to_csv(
        folder / "table.csv", index=False
    )
    text = advise.advise_on(str(small_ratings_csv), None, folder.parent, tmp_path, "cpu")
    assert re.search(
        r"nearest to yours, projected correlation \(judge\) -?\.\d+ .*, by projected correlation "
        r"\(truth\)",
        text,
    )


def test_the_model_is_set_beside_the_best_baseline_of_each_measure():
    """The item mean orders better, boosting errs less; intervals decide the word."""
    columns = ["pairwise_accuracy", "rmse"]
    frame = pd.DataFrame(
        [[0.70, 0.98], [0.60, 0.90], [0.65, 0.80]],
        index=["item mean", "gradient boosting", "ensemble of 5"],
        columns=columns,
    )
    for column, half in zip(columns, (0.03, 0.04), strict=True):
        frame[f"{column}_low"], frame[f"{column}_high"] = frame[column] - half, frame[column] + half
    frame[["events", "users"]] = 100.0, 10.0
    order, error, _ = advise._measured(frame)
    assert "best naive: item mean, .7000 [.6700, .7300]; gap -.0500, intervals overlap" in order
    assert "best naive: gradient boosting, .9000 [.8600, .9400]; gap +.1000, better" in error


def test_studies_are_found_by_what_they_hold(small_ratings_csv, tmp_path, own_cache, small_reward):
    """A study of noise in a folder of any name; one without noise, and a sweep, are not."""
    studies = tmp_path / "studies"
    for name, source in (
        ("mine", "noise_vs_quality-semi-ml-100k"),
        ("noise", "sweep_jester-jester"),
    ):
        shutil.copytree(advise.RESULTS / source, studies / name)
    (studies / "unfinished").mkdir()
    text = advise.advise_on(str(small_ratings_csv), None, studies, tmp_path, "cpu")
    assert re.findall("Evidence: (.*) \\(", text) == ["mine"]
    shutil.rmtree(studies / "mine")
    with pytest.raises(
        UserError, match="studies holds no study of noise in the reward model; give"
    ):
        advise.advise_on(str(small_ratings_csv), None, studies, tmp_path, "cpu")
