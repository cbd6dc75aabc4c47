"""The values that flow between stages, and the shape letters used in every name.

B batch (sequences), T time (positions), V catalogue, D width, K candidates, M ensemble members,
N users, targets or real positions, E events, R rank of a factorisation, C chunk of positions.
The suffix of a name is its shape: `score_NK` is [N, K] and `both_N2` is [N, 2], but `offsets_N1`
and `number_V1` are vectors of N + 1 and V + 1 entries.

Item ids inside the framework are 1..V and 0 is padding. A sequence is right-padded:
position 0 is the first event of a window (a user's latest events), and nothing in it depends on
later positions of the window.
Rewards are in stars, the common unit to which reward_scale.py converts every log's own unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recsys_posttrain.catalogue_sample import CatalogueSample
from recsys_posttrain.eligibility import Catalogue, Excluded
from recsys_posttrain.errors import UserError
from recsys_posttrain.logged import Interactions as Interactions
from recsys_posttrain.logged import Shown as Shown
from recsys_posttrain.logged import Signals as Signals
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.windows import Windows

# Whether users choose items again: "never" leaves out of every ranking what a user had before.
Repeats = Literal["never", "allowed"]
EvalSplit = Literal["test", "validation", "final"]  # parts of a Split that hold targets


@dataclass(frozen=True, eq=False)
class Sequences:
    """Events of N sequences laid end to end; sequence n is [offsets[n], offsets[n + 1])."""

    items_E: Tensor  # int64, 1..V
    rewards_E: Tensor  # float32, in stars
    timestamps_E: Tensor  # int64, seconds
    offsets_N1: Tensor  # int64, starts with 0, ends with E
    propensities_E: Tensor | None = None  # float64, in (0, 1]; None: the log does not know them
    signals: Signals | None = None  # of the E events
    shown: Shown | None = None  # with each of the E events, and not chosen; None: not known
    regions_E: Tensor | None = None  # int64, codes of windows.py; None: the log has no regions

    @property
    def lengths_N(self) -> Tensor:
        return self.offsets_N1.diff()

    def __len__(self) -> int:
        return int(self.offsets_N1.numel()) - 1

    def __repr__(self) -> str:
        return f"Sequences({len(self):,} of {len(self.items_E):,} events)"

    @cached_property
    def has_repeats(self) -> bool:
        """Whether a sequence holds an item twice."""
        row_E = torch.repeat_interleave(self.lengths_N)
        pair_E = row_E * (int(self.items_E.max()) + 1) + self.items_E
        return len(pair_E.unique()) < len(pair_E)


@dataclass(frozen=True, eq=False)
class Targets:
    """N events to predict, each with everything its user did before it.

    A user may have several targets, so statistics over targets resample whole users.
    """

    history: Sequences  # N histories, untruncated: rankings leave their items out
    items_N: Tensor  # int64, 1..V
    rewards_N: Tensor  # float32, in stars
    times_N: Tensor  # int64, seconds
    users_N: Tensor  # int64, index into Corpus.user_ids
    repeats: Repeats = "never"  # whether items of a history may be recommended again
    unshowable: int = 0  # events dropped because "never" rules out an item in their history
    catalogue: Catalogue = "eligible"  # what policies are a softmax over
    propensities_N: Tensor | None = None  # float64: of the items; None: the log has none
    signals: Signals | None = None  # of the items
    never_shown_M: Tensor | None = None  # int64, ascending: items that nobody is shown; None: none
    windows: Windows | None = None  # when items may be shown; None: always
    regions_N: Tensor | None = None  # int64, of their users then; None: not known
    masked: int = 0  # events dropped because their item is not shown, or no other is

    def __repr__(self) -> str:
        return f"Targets({len(self.items_N):,})"


@dataclass(frozen=True, eq=False)
class Corpus:
    """One dataset after filtering, in time order, with dense ids.

    name: of the dataset.
    sequences: one per user, in the order of `user_ids`.
    user_ids: original ids.
    item_ids: original ids; item_ids[v - 1] is the id of item v.
    content_hash: SHA-256 of the source, as in `Interactions`.
    repeats: whether its users choose items again (data/repeats.py).
    catalogue: what policies are a softmax over.
    never_shown_M: numbers of the items that nobody is shown, ascending; None: none.
    windows: when items may be shown; None: always.
    region_names: those that its events have.
    ticks_E: exact time of each event; None: whole seconds are exact.
    ticks_per_second: unit of `ticks_E`.
    left_out_user_ids: the users of the source whose items all have too few ratings.
    reward_scale: how the source's rewards were converted to stars; by default they are 1..5 stars
        already.
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
    signal_scales: Mapping[str, RewardScale] = field(default_factory=dict)
    catalogue: Catalogue = "eligible"
    never_shown_M: Tensor | None = None
    windows: Windows | None = None
    region_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Corpus({self.name}: {self.sequences}, {self.num_items:,} items)"

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def times_E(self) -> Tensor:
        """Exact times in ticks, int64, by which events are ordered.

        Raises: ValueError where `sequences` was replaced by others and `ticks_E` was not."""
        if self.ticks_E is None:
            return self.sequences.timestamps_E
        if len(self.ticks_E) != len(self.sequences.items_E):
            raise ValueError("a corpus with other events needs other ticks_E too, or None")
        return self.ticks_E


@dataclass(frozen=True, eq=False)
class Split:
    """The events to train on, to select on and to report.

    Each of train, reward and judge holds one sequence per user of the corpus, possibly empty.
    """

    corpus: Corpus
    train: Sequences  # the policy learns from them
    validation: Targets  # early stopping and settings are selected on them
    test: Targets  # results are reported on them
    reward: Sequences  # the reward model learns from them; often those of `train`
    judge: Sequences | None = None  # of users of a second reward model, the judge; None: no such
    final: Targets | None = None  # of users held out for good (data/hold_out.py); None: of nobody

    def targets(self, eval_split: "EvalSplit") -> Targets:
        """Raises: UserError for those of users held out where there are none."""
        if (found := getattr(self, eval_split)) is not None:
            return found  # type: ignore[no-any-return]
        raise UserError(
            f"--eval-split {eval_split}: this split holds no users out for good; give the setup "
            "split=HoldOut(...) before anything is looked at."
        )


class History(NamedTuple):
    """The input of a backbone: past events, and when the action after each of them happens."""

    items_BT: Tensor  # int64; 0 = padding
    rewards_BT: Tensor  # float32, in stars: their logged rewards
    times_BT: Tensor  # int64, seconds; 0 = padding
    # int64, seconds; 0 = padding. After the last event it is the target's time, or where there is
    # no target, the time of the last event itself.
    next_times_BT: Tensor

    def to(self, like: Tensor) -> "History":
        """A copy on the device of `like`, with rewards in its dtype."""
        return History(
            self.items_BT.to(like.device),
            self.rewards_BT.to(like),
            self.times_BT.to(like.device),
            self.next_times_BT.to(like.device),
        )


class PaddedBatch(NamedTuple):
    """B sequences, right-padded to the longest; every position is one contextual-bandit round.

    At position t of row b the context x is history_BT[b, : t + 1] with its rewards and times; the
    last of these events is the one just before the action, actions_BT[b, t], whose logged reward is
    rewards_BT[b, t]. Values at padding are never read.
    """

    history_BT: Tensor  # int64: the item before each action; 0 = padding
    history_rewards_BT: Tensor  # float32, in stars: their logged rewards
    history_times_BT: Tensor  # int64, seconds; 0 = padding
    actions_BT: Tensor  # int64: the logged item; 0 = padding
    rewards_BT: Tensor  # float32, in stars: its logged reward
    action_times_BT: Tensor  # int64, seconds; 0 = padding
    mask_BT: Tensor  # bool: True at real positions
    sequences_B: Tensor  # int64: the row's sequence in Split.train; in evaluation, its user
    # What is not eligible at each of the N real positions; None: every item of the catalogue is.
    # The action itself always is.
    excluded: Excluded | None = None
    propensities_BT: Tensor | None = None  # float32: of the actions; None: the log has none
    signals: Signals | None = None  # of the actions at the N real positions
    shown: Shown | None = None  # with the actions at the N real positions, and not chosen
    catalogue_sample: CatalogueSample | None = None  # for sums over items; None: over all of them


class Batch(PaddedBatch):
    """A padded batch and its N real positions, row by row: the input of a loss.

    A loss reads the [N] properties below; only a backbone, and a sum over a history, read the
    padded fields.
    """

    @cached_property
    def action_N(self) -> Tensor:
        """The logged item, int64, 1..V."""
        return self.real(self.actions_BT)

    @cached_property
    def reward_N(self) -> Tensor:
        """The logged reward of the action, float32, in stars."""
        return self.real(self.rewards_BT)

    @cached_property
    def time_N(self) -> Tensor:
        """When the action was logged, int64, seconds."""
        return self.real(self.action_times_BT)

    @cached_property
    def propensity_N(self) -> Tensor | None:
        """The probability with which the log's policy chose the action; None: not known."""
        return None if self.propensities_BT is None else self.real(self.propensities_BT)

    @cached_property
    def user_N(self) -> Tensor:
        """The row of its log that the position belongs to, int64, as in `sequences_B`: the user,
        where the log has one row for each user of the corpus, as those of a Split have."""
        return self.real(self.sequences_B[:, None].expand_as(self.mask_BT))

    @cached_property
    def position_N(self) -> Tensor:
        """The position t within its row, int64, from 0 at the first action."""
        steps_T = torch.arange(self.mask_BT.shape[1], device=self.mask_BT.device)
        return self.real(steps_T.expand_as(self.mask_BT))

    @cached_property
    def is_last_N(self) -> Tensor:
        """Whether its row ends at the position, bool; elsewhere the next state is at n + 1."""
        length_N = self.real(self.mask_BT.sum(dim=1, keepdim=True).expand_as(self.mask_BT))
        return self.position_N == length_N - 1

    def to(self, device: torch.device | None) -> "Batch":
        """The batch on a device; None: as it is."""
        fields = self._asdict().items()
        return Batch(**{name: each.to(device) for name, each in fields if each is not None})

    def real(self, values_BT: Tensor) -> Tensor:
        """The values at real positions, row by row: [B, T, ...] -> [N, ...]."""
        return values_BT[self.mask_BT]

    @property
    def history(self) -> History:
        """The part of the batch that a backbone may read: nothing of the action but its time."""
        return History(
            self.history_BT, self.history_rewards_BT, self.history_times_BT, self.action_times_BT
        )


class LossOutput(NamedTuple):
    """The loss at each real position, and scalars to log; training/module.py takes the mean."""

    loss_N: Tensor  # not reduced
    metrics: dict[str, Tensor]
    # bool: the positions that the mean is over; None: all. DPO leaves out those without a pair.
    counted_N: Tensor | None = None
