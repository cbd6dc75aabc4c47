"""The figures of the page and of W&B, interactive, as Plotly figures. Every panel is a figure of
its own, so that a page can lay them out for a laptop, a phone or paper."""

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys_posttrain.evaluation.over_optimisation import mean_curves
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
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    by_line,
    value_columns,
    without_outlier,
)
from recsys_posttrain.stats.columns import COLUMNS, OPTIONAL_COLUMNS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ACCENT = "#1f5f8b"
COLORS = ("#111111", ACCENT, "#b5522a", "#5f9e6e", "#8a6bae", "#9a9a9a", "#c28f2c", "#2c9c9c")
SVG_DASHES = ("", "6 3", "6 3 1.5 3", "1.5 2.5", "9 4", "9 3 1.5 3", "", "6 3")
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star", "x")
DASHES = ("solid", "dash", "dashdot", "dot", "longdash", "longdashdot", "solid", "dash")
_WITHOUT_VALUE = {  # how a trial that has none is drawn
    "failed": {"symbol": "x", "color": "#b5522a", "size": 9},
    "pruned": {"symbol": "triangle-down-open", "color": "#9a9a9a", "size": 8},
}
GAINS = ("gold (truth)", "proxy (reward model)", "judge (of other users)")
SAME_QUALITY = 0.003  # less than this is not seen in a panel
UNITS = {column.name: column for column in (*COLUMNS, *OPTIONAL_COLUMNS)}


def leaderboard(study: StudyFolder) -> list[tuple[str, "Figure"]]:
    """Of each column that has intervals its means without noise, best first."""
    found = []
    for name in value_columns(study):
        cells = study.cells[(study.cells["column"] == name) & (study.cells["place"] == "")]
        if cells[["low", "high"]].isna().any(axis=None):
            continue
        cells = without_outlier(cells)
        is_good = name not in UNITS or UNITS[name].higher_is_better
        cells = cells.sort_values("mean", ascending=is_good)
        figure = panel(name, "", height=max(220, 40 + 26 * len(cells)))
        figure.add_scatter(
            x=cells["mean"],
            y=cells["method"].map(plain),
            error_x=_bars(cells),
            mode="markers",
            marker={"color": [ACCENT if s else "#9a9a9a" for s in cells["significant"]], "size": 8},
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
        figure.update_yaxes(automargin=True, type="category")
        found.append((name, figure))
    return found


def noise_against_quality(study: StudyFolder, column: str) -> list[tuple[str, "Figure"]]:
    """One panel per place and kind of noise, one line per method: against how good the rewards
    are (`axis_of`), or against the level of a noise that does not change it."""
    table = by_line(study, column)
    names, found = methods_drawn(table), []
    for place, kind in noise_kinds(table):
        title = f"{kind}, {WHERE[place]}"
        rows = of_kind(table, place, kind)
        quality = axis_of(rows)
        moves = np.ptp(rows[quality]) > SAME_QUALITY
        x = quality if moves else "level"
        figure = panel(title, AXES[quality] if moves else f"level (same {AXES[quality]})")
        for name in names:
            one = rows[rows["method"] == name].sort_values("level")
            detail = (
                f"level %{{customdata[0]}}: %{{y:.4f}} at {AXES[quality]} %{{customdata[1]:.3f}}"
            )
            _line(
                figure, name, names, one[x], one["mean"],
                error_y=_bars(one), customdata=one[["level", quality]],
                hovertemplate=detail,
            )  # fmt: skip
        if moves:
            figure.update_xaxes(autorange="reversed")
        found.append((title, figure))
    return found


def frontiers(frontier: pd.DataFrame) -> list[tuple[str, "Figure"]]:
    """Value against the distance from the reference, for the conditions with several strengths."""
    names, found = list(dict.fromkeys(frontier["method"])), []
    for place, kind, level in swept(frontier):
        title = f"{kind} {level:g}, {WHERE[place]}" if place else "no noise"
        figure = panel(title, "√KL to the reference (√nat)")
        at = frontier[(frontier[CONDITION] == [place, kind, level]).all(axis=1)]
        for name in names:
            one = at[at["method"] == name].sort_values("kl")
            if len(one):
                detail = "%{customdata}: %{y:.4f}"
                _line(
                    figure, name, names, np.sqrt(one["kl"]), one["value"],
                    customdata=one["strength"], hovertemplate=detail,
                )  # fmt: skip
        found.append((title, figure))
    return found


def over_optimisation(points: pd.DataFrame) -> list[tuple[str, "Figure"]]:
    """Of each run the gains of proxy, judge and gold over the reference."""
    found = []
    for run, curve in mean_curves(points).items():
        figure = panel(run, "√KL to the reference (√nat)")
        order_N = np.argsort(curve.sqrt_kl_N)
        for name, gain_N in zip(GAINS, (curve.gold_N, curve.proxy_N, curve.judge_N), strict=True):
            if gain_N is not None:
                _line(figure, name, GAINS, curve.sqrt_kl_N[order_N], gain_N[order_N])
        found.append((run, figure))
    return found


def tuning(trials: pd.DataFrame) -> list[tuple[str, "Figure"]]:
    """Of each algorithm the value of every trial, by noise, and the best so far. On the axis: a
    cross where a trial failed, a grey triangle where it was ended early."""
    found = []
    noises = [str(noise) for noise in trials["noise"].unique()]
    for algorithm, rows in trials.groupby("algorithm", sort=False):
        figure = panel(str(algorithm), "trial")
        figure.update_xaxes(dtick=max(1, len(rows["trial"].unique()) // 6))  # whole numbers
        lowest = rows["value"].min()
        for noise in noises:
            cell = rows[rows["noise"].astype(str) == noise].sort_values("trial")
            done = cell[cell["state"] == "complete"]
            name = noise or "no noise"
            _line(figure, name, noises, done["trial"], done["value"], mode="markers", named=noise)
            _line(
                figure, name, noises, done["trial"], done["value"].cummax(),
                mode="lines", named=noise, line_shape="hv", opacity=0.6,
            )  # fmt: skip
            for state, mark in _WITHOUT_VALUE.items():
                ended = cell[cell["state"] == state]
                figure.add_scatter(
                    x=ended["trial"],
                    y=[lowest] * len(ended),
                    mode="markers",
                    marker=mark,
                    customdata=ended["reason"].astype(str).map(plain),
                    hovertemplate=f"trial %{{x}} {state}: %{{customdata}}<extra></extra>",
                )
        found.append((str(algorithm), figure))
    return found


def panel(title: str, x: str, height: int = 290) -> "Figure":
    """An empty figure in the page's style."""
    import plotly.graph_objects as go

    axis = {"gridcolor": "#ececec", "zeroline": False, "linecolor": "#bbbbbb", "ticks": "outside"}
    return go.Figure(
        layout={
            "title": {"text": plain(title), "font": {"size": 14}, "x": 0.01, "xanchor": "left"},
            "xaxis": axis | {"title": {"text": x, "font": {"size": 12}}},
            "yaxis": axis | {"automargin": True},
            "height": height,
            "margin": {"l": 44, "r": 12, "t": 36, "b": 44},
            "showlegend": False,
            "template": "none",
            "font": {"family": "inherit", "size": 12, "color": "#222222"},
            "hovermode": "closest",
        }
    )


def plain(text: str) -> str:
    """As text in a figure of Plotly, which reads tags and, in a hover text, %{fields}."""
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def _bars(cells: pd.DataFrame) -> dict[str, Any]:
    high, low = cells["high"] - cells["mean"], cells["mean"] - cells["low"]
    return {"array": high, "arrayminus": low, "thickness": 1, "width": 2, "color": "#c4c4c4"}


def _line(
    figure: "Figure",
    name: str,
    names: Sequence[str],
    x: Iterable[float],
    y: Iterable[float],
    mode: str = "lines+markers",
    named: str | None = None,
    line_shape: str = "linear",
    **more: Any,
) -> None:
    """A trace in the style of its place among `names`."""
    style = list(names).index(name if named is None else named) % len(COLORS)
    detail = more.pop("hovertemplate", "%{y:.4f} at %{x:.4g}")
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode=mode,
        marker={"color": COLORS[style], "symbol": MARKERS[style], "size": 6},
        line={"color": COLORS[style], "dash": DASHES[style], "width": 1.6, "shape": line_shape},
        hovertemplate=f"{plain(name)}<br>{detail}<extra></extra>",
        **more,
    )
