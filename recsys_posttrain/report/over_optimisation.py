"""The table of over-optimisation: what the runs of a study gained on their way from the reference,
and the two laws fitted to it (evaluation/over_optimisation.py has the numbers)."""

from pathlib import Path

import pandas as pd

from recsys_posttrain.basic_statistics import Floats
from recsys_posttrain.evaluation.over_optimisation import (
    MIN_POINTS,
    MIN_RANGE,
    Curve,
    Fit,
    fits,
    judged,
    mean_curves,
)
from recsys_posttrain.files import write_parquet, write_text
from recsys_posttrain.report.cells import (
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
_NOISE = {
    True: "over seeds, by a one-sided t test at .05",
    False: "of one seed about the law, without a law no peak is known",
}
_LAWS = ("run", "law", "a", "b", "R²", "fitted peak KL")


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
        "best-of-n d (a - b d), the better fit first. A law is left out where it predicts points "
        f"worse than a constant, and both where a run has fewer than {MIN_POINTS} points or they "
        f"reach over less than a factor of {MIN_RANGE:g} in √KL. A peak has lower points on both "
        f"sides, by more than their noise ({_NOISE[seeds > 1]}); a law has one only where the "
        "points do."
    )
    laws = [
        cells([name, *_law(law, curve)]) for name, curve in curves.items() for law in fits(curve)
    ]
    columns = headings(*head, f"largest {judge} gain", "at KL", "peak")
    if not laws:
        return Sheet(caption + " No law could be fitted.", [Block("", columns, observed)])
    fitted = Block(f"Laws fitted to {judge}", headings(*_LAWS, text=2), laws)
    return Sheet(caption, [Block("", columns, observed), fitted])


def _observed(curve: Curve) -> list[str]:
    cells = [str(len(curve.sqrt_kl_N)), *_farthest(curve)]
    found = judged(curve)
    return cells if found is None else [*cells, *_largest(curve, found[1]), _peak(curve)]


def _farthest(curve: Curve) -> tuple[str, str]:
    """The largest KL, and the gain of the proxy there."""
    n = curve.sqrt_kl_N.argmax()
    return f"{curve.sqrt_kl_N[n] ** 2:.3g}", decimal(curve.proxy_N[n], sign=True)


def _largest(curve: Curve, gain_N: Floats) -> tuple[str, str]:
    """The largest gain, and the KL where it is."""
    n = gain_N.argmax()
    return decimal(gain_N[n], sign=True), f"{curve.sqrt_kl_N[n] ** 2:.3g}"


def _law(found: Fit, curve: Curve) -> list[str]:
    peak = "no peak in range" if curve.peak_kl is None or found.peak_kl is None else ""
    coefficients = [f"{value:.4g}" for value in (found.a, found.b)]
    return [found.law.name, *coefficients, decimal(found.r_squared), peak or f"{found.peak_kl:.3g}"]


def _peak(curve: Curve) -> str:
    return "no peak in range" if curve.peak_kl is None else f"KL {curve.peak_kl:.3g}"


def _line(name: str, curve: Curve) -> str:
    """For the terminal."""
    kl, proxy = _farthest(curve)
    line = f"  {name}  proxy {proxy} at KL {kl}"
    found = judged(curve)
    if found is None:
        return line
    gain, kl = _largest(curve, found[1])
    return f"{line}; {found[0]} at most {gain}, at KL {kl}, {_peak(curve).replace('KL', 'peak at')}"
