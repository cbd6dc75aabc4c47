"""The mean rating of every user for every item: biases and taste, fitted on real ratings.

    x_ui     = mean + a_u + b_i + p_u . q_i     by alternating ridge regressions
    r*(u, i) = m_u + s_u (g_u . h_i)            m_u: mean of x_u, clipped; g . h: low rank

x is fitted as in Y. Zhou et al., "Large-scale parallel collaborative filtering for the Netflix
prize", 2008, with one ridge for all rows. g . h is the truncated SVD of x after clipping it to the
rating scale, less m_u; s_u <= 1 is the largest number that keeps all r*(u, .) inside the scale. So
r* is a product of factors and, unclipped, the expectation of a rating.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped]

from recsys_posttrain.config import require

EDGE = 0.05  # m_u keeps this share of the scale away from its ends, so that s_u is above 0


@dataclass(frozen=True)
class Preferences:
    """Settings of the fit; the defaults are near the least error on held-out ratings of ML-100K and
    ML-1M."""

    rank: int = 16  # of p . q
    ridge: float = 15.0  # penalty of p and q, in ratings
    bias_ridge: float = 2.0  # penalty of a and b, in ratings
    sweeps: int = 10  # passes of the alternating fit
    bounded_rank: int = 32  # of g . h

    def __post_init__(self) -> None:
        for name in ("rank", "sweeps", "bounded_rank"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; give 1 or more")
        for name in ("ridge", "bias_ridge"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}; give a penalty above 0")

    def fit(self, rating_NV: csr_array, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(state_NR, factor_VR), float32, with r* = state . factor and R = bounded_rank + 1.

        rating_NV: the known ratings, explicitly stored; a cell that is not stored is unknown.
        """
        scale = (rating_NV.data.min(), rating_NV.data.max())
        expected_NV = self._unbounded(rating_NV, seed).clip(*scale)
        margin = EDGE * (scale[1] - scale[0])
        centre_N = expected_NV.mean(axis=1).clip(scale[0] + margin, scale[1] - margin)
        bounded = TruncatedSVD(
            min(self.bounded_rank, *expected_NV.shape), random_state=seed % 2**32
        )
        state_NR = bounded.fit_transform(expected_NV - centre_N[:, None])
        shrink_N = _shrinkage(centre_N, state_NR @ bounded.components_, scale)
        state_NR = np.column_stack([centre_N, shrink_N[:, None] * state_NR])
        factor_VR = np.column_stack([np.ones(expected_NV.shape[1]), bounded.components_.T])
        return state_NR.astype(np.float32), factor_VR.astype(np.float32)

    def _unbounded(self, rating_NV: csr_array, seed: int) -> np.ndarray:
        """x, [N, V], float32."""
        row_E, item_E = _cells(rating_NV)
        mean = rating_NV.data.mean()
        penalty_R = np.array([self.bias_ridge] + [self.ridge] * self.rank)
        bias_V = np.zeros(rating_NV.shape[1])
        generator = np.random.default_rng(seed)
        taste_VR = generator.normal(scale=0.1, size=(len(bias_V), self.rank))
        for _ in range(self.sweeps):
            rest_E = rating_NV.data - mean - bias_V[item_E]
            user_NR = _ridge(_like(rating_NV, rest_E), _beside_one(taste_VR), penalty_R)
            rest_E = rating_NV.data - mean - user_NR[row_E, 0]
            by_item = _like(rating_NV, rest_E).T.tocsr()
            item_VR = _ridge(by_item, _beside_one(user_NR[:, 1:]), penalty_R)
            bias_V, taste_VR = item_VR[:, 0], item_VR[:, 1:]
        product_NV = user_NR[:, 1:].astype(np.float32) @ taste_VR.T.astype(np.float32)
        bias_NV = (mean + user_NR[:, :1] + bias_V).astype(np.float32)
        return np.asarray(product_NV + bias_NV)


def _shrinkage(
    centre_N: np.ndarray, deviation_NV: np.ndarray, scale: tuple[float, float]
) -> np.ndarray:
    """The largest s_N <= 1 with centre + s deviation inside the scale for all items."""
    up_N = np.maximum(deviation_NV.max(axis=1), 0) / (scale[1] - centre_N)
    down_N = np.maximum(-deviation_NV.min(axis=1), 0) / (centre_N - scale[0])
    return np.asarray(1 / np.maximum(np.maximum(up_N, down_N), 1))


def _ridge(target_NV: csr_array, known_VR: np.ndarray, penalty_R: np.ndarray) -> np.ndarray:
    """Every row's x with the least sum over its cells of (target - known . x)^2 + penalty x^2."""
    width = known_VR.shape[1]
    products_VS = (known_VR[:, :, None] * known_VR[:, None, :]).reshape(-1, width**2)
    pattern_NV = _like(target_NV, np.ones_like(target_NV.data))
    gram_NRR = (pattern_NV @ products_VS).reshape(-1, width, width) + np.diag(penalty_R)
    return np.asarray(np.linalg.solve(gram_NRR, (target_NV @ known_VR)[:, :, None])[:, :, 0])


def _beside_one(factor_VR: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(factor_VR)), factor_VR])


def _like(cells_NV: csr_array, data_E: np.ndarray) -> csr_array:
    return csr_array((data_E, cells_NV.indices, cells_NV.indptr), shape=cells_NV.shape)


def _cells(rating_NV: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Row and item of each stored rating, in the order of `data`."""
    return np.repeat(np.arange(rating_NV.shape[0]), np.diff(rating_NV.indptr)), rating_NV.indices
