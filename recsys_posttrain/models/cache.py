"""Outputs of a frozen model that are computed once: on the training log, and after histories."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor

from recsys_posttrain.data.positions import TrainingPositions
from recsys_posttrain.types import Batch, Sequences

T = TypeVar("T")


class OutputCache:
    """The cached outputs of one frozen model.

    Outputs at training positions are kept by name, for all positions of one log. Outputs after
    whole histories are kept for the last two sets of histories: validation and test.
    """

    def __init__(self) -> None:
        self._positions: TrainingPositions | None = None  # of the batches that come now
        self._cached_positions: TrainingPositions | None = None
        self._outputs: dict[str, Tensor] = {}
        self._after: list[tuple[Sequences, Any]] = []

    def set_positions(self, positions: TrainingPositions | None) -> None:
        """From now on every batch consists of these positions; None: of any others."""
        self._positions = positions
        if positions is not None and positions != self._cached_positions:
            self._cached_positions, self._outputs = positions, {}

    def holds(self, width: int) -> bool:
        """Whether `get` serves outputs of this width for the batches that come now."""
        return self._positions is not None and self._positions.fit(width)

    def get(
        self, name: str, batch: Batch, of_batch: Callable[[Batch], Tensor], like: Tensor
    ) -> Tensor:
        """of_batch(batch), [N, ...], on the device of `like`; only where the cache `holds` it.

        The first call computes the outputs at all positions.
        """
        assert self._positions is not None
        if name not in self._outputs:
            self._outputs[name] = self._positions.values(of_batch, like)
        return self._outputs[name][self._positions.index(batch)].to(like.device)

    def drop(self, name: str) -> None:
        """Removes the outputs of this name at training positions."""
        self._outputs.pop(name, None)

    def after(self, histories: Sequences, compute: Callable[[], T]) -> T:
        """compute() for this set of histories, called once."""
        for known, output in self._after:
            if known is histories:
                return cast(T, output)
        computed = compute()
        self._after = [*self._after[-1:], (histories, computed)]
        return computed
