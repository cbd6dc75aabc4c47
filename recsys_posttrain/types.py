"""The values that flow between stages, and the shape letters used in every name.

B batch (sequences), T time (positions), V catalogue, D width, K candidates,
M ensemble members, N users, targets or real positions, E events, R rank of a factorisation.

Item ids inside the framework are 1..V and 0 is padding. A sequence is right-padded:
position 0 is a user's first event, so a position means the same whatever follows it.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain.reward_scale import RewardScale

PADDING = 0

# Whether users choose items again: "never" leaves out of every ranking what a user had before.
Repeats = Literal["never", "allowed"]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Raw ratings as a dataset file gives them, in file order.

    frame: columns user_id, item_id, rating (float), timestamp (int, so many ticks since 1970).
    content_hash: SHA-256 of the bytes that the ratings were read from.
    ticks_per_second: 1, or 10**9 where times have fractions of a second. Ticks give the order;
        models read `seconds`.
    has_ratings: whether the file has them; otherwise every rating is 1.
    """

    name: str
    frame: pd.DataFrame
    content_hash: str
    ticks_per_second: int = 1
    has_ratings: bool = True

    @property
    def seconds(self) -> pd.Series:
        return self.frame["timestamp"] // self.ticks_per_second


@dataclass(frozen=True, eq=False)
class Sequences:
    """Events of N sequences laid end to end; sequence n is [offsets[n], offsets[n + 1])."""

    items_E: Tensor  # int64, 1..V
    rewards_E: Tensor  # float32, in stars (reward_scale.py), as are all below
    timestamps_E: Tensor  # int64, seconds
    offsets_N1: Tensor  # int64, starts with 0, ends with E

    @property
    def lengths_N(self) -> Tensor:
        return self.offsets_N1.diff()

    def __len__(self) -> int:
        return int(self.offsets_N1.numel()) - 1


@dataclass(frozen=True, eq=False)
class Targets:
    """N events to predict, each with everything its user did before it.

    A user may have several, so statistics over targets draw whole users.

    repeats: the rule of the log. unshowable: how many more targets there would be, were they not of
    items that their users had before and that the rule "never" therefore cannot show.
    """

    history: Sequences  # N histories, untruncated: they also name the items already seen
    items_N: Tensor  # int64, 1..V
    rewards_N: Tensor  # float32
    times_N: Tensor  # int64, seconds
    users_N: Tensor  # int64, index into Corpus.user_ids
    repeats: Repeats = "never"
    unshowable: int = 0


@dataclass(frozen=True, eq=False)
class Corpus:
    """One dataset after filtering, in time order, with dense ids.

    sequences: one per user, in the order of user_ids.
    user_ids, item_ids: original ids; item_ids[v - 1] is the id of item v.
    content_hash: of the source. repeats: whether its users choose items again (data/repeats.py).
    ticks_E, ticks_per_second: the exact time of each event, where seconds cut it short.
    left_out_user_ids: the users of the source whose items all have too few ratings.
    reward_scale: how the source's rewards became those of `sequences`; by default they are 1..5
        stars and stayed as they were.
    """

    name: str
    sequences: Sequences
    user_ids: np.ndarray
    item_ids: np.ndarray
    content_hash: str
    repeats: Repeats = "never"
    ticks_E: Tensor | None = None  # int64
    ticks_per_second: int = 1
    left_out_user_ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))
    reward_scale: RewardScale = RewardScale()

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def times_E(self) -> Tensor:
        """Exact, int64, in ticks: what decides which of two events is earlier."""
        if self.ticks_E is None:
            return self.sequences.timestamps_E
        if len(self.ticks_E) != len(self.sequences.items_E):
            raise ValueError("a corpus with other events needs other ticks_E too, or None")
        return self.ticks_E


@dataclass(frozen=True, eq=False)
class Split:
    """What may be trained on, what selects, and what is reported.

    train: of the policy. reward: of its reward model, often the same events. judge: events of users
    that neither of the two learns from; None where the split keeps none. Each holds one sequence
    per user of the corpus, possibly empty.
    """

    corpus: Corpus
    train: Sequences
    validation: Targets
    test: Targets
    reward: Sequences
    judge: Sequences | None = None


class History(NamedTuple):
    """What a backbone reads: past events and the time of the action that follows each of them.

    For whole histories the time at the last event is that of the target; where there is none yet,
    that of the last event itself.
    """

    items_BT: Tensor  # int64; 0 = padding
    rewards_BT: Tensor  # float32: their logged rewards
    times_BT: Tensor  # int64, seconds; 0 = padding
    next_times_BT: Tensor  # int64, seconds; 0 = padding

    def to(self, like: Tensor) -> "History":
        """On the device of `like`, the rewards in its dtype too."""
        return History(
            self.items_BT.to(like.device),
            self.rewards_BT.to(like),
            self.times_BT.to(like.device),
            self.next_times_BT.to(like.device),
        )


class PaddedBatch(NamedTuple):
    """B sequences, right-padded to the longest; every position is one contextual-bandit round.

    At position t the context x is history[:, : t + 1] with its rewards and times, the logged action
    is actions[:, t] and its logged reward rewards[:, t]. What stands at padding is never read.
    """

    history_BT: Tensor  # int64: the items before each action, shifted by one; 0 = padding
    history_rewards_BT: Tensor  # float32: their logged rewards
    history_times_BT: Tensor  # int64, seconds; 0 = padding
    actions_BT: Tensor  # int64: the logged item; 0 = padding
    rewards_BT: Tensor  # float32: its logged reward
    action_times_BT: Tensor  # int64, seconds; 0 = padding
    mask_BT: Tensor  # bool: True at real positions
    # int64: which sequence each row is; of Split.train, and in evaluation, which user
    sequences_B: Tensor


class Batch(PaddedBatch):
    """What a loss reads: the N real positions, row by row, each with the facts below.

    Only a backbone, and a sum over a history, read the padded fields.
    """

    @cached_property
    def action_N(self) -> Tensor:
        """int64, 1..V: the logged item."""
        return self.real(self.actions_BT)

    @cached_property
    def reward_N(self) -> Tensor:
        """float32: its logged reward."""
        return self.real(self.rewards_BT)

    @cached_property
    def time_N(self) -> Tensor:
        """int64, seconds: when it was chosen."""
        return self.real(self.action_times_BT)

    @cached_property
    def user_N(self) -> Tensor:
        """int64: which sequence the position belongs to, as in `sequences_B`."""
        return self.real(self.sequences_B[:, None].expand_as(self.mask_BT))

    @cached_property
    def position_N(self) -> Tensor:
        """int64: t, from 0 at the first action of the row."""
        steps_T = torch.arange(self.mask_BT.shape[1], device=self.mask_BT.device)
        return self.real(steps_T.expand_as(self.mask_BT))

    @cached_property
    def is_last_N(self) -> Tensor:
        """bool: whether its row ends there; elsewhere the next state is the next position's."""
        length_N = self.real(self.mask_BT.sum(dim=1, keepdim=True).expand_as(self.mask_BT))
        return self.position_N == length_N - 1

    def real(self, values_BT: Tensor) -> Tensor:
        """[B, T, ...] -> [N, ...]: the real positions, row by row."""
        return values_BT[self.mask_BT]

    @property
    def history(self) -> History:
        """What a backbone may read of it."""
        return History(
            self.history_BT, self.history_rewards_BT, self.history_times_BT, self.action_times_BT
        )


class LossOutput(NamedTuple):
    """loss_N: one number per real position, not reduced. metrics: scalars to log.

    counts_N: bool, the positions that count in the mean, where not all of them do (DPO finds no
    pair for some); None means all.
    """

    loss_N: Tensor
    metrics: dict[str, Tensor]
    counts_N: Tensor | None = None
