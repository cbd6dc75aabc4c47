"""Synthetic studies whose truth is known, for coverage.py. Not a benchmark itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

EQUAL_METHODS = 8  # as good as the control
GAIN = 0.15  # of one more method over the control, as a share of the control's mean
_HIT = 1 / np.log2(1 + np.arange(1, 11))  # NDCG@10 of a target at ranks 1 to 10
_SHARES = np.array([24, 15, 12, 10, 9, 7, 7, 6, 5, 5])  # of the ranks of a hit, in percent
_HITS = np.repeat(_HIT, _SHARES)
_HIGHEST = 0.6  # chance of a hit that a user can have, so that no effect lifts it above 1
_STARS = np.array([5.6, 10.8, 26.1, 34.9, 22.6])  # percent of logged ratings 1 to 5 (ML-1M)
LIST = 5  # items of a list whose reward is a value
_SPREADS = (0.3, 0.6)  # deviations of the logarithm of a positive value, between and within users


@dataclass(frozen=True)
class Study:
    """What its values are like.

    seed_effect: deviation of a seed's true mean, in standard errors of one seed's mean over users.
    zeros: share of users without a hit. shared: chance that a user's result is the one that all
    methods and seeds share (they start from one pretrained policy); otherwise it is drawn anew.
    """

    seeds: int
    seed_effect: float
    zeros: float
    shared: float
    users: int = 300

    @property
    def mean(self) -> float:
        """True mean of the control and the methods equal to it."""
        return (1 - self.zeros) * float(_HITS.mean())

    @property
    def reward(self) -> float:
        """True mean of `rewards`."""
        return float(_STARS @ np.arange(1, 6) / _STARS.sum())

    @property
    def improvement(self) -> float:
        """True probability of improvement of the better method: half of the hits that it adds."""
        return 0.5 + GAIN * (1 - self.zeros) / 2

    @property
    def positive_iqm(self) -> float:
        """True interquartile mean of `positive`, a log-normal distribution."""
        spread = float(np.hypot(*_SPREADS))
        low, high = norm.ppf(np.array([0.25, 0.75]))
        middle = norm.cdf(high - spread) - norm.cdf(low - spread)
        return float(np.exp(spread**2 / 2) * middle / 0.5)


def ndcg(study: Study, count: int, rng: np.random.Generator) -> Floats:
    """Values [P, M, S, N] of P studies: the control, the equal methods, the better one.

    A user has a chance of a hit (beta-distributed, most have hardly any or a good one) and a hit a
    random rank. The effect of a seed and the gain of the better method scale the chance, so that
    the mean scales with them.
    """
    methods, hits = 1 + EQUAL_METHODS + 1, 1 - study.zeros
    shape = (count, methods, study.seeds, study.users)
    common = (count, 1, 1, study.users)
    user_P11N = _HIGHEST * rng.beta(hits / _HIGHEST, 1 - hits / _HIGHEST, common)
    deviation = np.sqrt(hits * (_HITS**2).mean() - study.mean**2)
    seed = study.seed_effect * deviation / np.sqrt(study.users) / study.mean
    scale_PMS1 = 1 + rng.normal(0, seed, (*shape[:3], 1))
    scale_PMS1[:, -1] += GAIN
    same = rng.random(shape) < study.shared
    chance = np.where(same, rng.random(common), rng.random(shape))
    hit = np.where(same, rng.choice(_HITS, common), rng.choice(_HITS, shape))
    return np.where(chance < user_P11N * scale_PMS1, hit, 0.0)


def positive(study: Study, count: int, rng: np.random.Generator) -> Floats:
    """Values [P, S, N] without zeros, skewed, as a predicted reward may be; no seed effect."""
    user_P1N = rng.normal(0, _SPREADS[0], (count, 1, study.users))
    return np.exp(user_P1N + rng.normal(0, _SPREADS[1], (count, study.seeds, study.users)))


def rewards(study: Study, count: int, rng: np.random.Generator) -> Floats:
    """Values [P, 2, S, N] of a control and a method as good as it: the mean of five stars, each
    with chance `shared` the same for both methods and all seeds, and the effects of seeds."""
    share = _STARS / _STARS.sum()
    shape, common = (count, 2, study.seeds, study.users), (count, 1, 1, study.users)
    values_P2SN = np.zeros(shape)
    for _ in range(LIST):
        same = rng.random(shape) < study.shared
        values_P2SN += np.where(same, rng.choice(5, common, p=share), rng.choice(5, shape, p=share))
    deviation = np.sqrt(share @ np.arange(5) ** 2 - (share @ np.arange(5)) ** 2)
    effect = study.seed_effect * deviation / np.sqrt(LIST * study.users)
    seed_P2S1 = rng.normal(0, effect, (*shape[:3], 1))
    return 1 + values_P2SN / LIST + seed_P2S1
