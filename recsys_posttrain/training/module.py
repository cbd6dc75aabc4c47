"""The one LightningModule: it owns the trained model, reduces losses, logs and steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from recsys_posttrain.algorithms.base import LossOutput
from recsys_posttrain.config import require, require_counts
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.logsumexp import fast_products
from recsys_posttrain.ops import masked_mean
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.types import Batch, Sequences

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
            0 <= self.earlier <= 1,
            f"Training: earlier={self.earlier} must be a share from 0 to 1.",
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


class TrainingModule(pl.LightningModule):
    """objective(batch) -> LossOutput; `model` holds the parameters that it trains.

    dropout: keep the model in training mode. Post-training turns it off, otherwise the ratio of
    policy to reference would not start at 1. reseed(step, seed): called before each step with its
    number and its own seed. after_step(steps): called once the optimiser has stepped. fixed: the
    parts of the model that never change, which a checkpoint leaves out.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[Batch], LossOutput],
        training: Training,
        seed: int,
        *,
        dropout: bool,
        reseed: Callable[[int, int], object] | None = None,
        after_step: Callable[[int], object] | None = None,
        fixed: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.training_plan = training
        self.seed = seed
        self.dropout = dropout
        self.reseed = reseed
        self.after_step = after_step
        self.fixed = fixed
        self.steps_done = 0
        self.total_steps: int | None = None  # `fit` knows it
        self.latest: dict[str, Tensor] = {}

    def changing_weights(self) -> dict[str, Tensor]:
        """The model's state without its fixed parts."""
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if not self._is_fixed(name)}

    def load_changing_weights(self, weights: dict[str, Tensor]) -> None:
        found = self.model.load_state_dict(weights, strict=False)
        missing = [name for name in found.missing_keys if not self._is_fixed(name)]
        if missing or found.unexpected_keys:
            raise RuntimeError(f"missing: {missing}, unexpected: {found.unexpected_keys}")

    def _is_fixed(self, name: str) -> bool:
        return name.partition(".")[0] in self.fixed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            parameters,
            lr=self.training_plan.learning_rate,
            weight_decay=self.training_plan.weight_decay,
            fused=True,
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.model.train(self.dropout)
        # Dropout only draws from the global generator, so that one is set, from names, each step.
        seed = derived_seed(self.seed, "step", self.steps_done)
        torch.manual_seed(seed)
        if self.reseed is not None:
            self.reseed(self.steps_done, seed)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self._learning_rate()

    def _learning_rate(self) -> float:
        """Of the step that begins: a function of its number only, so that resuming is exact."""
        plan = self.training_plan
        share = min(1.0, (self.steps_done + 1) / max(1, plan.warmup_steps))
        if plan.decay and self.total_steps is not None:
            share *= 1 - self.steps_done / self.total_steps
        return plan.learning_rate * share

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output = self.objective(batch)
        mask_BT = batch.mask_BT if output.mask_BT is None else output.mask_BT
        loss = masked_mean(output.loss_BT, mask_BT)
        if not math.isfinite(loss.item()):
            raise TrainingFailed(
                f"the loss became {loss.item()} at step {self.steps_done}; lower the "
                f"learning rate (now {self.training_plan.learning_rate}) or the strength of the "
                "algorithm."
            )
        self.latest = {"loss": loss.detach(), **output.metrics}
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1
        if self.after_step is not None:
            self.after_step(self.steps_done)
