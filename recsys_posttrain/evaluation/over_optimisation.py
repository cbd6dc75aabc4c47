"""Over-optimisation: how the value of a policy changes with its distance from the reference.

A point of a curve is a policy during training: its KL to the reference, and the expected reward of
an item drawn from it by the reward model, by the judge and in truth. Two laws say how the true gain
depends on d, the square root of KL(pi || pi_ref) in nats:

    best of n:  gold(d) = d (a - b d)            peak at d = a / (2 b)
    RL:         gold(d) = d (a - b log d)        peak at d = exp(a / b - 1)

gold is the true value minus that of the reference, so both pass through 0 at d = 0. Source: Gao,
Schulman and Hilton, "Scaling Laws for Reward Model Overoptimization", arXiv 2210.10760. Both are
linear in a and b, so the least-squares fit has a closed form.

A law is fitted where it can say something: to `MIN_POINTS` points away from the reference, whose d
differ by a factor of `MIN_RANGE` or more, and where it predicts a point that is left out better
than the mean of the others does. A peak is a point that has lower ones on both sides, by more than
their noise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit, xlogy
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.basic_statistics import Floats, ratio
from recsys_posttrain.config import require
from recsys_posttrain.data.repeats import excluded_for
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Targets
from recsys_posttrain.worlds.base import Truth

MIN_POINTS, MIN_RANGE = 4, 2.0
CONFIDENCE = 0.95  # of "lower"


def curve_point(
    policy: Ranker,
    reference: Policy,
    targets: Targets,
    models: Mapping[str, RewardModel],
    truth: Truth | None = None,
) -> dict[str, float]:
    """Means over the targets: `kl`, the exact KL(policy || reference) in nats over the eligible
    items, and its root `sqrt_kl`; in reward units `reward/<name>` for each model, and
    `reward/gold` for the truth.

    Every worth is E_pi[r] over the items that the user has not seen (expectation.py), so that they
    differ in nothing but the reward. Targets whose users have seen every item have none and are
    left out of it. truth: aligned to the targets' corpus.
    """
    asked = targets.history, targets.times_N, targets.users_N
    scores = policy.scores(*asked)
    kl_N2 = ops.kl_and_entropy(*scores, *reference.scores(*asked), excluded=excluded_for(targets))
    # Rounding may leave next to nothing below 0.
    kl = float(kl_N2[:, 0].double().nanmean().clamp(min=0))
    point = {"kl": kl, "sqrt_kl": math.sqrt(kl)}
    for name, factors in _factors(targets, models, truth).items():
        value_N = expected_unseen(*scores, *factors, targets)
        point[f"reward/{name}"] = float(value_N.nanmean())
    return point


def _factors(
    targets: Targets, models: Mapping[str, RewardModel], truth: Truth | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """(state_NR, factor_VR) of each reward."""
    found = {
        name: model.last_factors(targets.history, targets.times_N, targets.users_N)
        for name, model in models.items()
    }
    if truth is not None:
        found["gold"] = (truth.state_UR[targets.users_N], truth.factor_VR)
    return found


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
    """A law fitted to the points of one curve; KL is in nats."""

    law: Law
    a: float
    b: float
    # 1 - residual / total sum of squares about the mean; below 0 where the law is worse than a
    # constant, NaN where gold is constant.
    r_squared: float
    # Of each point, when the law is fitted to the others, its error; and the mean of the others'.
    error: float
    error_of_mean: float

    def gold(self, sqrt_kl: ArrayLike) -> Floats:
        """The fitted curve, element by element."""
        d = np.asarray(sqrt_kl, dtype=np.float64)
        return self.a * d - self.b * self.law.cost(d)

    @property
    def peak_kl(self) -> float | None:
        """The KL of the fitted peak, in or outside the observed range; None without a peak."""
        peak = self.law.peak(self.a, self.b)
        return None if peak is None else peak * peak


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
    residual_N = gold_N - basis_N2 @ [a, b]
    centred_N = gold_N - gold_N.mean()
    total = (centred_N**2).sum()
    share_N = np.einsum("nk,kn->n", basis_N2, np.linalg.pinv(basis_N2))  # of its own in the fit
    return Fit(
        law,
        float(a),
        float(b),
        float(1 - (residual_N**2).sum() / total) if total > 0 else float("nan"),
        _root_mean_square(ratio(residual_N, 1 - share_N)),
        _root_mean_square(centred_N * len(d_N) / (len(d_N) - 1)),
    )


def _root_mean_square(values_N: Floats) -> float:
    return float(np.sqrt((values_N**2).mean()))


class Curve(NamedTuple):
    """The expected rewards of one method at N checkpoints, less those of the reference."""

    sqrt_kl_N: Floats  # square root of the KL to the reference, in nats
    proxy_N: Floats  # by the reward model
    gold_N: Floats | None = None  # in truth, in a world
    judge_N: Floats | None = None  # by the judge, where there is one
    fitted: Fit | None = None  # a law fitted to gold, or to the judge without it
    peak_kl: float | None = None  # of the point with lower ones on both sides, of gold or the judge


def mean_curves(points: pd.DataFrame) -> dict[str, Curve]:
    """By run the mean over its seeds at the steps that all of them reached, with the law that fits
    better, and the observed peak.

    points: `Pipeline.curve_of` of every run, with `method` and `seed`. The root is of the mean KL.
    """
    curves = {}
    for method, run in points.groupby("method", sort=False):
        steps = run.drop(columns=["method", "seed"]).groupby("step")
        mean = steps.mean()[steps.size() == run["seed"].nunique()]
        gain = mean - mean.iloc[0]  # step 0 is the reference
        curve = Curve(
            np.sqrt(mean["kl"].to_numpy()),
            gain["reward/proxy"].to_numpy(),
            gain["reward/gold"].to_numpy() if "reward/gold" in gain else None,
            gain["reward/judge"].to_numpy() if "reward/judge" in gain else None,
        )
        curve = curve._replace(fitted=next(iter(fits(curve)), None))
        if (found := judged(curve)) is not None:
            source = f"reward/{found[0]}"
            value_SN = run.pivot(index="seed", columns="step", values=source)[mean.index].to_numpy()
            gain_SN = value_SN - value_SN[:, :1]
            curve = curve._replace(peak_kl=observed_peak(curve.sqrt_kl_N, gain_SN, curve.fitted))
        curves[str(method)] = curve
    return curves


def judged(curve: Curve) -> tuple[str, Floats] | None:
    """The gains that decide, and whose they are: in truth where a study knows it, otherwise by the
    judge. The reward model cannot judge itself."""
    if curve.gold_N is not None:
        return "gold", curve.gold_N
    return None if curve.judge_N is None else ("judge", curve.judge_N)


def fits(curve: Curve) -> list[Fit]:
    """The laws that can be fitted and say more than a constant, the better fit first."""
    found, away_N = judged(curve), np.unique(curve.sqrt_kl_N[curve.sqrt_kl_N > 0])
    if found is None or len(away_N) < MIN_POINTS or away_N[-1] < MIN_RANGE * away_N[0]:
        return []
    both = (fit(law, curve.sqrt_kl_N, found[1]) for law in (RL, BEST_OF_N))
    kept = [each for each in both if each.error < each.error_of_mean]
    return sorted(kept, key=lambda each: -each.r_squared)


def observed_peak(sqrt_kl_N: Floats, gain_SN: Floats, fitted: Fit | None) -> float | None:
    """The KL of the largest mean gain, if a point at a smaller and one at a larger KL are lower by
    more than their noise; otherwise None.

    The noise of a difference is that of its mean over seeds, by a t quantile; of one seed that of
    the points about the fitted law, and without a law a peak is not known.
    """
    mean_N, num_seeds = gain_SN.mean(0), len(gain_SN)
    top = int(mean_N.argmax())
    below_SN = gain_SN[:, [top]] - gain_SN
    if num_seeds > 1:
        error_N = below_SN.std(0, ddof=1) / np.sqrt(num_seeds)
        noise_N = stdtrit(num_seeds - 1, CONFIDENCE) * error_N
    elif fitted is not None:
        residual_N = mean_N - fitted.gold(sqrt_kl_N)
        freedom = len(mean_N) - 2
        error = np.sqrt(2 * (residual_N**2).sum() / freedom)
        noise_N = np.full(len(mean_N), stdtrit(freedom, CONFIDENCE) * error)
    else:
        return None
    lower_N = below_SN.mean(0) > noise_N
    sides = (lower_N & (sqrt_kl_N < sqrt_kl_N[top]), lower_N & (sqrt_kl_N > sqrt_kl_N[top]))
    return float(sqrt_kl_N[top] ** 2) if all(side.any() for side in sides) else None
