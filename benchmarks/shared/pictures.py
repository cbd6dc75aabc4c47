"""Figures as PNG files, without a screen."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

OURS, OTHERS, GREY = "#1f6f8b", "#b9b4a7", "#555555"


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[list[Any]]]:
    """A figure with rows of axes."""
    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes.tolist()


def bars(axis: Any, values: dict[str, float], labels: dict[str, str], title: str) -> None:
    """Horizontal bars, first on top, each with its label; those named ours in our colour."""
    names = list(values)[::-1]
    colours = [OURS if name.startswith("ours") else OTHERS for name in names]
    axis.barh(names, [values[name] for name in names], color=colours)
    for row, name in enumerate(names):
        axis.annotate(
            labels[name],
            (values[name], row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlim(0, 1.35 * max(values.values()))
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_title(title, loc="left", fontsize=11)


def short(size: float) -> str:
    """3M, 100k, 50."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{letter}"
    return f"{size:.3g}"


def growth_lines(
    axis: Any, sizes: list[float], lines: dict[str, list[float]], x_label: str, title: str
) -> None:
    """Log-log lines over the same sizes; the first one is ours, the others are for comparison."""
    for number, (label, values) in enumerate(lines.items()):
        style = {"color": OURS, "marker": "o"} if not number else {"color": GREY, "ls": "--"}
        axis.plot(
            sizes, values, label=label, alpha=1 if not number else 0.9 - 0.2 * number, **style
        )
    axis.set(xscale="log", yscale="log", xlabel=x_label)
    low, high = axis.get_ylim()
    middle, reach = (low * high) ** 0.5, max(high / low, 30.0) ** 0.5
    axis.set_ylim(middle / reach, middle * reach * 2)  # flat looks flat; the legend has room
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(FixedLocator(sizes))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: short(size)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(True, which="major", color="#e6e3dc", lw=0.8)
    axis.set_axisbelow(True)
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9)


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    print(f"written: {path.name}")
