"""What the page and W&B draw of a study. Every panel is a chart of its own, so that a page can lay
them out for a laptop, a phone or paper."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.over_optimisation import mean_curves
from recsys_posttrain.plan import METRICS
from recsys_posttrain.report.noise_quality import (
    AXES,
    CONDITION,
    WHERE,
    axis_of,
    methods_drawn,
    noise_kinds,
    of_kind,
    swept,
)
from recsys_posttrain.report.study_folder import StudyFolder, by_line
from recsys_posttrain.report.svg import Line, Panel

GAINS = ("gold (truth)", "proxy (reward model)", "judge (of other users)")
SAME_QUALITY = 0.003  # less than this is not seen in a panel
DISTANCE = "√KL to the reference (√nat)"
# Of metrics.jsonl what methods can be compared by, with the label of the axis.
CURVES = {
    "loss": "loss, from its highest (1) to its lowest (0)",
    "kl": "KL to the reference (nat)",
    "entropy": "entropy of the policy (nat)",
    "reward/proxy": "mean reward by the reward model",
    "validation/ndcg@10": "NDCG@10, validation",
    "validation/ndcg@10 liked": "NDCG@10 liked, validation",
}
MOST_POINTS = 120  # of a training curve: more are not seen


def noise_against_quality(study: StudyFolder, column: str) -> list[Panel]:
    """One panel per place and kind of noise, one line per method: against how good the rewards
    are (`axis_of`), or against the level of a noise that does not change it."""
    table = by_line(study, column)
    names, found = methods_drawn(table), []
    for place, kind in noise_kinds(table):
        rows = of_kind(table, place, kind)
        quality = axis_of(rows)
        moves = bool(np.ptp(rows[quality]) > SAME_QUALITY)
        lines = []
        for name in names:
            one = rows[rows["method"] == name].sort_values("level")
            notes = [f"level {level:g}" for level in one["level"]]
            x = one[quality if moves else "level"]
            bounds = list(one["low"]), list(one["high"])
            lines.append(Line(name, list(x), list(one["mean"]), *bounds, notes))
        label = AXES[quality] if moves else f"level (same {AXES[quality]})"
        found.append(Panel(f"{kind}, {WHERE[place]}", label, column, lines, falls=moves))
    return found


def frontiers(frontier: pd.DataFrame) -> list[Panel]:
    """Value against the distance from the reference, for the conditions with several strengths."""
    found = []
    for place, kind, level in swept(frontier):
        title = f"{kind} {level:g}, {WHERE[place]}" if place else "no noise"
        at = frontier[(frontier[CONDITION] == [place, kind, level]).all(axis=1)]
        lines = [
            Line(
                str(name), list(np.sqrt(one["kl"])), list(one["value"]), notes=list(one["strength"])
            )
            for name, one in at.sort_values("kl").groupby("method", sort=False)
        ]
        found.append(Panel(title, DISTANCE, "value", lines))
    return found


def over_optimisation(points: pd.DataFrame) -> list[Panel]:
    """Of each run the gains of proxy, judge and gold over the reference."""
    found = []
    for run, curve in mean_curves(points).items():
        order_N = np.argsort(curve.sqrt_kl_N)
        gains = zip(GAINS, (curve.gold_N, curve.proxy_N, curve.judge_N), strict=True)
        x = list(curve.sqrt_kl_N[order_N])
        lines = [
            Line(name, x, list(gain_N[order_N])) for name, gain_N in gains if gain_N is not None
        ]
        found.append(Panel(run, DISTANCE, "gain in reward", lines))
    return found


def tuning(trials: pd.DataFrame) -> list[Panel]:
    """Of each algorithm the value of every trial, by noise, and the best so far. On the axis: a
    cross where a trial failed, a triangle where it was ended early."""
    found = []
    for algorithm, rows in trials.groupby("algorithm", sort=False):
        lowest, lines = rows["value"].min(), []
        for noise in rows["noise"].unique():
            cell = rows[rows["noise"] == noise].sort_values("trial")
            done, name = cell[cell["state"] == "complete"], str(noise) or "no noise"
            tried = list(done["trial"])
            lines.append(Line(name, tried, list(done["value"]), kind="marks"))
            lines.append(Line(name, tried, list(done["value"].cummax()), kind="steps"))
            for state in ("failed", "pruned"):
                ended = cell[cell["state"] == state]
                notes = list(ended["reason"].astype(str))
                y = [lowest] * len(ended)
                lines.append(Line(name, list(ended["trial"]), y, notes=notes, kind=state))
        found.append(Panel(str(algorithm), "trial", "validation value", lines))
    return found


def training(study: StudyFolder) -> list[Panel]:
    """What each method's training logged, of its first seed; none where its stages are not here."""
    first: dict[str, pd.DataFrame] = {}
    for name, stage in study.record.get("stages", {}).items():
        path = study.path.parent / "stages" / stage.get("folder", "") / METRICS
        method = name.rpartition("/")[0]
        if stage.get("folder", "").startswith("posttrain-") and path.is_file():
            first.setdefault(method, _logged(path.read_text(encoding="utf-8")))
    found = []
    for key, label in CURVES.items():
        lines = []
        for method, frame in first.items():
            if key in frame:
                shown = _thinned(frame.dropna(subset=[key]))
                y = shown[key]
                y = (y - y.min()) / (y.max() - y.min()) if key == "loss" and len(y) > 1 else y
                lines.append(Line(method, list(shown["step"]), list(y), kind="line"))
        if lines:
            found.append(Panel(key, "step", label, lines))
    return found


def _logged(text: str) -> pd.DataFrame:
    return pd.DataFrame([json.loads(line) for line in text.splitlines() if line])


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:: -(-len(frame) // MOST_POINTS) or 1]


def names(panels: Sequence[Panel]) -> tuple[str, ...]:
    """Of the lines, in their order, for a legend."""
    return tuple(dict.fromkeys(line.look or line.name for p in panels for line in p.lines))
