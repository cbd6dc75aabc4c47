"""Base models: each backbone, pretrained with the default recipe from several seeds.

    python experiments/base_models.py [--dataset ml-1m] [--seeds 3] [--only SASRec] [--epochs 64]

A script and not a list of RUNS: here the pretraining is what differs. It uses the same stages, so
it continues where it was interrupted, and with the default epochs `make benchmark` finds the policy
of seed 0 ready. More epochs never read the test targets: validation ends them.
Intervals are over users and pretraining seeds. `HSTU, target time` knows when its target happens
(see models/hstu.py) and is not to be compared with the others.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_posttrain.endings import exit_code
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.files import write_json, write_parquet, write_text
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.report.cells import Cell, cells, headings
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.stats.bootstrap import bootstrap_interval
from recsys_posttrain.store import read_stage
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.worlds.catalog import dataset_named

BACKBONES: dict[str, BackboneConfig] = {
    "SASRec": SASRec(),
    "HSTU": HSTU(),
    # As base_search.py chose with the time.
    "HSTU, four blocks": HSTU(blocks=4, heads=2),
    "HSTU, target time": HSTU(blocks=4, heads=2, target_time=True),
}
METRICS = {"HR@10": "hr@10", "NDCG@10": "ndcg@10"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=BACKBONES, action="append", help="may be given twice")
    parser.add_argument("--epochs", type=int, default=PRETRAINING.epochs, help="at most")
    parser.add_argument("--stages", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()

    dataset = dataset_named(arguments.dataset, arguments.data_root)
    training = replace(PRETRAINING, epochs=arguments.epochs)
    stages: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for name in arguments.only or BACKBONES:
        for seed in range(arguments.seeds):
            setup = Setup(
                dataset=dataset, backbone=BACKBONES[name], pretraining=training, seed=seed
            )
            pipeline = Pipeline(setup, arguments.stages)
            stages.setdefault(name, []).append(read_stage(pipeline.pretrain()))
            frame = evaluate(pipeline.load_pretrained(), pipeline.data).per_user
            rows.append(frame.assign(method=name, seed=seed))
            print(
                f"{name}, seed {seed}: {stages[name][-1]['record']}, "
                f"{frame[list(METRICS.values())].mean().round(4).to_dict()}",
                flush=True,
            )

    longer = f"-{training.epochs}-epochs" if training != PRETRAINING else ""
    folder = arguments.output / f"base_models-{dataset.name}{longer}"
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.concat(rows, ignore_index=True)
    write_parquet(frame, folder / "rows.parquet")
    record = {"commit": git_commit(), "versions": package_versions(), "stages": stages}
    write_json(folder / "run.json", record)
    write_text(folder / "table.md", text := table(frame, stages))
    print(text)


def table(frame: pd.DataFrame, stages: dict[str, list[dict[str, Any]]]) -> str:
    """One row per backbone: means over seeds with 95% intervals over users and seeds."""
    rows = []
    for name, built in stages.items():
        row = cells([name, str(len(built))])
        for metric in METRICS.values():
            values_SN = np.stack(
                [each[metric] for _, each in frame[frame["method"] == name].groupby("seed")]
            )
            found = bootstrap_interval(values_SN, rng=np.random.default_rng(0))
            row.append(Cell(f"{found.value:.4f}", f"[{found.low:.4f}, {found.high:.4f}]"))
        best = ", ".join(f"{each['record']['best_value']:.4f}" for each in built)
        steps = ", ".join(f"{each['record']['steps']:,}" for each in built)
        rows.append([*row, *cells([best, steps])])
    names = ("backbone", "pretraining seeds", *METRICS, "validation NDCG@10", "steps")
    return markdown_table(headings(*names), rows) + "\n"


if __name__ == "__main__":
    sys.exit(exit_code(main))
