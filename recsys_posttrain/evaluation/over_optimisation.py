"""The two laws of reward-model over-optimisation, fitted to one gold curve.

    best of n:  gold(d) = d (a - b d)            peak at d = a / (2 b)
    RL:         gold(d) = d (a - b log d)        peak at d = exp(a / b - 1)

d is the square root of KL(pi || pi_ref) in nats, gold the true value minus that of the reference
(both laws pass through 0 at d = 0). Source: Gao, Schulman and Hilton, "Scaling Laws for Reward
Model Overoptimization", arXiv 2210.10760. Both are linear in a and b, so the least-squares fit has
a closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from recsys_posttrain.config import require

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """gold(d) = a d - b cost(d). peak(a, b): the d > 0 where that is largest, None without one."""

    name: str
    cost: Callable[[Floats], Floats]
    peak: Callable[[float, float], float | None]


def _best_of_n_peak(a: float, b: float) -> float | None:
    return a / (2 * b) if a > 0 and b > 0 else None


def _rl_peak(a: float, b: float) -> float | None:
    with np.errstate(over="ignore"):
        return float(np.exp(a / b - 1)) if b > 0 else None


BEST_OF_N = Law("best-of-n", np.square, _best_of_n_peak)
RL = Law("RL", lambda d: np.asarray(xlogy(d, d)), _rl_peak)


@dataclass(frozen=True)
class Fit:
    """r_squared: 1 - residual / total sum of squares about the mean; below 0 where the law is worse
    than a constant, NaN where gold is constant. The observed peak is the point with the largest
    gold; KL is in nats."""

    law: Law
    a: float
    b: float
    r_squared: float
    observed_peak_kl: float
    observed_kl: tuple[float, float]  # smallest and largest

    def gold(self, sqrt_kl: ArrayLike) -> Floats:
        """The fitted curve, element by element."""
        d = np.asarray(sqrt_kl, dtype=np.float64)
        return self.a * d - self.b * self.law.cost(d)

    @property
    def peak_kl(self) -> float | None:
        """The KL of the fitted peak, in or outside the observed range; None without a peak."""
        peak = self.law.peak(self.a, self.b)
        return None if peak is None else peak * peak

    @property
    def is_peak_observed(self) -> bool:
        low, high = self.observed_kl
        return self.peak_kl is not None and low <= self.peak_kl <= high

    def sentence(self) -> str:
        """Where gold peaks, and whether that was seen or is an extrapolation."""
        low, high = self.observed_kl
        seen = f"largest observed gold at KL {self.observed_peak_kl:.3g}"
        if self.peak_kl is None:
            return f"the fitted {self.law.name} law has no peak; {seen}"
        where = "inside" if self.is_peak_observed else "outside"
        return (
            f"the fitted {self.law.name} law peaks at KL {self.peak_kl:.3g}, {where} the observed "
            f"range {low:.3g} to {high:.3g}; {seen}"
        )


def fit(law: Law, sqrt_kl: ArrayLike, gold: ArrayLike) -> Fit:
    """Least squares over N points (sqrt_kl_N, gold_N), gold as a difference to the reference.

    Raises: UserError for lengths that differ, fewer than 3 points, values that are not finite, a
    negative sqrt KL, and fewer than 2 different sqrt KL above 0 (a and b could not be told apart).
    """
    d_N, gold_N = (np.asarray(values, dtype=np.float64).ravel() for values in (sqrt_kl, gold))
    require(
        len(d_N) == len(gold_N),
        f"{law.name} law: {len(d_N)} values of sqrt KL and {len(gold_N)} of gold; "
        "give one gold for each sqrt KL.",
    )
    require(
        len(d_N) >= 3,
        f"{law.name} law: {len(d_N)} points cannot say how well two coefficients fit; give at "
        "least 3.",
    )
    bad_N = ~(np.isfinite(d_N) & np.isfinite(gold_N))
    require(
        not bad_N.any(),
        f"{law.name} law: point {bad_N.argmax()} has a value that is not finite; leave it out.",
    )
    require(
        (d_N >= 0).all(),
        f"{law.name} law: sqrt KL {d_N.min()} is negative; give the square root of the "
        "KL to the reference.",
    )
    require(
        len(np.unique(d_N[d_N > 0])) >= 2,
        f"{law.name} law: the points have fewer than 2 different sqrt KL above 0; give checkpoints "
        "that moved away from the reference by different amounts.",
    )
    basis_N2 = np.stack([d_N, -law.cost(d_N)], axis=1)
    (a, b), *_ = np.linalg.lstsq(basis_N2, gold_N)
    residual = ((gold_N - basis_N2 @ [a, b]) ** 2).sum()
    total = ((gold_N - gold_N.mean()) ** 2).sum()
    kl_N = d_N**2
    return Fit(
        law,
        float(a),
        float(b),
        float(1 - residual / total) if total > 0 else float("nan"),
        float(kl_N[gold_N.argmax()]),
        (float(kl_N.min()), float(kl_N.max())),
    )
