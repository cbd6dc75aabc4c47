"""A business mask in a study: in no list, in the names of stages, and in the policies it leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.data.never_shown import with_never_shown
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study

HERE = Path(__file__).parents[1]
MASK = ("1", "2", "7")


@pytest.fixture(scope="module")
def studied(tmp_path_factory, small_ratings_csv):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        Path("masked.txt").write_text("\n".join(MASK))
        overrides = ("never_shown=@masked.txt",)
        options = Options(overrides, dataset=str(small_ratings_csv), seeds=1, workers=1)
        yield run_study(HERE / "small_study.py", options)


def test_no_list_has_a_masked_item_and_no_target_is_one(studied, small_ratings_csv):
    rows = pd.read_parquet(studied / "rows.parquet")
    record = json.loads((studied / "run.json").read_text())
    events = pd.read_csv(small_ratings_csv).sort_values("timestamp", kind="stable")
    last = events.groupby("user_id")["item_id"].last()
    masked = int(last.isin([int(each) for each in MASK]).sum())
    assert 0 < masked == record["targets_never_shown"] == 60 - record["targets"]
    assert record["never_shown"] == 3
    assert not rows["item_id"].isin([int(each) for each in MASK]).any()
    pipeline = Pipeline(_study(small_ratings_csv).runs[0].setup, Path("runs"))
    shown = {item for each in rows["top50"] for item in each if item > 0}
    assert not shown & set(with_never_shown(pipeline.data.corpus, MASK).never_shown_M.tolist())
    assert len(shown) == pipeline.data.corpus.num_items - 3


def test_saved_policies_obey_without_being_told(studied, small_ratings_csv):
    policies = sorted(Path("runs/stages").glob("*train-*"))
    assert len(policies) == 4
    for folder in policies:
        shown = recommend(folder, None, None, 40, None)
        assert shown["item_id"].nunique() > 30
        assert not shown["item_id"].astype(str).isin(MASK).any()
    histories = recommend(policies[0], None, small_ratings_csv, 40, None)
    assert not histories["item_id"].astype(str).isin(MASK).any()


def test_the_mask_is_in_the_names_of_what_it_changes(studied, small_ratings_csv):
    base = _study(small_ratings_csv).runs[0]
    file, ids, none = (
        Pipeline(replace(base.setup, never_shown=mask), Path("runs")).keys
        for mask in (("@masked.txt",), ("7", "2", "1"), ())
    )
    assert file.pretrain == ids.pretrain
    assert ids.pretrain.folder != none.pretrain.folder
    assert ids.posttrain(base).folder != none.posttrain(base).folder
    assert ids.reward().folder == none.reward().folder
    assert file.pretrain.folder.exists()


def _study(csv):
    return load_study(HERE / "small_study.py", (), str(csv), seeds=1, data_root=None)
