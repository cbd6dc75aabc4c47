"""Over-optimisation in a study: what its runs gained on their way from the reference, and where it
stopped paying. A table of observed gains, the two laws fitted to them, and a picture.

The curve of a run is the mean over its seeds, at the steps that all of them reached. Gains are
differences to the reference. They are judged by the truth where a study knows it, otherwise by the
judge, otherwise by nothing: the proxy cannot judge itself.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.overoptimisation import BEST_OF_N, RL, Fit, fit
from recsys_posttrain.report.figures import Curve, over_optimisation
from recsys_posttrain.report.render import NOTHING, decimal, escaped
from recsys_posttrain.stages import replacing

PROXY = "reward/proxy"
JUDGES = {"reward/gold": "gold", "reward/judge": "judge"}  # the first that is there counts
MEANING = {
    "gold": "gold: the true reward",
    "judge": "judge: a reward model of other users, not the truth",
}


def mean_curves(points: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By run: its points over seeds, in order of steps, with rewards as gains.

    points: `Pipeline.curve_of` of every run, with `method` and `seed`. `sqrt_kl` is the root of
    the mean KL.
    """
    curves = {}
    for method, run in points.groupby("method", sort=False):
        steps = run.drop(columns=["method", "seed"]).groupby("step")
        curve = steps.mean()[steps.size() == run["seed"].nunique()]
        rewards = [name for name in curve if name.startswith("reward/")]
        curve[rewards] -= curve.loc[0, rewards]
        curve["sqrt_kl"] = np.sqrt(curve["kl"])
        curves[str(method)] = curve
    return curves


def judged_by(points: pd.DataFrame) -> str | None:
    """The column that gains are judged by; None where there is only the proxy."""
    return next((name for name in JUDGES if name in points), None)


def fits(curve: pd.DataFrame, judge: str) -> list[Fit]:
    """Both laws, the better one first; none for a curve that has fewer than two points away from
    the reference."""
    if (curve["sqrt_kl"].drop_duplicates() > 0).sum() < 2:
        return []
    found = [fit(law, curve["sqrt_kl"], curve[judge]) for law in (RL, BEST_OF_N)]
    return sorted(found, key=lambda each: -each.r_squared)


def write_curves(points: pd.DataFrame, folder: Path, what: str) -> str:
    """Writes curves.parquet, over_optimisation.md and .png; returns a short text for the terminal.

    what: the data and targets, for the caption. Raises: UserError where matplotlib is missing, once
    the rest is written.
    """
    curves = mean_curves(points)
    with replacing(folder / "curves.parquet") as temporary:
        points.to_parquet(temporary)
    with replacing(folder / "over_optimisation.md") as temporary:
        temporary.write_text(curves_markdown(points, what), encoding="utf-8")
    over_optimisation(
        {name: _drawn(curve) for name, curve in curves.items()},
        folder / "over_optimisation.png",
        "reward units",
    )
    return "\n".join(
        [
            "\nGains over the reference on the way",
            *(_line(name, curve) for name, curve in curves.items()),
            f"written: {folder}/over_optimisation.md, over_optimisation.png, curves.parquet",
        ]
    )


def curves_markdown(points: pd.DataFrame, what: str) -> str:
    """A caption, the observed gains of each run, and the laws fitted to them."""
    curves, judge = mean_curves(points), judged_by(points)
    seeds = points["seed"].nunique()
    caption = (
        f"Over-optimisation on {what}; {seeds} seed{'s' if seeds > 1 else ''}, mean over targets "
        "and seeds. Gain: expected reward of one item drawn from the policy, items that the user "
        "has seen left out, minus that of the reference. KL to the reference in nats."
    )
    if judge is None:
        head = "| run | points | largest KL | proxy gain there |\n|:--|--:|--:|--:|"
        rows = [_cells(name, len(curve), *_last(curve)) for name, curve in curves.items()]
        missing = "No truth and no judge: whether a gain of the proxy is one is unknown."
        return "\n".join([f"{caption} {missing}", "", head, *rows, ""])
    title = JUDGES[judge]
    observed = [
        f"| run | points | largest KL | proxy gain there | largest {title} gain | at KL |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    laws = [
        "| run | law | a | b | R² | fitted peak KL | peak observed |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    for name, curve in curves.items():
        best = curve.loc[curve[judge].idxmax()]
        peak = (decimal(best[judge], sign=True), f"{best['kl']:.3g}")
        observed.append(_cells(name, len(curve), *_last(curve), *peak))
        laws += [_cells(name, *_law(found)) for found in fits(curve, judge)]
    fitted = (
        f"The two laws of arXiv 2210.10760 fitted to {title}, d = √KL: RL d (a - b log d), "
        "best-of-n d (a - b d). The better fit comes first. A peak that was not observed is an "
        "extrapolation."
    )
    return "\n".join([f"{caption} {MEANING[title]}.", "", *observed, "", fitted, "", *laws, ""])


def _last(curve: pd.DataFrame) -> tuple[str, str]:
    last = curve.loc[curve["kl"].idxmax()]
    return f"{last['kl']:.3g}", decimal(last[PROXY], sign=True)


def _law(found: Fit) -> tuple[str, ...]:
    peak = NOTHING if found.peak_kl is None else f"{found.peak_kl:.3g}"
    seen = "no peak" if found.peak_kl is None else "yes" if found.is_peak_observed else "no"
    return (
        found.law.name,
        f"{found.a:.4g}",
        f"{found.b:.4g}",
        decimal(found.r_squared),
        peak,
        seen,
    )


def _cells(name: str, *cells: object) -> str:
    return f"| {escaped(name)} | {' | '.join(map(str, cells))} |"


def _line(name: str, curve: pd.DataFrame) -> str:
    """For the terminal."""
    largest, proxy = _last(curve)
    line = f"  {name:<28}proxy {proxy} at KL {largest}"
    judge = judged_by(curve)
    if judge is None:
        return line
    best = curve.loc[curve[judge].idxmax()]
    gain = decimal(best[judge], sign=True)
    return f"{line}; {JUDGES[judge]} at most {gain}, at KL {best['kl']:.3g}"


def _drawn(curve: pd.DataFrame) -> Curve:
    judge = judged_by(curve)
    return Curve(
        curve["sqrt_kl"].to_numpy(),
        curve[PROXY].to_numpy(),
        *(curve[name].to_numpy() if name in curve else None for name in JUDGES),
        next(iter(fits(curve, judge)), None) if judge else None,
    )
