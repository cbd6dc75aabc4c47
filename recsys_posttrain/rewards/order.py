"""The order of predictions within a user, and within one context of a user."""

import numpy as np

from recsys_posttrain.basic_statistics import ratio


def pairwise_accuracy(
    predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray
) -> np.ndarray:
    """Share of a user's pairs with different rewards that the prediction orders rightly, [N].

    N users in the order of np.unique(user_E). Ties in prediction count half; NaN for users
    without such a pair. Exact in O(E log E log L) for L distinct rewards: two rewards first
    differ in exactly one bit of their rank, so each pair is counted in one pass over the bits,
    among the user's events that agree in all higher bits.
    """
    return ratio(*_pairs(predicted_E, reward_E, user_E))


def context_accuracy(
    predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray, context_E: np.ndarray
) -> np.ndarray:
    """The same, [N], of a user's pairs of events with the same context."""
    user_E = np.unique(user_E, return_inverse=True)[1]
    first_G = np.unique(context_E, return_index=True)[1]
    counts = _pairs(predicted_E, reward_E, context_E)
    return ratio(*(np.bincount(user_E[first_G], count_G) for count_G in counts))


def _pairs(
    predicted_E: np.ndarray, reward_E: np.ndarray, user_E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many pairs of each user are ordered rightly, and how many there are; both [N]."""
    user_E = np.unique(user_E, return_inverse=True)[1]
    level_E = np.unique(reward_E, return_inverse=True)[1]
    order_E = np.lexsort((predicted_E, user_E))
    user_E, level_E, predicted_E = user_E[order_E], level_E[order_E], predicted_E[order_E]
    num_users, num_levels = int(user_E.max()) + 1, int(level_E.max()) + 1
    right_N, pairs_N = np.zeros(num_users), np.zeros(num_users)
    for bit in range((num_levels - 1).bit_length()):
        group_E = user_E * num_levels + (level_E >> (bit + 1))
        sorted_E = np.argsort(group_E, kind="stable")  # keeps the order of predictions
        group_E, value_E = group_E[sorted_E], predicted_E[sorted_E]
        high_E = (level_E[sorted_E] >> bit & 1).astype(bool)
        low_before_E1 = np.concatenate([[0], np.cumsum(~high_E)])
        first_E, last_E = _run_bounds(_changes(group_E))
        tie_first_E, tie_last_E = _run_bounds(_changes(group_E) | _changes(value_E))
        below_E = low_before_E1[tie_first_E] - low_before_E1[first_E]
        not_above_E = low_before_E1[tie_last_E] - low_before_E1[first_E]
        all_E = low_before_E1[last_E] - low_before_E1[first_E]
        owner_E = user_E[sorted_E]
        right_N += np.bincount(owner_E, high_E * (below_E + not_above_E) / 2, num_users)
        pairs_N += np.bincount(owner_E, high_E * all_E, num_users)
    return right_N, pairs_N


def _changes(values_E: np.ndarray) -> np.ndarray:
    """True where a run of equal values begins."""
    return np.concatenate([[True], values_E[1:] != values_E[:-1]])


def _run_bounds(starts_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each event, where its run begins and where the next one does."""
    bounds = np.append(np.flatnonzero(starts_E), len(starts_E))
    run_E = np.cumsum(starts_E) - 1
    return bounds[run_E], bounds[run_E + 1]
