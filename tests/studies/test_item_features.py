"""Item features in a study: `--item-features FILE`, known by what the file holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.algorithms import BC
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.features import ItemFeatures
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.override import override
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.studies.shared_stages import SharedStages

STUDY = Path(__file__).parents[1] / "small_study.py"


@pytest.fixture
def vectors(small_ratings_csv, tmp_path):
    """A file of all titles but the last, with two that the log does not have."""
    items = sorted(pd.read_csv(small_ratings_csv)["item_id"].unique().tolist())
    rng = np.random.default_rng(0)
    ids = [*items[:-1], 9001, 9002]
    frame = pd.DataFrame({"item_id": ids, "v": list(rng.standard_normal((len(ids), 3)))})
    frame.to_parquet(tmp_path / "vectors.parquet")
    frame[-2:].to_parquet(tmp_path / "new.parquet")
    return tmp_path / "vectors.parquet"


def test_a_setup_wraps_its_backbone(vectors):
    setup = Setup(backbone=SASRec(dim=8), item_features=str(vectors))
    assert setup.policy_backbone == ItemFeatures(str(vectors), SASRec(dim=8))
    assert setup.label == "SASRec"
    assert Setup().policy_backbone == SASRec()
    own = Setup(backbone=ItemFeatures(str(vectors), SASRec(dim=8), replaced=0.5))
    assert replace(own, item_features=str(vectors)).policy_backbone == own.backbone
    run = override(Run(setup=own, algorithm=BC()), "backbone.dim=16")
    assert run.setup.policy_backbone.backbone.dim == 16


def test_a_stage_is_known_by_the_content_of_the_file(vectors, small_ratings_csv, tmp_path):
    from recsys_posttrain.data import RatingsFile

    dataset = RatingsFile(str(small_ratings_csv))

    def key(path):
        setup = Setup(dataset=dataset, item_features=str(path) if path else "")
        return SharedStages(setup, tmp_path).keys.pretrain.folder

    (tmp_path / "copy.parquet").write_bytes(vectors.read_bytes())
    assert key(vectors) == key(tmp_path / "copy.parquet") != key("")
    pd.read_parquet(vectors)[1:].to_parquet(tmp_path / "copy.parquet")
    assert key(vectors) != key(tmp_path / "copy.parquet")


def test_from_the_command_line_to_a_title_of_tomorrow(
    end, vectors, small_ratings_csv, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    log, output = ("--dataset", small_ratings_csv), ("--output", tmp_path / "runs")
    settings = ("--item-features", vectors, "--methods", "BC", "--workers", 1)
    assert end("run", STUDY, *log, *output, *settings) == 0
    said = capsys.readouterr().err
    assert "vectors of 3 numbers for 39 of 40 items" in said
    assert "2 vectors of items that it does not have" in said
    (policy,) = (tmp_path / "runs" / "stages").glob("posttrain-*")
    vectors.rename(tmp_path / "gone.parquet")
    asked = ("recommend", policy, "--users", "7,new", "--k", 40, "--output", tmp_path / "top.csv")
    assert end(*asked, "--items", tmp_path / "new.parquet", "--unknown-users", "popularity") == 0
    lists = pd.read_csv(tmp_path / "top.csv")
    assert {9001, 9002} <= set(lists[lists["user_id"] == "7"]["item_id"])
    assert lists["user_id"].value_counts()["new"] == 40
    assert end(*asked, "--items", tmp_path / "new.parquet", "--tilt", "0.3") == 2
    assert "--tilt reads a reward model" in capsys.readouterr().err


def test_a_wrong_file_is_refused_before_anything_runs(end, small_ratings_csv, tmp_path, capsys):
    settings = ("--dataset", small_ratings_csv, "--output", tmp_path / "runs")
    assert end("run", STUDY, *settings, "--item-features", tmp_path / "none.parquet") == 2
    assert "There is no file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match=r"Setup: item_features=5 must be the path"):
        Setup(item_features=5)
