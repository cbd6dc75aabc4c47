"""A sweep of a log with item features, a policy and a reward model from files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.sweep.run import Options, run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"
GIVEN_ITEMS = """
import recsys_posttrain as rp
def reward(frame):
    return 3 + frame["item_id"] % 2
REWARD_MODEL = rp.RewardFunction(reward)
"""


@pytest.fixture
def log(small_ratings_csv, tmp_path, monkeypatch, own_cache):
    """In a folder with the vectors of its items and with a reward model of given items."""
    monkeypatch.chdir(tmp_path)
    items = pd.read_csv(small_ratings_csv)["item_id"].unique()
    rng = np.random.default_rng(0)
    vectors = pd.DataFrame({"item_id": items, "v": list(rng.standard_normal((len(items), 3)))})
    vectors.to_parquet("vectors.parquet")
    Path("mine.py").write_text(GIVEN_ITEMS)
    Path("short.py").write_text(
        "from dataclasses import replace\nfrom small_sweep import SWEEP\n"
        "SWEEP = replace(SWEEP, trials=1, seeds=(0,), noise=SWEEP.noise[:1])"
    )
    Path("model.py").write_text(
        "from dataclasses import replace\nfrom short import SWEEP\n"
        "SWEEP = replace(SWEEP, methods=SWEEP.methods[2:])"
    )
    return str(small_ratings_csv)


def keys(kind):
    return [json.loads((each / "stage.json").read_text())["key"] for each in Path().glob(kind)]


def test_features_and_a_reward_model_of_given_items(log):
    options = Options(log, changes=("item_features=vectors.parquet",), own=OwnFiles("mine.py"))
    folder = run_sweep(Path("short.py"), options)
    assert folder.name.startswith("short-small-")
    (key,) = keys("runs/stages/pretrain-*")
    assert key["backbone"]["class"] == "ItemFeatures"
    (key,) = keys("runs/stages/reward-[0-9a-f]*")
    assert key["reward"]["class"] == "RewardFunction"
    rows = pd.read_parquet(folder / "rows.parquet")
    assert {"BC", "ExpRSFT"} <= set(rows["method"])
    assert "OfflinePPO" not in set(rows["method"])
    text = (folder / "table.md").read_text()
    assert "no row for OfflinePPO, no trial completed: RewardFunction scores given items" in text
    command = json.loads((folder / "run.json").read_text())["command"]
    wanted = "sweep short.py", "--item-features vectors.parquet", "--reward-model mine.py"
    assert all(words in command for words in wanted)


def test_what_no_method_can_read_is_refused_before_anything_is_trained(log):
    options = Options(log, own=OwnFiles("mine.py"))
    with pytest.raises(UserError, match=r"OfflinePPO \(RewardFunction scores .*; give others"):
        run_sweep(Path("model.py"), options)
    both = options._replace(changes=("item_features=none.parquet",))
    with pytest.raises(UserError, match=r"none.parquet"):
        run_sweep(Path("short.py"), both)
    assert not Path("runs/stages").exists()
