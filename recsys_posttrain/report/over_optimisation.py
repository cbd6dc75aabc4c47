"""The table of over-optimisation: what the runs of a study gained on their way from the reference,
and the two laws fitted to it (evaluation/over_optimisation.py has the numbers)."""

from pathlib import Path

import pandas as pd

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.evaluation.over_optimisation import (
    Curve,
    Fit,
    fits,
    judged,
    mean_curves,
)
from recsys_posttrain.files import write_parquet, write_text
from recsys_posttrain.report.cells import (
    NOTHING,
    Block,
    Sheet,
    cells,
    decimal,
    headings,
    write_sheet,
)
from recsys_posttrain.report.figures import over_optimisation
from recsys_posttrain.report.render import markdown

MEANING = {
    "gold": "gold: the true reward",
    "judge": "judge: a reward model of other users, not the truth",
}
_LAWS = ("run", "law", "a", "b", "R²", "fitted peak KL", "peak observed")


def write_curves(points: pd.DataFrame, folder: Path, what: str) -> str:
    """Writes curves.parquet, over_optimisation.md, .json and .png; returns a short text for the
    terminal.

    what: the data and targets, for the caption. Raises: UserError where matplotlib is missing, once
    the rest is written.
    """
    curves = mean_curves(points)
    sheet = curves_sheet(curves, what, points["seed"].nunique())
    write_parquet(points, folder / "curves.parquet")
    write_text(folder / "over_optimisation.md", markdown(sheet))
    write_sheet(folder / "over_optimisation.json", sheet)
    over_optimisation(curves, folder / "over_optimisation.png", "reward units")
    width = max(map(len, curves))
    return "\n".join(
        [
            "\nGains over the reference on the way",
            *(_line(name.ljust(width), curve) for name, curve in curves.items()),
            "written: over_optimisation.md, over_optimisation.png, curves.parquet",
        ]
    )


def curves_sheet(curves: dict[str, Curve], what: str, seeds: int) -> Sheet:
    """The observed gains of each run, and the laws fitted to them."""
    head = ["run", "points", "largest KL", "proxy gain there"]
    caption = (
        f"Over-optimisation on {what}; {seeds} seed{'s' if seeds > 1 else ''}, mean over "
        "targets and seeds. Gain: expected reward of one item drawn from the policy, items that "
        "the user has seen left out, minus that of the reference. KL to the reference in nats."
    )
    observed = [cells([name, *_observed(curve)]) for name, curve in curves.items()]
    first = judged(next(iter(curves.values())))  # the same for all runs of a study
    if first is None:
        caption += " No truth and no judge: whether a gain of the proxy is a gain is unknown."
        return Sheet(caption, [Block("", headings(*head), observed)])
    judge = first[0]
    caption += (
        f" {MEANING[judge]}. The two laws of arXiv 2210.10760, d = √KL: RL d (a - b log d), "
        "best-of-n d (a - b d). The better fit comes first. A peak that was not observed is an "
        "extrapolation."
    )
    laws = [cells([name, *_law(law)]) for name, curve in curves.items() for law in fits(curve)]
    columns = headings(*head, f"largest {judge} gain", "at KL")
    fitted = Block(f"Laws fitted to {judge}", headings(*_LAWS, text=2), laws)
    return Sheet(caption, [Block("", columns, observed), fitted])


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
