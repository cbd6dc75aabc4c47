"""A world that fits on a page: a few contexts and actions, and everything about them exactly.

Tables are [X, V]: X contexts, V actions. Policies and scores may have leading dimensions (noise
draws, temperatures), which the answers keep. All arithmetic is in float64 and without a loop over
draws.

The exact policies are told their context. A policy of the framework reads histories only: in the
log a user has one context, drawn once, and every event of theirs is an independent draw from the
reference in it, so the context has to be inferred from the actions and their rewards.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import rel_entr, softmax

from recsys_posttrain.config import digest, require
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Interactions
from recsys_posttrain.worlds.base import Truth

Floats = NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]


def rows(table_XV: Floats) -> Rows:
    """A table as the tuples that `Tabular` takes."""
    return tuple(tuple(row) for row in table_XV.tolist())


@dataclass(frozen=True)
class Tabular:
    """The tabular world; the rewards of its log are r* itself."""

    reward: Rows  # r*(x, a), one row per context
    reference: Rows  # pi_ref(a | x), one row per context
    contexts: tuple[float, ...]  # their shares
    users: int = 200  # of the log
    events: int = 20  # of each user
    seed: int = 0  # of the log

    def __post_init__(self) -> None:
        shapes = [[len(row) for row in table] for table in (self.reward, self.reference)]
        require(
            shapes[0] == shapes[1] == [len(self.reward[0])] * len(self.contexts),
            f"Tabular: reward has rows of {shapes[0]} actions and reference of {shapes[1]} for "
            f"{len(self.contexts)} contexts; give both one row per context, of one length.",
        )
        require(np.isfinite(self.reward_XV).all(), "Tabular: each reward must be a finite number.")
        for name, share in [
            ("contexts", self.context_X),
            ("a row of reference", self.reference_XV),
        ]:
            total = share.sum(axis=-1)
            require(
                (share >= 0).all() and np.allclose(total, 1, rtol=0, atol=1e-9),
                f"Tabular: {name} must be at least 0 and add up to 1; the sums are {total}.",
            )
        require(
            self.users >= 1 and self.events >= 2,
            f"Tabular: users={self.users} must be at least 1 and events={self.events} at least 2.",
        )

    @cached_property
    def reward_XV(self) -> Floats:
        return np.array(self.reward, dtype=np.float64)

    @cached_property
    def reference_XV(self) -> Floats:
        return np.array(self.reference, dtype=np.float64)

    @cached_property
    def context_X(self) -> Floats:
        return np.array(self.contexts, dtype=np.float64)

    # --- exact answers ---

    def value(self, policy_XV: Floats) -> Floats:
        """E_pi[r*], in reward units; leading dimensions stay."""
        value: Floats = (policy_XV * self.reward_XV).sum(axis=-1) @ self.context_X
        return value

    def regret(self, policy_XV: Floats) -> Floats:
        """The value of the best policy (the best action of every context) minus that of this."""
        regret: Floats = self.reward_XV.max(axis=1) @ self.context_X - self.value(policy_XV)
        return regret

    def kl(self, policy_XV: Floats) -> Floats:
        """E_x[KL(pi || pi_ref)] in nats; infinite where pi_ref lacks an action of pi."""
        kl: Floats = rel_entr(policy_XV, self.reference_XV).sum(axis=-1) @ self.context_X
        return kl

    def tilted(self, scores_XV: Floats, temperature: float | Floats) -> Floats:
        """pi_ref(a | x) exp(scores(x, a) / temperature) / Z(x): of all policies, the one with the
        largest E_pi[scores] - temperature KL(pi || pi_ref).

        temperature: above 0, in units of the scores, against which it broadcasts; infinite gives
        the reference.
        """
        require(
            np.all(np.asarray(temperature) > 0),
            f"Tabular: temperature={temperature} must be above 0.",
        )
        with np.errstate(divide="ignore"):
            log_reference_XV = np.log(self.reference_XV)
        tilted_XV: Floats = softmax(log_reference_XV + scores_XV / temperature, axis=-1)
        return tilted_XV

    def best_of_n(self, scores_XV: Floats, n: int) -> Floats:
        """The policy that draws n actions from pi_ref and takes the one with the best score, of
        equal scores the one drawn first.

        The best score is s with probability P(score <= s)^n - P(score < s)^n; actions that share
        it, shared in proportion to pi_ref.
        """
        require(n >= 1, f"Tabular: n={n} must be at least 1.")
        order_XV = scores_XV.argsort(axis=-1)
        scores_XV = np.take_along_axis(scores_XV, order_XV, axis=-1)
        share_XV = np.take_along_axis(
            np.broadcast_to(self.reference_XV, scores_XV.shape), order_XV, axis=-1
        )
        cumulative_XV = share_XV.cumsum(axis=-1)
        cumulative_XV /= cumulative_XV[..., -1:]
        step_XV = np.diff(scores_XV, axis=-1) > 0
        edge_X1 = np.ones((*scores_XV.shape[:-1], 1), dtype=bool)
        is_last_XV = np.concatenate([step_XV, edge_X1], axis=-1)
        up_to_XV = np.where(is_last_XV, cumulative_XV, np.inf)
        up_to_XV = np.minimum.accumulate(up_to_XV[..., ::-1], axis=-1)[..., ::-1]
        is_first_XV = np.concatenate([edge_X1, step_XV], axis=-1)
        before_XV = np.concatenate([np.zeros(edge_X1.shape), cumulative_XV[..., :-1]], axis=-1)
        below_XV = np.maximum.accumulate(np.where(is_first_XV, before_XV, 0.0), axis=-1)
        group_XV = up_to_XV - below_XV
        best_XV = share_XV * np.divide(
            up_to_XV**n - below_XV**n, group_XV, out=np.zeros_like(group_XV), where=group_XV > 0
        )
        policy_XV: Floats = np.empty_like(best_XV)
        np.put_along_axis(policy_XV, order_XV, best_XV, axis=-1)
        return policy_XV

    # --- the world and its log ---

    @property
    def name(self) -> str:
        return "tabular"

    def content_hash(self) -> str:
        """SHA-256 of everything that decides the log."""
        return digest(self, 64)

    @cached_property
    def _draws(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The context of each user, and the action of each of their events."""
        generator = np.random.default_rng(derived_seed(self.seed, "tabular world"))
        context_N = _inverse(self.context_X.cumsum()[None], generator.random((1, self.users)))[0]
        cumulative_NV = self.reference_XV.cumsum(axis=1)[context_N]
        return context_N, _inverse(cumulative_NV, generator.random((self.users, self.events)))

    def load(self) -> Interactions:
        """One row per event, user by user; ids from 1, an event per second, rating = r*."""
        context_N, action_NT = self._draws
        frame = pd.DataFrame(
            {
                "user_id": np.repeat(np.arange(1, self.users + 1), self.events),
                "item_id": action_NT.ravel() + 1,
                "rating": self.reward_XV[context_N[:, None], action_NT].ravel(),
                "timestamp": np.tile(np.arange(1, self.events + 1), self.users),
                "propensity": self.reference_XV[context_N[:, None], action_NT].ravel(),
            }
        )
        return Interactions(self.name, frame, self.content_hash())

    def truth(self) -> Truth:
        """The rewards of a user are those of their context."""
        context_N, _ = self._draws
        users, items = len(context_N), self.reward_XV.shape[1]
        return Truth(
            torch.from_numpy(self.reward_XV[context_N]).float(),
            torch.eye(items),
            np.arange(1, users + 1),
            np.arange(1, items + 1),
        )


def _inverse(cumulative_NV: Floats, uniform_NT: Floats) -> NDArray[np.int64]:
    """Draws from N distributions by the inverse of their cumulative sums.

    An outcome without a share is never drawn, and rounding cannot push a draw past the last one.
    """
    scaled_NT = uniform_NT * cumulative_NV[:, -1:]
    drawn_NT: NDArray[np.int64] = (cumulative_NV[:, None] <= scaled_NT[..., None]).sum(axis=2)
    return drawn_NT
