"""The two figures of the study."""

from pathlib import Path

import pandas as pd
from quality import results
from quality.results import CONDITION

from recsys_posttrain.report.figures import LINES, panels, save

WHERE = {"model": "reward model", "log": "log"}
BANDS = {
    "Pretrained": "#e4e4e4",
    "BC": "#cccccc",
    "PPO, shuffled reward": "#f0e0c8",
    "PPO, true reward": "#cfe3cf",
}


def quality_against_value(table: pd.DataFrame, unit: str, path: Path) -> None:
    """What the reward model's quality is worth: one panel per place and kind of noise, one line per
    method at the strength its validation chose, bands for controls."""
    kinds = results.panels(table)
    columns = min(4, len(kinds))
    figure, axes = panels(-(-len(kinds) // columns), columns, width=3.6, height=3.2)
    noisy = table[table["place"] != ""]["method"]
    drawn = [name for name in dict.fromkeys(noisy) if name not in (*BANDS, "Popularity")]
    clean = table[table["place"] == ""]
    for axis, (place, kind) in zip(axes, kinds, strict=False):
        rows = results.panel(table, place, kind)
        for name, color in BANDS.items():
            for _, cell in clean[clean["method"] == name].iterrows():
                axis.axhspan(cell["low"], cell["high"], color=color, label=f"{name} (95%)", lw=0)
        for name, line in zip(drawn, LINES, strict=False):
            one = rows[rows["method"] == name].sort_values("level")
            error = [one["mean"] - one["low"], one["high"] - one["mean"]]
            x, y = one["pairwise_accuracy"], one["mean"]
            axis.errorbar(x, y, error, label=name, ms=4, capsize=2, **line)
        axis.set(title=f"{kind}, {WHERE[place]}", xlabel="achieved pairwise accuracy")
        axis.invert_xaxis()
    _finish(figure, axes, len(kinds), columns, unit, path)


def frontiers(means: pd.DataFrame, shown: list[tuple], unit: str, path: Path) -> None:
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
            axis.plot(one["kl"] ** 0.5, one["value"], label=name, ms=5, **line)
        title = f"{kind} {level:g}, {WHERE[place]}" if place else "no noise"
        axis.set(title=title, xlabel="√KL to the reference (√nat)")
        axis.xaxis.set_tick_params(labelbottom=True)
    _finish(figure, axes, len(shown), columns, unit, path)


def _finish(figure, axes: list, used: int, columns: int, unit: str, path: Path) -> None:
    """One label for each row, nothing where there is no panel, one legend for all."""
    for axis in axes[::columns]:
        axis.set_ylabel(unit)
    for axis in axes[used:]:
        axis.set_visible(False)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=5, frameon=False)
    save(figure, path)
