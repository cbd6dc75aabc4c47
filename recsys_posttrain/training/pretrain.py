"""Next-item pretraining of the policy that every algorithm starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from recsys_posttrain.config import require_kinds, require_trainer
from recsys_posttrain.data.repeats import removed_for, rule_of
from recsys_posttrain.evaluation.metrics import ndcg
from recsys_posttrain.evaluation.ranking import target_ranks
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.losses.base import PretrainingLoss
from recsys_posttrain.losses.full_softmax import FullSoftmax
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.features import ItemFeatures
from recsys_posttrain.models.policy import Policy, new_policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.group import Group
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.processes import check_devices, helped
from recsys_posttrain.types import Batch, LossOutput, Split

PRETRAINING = Training(
    epochs=32, batch_size=32, learning_rate=2e-3, ema_decay=0.998, random_windows=0.5,
    patience=6, validation_steps=40,
)  # fmt: skip


def pretrain(
    data: Split,
    backbone: BackboneConfig = SASRec(),
    training: Training = PRETRAINING,
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    loss: PretrainingLoss = FullSoftmax(),
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
    devices: int = 1,
) -> tuple[Policy, Fitted]:
    """A policy that minimises `loss` at every next item of `data.train`, with dropout.

    folder: where checkpoints, from which it resumes, and metrics.jsonl are written; None: nowhere.
    device: cpu, cuda (the first GPU) or cuda:1.
    logger, callbacks: of Lightning; the logger gets what is logged, as it is logged.
    devices: processes of this machine that share every batch (group.py), each with its part of
        the threads; on the CPU. A script calls it below `if __name__ == "__main__":`.

    Returns: the policy in evaluation mode, and how long it was trained. Where the training plan has
    a patience, its weights are those with the best validation `ndcg@10`.
    Raises: TrainingFailed where the loss diverges; UserError where there is nothing to train on.
    """
    given = {"data": data, "backbone": backbone, "training": training, "seed": seed, "loss": loss}
    require_kinds({"folder": folder, "logger": logger}, **given)
    require_trainer(device, callbacks)
    check_devices(devices, device)
    arguments = data, backbone, training, seed, folder, device, loss
    with helped(devices, _trained, *arguments) as group:
        return _trained(*arguments, group, logger, callbacks)


def _trained(
    data: Split,
    backbone: BackboneConfig,
    training: Training,
    seed: int,
    folder: Path | None,
    device: str,
    loss: PretrainingLoss,
    group: Group,
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Policy, Fitted]:
    """In each process of the group."""
    num_items = data.corpus.num_items
    policy = new_policy(backbone, num_items, seed)
    policy.item_ids = data.corpus.item_ids
    per_position = loss.build(torch.bincount(data.train.items_E, minlength=num_items + 1)[1:])
    rule = rule_of(data.corpus)
    if isinstance(backbone, ItemFeatures):
        rule = backbone.know(policy, data, rule)
        per_position = backbone.loss(per_position)
    policy.logits_dtype = training.logits_dtype(device)
    generator = torch.Generator()

    def objective(batch: Batch) -> LossOutput:
        policy.clear_cache()
        return LossOutput(per_position(policy, batch, generator), {})

    def reseed(_step: int, seed: int) -> None:
        # Dropout draws from `seed` itself; negatives must be independent of it.
        generator.manual_seed(derived_seed(seed, "negatives"))

    module = TrainingModule(policy, objective, training, seed, dropout=True, reseed=reseed)
    stream = training.batches(data.train, backbone.max_length, seed, rule)
    fitted = fit(
        module,
        stream,
        folder,
        device=device,
        validate=lambda: {"ndcg@10": validation_ndcg(policy, data)},
        validate_every=_steps_between_validations(stream.steps_per_epoch, training),
        monitor="ndcg@10",
        title="pretraining",
        logger=logger,
        callbacks=callbacks,
        group=group,
    )
    policy.clear_cache()
    policy.logits_dtype = None
    return policy.eval(), fitted


def _steps_between_validations(steps_per_epoch: int, training: Training) -> int:
    """The fewest whole epochs, in steps, that are at least `validation_steps`."""
    return steps_per_epoch * -(-training.validation_steps // steps_per_epoch)


def validation_ndcg(policy: Policy, data: Split) -> float:
    """Mean NDCG@10 over validation targets, on which pretraining selects weights."""
    targets = data.validation
    hidden_ND = policy.last_hidden_states(targets.history, targets.times_N)
    rank_N = target_ranks(
        hidden_ND,
        policy.item_embedding_VD.detach(),
        targets.items_N,
        removed_for(targets),
    )
    return float(ndcg(rank_N.numpy(), 10).mean())
