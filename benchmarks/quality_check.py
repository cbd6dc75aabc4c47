"""Judges the rows of experiments/quality.py: has every fast path the quality of the exact one?

    make quality
    python benchmarks/quality_check.py runs/quality-ml-100k-full-seeds [--renew]
    python benchmarks/quality_check.py runs/two/... --as quality-ml-100k-full-seeds

A path passes where each of its METRICS, a mean over targets and seeds, is within the interval of
the control: mean +- t sd sqrt(2 / S) over the S seeds, which holds the mean of S other seeds 95
times of 100. The control itself has to lie within the interval of the committed one, which
results/quality_check.json holds and --renew writes anew; with --as it is that of another study, for
one that several processes pretrained. Exit code 1 where something does not. A path whose values are
all those of the control tried nothing, which is said: a machine that multiplies bfloat16 no faster
takes float32 for it.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student
from shared.workload import write_result

from recsys_posttrain.endings import exit_code
from recsys_posttrain.errors import UserError
from recsys_posttrain.report.study_folder import study_folder

METRICS = ("ndcg@10", "hr@10", "reward/proxy@10")
EXPECTED = Path(__file__).parent / "results" / "quality_check.json"
CONFIDENCE = 0.95
Record = dict[str, Any]


def by_seed(rows: pd.DataFrame) -> dict[str, Record]:
    """By row the mean of each metric for each seed."""
    found: dict[str, Record] = {}
    for (method, _), of_seed in rows.groupby(["method", "seed"], sort=False):
        values = found.setdefault(str(method), {metric: [] for metric in METRICS})
        for metric in METRICS:
            values[metric].append(float(of_seed[metric].mean()))
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Where the mean of as many other seeds lies."""
    count = len(values)
    if count < 2:
        raise UserError(f"the study has {count} seed: an interval needs two; give --seeds 3")
    reach = student.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(values, ddof=1)
    half = float(reach * np.sqrt(2 / count))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def verdicts(found: Mapping[str, Record], expected: Mapping[str, Record]) -> pd.DataFrame:
    """A line per path and metric. expected: of the controls; without one a control is not judged.

    Raises: UserError where a path has no control.
    """
    lines = []
    for name, values in found.items():
        what, _, path = name.rpartition(", ")
        if not what:  # rows of every study, which are no paths
            continue
        is_control = path == "exact"
        control = expected.get(name) if is_control else found.get(f"{what}, exact")
        if control is None and not is_control:
            raise UserError(f"{name} has no control in the study: give a run '{what}, exact'")
        if control is None:
            continue
        for metric in METRICS:
            low, high = interval(control[metric])
            mean = float(np.mean(values[metric]))
            ok = low <= mean <= high
            line = {"path": name, "metric": metric, "mean": mean, "low": low, "high": high}
            lines.append({**line, "passes": ok})
    return pd.DataFrame(lines)


def untried(found: Mapping[str, Record]) -> list[str]:
    """The paths that have every value of their control."""
    controls = {name: f"{name.rpartition(', ')[0]}, exact" for name in found}
    return [
        name
        for name, control in controls.items()
        if name != control and control in found and found[name] == found[control]
    ]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="finished folders of the study")
    parser.add_argument("--as", dest="name", help="whose committed control, where not its own")
    parser.add_argument("--renew", action="store_true", help="the controls are the expected ones")
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)  # a folder, for tests
    arguments = parser.parse_args(words)
    stored = (arguments.output or EXPECTED.parent) / EXPECTED.name
    known = json.loads(stored.read_text())["controls"] if stored.exists() else {}
    controls, failed = {}, 0
    for folder in arguments.studies:
        study = study_folder(folder)
        if (rows := study.frame("rows.parquet")) is None:
            raise UserError(f"{folder} has no rows.parquet: give the folder of a finished study")
        found = by_seed(rows)
        name = arguments.name or folder.resolve().name
        lines = verdicts(found, {} if arguments.renew else known.get(name, {}))
        controls[name] = {row: found[row] for row in found if row.endswith(", exact")}
        seeds = len(next(iter(found.values()))[METRICS[0]])
        print(f"\n{name}, {seeds} seeds: mean over targets and seeds, and the control's interval")
        print(lines.to_string(index=False, float_format="{:.4f}".format))
        failed += int((~lines["passes"]).sum())
        if same := untried(found):
            print(f"the same as their control in every value, so not tried: {'; '.join(same)}")
    if arguments.renew:
        write_result(Path(__file__), {"metrics": METRICS, "controls": controls}, arguments.output)
    print(f"\n{failed} of the comparisons fail" if failed else "\nevery path reaches its control")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
