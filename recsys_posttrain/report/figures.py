"""Figures as PNG or PDF files, without a screen and without matplotlib's global state.

Lines differ in marker, dash and brightness, so that a print in grey says as much as the screen.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.over_optimisation import Fit, Floats
from recsys_posttrain.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Dark to light; with these dashes and markers no two lines look alike in grey.
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#111111", "linestyle": "-", "marker": "o"},
    {"color": "#1f5f8b", "linestyle": "--", "marker": "s"},
    {"color": "#b5522a", "linestyle": "-.", "marker": "^"},
    {"color": "#5f9e6e", "linestyle": (0, (1, 1)), "marker": "D"},
    {"color": "#b48ead", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": "#a0a0a0", "linestyle": (0, (8, 2)), "marker": "P"},
)


class Curve(NamedTuple):
    """What one method did along its way from the reference: N checkpoints in any order.

    proxy_N, gold_N, judge_N: by the reward model, in truth and by the judge, where there are such,
    as differences to the reference. fitted: a law fitted to gold, or to the judge without it.
    """

    sqrt_kl_N: Floats
    proxy_N: Floats
    gold_N: Floats | None = None
    judge_N: Floats | None = None
    fitted: Fit | None = None


def over_optimisation(curves: Mapping[str, Curve], path: Path, unit: str = "reward") -> None:
    """Gold, proxy and judge against sqrt KL, one panel per method on common axes, written to
    `path`.

    unit: of the reward, for the label. A dotted line is the fitted law, a vertical one its peak
    where that lies in the observed range.
    Raises: UserError without a curve, or where matplotlib is missing.
    """
    require(curves, "over_optimisation: there is no curve to draw; give at least one method.")
    columns = math.ceil(math.sqrt(len(curves)))
    figure, axes = panels(-(-len(curves) // columns), columns, are_shared=True)
    for axis, (name, curve) in zip(axes, curves.items(), strict=False):
        order_N = np.argsort(curve.sqrt_kl_N)
        for label, values_N, line in (
            ("proxy (reward model)", curve.proxy_N, LINES[1]),
            ("judge (of other users)", curve.judge_N, LINES[4]),
            ("gold (truth)", curve.gold_N, LINES[0]),
        ):
            if values_N is not None:
                axis.plot(curve.sqrt_kl_N[order_N], values_N[order_N], label=label, ms=4, **line)
        if curve.fitted is not None:
            judge = "judge" if curve.gold_N is None else "gold"
            _draw_fit(axis, curve.fitted, f"law fitted to {judge}", float(curve.sqrt_kl_N.max()))
        axis.axhline(0, color="#bbbbbb", lw=0.8)
        axis.set(title=plain(name), xlabel="√KL to the reference (√nat)")
        axis.xaxis.set_tick_params(labelbottom=True)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel(f"gain over the reference\n({unit})")
    entries: dict[str, Artist] = {}
    for axis in axes:
        lines, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, lines, strict=True))
    figure.legend(
        list(entries.values()), list(entries), loc="outside upper center", ncols=2, frameon=False
    )
    save(figure, path)


def _draw_fit(axis: "Axes", fit: Fit, label: str, largest: float) -> None:
    grid = np.linspace(0, largest, 200)
    axis.plot(grid, fit.gold(grid), color="#b5522a", ls=":", lw=2, label=label, zorder=3)
    if fit.peak_kl is not None and fit.is_peak_observed:
        axis.axvline(fit.peak_kl**0.5, color="#888888", lw=0.8, label="peak of the law")
    note = f"{fit.law.name} law, R² {fit.r_squared:.3f}"
    axis.annotate(note, (0.03, 0.94), xycoords="axes fraction", va="top", fontsize=9)


def panels(
    rows: int, columns: int, *, are_shared: bool = False, width: float = 4.2, height: float = 3.4
) -> tuple["Figure", list["Axes"]]:
    """A figure and its axes, row by row; width and height in inches are those of one panel.

    Raises: UserError where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "figures need matplotlib, which is not installed; install recsys-posttrain[figures]."
        ) from error
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=are_shared, sharey=are_shared)
    axes: list[Axes] = list(grid.flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plain(text: str) -> str:
    """As a label: without this, what stands between two dollars is set as a formula."""
    return text.replace("$", r"\$")


def save(figure: "Figure", path: Path) -> None:
    """As PNG or PDF, whole or not at all; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata=metadata)
