"""What a frozen model says again and again: about the training log, and after whole histories."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.types import Batch, Sequences

T = TypeVar("T")
LARGEST_CACHE = 2**28  # elements, 1 GiB: a larger log is computed batch by batch


class TrainingPositions:
    """Numbers the E positions in the latest windows of a log.

    Batches of these windows (BatchStream with random_windows=0) hold the same contexts in each
    epoch, for each seed and each algorithm, so a frozen model needs to see each position once.
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
        """Whether [E, width] values are small enough to keep in memory."""
        return self.count * width <= LARGEST_CACHE

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
        for batch in fixed_batches(self.sequences, self.max_length, batch_size=128):
            value_N = of_batch(Batch(*(field.to(like.device) for field in batch))).cpu()
            if values_E is None:
                values_E = value_N.new_empty(self.count, *value_N.shape[1:])
            values_E[self.index(batch)] = value_N
        assert values_E is not None  # BatchStream refuses a log without positions
        return values_E


class Memory:
    """What one frozen model has said.

    While `at` names training positions, every batch holds those, and `read` computes an answer for
    all of them once. Answers after whole histories are kept for the last two sets of histories:
    validation and test.
    """

    def __init__(self) -> None:
        self._positions: TrainingPositions | None = None  # of the batches that come now
        self._read_at: TrainingPositions | None = None
        self._answers: dict[str, Tensor] = {}
        self._after: list[tuple[Sequences, Any]] = []

    def at(self, positions: TrainingPositions | None) -> None:
        """Every batch from now on holds these positions; None: any others."""
        self._positions = positions
        if positions is not None and positions != self._read_at:
            self._read_at, self._answers = positions, {}

    def holds(self, width: int) -> bool:
        """Whether answers of this width to the batches that come now are read from memory."""
        return self._positions is not None and self._positions.fit(width)

    def read(
        self, name: str, batch: Batch, of_batch: Callable[[Batch], Tensor], like: Tensor
    ) -> Tensor:
        """of_batch(batch), [N, ...], on the device of `like`; only where `holds` its width."""
        assert self._positions is not None
        if name not in self._answers:
            self._answers[name] = self._positions.values(of_batch, like)
        return self._answers[name][self._positions.index(batch)].to(like.device)

    def drop(self, name: str) -> None:
        self._answers.pop(name, None)

    def after(self, histories: Sequences, make: Callable[[], T]) -> T:
        """make() for this set of histories, or what it was before."""
        for known, answer in self._after:
            if known is histories:
                return cast(T, answer)
        made = make()
        self._after = [*self._after[-1:], (histories, made)]
        return made
