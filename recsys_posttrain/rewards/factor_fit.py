"""Variational EM for a factor model of rewards, in NumPy on sparse sums.

    r_ui = w_i . (1, z_u) + e,   z_u ~ N(0, I),   w_i ~ N(m, S),   e ~ N(0, s_i)

w_i is the item's row: its bias, then its R loadings. q(z_u) and q(w_i) are normal and independent;
m, S, the noise s_i of each item and its centre s are estimated. S is learned in full: columns that
explain nothing shrink (automatic relevance), and a bias tells of the loadings that go with it. Each
s_i is held to s by NOISE_EVENTS pseudo-events. Every update raises the same bound.

U users, Q = R + 1 columns of a row, X = Q (Q + 1) / 2 entries of a symmetric matrix.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from recsys_posttrain.types import Sequences

NOISE_EVENTS = 20.0
LEAST_DEVIATION = 0.01  # of rewards and of their noise, in stars: rewards may all be equal


class Factors(NamedTuple):
    """What is known of the items, and the bound on the log likelihood after each round."""

    mean_VQ: np.ndarray
    covariance_VQQ: np.ndarray
    noise_V: np.ndarray  # variances
    bounds: list[float]


def fit_factors(log: Sequences, num_items: int, rank: int, rounds: int, seed: int) -> Factors:
    """Learns from every event of the log. An item without an event is left at the prior."""
    items, sums = num_items, _Sums(log, num_items, rank + 1)
    count_V, square_V, centre = sums.count_V, sums.square_V, sums.centre
    scale = max(float(np.sqrt(square_V.sum() / count_V.sum())), LEAST_DEVIATION)
    is_rated_V = count_V > 0

    # The first loading starts as a deviation of the user from everyone else, the others near 0.
    mean_VQ = 0.1 * scale * np.random.default_rng(seed).standard_normal((items, rank + 1))
    mean_VQ[:, 0] = sums.total_V / (count_V + 5)
    mean_VQ[:, 1] += 0.4 * scale
    covariance_VQQ = np.zeros((items, rank + 1, rank + 1))
    prior_Q = 0.4 * scale * (np.arange(rank + 1) == 1)
    prior_QQ = 0.1 * scale**2 * np.eye(rank + 1)
    noise_V = np.full(items, 0.8 * scale**2)
    noise, bounds = 0.8 * scale**2, []

    for _ in range(rounds):
        # Users, given items.
        second_VQQ = _outer(mean_VQ) + covariance_VQQ
        precision_UQQ = sums.over_items(second_VQQ / noise_V[:, None, None])
        pull_UR = sums.rewards @ (mean_VQ[:, 1:] / noise_V[:, None]) - precision_UQQ[:, 0, 1:]
        spread_URR = np.linalg.inv(np.eye(rank) + precision_UQQ[:, 1:, 1:])
        user_UR = np.einsum("urs,us->ur", spread_URR, pull_UR)
        state_UQ = np.concatenate([np.ones((len(user_UR), 1)), user_UR], axis=1)
        states_UQQ = _outer(state_UQ)
        states_UQQ[:, 1:, 1:] += spread_URR

        # Items, given users.
        states_VQQ, product_VQ = sums.over_users(states_UQQ), sums.rewards.T @ state_UQ
        inverse_QQ = np.linalg.inv(prior_QQ)
        covariance_VQQ = np.linalg.inv(inverse_QQ + states_VQQ / noise_V[:, None, None])
        pull_VQ = inverse_QQ @ prior_Q + product_VQ / noise_V[:, None]
        mean_VQ = np.einsum("vqp,vp->vq", covariance_VQQ, pull_VQ)

        # The prior, and the noise.
        prior_Q = mean_VQ[is_rated_V].mean(axis=0)
        off_VQ = mean_VQ[is_rated_V] - prior_Q
        prior_QQ = off_VQ.T @ off_VQ / len(off_VQ) + covariance_VQQ[is_rated_V].mean(axis=0)
        mean_VQ[~is_rated_V], covariance_VQQ[~is_rated_V] = prior_Q, prior_QQ
        error_V = square_V - 2 * (mean_VQ * product_VQ).sum(axis=1)
        error_V += ((_outer(mean_VQ) + covariance_VQQ) * states_VQQ).sum(axis=(1, 2))
        noise_V = (error_V + NOISE_EVENTS * noise) / (count_V + NOISE_EVENTS)
        noise_V = np.maximum(noise_V, LEAST_DEVIATION**2)
        noise = 1 / float((1 / noise_V).mean())

        fit = count_V * np.log(2 * np.pi * noise_V) + error_V / noise_V
        held = NOISE_EVENTS * (np.log(noise_V / noise) + noise / noise_V - 1)
        trace_U = np.trace(states_UQQ, axis1=1, axis2=2) - 1
        of_users = trace_U - rank - np.linalg.slogdet(spread_URR)[1]
        rated_VQQ = covariance_VQQ[is_rated_V]  # the others are at the prior, as is their share
        of_items = np.linalg.slogdet(prior_QQ)[1] - np.linalg.slogdet(rated_VQQ)[1]
        bounds.append(-0.5 * float(sum(each.sum() for each in (fit, held, of_users, of_items))))

    mean_VQ[:, 0] += centre
    return Factors(mean_VQ, covariance_VQQ, noise_V, bounds)


class _Sums:
    """The log as sparse sums; rewards are centred, so that rounding stays small."""

    def __init__(self, log: Sequences, num_items: int, width: int) -> None:
        item_E, user_E = log.items_E.numpy() - 1, np.repeat(range(len(log)), log.lengths_N.numpy())
        reward_E = log.rewards_E.double().numpy()
        self.centre = float(reward_E.mean())
        reward_E = reward_E - self.centre
        place, shape = (user_E, item_E), (len(log), num_items)
        self.events = csr_array((np.ones(len(item_E)), place), shape=shape)
        self.rewards = csr_array((reward_E, place), shape=shape)
        self.count_V = np.bincount(item_E, minlength=num_items)
        self.total_V = np.bincount(item_E, reward_E, minlength=num_items)
        self.square_V = np.bincount(item_E, np.square(reward_E), minlength=num_items)
        self.lower = np.tril_indices(width)
        self.place_QQ = np.zeros((width, width), dtype=np.int64)
        self.place_QQ[self.lower] = self.place_QQ.T[self.lower] = np.arange(len(self.lower[0]))

    def over_items(self, of_items_VQQ: np.ndarray) -> np.ndarray:
        """The sum over each user's events, [U, Q, Q], of a symmetric matrix of the item."""
        return np.asarray(self.events @ of_items_VQQ[:, *self.lower])[:, self.place_QQ]

    def over_users(self, of_users_UQQ: np.ndarray) -> np.ndarray:
        """The sum over each item's events, [V, Q, Q], of a symmetric matrix of the user."""
        return np.asarray(self.events.T @ of_users_UQQ[:, *self.lower])[:, self.place_QQ]


def _outer(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows[:, :, None] * rows[:, None, :])
