"""How far off-policy estimates can be believed: effective sample size, largest weight, overlap."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_posttrain.basic_statistics import Floats, ratio
from recsys_posttrain.evaluation.off_policy import OVERLAP, WEIGHT

# Beyond these, the estimates are not to be believed (docs/off_policy.md). The large weights may not
# be in the log at all: intervals are then too narrow, and the effective sample, which does not see
# them either, too large. In a log of Jester drawn to try the thresholds, 93 to 96% of adjusted DR's
# 95% intervals held the truth of policies that pass in 9 replications of 10, 91 to 94% of those
# that pass in half. Or one target decides; or a twentieth of what the policy does was never seen;
# or mean(w), whose expectation is the overlap, says that the propensities or the targets are not
# the log's.
LEAST_SAMPLE = 400
LEAST_SAMPLE_SHARE = 0.2
LARGEST_SHARE = 0.05
LEAST_OVERLAP = 0.95
STANDARD_ERRORS = 4.0


def effective_sample_size(weight_N: Floats) -> float:
    """(sum w)^2 / sum w^2: N where all weights are equal, 1 where one target has all."""
    return float(ratio(weight_N.sum() ** 2, (weight_N**2).sum()))


class Support(NamedTuple):
    """How far off-policy estimates can be believed."""

    targets: int
    sample: float  # effective sample size
    largest: float  # weight
    share: float  # of all weights, that of the largest
    mean: float  # weight: an unbiased estimate of the overlap
    error: float  # standard error of the mean weight
    overlap: float  # `overlap`, mean

    @property
    def line(self) -> str:
        return (
            f"effective sample size {self.sample:,.0f} of {self.targets:,} targets, largest weight "
            f"{self.largest:.3g} ({self.share:.1%} of all), mean weight {self.mean:.3g} ± "
            f"{self.error:.2g}, overlap {self.overlap:.1%}"
        )

    @property
    def reasons(self) -> list["Reason"]:
        """Why the estimates are not to be believed; empty where nothing speaks against it."""
        found = []
        if not self.sample >= LEAST_SAMPLE:
            what = f"the effective sample size is below {LEAST_SAMPLE}"
            found.append(Reason(what, self.sample, f"{self.sample:,.0f}"))
        elif self.sample < LEAST_SAMPLE_SHARE * self.targets:
            what = f"the effective sample size is below {LEAST_SAMPLE_SHARE:.0%} of the targets"
            found.append(Reason(what, self.sample, f"{self.sample:,.0f}"))
        if self.share > LARGEST_SHARE:
            what = f"one target has more than {LARGEST_SHARE:.0%} of all weight"
            found.append(Reason(what, self.share, f"{self.share:.0%}"))
        if self.overlap < LEAST_OVERLAP:
            what = "the log never shows some of what the policy does"
            found.append(Reason(what, 1 - self.overlap, f"{1 - self.overlap:.0%}"))
        if abs(self.mean - 1) > max(STANDARD_ERRORS * self.error, 0.01):
            what = (
                "the mean weight is not 1, so the log's policy cannot show what this one does, "
                "propensities are not those of the log, or targets were left out"
            )
            found.append(Reason(what, self.mean, f"{self.mean:.3g} ± {self.error:.2g}"))
        return found

    @property
    def warning(self) -> str:
        """The reasons in words."""
        return "; ".join(f"{each.what} ({each.shown})" for each in self.reasons)


class Reason(NamedTuple):
    what: str
    number: float
    shown: str


def support(rows: pd.DataFrame) -> Support:
    """Of one policy's rows, with the columns WEIGHT and OVERLAP."""
    weight_N = rows[WEIGHT].to_numpy(np.float64)
    largest = float(weight_N.max())
    error = weight_N.std(ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else math.inf
    return Support(
        *(len(rows), effective_sample_size(weight_N), largest),
        *(float(ratio(largest, weight_N.sum())), float(weight_N.mean()), float(error)),
        float(rows[OVERLAP].mean()),
    )


def support_sentence(rows: pd.DataFrame) -> str:
    """For a caption: how far the estimates of each method can be believed, at its worst seed; empty
    for rows without propensities. rows: with `method` and `seed`."""
    if WEIGHT not in rows:
        return ""
    found: dict[str, Support] = {}
    for (method, _), group in rows[rows[WEIGHT].notna()].groupby(
        ["method", "seed"], sort=False, observed=True
    ):
        each = support(group)
        worst = found.get(str(method))
        if worst is None or each.sample < worst.sample:
            found[str(method)] = each
    samples = [each.sample for each in found.values()]
    sentence = (
        "Off-policy estimates read the log's propensities; their effective sample size is "
        f"{min(samples):,.0f} to {max(samples):,.0f} of {each.targets:,} targets."
    )
    poor: dict[str, list[tuple[str, Reason]]] = {}
    for name, each in found.items():
        for reason in each.reasons:
            poor.setdefault(reason.what, []).append((name, reason))
    said = [f"{what} ({_whose(those, len(found))})" for what, those in poor.items()]
    return sentence + (f" Not to be believed, because {'; '.join(said)}." if said else "")


def _whose(reasons: list[tuple[str, Reason]], rows: int) -> str:
    """By method what was measured, or the range where it is true of every row."""
    if len(reasons) < rows or rows == 1:
        return ", ".join(f"{name} {each.shown}" for name, each in reasons)
    in_order = sorted((each for _, each in reasons), key=lambda each: each.number)
    return f"every row: {in_order[0].shown} to {in_order[-1].shown}"
