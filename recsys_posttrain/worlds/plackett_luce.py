"""Drawing without replacement from a softmax, with the exact probability of every draw.

Each draw is from the softmax over the items left: the Plackett-Luce model (R. L. Plackett, 1975,
doi 10.2307/2346567). Adding independent Gumbel noise to the logits and sorting draws all of it at
once (J. I. Yellott, 1977, doi 10.1016/0022-2496(77)90026-8).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draws(NamedTuple):
    """index_NL: the columns drawn, in order. propensity_NL: of each, given those before it."""

    index_NL: NDArray[np.int64]
    propensity_NL: NDArray[np.float64]


def draw_without_replacement(
    logit_NV: NDArray[np.float64], length: int, generator: np.random.Generator
) -> Draws:
    """The first `length` <= V draws of each row."""
    key_NV = logit_NV + generator.gumbel(size=logit_NV.shape)
    order_NV = np.argsort(-key_NV, axis=1, kind="stable")
    sorted_NV = np.take_along_axis(logit_NV, order_NV, axis=1)
    # log of the summed exponentials of each place and all after it: the items left to draw from.
    left_NV = np.logaddexp.accumulate(sorted_NV[:, ::-1], axis=1)[:, ::-1]
    return Draws(order_NV[:, :length], np.exp(sorted_NV - left_NV)[:, :length])
