"""A world's log beside the real one, as one picture. Needs matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter, PercentFormatter
from worlds.calibration import FREQUENT, shape_of

from recsys_posttrain.report.figures import panels, save
from recsys_posttrain.types import Interactions

# Told apart by shade, width and dashes, so that grey print keeps the difference.
REAL: dict[str, Any] = {"color": "#9a9a9a", "lw": 4}
WORLD: dict[str, Any] = {"color": "#10394a", "lw": 1.5, "ls": (0, (4, 2))}


def plot_calibration(real: Interactions, world: Interactions, path: Path) -> None:
    """Write a PNG: ratings, popularity, lengths, pairs of frequent items, steps."""
    figure, axes = panels(2, 3, width=3.7, height=3.2)
    rating, popularity, length, jaccard, lift, step = axes
    for number, (log, style) in enumerate(((real, REAL), (world, WORLD))):
        shape, label = shape_of(log), log.name
        stars, count_K = np.unique(shape.rating_E, return_counts=True)
        rating.bar(
            stars + 0.4 * (number - 0.5),
            count_K / count_K.sum(),
            width=0.38,
            color=style["color"],
            label=label,
        )
        popularity.plot(np.arange(1, len(shape.count_V) + 1), shape.count_V, label=label, **style)
        for axis, values in (
            (length, shape.length_N),
            (jaccard, shape.jaccard_P),
            (lift, shape.lift_P),
            (step, shape.step_E),
        ):
            axis.ecdf(values, complementary=axis in (length, step), label=label, **style)
    rating.set(xlabel="rating (stars)", ylabel="share of events")
    popularity.set(xlabel="rank of item", ylabel="events of item", xscale="log", yscale="log")
    length.set(xlabel="events of user, more than", ylabel="share of users", xscale="log")
    pairs = f"share of pairs of the {FREQUENT} top items"
    jaccard.set(xlabel="Jaccard index of their users, at most", ylabel=pairs)
    lift.set(xlabel="lift over independence, at most", ylabel=pairs)
    step.set(
        xlabel="how often the log has the step, more than",
        ylabel="share of steps, item to next item",
        xscale="log",
    )
    for axis in (rating, length, jaccard, lift, step):
        axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    for scale in (popularity.xaxis, popularity.yaxis, length.xaxis, step.xaxis):
        scale.set_major_formatter("{x:,.0f}")
        scale.set_minor_formatter(NullFormatter())
    rating.legend(frameon=False, loc="upper left")
    save(figure, path)
