"""Figures for paper, as PNG or PDF files; without a screen, and without matplotlib's global state.

Lines differ in marker, dash and brightness, so that a print in grey says as much as the screen.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.over_optimisation import Curve, Fit, mean_curves
from recsys_posttrain.files import replacing
from recsys_posttrain.report.noise_quality import (
    AXES,
    BANDS,
    CONDITION,
    WHERE,
    axis_of,
    methods_drawn,
    noise_kinds,
    of_kind,
    swept,
)
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    by_line,
    value_columns,
    without_outlier,
)

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
SUFFIXES = (".pdf", ".png")
LEGEND_WIDTH = 2.3  # inches, beside the panels


def write_figures(study: StudyFolder, folder: Path) -> list[Path]:
    """leaderboard, and where the study has them noise_quality and over_optimisation.

    Raises: UserError where matplotlib is missing.
    """
    folder.mkdir(exist_ok=True)
    column = value_columns(study)[0]
    points, table = study.frame("curves.parquet"), by_line(study, column)
    written = []
    for suffix in SUFFIXES:
        written.append(folder / f"leaderboard{suffix}")
        leaderboard(study, column, written[-1])
        if noise_kinds(table):
            written.append(folder / f"noise_quality{suffix}")
            quality_against_value(table, column, written[-1])
        if points is not None:
            written.append(folder / f"over_optimisation{suffix}")
            over_optimisation(mean_curves(points), written[-1], "reward units")
    return written


def _styled(names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each name with its line; a second round has hollow markers."""
    for place, name in enumerate(names):
        hollow = {"markerfacecolor": "#ffffff"} if place // len(LINES) % 2 else {}
        yield name, LINES[place % len(LINES)] | hollow


def leaderboard(study: StudyFolder, column: str, path: Path) -> None:
    """Means and 95% intervals of all methods without noise; filled where one differs from the
    control."""
    is_shown = (study.cells["column"] == column) & (study.cells["place"] == "")
    cells = without_outlier(study.cells[is_shown]).sort_values("mean")
    figure, (axis,) = panels(1, 1, width=6.4, height=0.8 + 0.28 * len(cells))
    error = [cells["mean"] - cells["low"], cells["high"] - cells["mean"]]
    names = cells["method"].map(plain)
    axis.errorbar(cells["mean"], names, xerr=error, fmt="none", ecolor="#9a9a9a", lw=1.2)
    filled = ["#1f5f8b" if is_sure else "#ffffff" for is_sure in cells["significant"]]
    axis.scatter(cells["mean"], names, c=filled, edgecolors="#1f5f8b", zorder=3)
    axis.set(xlabel=plain(f"{column} (filled: differs from {study.control})"))
    save(figure, path)


def over_optimisation(curves: Mapping[str, Curve], path: Path, unit: str = "reward") -> None:
    """Gold, proxy and judge against sqrt KL, one panel per method on common axes, written to
    `path`.

    unit: of the reward, for the label. A dotted line is the fitted law, a vertical one the
    peak, where there is one in range.
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
            _draw_fit(axis, curve, curve.fitted, f"law fitted to {judge}")
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


def _draw_fit(axis: "Axes", curve: Curve, fit: Fit, label: str) -> None:
    grid = np.linspace(0, float(curve.sqrt_kl_N.max()), 200)
    axis.plot(grid, fit.gold(grid), color="#b5522a", ls=":", lw=2, label=label, zorder=3)
    if curve.peak_kl is not None:
        axis.axvline(curve.peak_kl**0.5, color="#888888", lw=0.8, label="peak")
    note = f"{fit.law.name} law, R² {fit.r_squared:.3f}"
    axis.annotate(note, (0.03, 0.94), xycoords="axes fraction", va="top", fontsize=9)


def quality_against_value(table: pd.DataFrame, unit: str, path: Path) -> None:
    """What the reward model's quality is worth: one panel per place and kind of noise, one line per
    method at the strength its validation chose, bands for controls."""
    kinds = noise_kinds(table)
    columns = min(4, len(kinds))
    figure, axes = panels(-(-len(kinds) // columns), columns, width=3.6, height=3.2)
    clean = table[table["place"] == ""]
    for axis, (place, kind) in zip(axes, kinds, strict=False):
        rows = of_kind(table, place, kind)
        quality = axis_of(rows)
        for name, band in BANDS.items():
            for _, cell in clean[clean["method"] == name].iterrows():
                axis.axhspan(cell["low"], cell["high"], label=plain(f"{name} (95%)"), lw=0, **band)
        for name, line in _styled(methods_drawn(table)):
            one = rows[rows["method"] == name].sort_values("level")
            error = [one["mean"] - one["low"], one["high"] - one["mean"]]
            x, y = one[quality], one["mean"]
            axis.errorbar(x, y, error, label=plain(name), ms=4, capsize=2, **line)
        axis.set(title=plain(f"{kind}, {WHERE[place]}"), xlabel=AXES[quality])
        axis.invert_xaxis()
    _finish(figure, axes, len(kinds), columns, unit, path)


def frontiers(means: pd.DataFrame, unit: str, path: Path) -> None:
    """True value against the distance from the reference, over all strengths of each method, for
    the conditions in which one has several. means: one row per condition, method and strength with
    kl and value."""
    shown = swept(means)
    columns = min(3, len(shown))
    figure, axes = panels(-(-len(shown) // columns), columns, are_shared=True, width=4.0)
    clean = means[means["place"] == ""]
    for axis, (place, kind, level) in zip(axes, shown, strict=False):
        at = (means[CONDITION] == [place, kind, level]).all(axis=1)
        for name, line in _styled(dict.fromkeys(means["method"])):
            one = means[at & (means["method"] == name)]
            one = clean[clean["method"] == name] if one.empty else one
            one = one.sort_values("kl")
            axis.plot(one["kl"] ** 0.5, one["value"], label=plain(name), ms=5, **line)
        title = f"{kind} {level:g}, {WHERE[place]}" if place else "no noise"
        axis.set(title=plain(title), xlabel="√KL to the reference (√nat)")
        axis.xaxis.set_tick_params(labelbottom=True)
    _finish(figure, axes, len(shown), columns, unit, path)


def _finish(
    figure: "Figure", axes: "list[Axes]", used: int, columns: int, unit: str, path: Path
) -> None:
    """One label for each row, nothing where there is no panel, one legend for all: above where it
    is as wide as the panels, beside them where it is not."""
    for axis in axes[::columns]:
        axis.set_ylabel(unit)
    for axis in axes[used:]:
        axis.set_visible(False)
    lines, labels = axes[0].get_legend_handles_labels()
    if used > 2:
        figure.legend(lines, labels, loc="outside upper center", ncols=5, frameon=False)
    else:
        figure.set_figwidth(figure.get_figwidth() + LEGEND_WIDTH)
        figure.legend(lines, labels, loc="outside right upper", frameon=False)
    save(figure, path)


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
