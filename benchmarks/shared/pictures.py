"""What pictures of benchmarks share; panels and save are those of the package's figures."""

from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from recsys_posttrain.report.figures import LINES

OURS, OTHERS = "#1f6f8b", "#b9b4a7"


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
    axis: Any, sizes: list[float], lines: dict[str, dict[float, float]], x_label: str, title: str
) -> None:
    """Log-log lines over sizes, each with its own of them; the legend is below."""
    for place, (label, values) in enumerate(lines.items()):
        hollow = {"markerfacecolor": "#ffffff"} if place >= len(LINES) else {}
        style = LINES[place % len(LINES)] | hollow
        axis.plot(list(values), list(values.values()), label=label, ms=5, **style)
    axis.set(xscale="log", yscale="log", xlabel=x_label)
    low, high = axis.get_ylim()
    middle, reach = (low * high) ** 0.5, max(high / low, 30.0) ** 0.5
    axis.set_ylim(middle / reach, middle * reach)  # flat looks flat
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_locator(FixedLocator(sizes))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: short(size)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(True, which="major", color="#e6e3dc", lw=0.8)
    axis.set_axisbelow(True)
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
