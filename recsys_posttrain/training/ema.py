"""An exponential moving average of the trained weights, beside the weights themselves.

    average <- share average + (1 - share) weights,   share = min(decay, (1 + step) / (10 + step))

Like a falling learning rate, it averages out the noise of late steps, without having to know where
training ends. The smaller share of early steps drops the initialisation faster (the usual warm-up
of such averages). decay 0 is the last weights themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of the trained parameters of `model`, without buffers and frozen parts."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().clone() for name, p in self.trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after optimiser step number `step`, counted from 1."""
        share = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.weights.values()), [p.detach() for p in self.trained.values()], 1 - share
        )

    def load(self, weights: dict[str, Tensor]) -> None:
        """Restores the average from a checkpoint."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.trained.items():
            current = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(current)
