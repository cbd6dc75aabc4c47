"""What frozen models say about the training log: computed once, read by every batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.types import Batch, Sequences

LARGEST_CACHE = 2**28  # elements, 1 GiB: a larger log is computed batch by batch


class TrainingPositions:
    """Every position of the latest windows of a log, E of them, numbered.

    A batch of such windows (BatchStream with `earlier` = 0) holds the same contexts in each epoch,
    for each seed and each algorithm. Values are made from batches of their own, longest first, so
    that they do not depend on which batch asks for them first.
    """

    def __init__(self, sequences: Sequences, max_length: int) -> None:
        self.sequences = sequences
        self.max_length = max_length
        positions_N = (sequences.lengths_N - 1).clamp(min=0, max=max_length)
        self.first_N = positions_N.cumsum(dim=0) - positions_N
        self.count = int(positions_N.sum())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TrainingPositions)
            and self.sequences is other.sequences
            and self.max_length == other.max_length
        )

    __hash__ = None  # type: ignore[assignment]

    def fit(self, width: int) -> bool:
        """Whether values of this width for all positions are small enough to keep."""
        return self.count * width <= LARGEST_CACHE

    def index(self, batch: Batch) -> Tensor:
        """Which of the E positions those of a batch are, [N], in the order of `ops.pack`."""
        rows_B, mask_BT = batch.sequences_B.cpu(), batch.mask_BT.cpu()
        return (self.first_N[rows_B, None] + torch.arange(mask_BT.shape[1]))[mask_BT]

    @torch.no_grad()
    def values(self, of_batch: Callable[[Batch], Tensor], like: Tensor) -> Tensor:
        """of_batch(batch) -> [N, ...] for all positions, [E, ...], on the CPU.

        like: its device is where of_batch finds the batch.
        """
        values_E: Tensor | None = None
        for batch in fixed_batches(self.sequences, self.max_length, batch_size=128):
            value_N = of_batch(Batch(*(field.to(like.device) for field in batch))).cpu()
            if values_E is None:
                values_E = value_N.new_empty(self.count, *value_N.shape[1:])
            values_E[self.index(batch)] = value_N
        assert values_E is not None  # BatchStream refuses a log without positions
        return values_E
