"""How long and how fast something is trained: one value for policies and reward models alike."""

import math
from dataclasses import dataclass

import torch

from recsys_posttrain.config import as_called, require, require_counts
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.data.repeats import EVERYTHING, Rule
from recsys_posttrain.guard import Guard
from recsys_posttrain.ops.logsumexp import fast_products
from recsys_posttrain.types import Sequences

METRICS = "metrics.jsonl"
MOST_STEPS = 10**9
MOST_SNAPSHOTS = 10**4


@dataclass(frozen=True)
class Training:
    """How long and how fast something is trained: a policy or a reward model.

    epochs, steps: at least one is given, and the shorter one ends the training; None: no limit.
    batch_size: sequences in a batch.
    learning_rate: of AdamW; warm-up and decay multiply it.
    weight_decay: of AdamW.
    warmup_steps: steps over which the learning rate rises linearly to its value.
    patience: validations without a better value before training stops and the best weights are
        kept; None: train to the end and keep the last weights.
    validation_steps: validations are at least this many steps apart. In pretraining they follow
        epochs, and patience is not used up where an epoch is a few steps.
    decay: multiply the rate of step s = 0, 1, ... by 1 - s / steps, during the warm-up too: 100
        steps with a warm-up of 50 peak at .51 of `learning_rate`.
    ema_decay: of the moving average of the weights (training/ema.py), which is then what is
        validated and kept; 0: no average.
    bfloat16: compute a policy's softmax over the catalogue, and its gradient, from bfloat16
        products, where the hardware is faster at them.
    random_windows: share of long sequences whose window ends at a random event (data/batching.py);
        0: every window holds the latest events.
    tokens: positions in a batch, to bound its size, in place of `batch_size`; None: no such bound.
    snapshots: in post-training, number of times that weights are saved on the way, for the curve of
        their value.
    guard: in post-training, bounds on how far the policy may go.
    exact_items: the largest catalogue that post-training sums over exactly; sums over a larger one
        are estimated from `sampled_items` draws in each step (training/catalogue.py).
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
    ema_decay: float = 0.0
    bfloat16: bool = True
    random_windows: float = 0.0
    tokens: int | None = None
    snapshots: int = 0
    guard: Guard = Guard()
    exact_items: int = 50_000
    sampled_items: int = 8_192

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
            exact_items=self.exact_items,
            sampled_items=self.sampled_items,
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
            0 <= self.ema_decay < 1,
            f"Training: ema_decay={self.ema_decay} must be at least 0 and below 1.",
        )
        require(
            0 <= self.random_windows <= 1,
            f"Training: random_windows={self.random_windows} must be a share from 0 to 1.",
        )

    def __repr__(self) -> str:
        return as_called(self)

    def batches(
        self, sequences: Sequences, max_length: int, seed: int, rule: Rule = EVERYTHING
    ) -> BatchStream:
        """The batches of this plan, in windows of `max_length` events.

        rule: as for `batch_of`.
        """
        return BatchStream(
            sequences, max_length, self.batch_size, self.epochs, seed, self.steps,
            self.random_windows, self.tokens, rule,
        )  # fmt: skip

    def logits_dtype(self, device: str) -> torch.dtype | None:
        """The value of `Policy.logits_dtype` on this device."""
        return fast_products(device) if self.bfloat16 else None
