"""Statistics that more than one package needs: ratios, rank correlation, and resampled groups."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BLOCK_ELEMENTS = 2_000_000  # draws x groups held at once: 16 MB


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def spearman(first_E: ArrayLike, second_E: ArrayLike, group_E: ArrayLike) -> Floats:
    """The rank correlation within each group (average ranks for ties), in the order of np.unique;
    NaN where one of the two is constant."""
    group_E = np.unique(group_E, return_inverse=True)[1]
    centre_E = (np.bincount(group_E)[group_E] + 1) / 2
    ranks = pd.DataFrame({"x": np.asarray(first_E), "y": np.asarray(second_E)}).groupby(group_E)
    # Centred average ranks are exact halves, so the variance of a constant is exactly 0.
    x_E, y_E = (ranks[side].rank().to_numpy() - centre_E for side in ("x", "y"))
    xy_G, xx_G, yy_G = (np.bincount(group_E, term_E) for term_E in (x_E * y_E, x_E**2, y_E**2))
    return ratio(xy_G, np.sqrt(xx_G * yy_G))


def resampled_sums(values_NC: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums of C columns over N groups that are drawn with replacement, the same groups for all
    columns: [R, C]."""
    size = len(values_NC)
    sums_RC = np.empty((resamples, values_NC.shape[1]))
    rows = max(1, _BLOCK_ELEMENTS // max(size, 1))
    for start in range(0, resamples, rows):
        block = slice(start, min(start + rows, resamples))
        sums_RC[block] = _draw_counts(block.stop - start, size, rng) @ values_NC
    return sums_RC


def _draw_counts(resamples: int, size: int, rng: np.random.Generator) -> Floats:
    """How often each of `size` units is drawn in `size` draws with replacement: [R, size]."""
    drawn = rng.integers(0, size, (resamples, size))
    drawn += size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)
