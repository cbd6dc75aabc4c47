"""Draw everybody's sequence of items, without replacement, with the probability of each choice."""

import numpy as np
import torch

from recsys_posttrain.worlds.logging_policy import Weights

ROWS = 64  # users at a time: their weights stay in the processor's cache


def draw_items(
    weights: Weights, lengths_N: np.ndarray, sitting_E: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(item_E, propensity_E) of the users' events laid end to end; no user has more than V.

    sitting_E: the number of each event's sitting. propensity_E: float64, given the items before.
    """
    start_N = lengths_N.cumsum() - lengths_N
    item_E = np.empty(lengths_N.sum(), dtype=np.int64)
    propensity_E = np.empty(len(item_E))
    longest_first_N = np.argsort(-lengths_N, kind="stable")
    for first in range(0, len(lengths_N), ROWS):
        users_B = longest_first_N[first : first + ROWS]
        unseen_BV = weights.item_NV[users_B]
        for step in range(lengths_N[users_B[0]]):
            rows = (lengths_N[users_B] > step).sum()
            event_B = start_N[users_B[:rows]] + step
            weight_BV = unseen_BV[:rows].copy()
            if step:
                goes_on_B = sitting_E[event_B] == sitting_E[event_B - 1]
                weight_BV[goes_on_B] *= weights.follows_VV[item_E[event_B[goes_on_B] - 1]]
            item_E[event_B], propensity_E[event_B] = _choose(weight_BV, generator)
            unseen_BV[np.arange(rows), item_E[event_B]] = 0
    return item_E, propensity_E


def _choose(weight_BV: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One index per row, in proportion to its weights, and its probability."""
    below_BV = torch.from_numpy(weight_BV).cumsum(dim=1, dtype=torch.float64)
    total_B1 = below_BV[:, -1:]
    uniform_B1 = torch.from_numpy(1 - generator.random((len(weight_BV), 1)))
    # The uniforms are above 0, so that an item of weight 0 is never reached.
    chosen_B1 = torch.searchsorted(below_BV, uniform_B1 * total_B1).numpy()
    chance_B1 = np.take_along_axis(weight_BV, chosen_B1, axis=1) / total_B1.numpy()
    return chosen_B1[:, 0], chance_B1[:, 0]
