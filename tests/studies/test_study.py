"""A whole study on a small file: reused, repeated, changed, damaged and killed."""

import json
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
from study_factory import of_kind, result, stages

from recsys_posttrain.errors import UserError
from recsys_posttrain.provenance import git_commit
from recsys_posttrain.studies.agreement import study_agreement
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
FILES = {"rows.parquet", "table.md", "table.tex", "reward_models.md", "run.json"}
FILES |= {"table.json", "reward_models.json"}


def test_what_a_study_leaves_behind(finished, small_ratings_csv):
    folder = finished / "study-small"
    assert {path.name for path in folder.iterdir()} >= FILES
    assert not [path for path in folder.iterdir() if path.name.startswith((".", "over_", "curves"))]
    rows = pd.read_parquet(folder / "rows.parquet")
    methods = ["Popularity", "Pretrained", "BC", "ExpRSFT", "OfflinePPO"]
    assert rows["method"].drop_duplicates().tolist() == methods
    assert rows.groupby("method")["user_id"].nunique().tolist() == [60] * 5
    assert set(rows["seed"]) == {0}
    table = (folder / "table.md").read_text()
    for method in methods:
        assert f"| {method} |" in table.replace("**", "")
        mean = rows[rows["method"] == method]["ndcg@10"].mean()
        assert f"{mean:.4f}"[1:] in table
    assert "BC" in (folder / "table.tex").read_text()

    record = json.loads((folder / "run.json").read_text())
    command = f"recsys-posttrain run study.py --dataset {small_ratings_csv} --seeds 1"
    assert record["command"] == command
    assert record["commit"] == git_commit()
    assert record["seeds"] == [0]
    assert record["steps"] == [8]  # 2 epochs of 60 users in batches of 16
    assert set(record["stages"]) == {"pretrained", "reward", "BC/0", "ExpRSFT/0", "OfflinePPO/0"}
    assert {stage["folder"] for stage in record["stages"].values()} <= set(stages(finished))
    assert [each["algorithm"]["class"] for each in record["runs"]] == methods
    assert [each["trained"] for each in record["runs"]] == [False, False, True, True, True]
    assert not [path for path in finished.iterdir() if path.name.startswith(".partial")]


def test_a_second_run_reuses_everything(run, copied, monkeypatch, capsys):
    before = stages(copied)
    expected = result(copied)

    def fail(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(pl.Trainer, "fit", fail)
    run(copied)
    assert "0 built" in capsys.readouterr().out
    assert stages(copied) == before
    assert result(copied) == expected


def test_the_same_seed_gives_the_same_rows_from_nothing(run, finished, tmp_path):
    run(tmp_path)
    assert result(tmp_path) == result(finished)


def test_another_seed_is_another_row_of_every_trained_method(run, finished, copied):
    run(copied, seeds=2)
    rows = pd.read_parquet(copied / "study-small" / "rows.parquet")
    seeds = rows.groupby("method")["seed"].unique().map(sorted).to_dict()
    assert seeds == {
        "Popularity": [0],
        "Pretrained": [0],
        "BC": [0, 1],
        "ExpRSFT": [0, 1],
        "OfflinePPO": [0, 1],
    }
    new = set(stages(copied)) - set(stages(finished))
    assert len(of_kind(new, "posttrain")) == len(of_kind(new, "evaluate")) == len(new) / 2 == 3
    bc = rows[rows["method"] == "BC"]
    assert bc[bc["seed"] == 0]["mrr"].tolist() != bc[bc["seed"] == 1]["mrr"].tolist()


def test_a_changed_algorithm_trains_that_one_again(run, finished, copied):
    folder = run(copied, "algorithm.temperature=0.5")
    new = set(stages(copied)) - set(stages(finished))
    assert len(of_kind(new, "posttrain")) == len(of_kind(new, "evaluate")) == len(new) / 2 == 1
    assert folder.parent == copied
    assert folder.name.startswith("study-small-")
    assert result(copied) == result(finished), "the study without --set keeps its own folder"
    record = json.loads((folder / "run.json").read_text())
    found = [each["algorithm"].get("temperature") for each in record["runs"] if each["trained"]]
    assert found == [None, 0.5, None]
    assert record["command"].endswith(" --seeds 1 --set algorithm.temperature=0.5")


def test_the_validation_table_trains_nothing_and_is_another_folder(
    run, finished, copied, small_ratings_csv
):
    """Its rows are those of the validation targets: each user's last event but one."""
    folder = run(copied, eval_split="validation")
    assert folder.name == "study-small-validation"
    new = set(stages(copied)) - set(stages(finished))
    assert len(new) == len(of_kind(new, "evaluate")) == 5
    assert result(copied) == result(finished)
    study = load_study(Path("study.py"), [], str(small_ratings_csv), 1, None)
    data = Pipeline(study.runs[0].setup, copied).data
    found = pd.read_parquet(folder / "rows.parquet").query("method == 'BC'")
    expected = data.corpus.item_ids[data.validation.items_N.numpy() - 1]
    assert found["item_id"].tolist() == expected.tolist()
    assert "validation targets" in (folder / "table.md").read_text()


SHARES = [f"split.{name}=0.2" for name in ("train", "reward", "judge", "validation", "test")]


def test_another_split_is_another_study_with_a_caption_of_its_own(run, copied):
    """Shares are changed one by one, so that they sum to 1 at the end only."""
    folder = run(copied, *SHARES, split="user-holdout")
    assert folder.name.startswith("study-small-user-holdout-")
    record = json.loads((folder / "run.json").read_text())
    assert "--seeds 1 --split user-holdout --set split.train=0.2 " in record["command"]
    assert record["split"] == (
        "disjoint users (0.2 policy, 0.2 reward model, 0.2 judge, 0.2 validation with 5 events "
        "each, 0.2 test)"
    )
    assert "judge" in record["stages"]
    text = (folder / "table.md").read_text()
    assert f"small, {record['split']}; 12 users; 12 targets" in text
    assert "| reward judge@10 ↑ |" in text
    assert "Judge on small" in (folder / "judge.md").read_text()
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows["reward/judge@10"].notna().all()

    study_agreement(folder, copied / "study-small")
    agreed = (folder / "agreement-study-small.md").read_text()
    assert (
        f"small, {record['split']} (commit {git_commit()}) against small, leave-one-out" in agreed
    )
    assert "| NDCG@10 all | 4 |" in agreed
    assert "judge" not in agreed.split("| column |")[1]
    with pytest.raises(UserError, match=r"run.json does not exist: give the folder of a finished"):
        study_agreement(folder, copied)


def test_a_split_by_time_counts_targets_that_nothing_was_trained_on(run, tmp_path):
    """60 users in a random order of sittings: most later events are of users unseen before."""
    folder = run(tmp_path, "split.targets_per_user=2", split="global-time")
    record = json.loads((folder / "run.json").read_text())
    rows = pd.read_parquet(folder / "rows.parquet").query("method == 'BC'")
    assert rows.groupby("user_id").size().max() == 2
    assert record["targets"] == len(rows)
    study = load_study(
        Path("study.py"),
        ["split.targets_per_user=2"],
        record["runs"][0]["setup"]["dataset"]["path"],
        1,
        None,
        split="global-time",
    )
    data = Pipeline(study.runs[0].setup, tmp_path).data
    trained = set(data.corpus.item_ids[data.train.items_E.numpy() - 1])
    unseen = [item for item in rows["item_id"] if item not in trained]
    assert record["targets_of_untrained_items"] == len(unseen)
    with pytest.raises(UserError, match=r"shares train=0.7, .* sum to 1, not to 0.9"):
        run(tmp_path, "split.train=0.7", split="global-time")


def test_how_a_study_was_tuned_and_its_lengths_are_in_the_caption(run, copied):
    runs = """
TUNING = "three trials each"
RUNS = [BASE, replace(BASE, name="short", posttraining=Training(steps=3, batch_size=16))]
"""
    Path("tuned.py").write_text(STUDY + runs)
    text = (run(copied, file="tuned.py") / "table.md").read_text()
    assert "tuning budget: three trials each" in text
    assert "3 or 8 post-training steps" in text


def test_noise_is_a_run_of_its_own_beside_the_others(run, finished, copied):
    runs = """
from recsys_posttrain.rewards.noise import ItemBias, RewardNoise
RUNS += [replace(RUNS[2], name="noisy", noise=RewardNoise(model=ItemBias(1.0)))]
"""
    Path("noisy.py").write_text(STUDY + runs)
    folder = run(copied, file="noisy.py")
    new = set(stages(copied)) - set(stages(finished))
    assert sorted(name.rpartition("-")[0] for name in new) == [
        *("axis", "axis"),
        "evaluate",
        "noise-report",
        "posttrain",
    ]
    record = json.loads((folder / "run.json").read_text())
    assert set(record["noise"]) == {"noisy"}
    assert record["noise"]["noisy"]["model"]["error_deviation"] > 0.5
    rows = pd.read_parquet(folder / "rows.parquet")
    others = rows[rows["method"] != "noisy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, pd.read_parquet(finished / "study-small/rows.parquet"))
