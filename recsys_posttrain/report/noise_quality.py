"""What the quality of the reward model is worth: figures of a table whose rows name their noise.

Such a table has one row per method and condition: place ("model", "log", "" without noise), kind
and level, the achieved pairwise_accuracy, mean, low and high.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from recsys_posttrain.report.figures import LINES, panels, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_WIDTH = 2.3  # inches, beside the panels
WHERE = {"model": "reward model", "log": "log"}
CONDITION = ["place", "kind", "level"]
# Filled or hatched, so that bands that overlap are seen, in grey as well.
BANDS: dict[str, dict[str, Any]] = {
    "Pretrained": {"facecolor": "#ececec"},
    "BC": {"facecolor": "#c8c8c8"},
    "PPO, shuffled reward": {"facecolor": "none", "edgecolor": "#c09050", "hatch": "////"},
    "PPO, true reward": {"facecolor": "none", "edgecolor": "#60a060", "hatch": "...."},
}


def noise_kinds(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(place, kind) of each noise, in the order of the table."""
    pairs = table[["place", "kind"]].drop_duplicates().itertuples(index=False, name=None)
    return [(place, kind) for place, kind in pairs if place]


def of_kind(table: pd.DataFrame, place: str, kind: str) -> pd.DataFrame:
    """The rows of one kind of noise in one place, and those without noise as its level 0."""
    noisy = table[(table["place"] == place) & (table["kind"] == kind)]
    clean = table[(table["place"] == "") & table["method"].isin(noisy["method"])]
    if place == "log":  # a log without noise agrees with itself
        clean = clean.assign(pairwise_accuracy=1.0, rmse=0.0)
    return pd.concat([clean, noisy])


def methods_drawn(table: pd.DataFrame) -> list[str]:
    """Those that have a line: run under some noise, and neither a band nor popularity."""
    noisy = table[table["place"] != ""]["method"]
    return [name for name in dict.fromkeys(noisy) if name not in (*BANDS, "Popularity")]


def quality_against_value(table: pd.DataFrame, unit: str, path: Path) -> None:
    """What the reward model's quality is worth: one panel per place and kind of noise, one line per
    method at the strength its validation chose, bands for controls."""
    kinds = noise_kinds(table)
    columns = min(4, len(kinds))
    figure, axes = panels(-(-len(kinds) // columns), columns, width=3.6, height=3.2)
    clean = table[table["place"] == ""]
    for axis, (place, kind) in zip(axes, kinds, strict=False):
        rows = of_kind(table, place, kind)
        for name, band in BANDS.items():
            for _, cell in clean[clean["method"] == name].iterrows():
                axis.axhspan(cell["low"], cell["high"], label=plain(f"{name} (95%)"), lw=0, **band)
        for name, line in zip(methods_drawn(table), LINES, strict=False):
            one = rows[rows["method"] == name].sort_values("level")
            error = [one["mean"] - one["low"], one["high"] - one["mean"]]
            x, y = one["pairwise_accuracy"], one["mean"]
            axis.errorbar(x, y, error, label=plain(name), ms=4, capsize=2, **line)
        axis.set(title=plain(f"{kind}, {WHERE[place]}"), xlabel="achieved pairwise accuracy")
        axis.invert_xaxis()
    _finish(figure, axes, len(kinds), columns, unit, path)


def frontiers(
    means: pd.DataFrame, shown: list[tuple[str, str, float]], unit: str, path: Path
) -> None:
    """True value against the distance from the reference, over all strengths of each method, for
    some conditions. means: one row per condition, method and strength with kl and value."""
    columns = min(3, len(shown))
    figure, axes = panels(-(-len(shown) // columns), columns, are_shared=True, width=4.0)
    clean = means[means["place"] == ""]
    for axis, (place, kind, level) in zip(axes, shown, strict=False):
        at = (means[CONDITION] == [place, kind, level]).all(axis=1)
        for name, line in zip(dict.fromkeys(means["method"]), LINES, strict=False):
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
