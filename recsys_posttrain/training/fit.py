"""Runs a TrainingModule to its last step; a run that was killed resumes exactly.

A checkpoint holds the weights that change, the optimiser's state and the step. Everything random is
a function of the step (seeding.py), so training from a checkpoint gives bitwise the weights of an
unbroken run. Lightning's own checkpoint is a pickle and cannot resume inside an epoch exactly.
"""

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.endings import Stopped
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.store import delete
from recsys_posttrain.tensors import load_tensors, save_tensors
from recsys_posttrain.training.bar import Show, hidden, training_bar
from recsys_posttrain.training.ema import WeightAverage
from recsys_posttrain.training.group import ALONE, Group
from recsys_posttrain.training.metrics_log import MetricsLog
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.trainer import quiet_trainer
from recsys_posttrain.training.watch import Measure, Watch
from recsys_posttrain.types import Batch

SECONDS_BETWEEN_CHECKPOINTS = 20.0
STEPS_BETWEEN_LOG_LINES = 10


def fit(
    module: TrainingModule,
    stream: BatchStream,
    folder: Path | None,
    *,
    device: str = "cpu",
    validate: Callable[[], dict[str, float]] | None = None,
    validate_every: int | None = None,
    monitor: str = "",
    title: str = "training",
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
    measure: Measure | None = None,
    group: Group = ALONE,
) -> Fitted:
    """Trains the module's model in place; resumes where the folder has a checkpoint.

    stream: the batches; its first step is set to that of the checkpoint.
    folder: holds the checkpoint during training, and metrics.jsonl; None: no files.
    device: cpu, cuda (the first GPU) or cuda:1.
    validate: returns metrics; called with the model in evaluation mode.
    validate_every: steps between validations, the last of which follows the last step; None: an
        epoch.
    monitor: the metric, higher is better, by which weights are kept when the plan has a patience.
    title: of the bar. logger, callbacks: of Lightning; the former gets what metrics.jsonl gets.
    measure: what the bounds of the plan's guard are about (watch.py).
    group: the processes that share the training; the first alone validates, reads and writes.

    Raises: TrainingFailed where the loss diverges; Stopped on a signal to end.
    """
    module.total_steps = stream.stop
    module.group, stream.part = group, group.part
    keeper = _Keeper(
        group,
        folder,
        MetricsLog(folder if group.is_first else None, logger),
        validate_every or stream.steps_per_epoch,
        validate,
        monitor,
        module.training_plan.patience,
        WeightAverage(module.model, decay) if (decay := module.training_plan.ema_decay) else None,
        Watch(module, measure),
    )
    if keeper.watch.keeps:
        keeper.keep(module)  # where the first measurement is beyond a bound
    watching: list[Callback] = [keeper, *callbacks]
    if (saved := group.given(keeper.saved())) is not None:
        watching.append(_RestoreOptimizer(keeper.load(module, saved)))
    keeper.metrics.begin(keeper.metrics.lines)
    stream.start = module.steps_done
    # A run may have been killed after its last step, or after the step that made it stop.
    if len(stream) and not keeper.is_over(module.steps_done):
        with (
            torch.random.fork_rng(devices=[]),
            quiet_trainer(device, watching, logger) as trainer,
            training_bar(title, stream.start, stream.stop) as keeper.show,
        ):
            # A stream feeds itself: workers would only copy tensors between processes.
            loader: DataLoader[Batch] = DataLoader(stream, batch_size=None)
            try:
                trainer.fit(module, loader)
            except SIGTERMException:  # without a code, so that the process would end with 0
                raise Stopped(signal.SIGTERM) from None
    keeper.finish(module)
    best_step = keeper.best_step if keeper.best_weights else module.steps_done
    lines, passed = tuple(keeper.metrics.lines), keeper.watch.passed
    return Fitted(module.steps_done, best_step, keeper.best_value, lines, passed)


class _Keeper(Callback):
    """Logs, validates now and then, keeps the best weights and writes checkpoints."""

    def __init__(
        self,
        group: Group,
        folder: Path | None,
        metrics: MetricsLog,
        validate_every: int,
        validate: Callable[[], dict[str, float]] | None,
        monitor: str,
        patience: int | None,
        average: WeightAverage | None,
        watch: Watch,
    ) -> None:
        self.group = group
        self.average = average
        self.watch = watch
        self.folder = folder
        self.metrics = metrics
        self.show: Show = hidden
        self.validate_every = validate_every
        self.validate = validate
        self.monitor = monitor
        self.patience = patience
        self.best_value: float | None = None
        self.best_step = 0
        self.best_weights: dict[str, Tensor] = {}
        self.saved_at = time.monotonic()

    @property
    def checkpoint(self) -> Path | None:
        return None if self.folder is None else self.folder / "checkpoint.safetensors"

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = module.steps_done
        if self.average is not None:
            self.average.update(step)
        self.show(step, float(module.latest["loss"]))
        validates = step % self.validate_every == 0 or step == module.total_steps
        if validates or step % STEPS_BETWEEN_LOG_LINES == 0:
            self.metrics.add(step, {name: float(value) for name, value in module.latest.items()})
        looks = validates or self.watch.is_due(step)
        if looks and self.group.is_first:
            module.model.eval()
            with self._kept_weights():
                if found := self.watch.look(step, self.best_step):
                    self.metrics.add(step, found)
                if validates and self.validate is not None and not self.watch.has_stopped:
                    self._keep_if_best(module, self.validate())
                if self.watch.keeps and self.best_value is None:
                    self.keep(module)
        if looks:
            trainer.should_stop |= self.group.given(self.is_over(step))
        # The only place that saves: elsewhere (on an interrupt, say) a step may be half done.
        if time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save(trainer, module)

    def _kept_weights(self) -> AbstractContextManager[None]:
        """A block in which the model has the weights that are validated: the average, if any."""
        return nullcontext() if self.average is None else self.average.in_place()

    def _keep_if_best(self, module: Any, metrics: dict[str, float]) -> None:
        """With a patience: keeps the best weights (the first of equals)."""
        self.metrics.add(module.steps_done, metrics)
        if self.patience is None:
            return
        value = metrics[self.monitor]
        if self.best_value is None or value > self.best_value:
            self.best_value = value
            self.keep(module)

    def keep(self, module: TrainingModule) -> None:
        """These weights stay unless better ones come."""
        weights = module.changing_weights()
        self.best_weights = {name: value.detach().clone() for name, value in weights.items()}
        self.best_step = module.steps_done

    def is_over(self, step: int) -> bool:
        """Whether a bound was passed, or too many validations since the best one."""
        if self.watch.has_stopped:
            return True
        if self.patience is None or self.best_value is None:
            return False
        return step - self.best_step >= self.patience * self.validate_every

    def save(self, trainer: pl.Trainer, module: Any) -> None:
        """Writes the checkpoint, atomically."""
        if self.checkpoint is None or not self.group.is_first:
            return
        optimizer = trainer.optimizers[0]
        tensors = {f"model/{name}": value for name, value in module.changing_weights().items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.weights.items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
        progress = {
            "steps_done": module.steps_done,
            "best_value": self.best_value,
            "best_step": self.best_step,
            "lines": self.metrics.lines,
            "passed": self.watch.passed,
        }
        tensors["progress"] = torch.tensor(list(json.dumps(progress).encode()), dtype=torch.uint8)
        save_tensors(self.checkpoint, {name: value.contiguous() for name, value in tensors.items()})
        self.saved_at = time.monotonic()

    def saved(self) -> dict[str, Tensor] | None:
        """What the checkpoint holds, if there is one."""
        if self.checkpoint is None or not self.checkpoint.exists() or not self.group.is_first:
            return None
        return load_tensors(self.checkpoint, fix=delete(self.checkpoint.parent))

    def load(self, module: TrainingModule, saved: dict[str, Any]) -> dict[int, dict[str, Tensor]]:
        """Restores the module and this keeper; returns the optimiser's state, by its index."""
        progress = json.loads(bytes(saved.pop("progress").tolist()))
        module.steps_done = progress["steps_done"]
        self.best_value, self.best_step = progress["best_value"], progress["best_step"]
        self.metrics.lines, self.watch.passed = progress["lines"], progress["passed"]
        optimizer: dict[int, dict[str, Tensor]] = {}
        weights: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}}
        for name, value in saved.items():
            kind, rest = name.split("/", 1)
            if kind == "optimizer":
                index, key = rest.split("/")
                optimizer.setdefault(int(index), {})[key] = value
            else:
                weights[kind][rest] = value
        module.load_changing_weights(weights["model"])
        self.best_weights = weights["best"]
        if self.average is not None:
            self.average.load(weights["average"])
        return optimizer

    def finish(self, module: TrainingModule) -> None:
        """Ends training with the best weights or else the average; removes the checkpoint."""
        if self.best_weights:
            module.load_changing_weights(self.best_weights)
        elif self.average is not None:
            module.model.load_state_dict(self.average.weights, strict=False)
        if self.checkpoint is not None and self.group.is_first:
            self.checkpoint.unlink(missing_ok=True)


class _RestoreOptimizer(Callback):
    """Gives the optimiser its state back, which Lightning builds only as training starts."""

    def __init__(self, state: dict[int, dict[str, Tensor]]) -> None:
        self.state = state

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        optimizer = trainer.optimizers[0]
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": self.state, "param_groups": groups})
