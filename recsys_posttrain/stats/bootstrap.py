"""Bootstrap draws of means over users and seeds; the intervals and p-values that they give.

A value is taken as mean + user effect + seed effect + rest, with users and seeds crossed. The
variance of a mean over N users and S seeds is then that of the user means / N, plus that of the
seed means / S, minus that of the rest / (N S), which both of them hold (two-way clusters, Cameron,
Gelbach and Miller 2011). Drawing users and seeds with replacement would count the rest up to three
times (Owen 2007), and the seeds (S - 1) / S times. So a draw is the sum of two parts:

- users drawn with replacement, all targets of a user together, shrunk to what is theirs alone;
- a multivariate t draw with S - 1 degrees of freedom and the covariance of the seed means.

Where the seeds decide, this is the t interval of the seed means. Otherwise, with few seeds, it is
too wide rather than too narrow: benchmarks/coverage.py measures by how much. With one seed there is
no second part, and intervals and tests hold for that seed alone.

Of few users, resamples are too narrow by sqrt((N - 1) / N) and lack the tails of a t distribution
(an interval of 5 users holds the truth in 85 of 100 cases, of 30 in 93). So the first part of a
statistic over fewer than `FEW_USERS` is a t draw too, with users - 1 degrees of freedom: with one
seed the t interval of the user means. From 100 users on both hold it alike.
All statistics of one call see the same draws.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from recsys_posttrain.basic_statistics import Floats, ratio, resampled_sums

RESAMPLES = 20_000
CONFIDENCE = 0.95
ALPHA = 0.05
MOST_BYTES = 2**30  # of the draws of one comparison
FEW_USERS = 100


@dataclass(frozen=True)
class Interval:
    """A statistic and its interval. NaN where there is nothing to average."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Draws of K weighted means over S seeds and N users, in two parts that are linear in the
    values, so that those of a difference follow from those of its two terms."""

    values_KSN: Floats
    weights_KN: Floats
    mean_K: Floats
    user_RK: Floats
    seed_RK: Floats

    @property
    def draws_RK(self) -> Floats:
        own_K = _own(self.values_KSN, self.weights_KN)
        return self.mean_K + own_K * self.user_RK + self.seed_RK

    @property
    def mean_and_draws(self) -> tuple[Floats, Floats]:
        """mean_K and draws_RK."""
        return self.mean_K, self.draws_RK

    def differences(
        self, first_P: NDArray[np.int64], second_P: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """The first minus the second statistic of each of P pairs, which are over the same users
        with the same weights: value_P and draws_RP."""
        value_P = self.mean_K[first_P] - self.mean_K[second_P]
        values_PSN = self.values_KSN[first_P] - self.values_KSN[second_P]
        own_P = _own(values_PSN, self.weights_KN[first_P])
        user_RP = self.user_RK[:, first_P] - self.user_RK[:, second_P]
        seed_RP = self.seed_RK[:, first_P] - self.seed_RK[:, second_P]
        return value_P, value_P + own_P * user_RP + seed_RP


def bootstrap(
    values_KSN: ArrayLike,
    *,
    weights_KN: ArrayLike = 1.0,
    freedom_K: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    few_users: int = FEW_USERS,
    rng: np.random.Generator,
) -> Bootstrap:
    """Weighted means of K statistics over S seeds and N users, and their bootstrap draws.

    Each statistic is sum(weight * value) / sum(weight) over users, averaged over seeds. A user with
    a NaN under some seed is left out of that statistic (not in the subset).
    weights_KN: broadcasts. freedom_K: degrees of freedom of the seed part; default S - 1.
    few_users: from how many on users are resampled. A draw that holds no user of the subset is NaN,
    and so is every draw of one user.
    """
    values_KSN, weights_KN = without_nan(values_KSN, weights_KN)
    num_seeds = values_KSN.shape[1]
    seed_KS = seed_means(values_KSN, weights_KN)
    mean_K = seed_KS.mean(1)
    user_KN = weights_KN * (values_KSN.mean(1) - mean_K[:, None])
    size_K = (weights_KN > 0).sum(1)
    user_RK = np.empty((resamples, len(mean_K)))
    many_K = (size_K >= few_users) | (size_K == 0)
    if many_K.any():
        weights_WN, which_K = np.unique(weights_KN[many_K], axis=0, return_inverse=True)
        sums_RC = resampled_sums(np.concatenate([user_KN[many_K], weights_WN]).T, resamples, rng)
        count = int(many_K.sum())
        user_RK[:, many_K] = ratio(sums_RC[:, :count], sums_RC[:, count:][:, which_K.ravel()])
    seed_RK = np.zeros((resamples, 1 if num_seeds == 1 else len(mean_K)))
    if num_seeds > 1:
        freedom_K = np.asarray(num_seeds - 1 if freedom_K is None else freedom_K, dtype=np.float64)
        deviation_KS = (seed_KS - mean_K[:, None]) / np.sqrt(num_seeds * (num_seeds - 1))
        seed_RK = _t_draws(deviation_KS, freedom_K, resamples, rng)
    seed_RK = np.broadcast_to(seed_RK, user_RK.shape)
    if not many_K.all():
        few_K = ~many_K
        used_N = weights_KN[few_K].any(0)
        scale_K1 = np.sqrt(ratio(size_K, size_K - 1)) / weights_KN.sum(1)  # NaN of one user
        deviation_KN = user_KN[few_K][:, used_N] * scale_K1[few_K, None]
        user_RK[:, few_K] = _t_draws(deviation_KN, size_K[few_K] - 1.0, resamples, rng)
    return Bootstrap(values_KSN, weights_KN, mean_K, user_RK, seed_RK)


def draws_of_seeds(
    value_SK: Floats,
    drawn_RSK: Floats,
    num_users: int,
    rng: np.random.Generator,
    few_users: int = FEW_USERS,
) -> tuple[Floats, Floats]:
    """The same for statistics that are no means: mean_K over seeds, and draws_RK.

    drawn_RSK: each seed's statistic on users drawn with replacement, the same for all seeds. The
    variance that users and seeds both hold is that by which a seed's draws vary more than the mean
    of the seeds. Of few users the draws are divided by a chi, and widened, so that those of a mean
    have the t form.
    """
    resamples, num_seeds = drawn_RSK.shape[:2]
    mean_K = value_SK.mean(0)
    user_RK = drawn_RSK.mean(1) - mean_K
    if num_seeds > 1:
        both_K, each_K = user_RK.var(0), drawn_RSK.var(0).mean(0)
        rest_K = ratio((each_K - both_K) / (num_seeds - 1), both_K)
        user_RK *= np.sqrt(np.nan_to_num(1 - rest_K.clip(0, 1)))
    if num_users < few_users:
        users = float(num_users)
        scale = np.sqrt(users / (users - 1)) if users > 1 else np.nan
        user_RK *= scale / _chi(np.array([users - 1]), resamples, rng)
    draws_RK = mean_K + user_RK
    if num_seeds > 1:
        deviation_KS = (value_SK - mean_K).T / np.sqrt(num_seeds * (num_seeds - 1))
        draws_RK = draws_RK + _t_draws(deviation_KS, num_seeds - 1, resamples, rng)
    return mean_K, draws_RK


def _own(values_KSN: Floats, weights_KN: Floats) -> Floats:
    """What to shrink the users' part by, so that it has only what is theirs alone: [K]."""
    num_seeds = values_KSN.shape[1]
    if num_seeds == 1:
        return np.ones(len(values_KSN))
    seed_KS = seed_means(values_KSN, weights_KN)
    mean_K = seed_KS.mean(1, keepdims=True)
    share_KN = ratio(weights_KN, weights_KN.sum(1, keepdims=True))
    rest_KN = (values_KSN - (seed_KS - mean_K)[:, :, None]).var(1, ddof=1) / num_seeds
    both_KN = (values_KSN.mean(1) - mean_K) ** 2
    rest_K, both_K = ((share_KN**2 * each_KN).sum(1) for each_KN in (rest_KN, both_KN))
    own_K: Floats = np.sqrt(np.nan_to_num(1 - np.minimum(ratio(rest_K, both_K), 1)))
    return own_K


def without_nan(values_KSN: ArrayLike, weights_KN: ArrayLike) -> tuple[Floats, Floats]:
    """Users with a NaN under some seed get the value and the weight 0; weights in full, [K, N]."""
    values_KSN = np.asarray(values_KSN, dtype=np.float64)
    absent_KN = np.isnan(values_KSN).any(1)
    return np.where(absent_KN[:, None], 0.0, values_KSN), np.where(absent_KN, 0.0, weights_KN)


def seed_means(values_KSN: Floats, weights_KN: Floats) -> Floats:
    """Weighted means over users, [K, S]; NaN where all weights are 0."""
    sums_KS = np.einsum("ksn,kn->ks", values_KSN, weights_KN)
    return ratio(sums_KS, weights_KN.sum(1, keepdims=True))


def interval(value: float, draws_R: Floats, confidence: float = CONFIDENCE) -> Interval:
    """From the quantiles of bootstrap draws."""
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return Interval(float(value), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def bootstrap_interval(
    values_SN: ArrayLike, *, resamples: int = RESAMPLES, rng: np.random.Generator
) -> Interval:
    """Mean of values_SN (NaN = not in the subset) and its 95% interval."""
    mean_K, draws_RK = bootstrap(
        np.asarray(values_SN)[None], resamples=resamples, rng=rng
    ).mean_and_draws
    return interval(mean_K[0], draws_RK[:, 0])


def p_value(draws_R: Floats) -> float:
    """Two-sided p-value for zero: twice the share of draws on the rarer side of it.

    The smallest possible value is 2 / (R + 1), never 0. NaN without draws.
    """
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0:
        return float("nan")
    rarer = min(int((draws_R <= 0).sum()), int((draws_R >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(draws_R) + 1))


def smallest_p(resamples: int) -> float:
    """The smallest that `p_value` can be."""
    return min(1.0, 2 / (resamples + 1))


def draws_for(tests: int, at_least: int, statistics: int = 0) -> int:
    """So many draws that a test can be significant after Holm's correction over a family of
    `tests`: the smallest p times their number is then at most `ALPHA`. Fewer where the draws of
    so many statistics would take more than `MOST_BYTES`; captions say when that is so."""
    needed = math.ceil(2 * tests / ALPHA)
    room = MOST_BYTES // (8 * statistics) if statistics else needed
    return max(at_least, min(needed, room))


def equivalence_p(draws_R: Floats, margin: float) -> float:
    """p-value of "as far apart as the margin, or further": the larger of two one-sided tests (TOST,
    Schuirmann 1987), each the share of draws beyond its side. It is below alpha where the interval
    of confidence 1 - 2 alpha lies within the margin. NaN without draws or a positive margin."""
    draws_R = draws_R[~np.isnan(draws_R)]
    if len(draws_R) == 0 or not margin > 0:
        return float("nan")
    beyond = max(int((draws_R <= -margin).sum()), int((draws_R >= margin).sum()))
    return (beyond + 1) / (len(draws_R) + 1)


def _t_draws(
    terms_KE: Floats, freedom_K: ArrayLike, resamples: int, rng: np.random.Generator
) -> Floats:
    """t draws [R, K] with the covariance terms_KE terms_EK: normal draws over chi.

    The chi-square of a draw is one quantile for all K, and all quantiles come equally often.
    """
    normal_RK: Floats = rng.standard_normal((resamples, terms_KE.shape[1])) @ terms_KE.T
    freedom_K = np.broadcast_to(np.asarray(freedom_K, dtype=np.float64), (len(terms_KE),))
    return ratio(normal_RK, _chi(freedom_K, resamples, rng))


def _chi(freedom_K: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """The root of chi-square over its degrees of freedom, [R, K]; NaN without any."""
    quantile_R1 = (rng.permutation(resamples)[:, None] + 0.5) / resamples
    freedom_F, which_K = np.unique(freedom_K, return_inverse=True)
    with np.errstate(invalid="ignore"):
        root_RF: Floats = np.sqrt(2 * gammaincinv(freedom_F / 2, quantile_R1) / freedom_F)
    return root_RF[:, which_K]
