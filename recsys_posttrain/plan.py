"""How long and how fast something is trained: one value for policies and reward models alike."""

import math
from dataclasses import dataclass

import torch

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.ops.logsumexp import fast_products
from recsys_posttrain.types import Sequences

MOST_STEPS = 10**9
MOST_SNAPSHOTS = 10**4


@dataclass(frozen=True)
class Training:
    """How long and how fast. At least one of epochs and steps is given; the shorter ends.

    warmup_steps: the learning rate rises linearly to its value. decay: afterwards it falls
    linearly, to 0 at the last step. patience: validations without a better value before stopping
    (None: train to the end and keep the last weights). validation_steps: in pretraining,
    validations follow epochs but are at least this many steps apart, so that patience lasts where
    an epoch is a few steps. average: decay of the moving average of the
    weights (average.py) that is validated and kept; 0 is the weights themselves. bfloat16: a
    policy's gradient through the softmax over the catalogue is made of bfloat16 products, where the
    hardware is faster at them. earlier: share of the long sequences that are read up to an earlier
    event (see BatchStream); 0 reads the latest events only. tokens: positions in a batch, where
    that is to bound its size, in place of batch_size. snapshots: in post-training, how many times
    the weights on the way are kept, for the curve of what they are worth.
    """

    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 50
    patience: int | None = None
    validation_steps: int = 1
    steps: int | None = None
    decay: bool = False
    average: float = 0.0
    bfloat16: bool = True
    earlier: float = 0.0
    tokens: int | None = None
    snapshots: int = 0

    def __post_init__(self) -> None:
        require(
            self.epochs is not None or self.steps is not None,
            "Training: epochs and steps are both none; give at least one of them.",
        )
        require_counts(
            *("Training", 1, MOST_STEPS),
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            validation_steps=self.validation_steps,
            tokens=self.tokens,
        )
        require_counts(
            *("Training", 0, MOST_STEPS), warmup_steps=self.warmup_steps, patience=self.patience
        )
        require_counts("Training", 0, MOST_SNAPSHOTS, snapshots=self.snapshots)
        require(
            0 < self.learning_rate < math.inf,
            f"Training: learning_rate={self.learning_rate} must be above 0, and finite.",
        )
        require(
            0 <= self.weight_decay < math.inf,
            f"Training: weight_decay={self.weight_decay} must be at least 0, and finite.",
        )
        require(
            0 <= self.average < 1,
            f"Training: average={self.average} must be at least 0 and below 1.",
        )
        require(
            0 <= self.earlier <= 1, f"Training: earlier={self.earlier} must be a share from 0 to 1."
        )

    def batches(self, sequences: Sequences, max_length: int, seed: int) -> BatchStream:
        return BatchStream(
            sequences,
            max_length,
            self.batch_size,
            self.epochs,
            seed,
            self.steps,
            self.earlier,
            self.tokens,
        )

    def products(self, device: str) -> torch.dtype | None:
        """For `Policy.products`."""
        return fast_products(device) if self.bfloat16 else None
