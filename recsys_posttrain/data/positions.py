"""The positions of a training log, numbered, so that a frozen model computes each once."""

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.data.batching import BatchStream, fixed_batches
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.repeats import EVERYTHING, Rule
from recsys_posttrain.types import Batch, Sequences

LARGEST_CACHE = 2**28  # elements in memory, 1 GiB; more are kept in a file
SHARE_OF_DISK = 0.25  # of what is free for temporary files; what does not fit is not kept
# Seconds that nobody wonders about; what takes longer is announced once this part of it is over.
SILENT, FIRST = 10.0, 2.0


class TrainingPositions:
    """Numbers the E positions in the latest windows of a log.

    Batches of these windows (BatchStream with random_windows=0) hold the same contexts in each
    epoch, for each seed and each algorithm, so a frozen model needs to see each position once.
    """

    def __init__(self, sequences: Sequences, max_length: int, rule: Rule = EVERYTHING) -> None:
        self.sequences = sequences
        self.max_length = max_length
        self.rule = rule
        positions_N = (sequences.lengths_N - 1).clamp(min=0, max=max_length)
        self.first_N = positions_N.cumsum(dim=0) - positions_N
        self.count = int(positions_N.sum())
        self._fits: dict[int, bool] = {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TrainingPositions)
            and self.sequences is other.sequences
            and self.max_length == other.max_length
            and self.rule.history == other.rule.history
            and self.rule.never_shown_M is other.rule.never_shown_M
            and self.rule.windows is other.rule.windows
        )

    __hash__ = None  # type: ignore[assignment]

    def fit(self, width: int) -> bool:
        """Whether [E, width] values, of four bytes, are small enough to keep; decided once."""
        if width not in self._fits:
            elements = self.count * width
            self._fits[width] = elements <= LARGEST_CACHE or 4 * elements <= _room_on_disk()
        return self._fits[width]

    def index(self, batch: Batch) -> Tensor:
        """The numbers of a batch's positions, [N]."""
        return self.first_N[batch.user_N.cpu()] + batch.position_N.cpu()

    @torch.no_grad()
    def values(self, of_batch: Callable[[Batch], Tensor], like: Tensor) -> Tensor:
        """The values of a function at all E positions, [E, ...], on the CPU.

        They are computed in batches of their own, longest first, so that they do not depend on the
        batch that asks first.

        of_batch: Batch -> [N, ...].
        like: batches are moved to the device of this tensor.
        """
        values_E: Tensor | None = None
        began, done, is_said = time.monotonic(), 0, False
        for batch in fixed_batches(self.sequences, self.max_length, 128, self.rule):
            value_N = of_batch(batch.to(like.device)).cpu()
            if values_E is None:
                values_E = _kept((self.count, *value_N.shape[1:]), value_N.dtype)
            values_E[self.index(batch)] = value_N
            done, spent = done + len(value_N), time.monotonic() - began
            if not is_said and spent > FIRST:
                is_said = True
                if (left := spent / done * (self.count - done)) > SILENT:
                    note(
                        f"a frozen model's outputs at all {self.count:,} positions of the log are "
                        f"computed once, and kept for every epoch: about {left:,.0f} s more"
                    )
        assert values_E is not None  # BatchStream refuses a log without positions
        return values_E


def _room_on_disk() -> float:
    """In bytes."""
    return SHARE_OF_DISK * shutil.disk_usage(tempfile.gettempdir()).free


def _kept(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Where values are written: in memory, or above LARGEST_CACHE in a file that the system reads
    and writes by pages. It has no name, so it goes with the tensor, or with the process."""
    elements = math.prod(shape)
    if elements <= LARGEST_CACHE:
        return torch.empty(shape, dtype=dtype)
    size = elements * dtype.itemsize
    with tempfile.NamedTemporaryFile(prefix="recsys-posttrain-") as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not later
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        note(
            f"a frozen model's outputs take {size / 2**30:,.1f} GiB and are kept in a temporary "
            f"file below {tempfile.gettempdir()} (TMPDIR names another folder)"
        )
        # The mapping stays when the name is gone.
        return torch.from_file(file.name, shared=True, size=elements, dtype=dtype).view(shape)


def positions_of(stream: BatchStream) -> TrainingPositions | None:
    """The positions at which frozen models cache their outputs; None: they cache nothing.

    Caching all positions of the log pays only where the run reads all of them: latest windows
    only, and at least one epoch.
    """
    if stream.random_windows > 0 or stream.stop < stream.steps_per_epoch:
        return None
    return TrainingPositions(stream.sequences, stream.max_length, stream.rule)
