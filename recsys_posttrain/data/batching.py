"""Flat sequences -> padded batches whose order is a function of (seed, step)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from recsys_posttrain.data.repeats import EVERYTHING, Rule, not_eligible
from recsys_posttrain.errors import UserError
from recsys_posttrain.logged import rows_of
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, History, Sequences

Part = Callable[[Tensor, int], Tensor]  # (the lengths of a batch's sequences, step) -> which ones


def window(
    sequences: Sequences, rows_B: Tensor, length: int, skipped_B: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The latest `length` events of the sequences `rows_B`, right-padded.

    skipped_B: how many of the latest events to leave out first; None: none. At least one event must
        stay.
    Returns: items, rewards and times, each [B, T], and lengths [B]; T is the largest length.
    """
    end_B = sequences.offsets_N1[rows_B + 1]
    if skipped_B is not None:
        end_B = end_B - skipped_B
    length_B = (end_B - sequences.offsets_N1[rows_B]).clamp(max=length)
    offset_T = torch.arange(int(length_B.max()))
    real_BT = offset_T < length_B[:, None]
    index_BT = torch.where(real_BT, (end_B - length_B)[:, None] + offset_T, 0)
    return (
        torch.where(real_BT, sequences.items_E[index_BT], 0),
        torch.where(real_BT, sequences.rewards_E[index_BT], 0.0),
        torch.where(real_BT, sequences.timestamps_E[index_BT], 0),
        length_B,
    )


def batch_of(
    sequences: Sequences,
    rows_B: Tensor,
    max_length: int,
    skipped_B: Tensor | None = None,
    rule: Rule = EVERYTHING,
) -> Batch:
    """The next-event batch of the sequences `rows_B`, longest first; each needs two or more events.

    skipped_B: as for `window`; at least two events must stay.
    rule: what is not eligible for an action. What a sequence had before it may lie in the window or
        earlier.
    """
    order_B = sequences.lengths_N[rows_B].argsort(descending=True, stable=True)
    rows_B = rows_B[order_B]
    skipped_B = torch.zeros_like(rows_B) if skipped_B is None else skipped_B[order_B]
    items_BT, rewards_BT, times_BT, length_B = window(sequences, rows_B, max_length + 1, skipped_B)
    step_T = torch.arange(items_BT.shape[1] - 1)
    mask_BT = step_T < length_B[:, None] - 1
    first_B = sequences.offsets_N1[rows_B + 1] - skipped_B - length_B
    event_BT = first_B[:, None] + 1 + step_T  # of the action, where it is real
    p_E = sequences.propensities_E
    p_BT = None if p_E is None else (p_E[event_BT * mask_BT] * mask_BT).float()
    return Batch(
        history_BT=torch.where(mask_BT, items_BT[:, :-1], 0),
        history_rewards_BT=torch.where(mask_BT, rewards_BT[:, :-1], 0.0),
        history_times_BT=torch.where(mask_BT, times_BT[:, :-1], 0),
        actions_BT=items_BT[:, 1:],
        rewards_BT=rewards_BT[:, 1:],
        action_times_BT=times_BT[:, 1:],
        mask_BT=mask_BT,
        sequences_B=rows_B,
        excluded=not_eligible(sequences, event_BT[mask_BT], rule),
        propensities_BT=p_BT,
        signals=rows_of(sequences.signals, event_BT[mask_BT]),
        shown=rows_of(sequences.shown, event_BT[mask_BT]),
    )


class BatchStream(IterableDataset[Batch]):
    """Batches of steps [start, stop); step s is the same batch wherever the stream starts.

    Every epoch is a fresh permutation of the sequences with at least two events. The stream stops
    after `steps` or `epochs`, whichever comes first; None: no limit, and one of them is given.

    max_length: positions in a window. A window holds the latest events of its sequence, unless it
        is one of `random_windows`.
    random_windows: share of the windows, where a sequence is longer than a window, that end at an
        event drawn evenly at each step; so older events are trained on too.
    tokens: positions in a batch, at most a window more, in place of `batch_size` sequences; every
        epoch has the same number of batches, almost equally full. None: `batch_size` counts.
    rule: as for `batch_of`.
    part: which sequences of every batch this process has (training/processes.py); None: all.

    Raises: UserError where no sequence has two events, or `tokens` is below two windows.
    """

    def __init__(
        self,
        sequences: Sequences,
        max_length: int,
        batch_size: int,
        epochs: int | None,
        seed: int,
        steps: int | None = None,
        random_windows: float = 0.0,
        tokens: int | None = None,
        rule: Rule = EVERYTHING,
    ) -> None:
        self.sequences = sequences
        self.max_length = max_length
        self.batch_size = batch_size
        self.seed = seed
        self.random_windows = random_windows
        self.tokens = tokens
        self.rule = rule
        self.usable_N = (sequences.lengths_N >= 2).nonzero().squeeze(1)
        if not len(self.usable_N):
            raise UserError(
                "there is nothing to train on: no user has two training events; give data with "
                "longer histories."
            )
        self.positions = int(self._positions(self.usable_N).sum())
        if tokens is None:
            self.steps_per_epoch = -(-len(self.usable_N) // batch_size)
        elif tokens >= 2 * max_length:
            self.steps_per_epoch = -(-self.positions // tokens)
        else:
            raise UserError(
                f"tokens={tokens} is too few for windows of {max_length} events; give at least "
                f"{2 * max_length}."
            )
        self.start = 0
        self.part: Part | None = None
        lengths = [steps, None if epochs is None else self.steps_per_epoch * epochs]
        self.stop = min(length for length in lengths if length is not None)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Batch]:
        epoch, batches = -1, tuple[Tensor, ...]()
        for step in range(self.start, self.stop):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                batches = self._batches(epoch)
            rows_B = batches[step % self.steps_per_epoch]
            skipped_B = self._skipped(rows_B, step)
            if self.part is not None:
                part_B = self.part(self.sequences.lengths_N[rows_B], step)
                rows_B = rows_B[part_B]
                skipped_B = None if skipped_B is None else skipped_B[part_B]
            yield batch_of(self.sequences, rows_B, self.max_length, skipped_B, self.rule)

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        """The sequences of each batch of one epoch."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "epoch", epoch))
        order_N = self.usable_N[torch.randperm(len(self.usable_N), generator=generator)]
        if self.tokens is None:
            return order_N.split(self.batch_size)  # type: ignore[no-any-return]
        # A sequence belongs to the batch in whose equal part of all positions it begins. A part is
        # as long as a window or longer, so no batch is empty.
        positions_N = self._positions(order_N)
        before_N = positions_N.cumsum(dim=0) - positions_N
        part_N = before_N * self.steps_per_epoch // self.positions
        sizes = torch.bincount(part_N, minlength=self.steps_per_epoch).tolist()
        return order_N.split(sizes)  # type: ignore[no-any-return]

    def _positions(self, rows_N: Tensor) -> Tensor:
        """How many positions each sequence has in a batch, [N]."""
        return (self.sequences.lengths_N[rows_N] - 1).clamp(max=self.max_length)

    def _skipped(self, rows_B: Tensor, step: int) -> Tensor | None:
        """How many of its latest events each window of this step leaves out, [B]; None: none."""
        if self.random_windows == 0:
            return None
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "windows", step))
        chosen_B, place_B = torch.rand(2, len(rows_B), generator=generator)
        spare_B = (self.sequences.lengths_N[rows_B] - self.max_length - 1).clamp(min=0)
        return torch.where(chosen_B < self.random_windows, (place_B * (spare_B + 1)).long(), 0)


def fixed_batches(
    sequences: Sequences, max_length: int, batch_size: int, rule: Rule = EVERYTHING
) -> Iterator[Batch]:
    """Batches of every sequence with two events, once, longest first: to evaluate, not to train."""
    rows_N = sequences.lengths_N.argsort(descending=True, stable=True)
    rows_N = rows_N[sequences.lengths_N[rows_N] >= 2]
    for rows_B in torch.split(rows_N, batch_size):
        yield batch_of(sequences, rows_B, max_length, rule=rule)


def history_batches(
    histories: Sequences, max_length: int, batch_size: int, next_times_N: Tensor | None = None
) -> Iterator[tuple[Tensor, History, Tensor]]:
    """Whole histories as a backbone reads them, longest first.

    next_times_N: time of the event that follows each history; None: that of its last event.
    Yields: the indices of B histories, their latest `max_length` events, and lengths [B].
    """
    if next_times_N is None:
        next_times_N = histories.timestamps_E[histories.offsets_N1[1:] - 1]
    order_N = histories.lengths_N.argsort(descending=True, stable=True)
    for rows_B in torch.split(order_N, batch_size):
        items_BT, rewards_BT, times_BT, length_B = window(histories, rows_B, max_length)
        is_last_BT = torch.arange(items_BT.shape[1]) == length_B[:, None] - 1
        following_BT = nn.functional.pad(times_BT[:, 1:], (0, 1))
        next_times_BT = torch.where(is_last_BT, next_times_N[rows_B, None], following_BT)
        yield rows_B, History(items_BT, rewards_BT, times_BT, next_times_BT), length_B
