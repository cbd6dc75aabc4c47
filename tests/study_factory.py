"""A finished study's folder, from drawn rows: what `recsys-posttrain run` and `sweep` leave."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.report.caption import Provenance
from recsys_posttrain.report.cells import Block, Sheet, cells, headings, write_sheet
from recsys_posttrain.report.table import comparison_table, write_table

USERS = 30
NOISY = "PPO, item bias 0.6"
LEVELS = {"Popularity": 0.1, "Pretrained": 0.3, "BC": 0.32, "PPO": 0.4, NOISY: 0.25}


def write_finished_study(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    frames = []
    for method, level in LEVELS.items():
        for seed in (0,) if method in ("Popularity", "Pretrained") else (0, 1):
            columns = {
                "user_id": np.arange(USERS),
                "item_id": np.arange(USERS) % 7 + 1,
                "reward": np.arange(USERS) % 5 + 1.0,
                "total_reward": np.arange(USERS) % 5 + 1.0,
                "ndcg@10": (level + rng.normal(0, 0.1, USERS)).clip(0, 1),
                "hr@10": (rng.random(USERS) < level).astype(float),
                "reward/proxy@10": 3 + level + rng.normal(0, 0.1, USERS),
                "reward/gold@5": 3 - level + rng.normal(0, 0.1, USERS),
                "top10": [rng.permutation(20)[:10] + 1 for _ in range(USERS)],
            }
            frames.append(pd.DataFrame(columns).assign(method=method, seed=seed))
    rows = pd.concat(frames, ignore_index=True)
    rows.to_parquet(folder / "rows.parquet")
    provenance = Provenance(dataset="drawn", command="recsys-posttrain run drawn.py")
    write_table(comparison_table(rows, num_items=20, provenance=provenance), folder)
    (folder / "run.json").write_text(json.dumps(RECORD))
    pd.DataFrame(TRIALS, columns=TRIAL_COLUMNS).to_csv(folder / "trials.csv", index=False)
    curves = {"method": "PPO", "seed": 0, "step": [0, 1, 2], "kl": [0.0, 0.25, 1.0]}
    curves |= {"reward/proxy": [3.0, 3.5, 4.0], "reward/gold": [3.0, 3.2, 3.1]}
    pd.DataFrame(curves).to_parquet(folder / "curves.parquet")
    block = Block("", headings("model", "RMSE"), [cells(["mean", "1.1049"])])
    write_sheet(folder / "reward_models.json", Sheet("Of reward models.", [block]))
    return folder


def _run(name: str, algorithm: str, level: float = 0.0) -> dict[str, object]:
    model = {"class": "ItemBias", "level": level} if level else None
    noise = {"class": "RewardNoise", "model": model, "log": None}
    return {"class": "Run", "algorithm": {"class": algorithm}, "name": name, "noise": noise}


RECORD = {
    "name": "drawn",
    "dataset": "drawn",
    "users": USERS,
    "seeds": [0, 1],
    "commit": "0123456789",
    "command": "recsys-posttrain run drawn.py",
    "versions": {"python": "3.11.7"},
    "runs": [_run("", "BC"), _run("PPO", "OfflinePPO"), _run(NOISY, "OfflinePPO", level=0.6)],
    "noise": {
        NOISY: {
            "model": {
                "pairwise_accuracy": 0.55,
                "rmse": 1.2,
                "projected_truth": 0.2,
                "clean_pairwise_accuracy": 0.7,
                "clean_rmse": 0.9,
                "clean_projected_truth": 0.6,
            }
        }
    },
}
TRIAL_COLUMNS = [
    *("algorithm", "noise", "trial", "state", "reason", "value", "seconds", "param.temperature")
]
TRIALS = [
    ["PPO", "", 0, "complete", "", 0.31, 2.5, 0.5],
    ["PPO", "", 1, "failed", "the loss is not finite", None, 1.5, 9.0],
    ["PPO", "ItemBias 0.6", 0, "complete", "", 0.29, 2.0, 1.0],
]


def result(output):
    """The bytes of every file but run.json, which says how long each stage took."""
    files = (Path(output) / "study-small").iterdir()
    return {path.name: path.read_bytes() for path in files if path.name != "run.json"}


def stages(output):
    return {path.name: path.stat().st_mtime_ns for path in (Path(output) / "stages").iterdir()}


def of_kind(names, kind):
    return [name for name in names if name.startswith(f"{kind}-")]


def isolate_wandb(patch, own):
    """No login, no folder outside of the test's own, and nobody who answers."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "WANDB_PROJECT"):
        patch.delenv(name, raising=False)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        patch.setenv(name, str(own / name))
    patch.setenv("NETRC", str(own / "netrc"))
    patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
