"""The mean rating of every user for every item: drawn, not estimated, given real ratings.

    x_ui = mean + a_u + t_i + b_i + p_u . q_i + amplitude w_ui

a, b, p and q are a draw from their posterior, so they have its whole covariance: Gibbs steps with
fixed precisions (R. Salakhutdinov and A. Mnih, "Bayesian probabilistic matrix factorization using
Markov chain Monte Carlo", 2008), after sweeps that solve for the means. t is a straight line in the
logarithm of an item's number of ratings, to which an item with few is drawn. w is the personal
part, which people keep and factors do not explain: there are H vectors of one random sign for each
item, and each user has the sum of `tastes` of them, over the root of their number. Its
amplitude leaves a rating a scatter of `noise` about its expectation.

r*(u, .) is the vector of the items' span that is nearest to x_u inside the rating scale (`inside`),
so it is a product of factors and the expectation of a rating.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from recsys_posttrain.config import require

EDGE = 0.05  # a user's mean keeps this share of the scale away from its ends
DRAWN = 2  # the last sweeps draw; those before solve for the mean
HELD = 3.0  # how much more a move of a user's mean, or of the weight of quality, counts
ROUNDS, PULL = 30, 5.0  # of the projection into the scale, and its penalty
ROWS = 512  # users that are projected at a time
SAMPLE = 512  # users by whom the amplitude is chosen
LOUDEST, HALVINGS = 3.0, 8  # of the search for the amplitude, in sd of what factors leave


class _Factors(NamedTuple):
    """x without its personal part is user . item, up to a normal error of variance `rest`."""

    user_NR: np.ndarray
    item_VR: np.ndarray
    rest: float


@dataclass(frozen=True)
class Preferences:
    """Settings of the draw; the ridges are near the least error on held-out ratings of ML-100K and
    ML-1M.

    noise: standard deviation of a rating about its expectation. Who rates an item again differs
    from the first rating by the root of 2 of it: by .6 to .8 stars (X. Amatriain et al., "I like
    it... I like it not", 2009), which makes it .42 to .57.
    """

    rank: int = 16  # of p . q
    ridge: float = 15.0  # precision of p and q, in ratings
    bias_ridge: float = 2.0  # precision of a and b, in ratings
    sweeps: int = 10
    items_per_vector: int = 8  # H is the number of items over this, `tastes` or more
    tastes: int = 2
    noise: float = 0.45

    def __post_init__(self) -> None:
        for name in ("rank", "sweeps", "items_per_vector", "tastes"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; give 1 or more")
        for name in ("ridge", "bias_ridge", "noise"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}; give a number above 0")

    def draw(self, rating_NV: csr_array, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(state_NR, factor_VR), float32, with r* = state . factor and R <= rank + H + 3.

        rating_NV: the known ratings, explicitly stored; a cell that is not stored is unknown.
        """
        generator = np.random.default_rng(seed)
        factors = self._factors(rating_NV, generator)
        user_NH, sign_VH = self._personal(*rating_NV.shape, generator)
        user_NH *= np.sqrt(factors.rest)
        basis_VR, mix_RR = np.linalg.qr(np.column_stack([factors.item_VR, sign_VH]))
        basis_VR = basis_VR.astype(np.float32)
        factor_VR = np.column_stack([np.ones(len(basis_VR)), basis_VR - basis_VR.mean(axis=0)])
        scale = (rating_NV.data.min(), rating_NV.data.max())

        def states(users_n: np.ndarray, amplitude: float) -> np.ndarray:
            user_nR = np.column_stack([factors.user_NR[users_n], amplitude * user_NH[users_n]])
            return inside((user_nR @ mix_RR.T).astype(np.float32), basis_VR, scale)

        sample_n = generator.permutation(len(user_NH))[:SAMPLE]
        low, high = 0.0, LOUDEST
        for _ in range(HALVINGS):
            amplitude = (low + high) / 2
            state_nR = states(sample_n, amplitude)
            if _scatter(rating_NV[sample_n], state_nR, factor_VR) > self.noise:
                low = amplitude
            else:
                high = amplitude
        parts = np.split(np.arange(len(user_NH)), range(ROWS, len(user_NH), ROWS))
        state_NR = np.concatenate([states(users_n, high) for users_n in parts])
        return state_NR.astype(np.float32), factor_VR.astype(np.float32)

    def _personal(
        self, users: int, items: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(user_NH, sign_VH) whose product is w, of mean 0 and variance 1 over the signs."""
        vectors = max(items // self.items_per_vector, self.tastes)
        has_NH = generator.random((users, vectors)).argsort(axis=1) < self.tastes
        return has_NH / np.sqrt(self.tastes), generator.choice([-1.0, 1.0], (items, vectors))

    def _factors(self, rating_NV: csr_array, generator: np.random.Generator) -> _Factors:
        row_E, item_E = _cells(rating_NV)
        mean = rating_NV.data.mean()
        log_count_V = np.log(np.bincount(item_E, minlength=rating_NV.shape[1]).clip(min=1))
        penalty_R = np.array([self.bias_ridge] + [self.ridge] * self.rank)
        bias_V = np.zeros(rating_NV.shape[1])
        taste_VR = generator.normal(scale=0.1, size=(len(bias_V), self.rank))
        rest = rating_NV.data.var()
        for sweep in range(self.sweeps):
            variance = rest if sweep >= self.sweeps - DRAWN else 0.0
            trend_V = np.polyval(np.polyfit(log_count_V, bias_V, 1), log_count_V)
            rest_E = rating_NV.data - mean - bias_V[item_E]
            user_NR = _ridge(
                _like(rating_NV, rest_E), _beside_one(taste_VR), penalty_R, variance, generator
            )
            rest_E = rating_NV.data - mean - trend_V[item_E] - user_NR[row_E, 0]
            by_item = _like(rating_NV, rest_E).T.tocsr()
            item_VR = _ridge(by_item, _beside_one(user_NR[:, 1:]), penalty_R, variance, generator)
            bias_V, taste_VR = trend_V + item_VR[:, 0], item_VR[:, 1:]
            told_E = np.einsum("er,er->e", user_NR[row_E, 1:], taste_VR[item_E])
            rest = float((rest_E + trend_V[item_E] - bias_V[item_E] - told_E).var())
        one_N = np.ones(len(user_NR))
        return _Factors(
            np.column_stack([mean + user_NR[:, 0], one_N, user_NR[:, 1:]]),
            np.column_stack([np.ones(len(bias_V)), bias_V, taste_VR]),
            rest,
        )


def _scatter(rating_NV: csr_array, state_NR: np.ndarray, factor_VR: np.ndarray) -> float:
    """The standard deviation that ratings have beyond that of their expectations."""
    row_E, item_E = _cells(rating_NV)
    mean_E = np.einsum("er,er->e", state_NR[row_E], factor_VR[item_E])
    return float(np.sqrt(max(rating_NV.data.var() - mean_E.var(), 0)))


def inside(target_NR: np.ndarray, basis_VR: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """[N, 1 + R]: a mean m and a state s for each user, such that m + s (basis - its mean over the
    items) is the vector of the basis' span that is nearest to basis . target inside the scale.

    basis_VR: orthonormal columns; 1 lies in the span of the first, and quality in that of the first
    two, in which distances count HELD times as much. The nearest vector by ROUNDS of the
    alternating direction method of multipliers (S. Boyd et al., 2011); what is left outside after
    those is taken in by shrinking the user's deviations.
    """
    weight_R = np.ones(basis_VR.shape[1], dtype=basis_VR.dtype)
    weight_R[:2] = HELD
    product_NV = target_NR @ basis_VR.T
    price_NV = np.zeros_like(product_NV)
    for _ in range(ROUNDS):
        clipped_NV = (product_NV + price_NV).clip(*scale)
        pulled_NR = PULL * ((clipped_NV - price_NV) @ basis_VR)
        state_NR = (weight_R * target_NR + pulled_NR) / (weight_R + PULL)
        product_NV = state_NR @ basis_VR.T
        price_NV += product_NV - clipped_NV
    margin = EDGE * (scale[1] - scale[0])
    mean_N = product_NV.mean(axis=1)
    centre_N = mean_N.clip(scale[0] + margin, scale[1] - margin)
    shrink_N = _shrinkage(centre_N, product_NV - mean_N[:, None], scale)
    return np.column_stack([centre_N, shrink_N[:, None] * state_NR])


def _shrinkage(
    centre_N: np.ndarray, deviation_NV: np.ndarray, scale: tuple[float, float]
) -> np.ndarray:
    """The largest s_N <= 1 with centre + s deviation inside the scale for all items."""
    up_N = np.maximum(deviation_NV.max(axis=1), 0) / (scale[1] - centre_N)
    down_N = np.maximum(-deviation_NV.min(axis=1), 0) / (centre_N - scale[0])
    return np.asarray(1 / np.maximum(np.maximum(up_N, down_N), 1))


def _ridge(
    target_NV: csr_array,
    known_VR: np.ndarray,
    penalty_R: np.ndarray,
    variance: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Every row's x, normal with the mean that has the least sum over its cells of
    (target - known . x)^2 + penalty x^2, and `variance` times the inverse of that sum's matrix as
    covariance."""
    width = known_VR.shape[1]
    products_VS = (known_VR[:, :, None] * known_VR[:, None, :]).reshape(-1, width**2)
    pattern_NV = _like(target_NV, np.ones_like(target_NV.data))
    gram_NRR = (pattern_NV @ products_VS).reshape(-1, width, width) + np.diag(penalty_R)
    mean_NR1 = np.linalg.solve(gram_NRR, (target_NV @ known_VR)[:, :, None])
    root_NRR = np.linalg.cholesky(gram_NRR)
    normal_NR1 = np.sqrt(variance) * generator.standard_normal(mean_NR1.shape)
    return np.asarray(mean_NR1 + np.linalg.solve(root_NRR.swapaxes(1, 2), normal_NR1))[:, :, 0]


def _beside_one(factor_VR: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(factor_VR)), factor_VR])


def _like(cells_NV: csr_array, data_E: np.ndarray) -> csr_array:
    return csr_array((data_E, cells_NV.indices, cells_NV.indptr), shape=cells_NV.shape)


def _cells(rating_NV: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Row and item of each stored rating, in the order of `data`."""
    return np.repeat(np.arange(rating_NV.shape[0]), np.diff(rating_NV.indptr)), rating_NV.indices
