"""Over-optimisation in a study: what its runs gained on their way from the reference, and where it
stopped paying. A table of observed gains, the two laws fitted to them, and a picture.

The curve of a run is the mean over its seeds, at the steps that all of them reached. Gains are
differences to the reference. They are judged by the truth where a study knows it, otherwise by the
judge, otherwise by nothing: the proxy cannot judge itself.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.over_optimisation import BEST_OF_N, RL, Fit, Floats, fit
from recsys_posttrain.files import write_parquet, write_text
from recsys_posttrain.report.figures import Curve, over_optimisation
from recsys_posttrain.report.render import NOTHING, decimal, escaped

MEANING = {
    "gold": "gold: the true reward",
    "judge": "judge: a reward model of other users, not the truth",
}


def mean_curves(points: pd.DataFrame) -> dict[str, Curve]:
    """By run, with the law that fits better.

    points: `Pipeline.trace` of every run, with `method` and `seed`. √KL is the root of the mean.
    """
    curves = {}
    for method, run in points.groupby("method", sort=False):
        steps = run.drop(columns=["method", "seed"]).groupby("step")
        mean = steps.mean()[steps.size() == run["seed"].nunique()]
        gain = mean - mean.iloc[0]  # step 0 is the reference
        curve = Curve(
            np.sqrt(mean["kl"].to_numpy()),
            gain["reward/proxy"].to_numpy(),
            gain["reward/gold"].to_numpy() if "reward/gold" in gain else None,
            gain["reward/judge"].to_numpy() if "reward/judge" in gain else None,
        )
        curves[str(method)] = curve._replace(fitted=next(iter(fits(curve)), None))
    return curves


def judged(curve: Curve) -> tuple[str, Floats] | None:
    """What the gains of a run are judged by, and those gains."""
    if curve.gold_N is not None:
        return "gold", curve.gold_N
    return None if curve.judge_N is None else ("judge", curve.judge_N)


def fits(curve: Curve) -> list[Fit]:
    """Both laws, the better fit first; none without a judge, or with fewer than two points away
    from the reference."""
    found = judged(curve)
    if found is None or (np.unique(curve.sqrt_kl_N) > 0).sum() < 2:
        return []
    both = [fit(law, curve.sqrt_kl_N, found[1]) for law in (RL, BEST_OF_N)]
    return sorted(both, key=lambda each: -each.r_squared)


def write_curves(points: pd.DataFrame, folder: Path, what: str) -> str:
    """Writes curves.parquet, over_optimisation.md and .png; returns a short text for the terminal.

    what: the data and targets, for the caption. Raises: UserError where matplotlib is missing, once
    the rest is written.
    """
    curves = mean_curves(points)
    write_parquet(points, folder / "curves.parquet")
    write_text(
        folder / "over_optimisation.md", curves_markdown(curves, what, points["seed"].nunique())
    )
    over_optimisation(curves, folder / "over_optimisation.png", "reward units")
    width = max(map(len, curves))
    return "\n".join(
        [
            "\nGains over the reference on the way",
            *(_line(name.ljust(width), curve) for name, curve in curves.items()),
            "written: over_optimisation.md, over_optimisation.png, curves.parquet",
        ]
    )


def curves_markdown(curves: dict[str, Curve], what: str, seeds: int) -> str:
    """A caption, the observed gains of each run, and the laws fitted to them."""
    head = ["run", "points", "largest KL", "proxy gain there"]
    caption = (
        f"Over-optimisation on {escaped(what)}; {seeds} seed{'s' if seeds > 1 else ''}, mean over "
        "targets and seeds. Gain: expected reward of one item drawn from the policy, items that "
        "the user has seen left out, minus that of the reference. KL to the reference in nats."
    )
    first = judged(next(iter(curves.values())))  # the same for all runs of a study
    if first is None:
        rows = [_cells(name, _observed(curve)) for name, curve in curves.items()]
        caption += " No truth and no judge: whether a gain of the proxy is a gain is unknown."
        return "\n".join([caption, "", *_head(head), *rows, ""])
    judge = first[0]
    observed = _head([*head, f"largest {judge} gain", "at KL"])
    observed += [_cells(name, _observed(curve)) for name, curve in curves.items()]
    laws = _head(["run", "law", "a", "b", "R²", "fitted peak KL", "peak observed"])
    laws += [_cells(name, _law(law)) for name, curve in curves.items() for law in fits(curve)]
    fitted = (
        f"The two laws of arXiv 2210.10760 fitted to {judge}, d = √KL: RL d (a - b log d), "
        "best-of-n d (a - b d). The better fit comes first. A peak that was not observed is an "
        "extrapolation."
    )
    return "\n".join([f"{caption} {MEANING[judge]}.", "", *observed, "", fitted, "", *laws, ""])


def _head(titles: list[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|:--|" + "--:|" * (len(titles) - 1)]


def _cells(name: str, cells: list[str]) -> str:
    return f"| {escaped(name)} | {' | '.join(cells)} |"


def _observed(curve: Curve) -> list[str]:
    cells = [str(len(curve.sqrt_kl_N)), *_farthest(curve)]
    found = judged(curve)
    return cells if found is None else [*cells, *_largest(curve, found[1])]


def _farthest(curve: Curve) -> tuple[str, str]:
    """The largest KL, and the gain of the proxy there."""
    n = curve.sqrt_kl_N.argmax()
    return f"{curve.sqrt_kl_N[n] ** 2:.3g}", decimal(curve.proxy_N[n], sign=True)


def _largest(curve: Curve, gain_N: Floats) -> tuple[str, str]:
    """The largest gain, and the KL where it is."""
    n = gain_N.argmax()
    return decimal(gain_N[n], sign=True), f"{curve.sqrt_kl_N[n] ** 2:.3g}"


def _law(found: Fit) -> list[str]:
    peak = NOTHING if found.peak_kl is None else f"{found.peak_kl:.3g}"
    seen = "no peak" if found.peak_kl is None else "yes" if found.is_peak_observed else "no"
    coefficients = [f"{value:.4g}" for value in (found.a, found.b)]
    return [found.law.name, *coefficients, decimal(found.r_squared), peak, seen]


def _line(name: str, curve: Curve) -> str:
    """For the terminal."""
    kl, proxy = _farthest(curve)
    line = f"  {name}  proxy {proxy} at KL {kl}"
    found = judged(curve)
    if found is None:
        return line
    gain, kl = _largest(curve, found[1])
    return f"{line}; {found[0]} at most {gain}, at KL {kl}"
