"""A whole study on a small file: reused, repeated, changed, damaged and killed."""

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
import pytorch_lightning as pl

from recsys_posttrain.errors import UserError
from recsys_posttrain.provenance import git_commit
from recsys_posttrain.studies.agreement import study_agreement
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study, study_table

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
OWN = (Path(__file__).parents[1] / "own_algorithm.py").read_text(encoding="utf-8")
FILES = {"rows.parquet", "table.md", "table.tex", "reward_models.md", "run.json"}
FILES |= {"table.json", "reward_models.json"}


@pytest.fixture(autouse=True, scope="module")
def world(tmp_path_factory):
    """A working directory and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        Path("study.py").write_text(STUDY)
        yield


@pytest.fixture(scope="module")
def run(world, small_ratings_csv):
    def run_on_the_small_file(
        output, *overrides, seeds=1, file="study.py", eval_split="test", split=None
    ):
        csv = str(small_ratings_csv)
        options = Options(
            overrides=overrides,
            dataset=csv,
            seeds=seeds,
            workers=1,
            output=Path(output),
            eval_split=eval_split,
            split=split,
        )
        return run_study(Path(file), options)

    return run_on_the_small_file


@pytest.fixture(scope="module")
def finished(run):
    """Output folder of an uninterrupted study; copied by tests that change it."""
    run("finished")
    return Path("finished")


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def result(output):
    """The bytes of every file but run.json, which says how long each stage took."""
    files = (Path(output) / "study-small").iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "run.json"}


def stages(output):
    return {path.name: path.stat().st_mtime_ns for path in (Path(output) / "stages").iterdir()}


def of_kind(names, kind):
    return [name for name in names if name.startswith(f"{kind}-")]


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
    assert [each["algorithm"]["class"] for each in record["runs"]] == methods[2:]
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
    assert [each["algorithm"].get("temperature") for each in record["runs"]] == [None, 0.5, None]
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
        "disjoint users (0.2 policy, 0.2 reward model, 0.2 judge, 0.2 validation, 0.2 test)"
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
        "evaluate",
        "noise-report",
        "posttrain",
    ]
    record = json.loads((folder / "run.json").read_text())
    assert set(record["noise"]) == {"noisy"}
    assert record["noise"]["noisy"]["model"]["exploitable_share"] > 0.9
    rows = pd.read_parquet(folder / "rows.parquet")
    others = rows[rows["method"] != "noisy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, pd.read_parquet(finished / "study-small/rows.parquet"))


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
    study_table(folder, "BC", None)
    assert result(copied) == result(finished)
    study_table(folder, "BC", "ExpRSFT")
    assert "ExpRSFT" in capsys.readouterr().out
    assert b"percent of ExpRSFT" in (folder / "table.md").read_bytes()
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
