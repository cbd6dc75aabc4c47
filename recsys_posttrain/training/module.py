"""The one LightningModule: it owns the trained model, takes the mean of losses, logs and steps."""

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.plan import Training
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.training.group import ALONE
from recsys_posttrain.types import Batch, LossOutput


class TrainingModule(pl.LightningModule):
    """Minimises the mean of objective(batch) over real positions, in the parameters of `model`.

    training: learning rate and its schedule, weight decay.
    seed: of dropout and, by `reseed`, of all else that a step draws.
    dropout: keep the model in training mode. Post-training turns dropout off; otherwise the ratio
        of policy to reference would not start at 1.
    reseed: reseed(step, seed) is called before each step, with its number and a seed of its own.
    after_step: after_step(steps) is called once the optimiser has stepped.
    fixed: names of the parts of `model` that never change; a checkpoint leaves them out.
    undecayed: names of parameters that weight decay leaves alone.
    group: the processes that share this training.

    Raises: TrainingFailed where the loss is not finite.
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
        undecayed: tuple[str, ...] = (),
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
        self.undecayed = undecayed
        self.steps_done = 0
        self.total_steps: int | None = None  # `fit` knows it
        self.latest: dict[str, Tensor] = {}
        self.group = ALONE

    def changing_weights(self) -> dict[str, Tensor]:
        """The model's state without its fixed parts."""
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if not self._is_fixed(name)}

    def load_changing_weights(self, weights: dict[str, Tensor]) -> None:
        """Restores `changing_weights`. Raises: RuntimeError where names differ."""
        found = self.model.load_state_dict(weights, strict=False)
        missing = [name for name in found.missing_keys if not self._is_fixed(name)]
        if missing or found.unexpected_keys:
            raise RuntimeError(f"missing: {missing}, unexpected: {found.unexpected_keys}")

    def _is_fixed(self, name: str) -> bool:
        return name.partition(".")[0] in self.fixed

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        decayed = [p for name, p in trained if name not in self.undecayed]
        kept = [p for name, p in trained if name in self.undecayed]
        groups: list[dict[str, Any]] = [{"params": decayed}]
        groups += [{"params": kept, "weight_decay": 0.0}] if kept else []
        return torch.optim.AdamW(
            groups,
            lr=self.training_plan.learning_rate,
            weight_decay=self.training_plan.weight_decay,
            fused=True,
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.model.train(self.dropout)
        # Dropout can draw from the global generator only. A seed per step makes resuming exact.
        seed = derived_seed(self.seed, "step", self.steps_done)
        torch.manual_seed(self.group.own_seed(seed))
        if self.reseed is not None:
            self.reseed(self.steps_done, seed)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self._learning_rate()

    def _learning_rate(self) -> float:
        """The rate of the coming step: a function of its number only, so that resuming is exact.

        learning_rate min(1, (s + 1) / warmup_steps) (1 - s / total_steps), s steps being done; the
        last factor with `decay` only.
        """
        plan = self.training_plan
        share = min(1.0, (self.steps_done + 1) / max(1, plan.warmup_steps))
        if plan.decay and self.total_steps is not None:
            share *= 1 - self.steps_done / self.total_steps
        return plan.learning_rate * share

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output = self.objective(batch)
        loss, part = self.group.mean(output, self.steps_done)
        if not math.isfinite(loss.item()):
            raise TrainingFailed(
                f"the loss became {loss.item()} at step {self.steps_done}; lower the "
                f"learning rate (now {self.training_plan.learning_rate}) or the strength of the "
                "algorithm."
            )
        self.latest = {"loss": loss.detach(), **output.metrics}
        return part

    def on_after_backward(self) -> None:
        """AdamW takes dense gradients only; that of a large item embedding is sparse till here."""
        for parameter in self.model.parameters():
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.to_dense()
        self.group.sum_gradients(self.model.parameters())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.steps_done += 1
        if self.after_step is not None:
            self.after_step(self.steps_done)
