"""Post-training: one algorithm, from one pretrained policy, with one frozen reward model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from recsys_posttrain.algorithms.actors import FIXED, Actors, logged_rewards
from recsys_posttrain.algorithms.base import Algorithm, after_step, heads_of
from recsys_posttrain.config import require, require_kinds, require_trainer
from recsys_posttrain.data.encode import encode, encoder
from recsys_posttrain.data.positions import TrainingPositions, positions_of
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.noise import NoisyLog
from recsys_posttrain.rewards.renumbered import in_numbering
from recsys_posttrain.tensors import save_tensors
from recsys_posttrain.training.catalogue import proposal_of, with_sample
from recsys_posttrain.training.drift import drift
from recsys_posttrain.training.fit import STEPS_BETWEEN_LOG_LINES, fit
from recsys_posttrain.training.group import Group
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.processes import check_devices, helped
from recsys_posttrain.training.snapshots import SNAPSHOT, snapshot_steps
from recsys_posttrain.training.validated import validation_means
from recsys_posttrain.training.watch import measure_of
from recsys_posttrain.types import Batch, LossOutput, Split

POSTTRAINING = Training(steps=100, batch_size=64, learning_rate=3e-4, decay=True)
VALIDATIONS = 4


def posttrain(
    policy: Policy,
    data: Split,
    algorithm: Algorithm,
    reward: RewardModel,
    training: Training = POSTTRAINING,
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    log: NoisyLog | None = None,
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
    judge: RewardModel | None = None,
    devices: int = 1,
) -> tuple[Policy, Fitted]:
    """A post-trained copy of `policy`, which itself stays as it is.

        better, fitted = rp.posttrain(policy, data, rp.ASFT(temperature=0.5), reward, seed=1)
        fitted.history  # a frame: by step the loss, the KL to `policy`, NDCG@10 on validation

    policy, reward: what `pretrain` and `train_reward` return first. data: of `load`.
    algorithm: one such as `BC()`, `DPO()`, `GRPO()`; its fields are its hyper-parameters.
    training: how long and how fast. seed: of batches and draws: every algorithm gets the same
        batches in the same order, without dropout.
    device: cpu, cuda (the first GPU) or cuda:1.
    data, reward: items may be numbered otherwise than in the policy; they are matched by id
        (data/encode.py).
    folder: as for `pretrain`; the weights after the steps of `snapshot_steps` are saved there too.
    log: replaces data.train. A noisy log and a noisy reward model (rewards/noise) are built
        beforehand with this `policy`; validation reads the noisy reward model too.
    logger, callbacks: of Lightning; the logger gets what is logged, as it is logged.
    judge: for a bound of the plan's guard on the gap between reward model and judge.
    devices: processes that share every batch, as for `pretrain`; each draws for its part.

    Logged every few steps: the loss, the algorithm's own metrics (rewards in stars), and on the
    current batch the exact `kl` to the reference, the `entropy` and, in the log's unit,
    `reward/proxy` = E_pi[r_hat]. About four times, `validation_steps` apart at least, and after the
    last step: the same on validation targets, with `ndcg@10` over all of them and over the liked
    ones.

    Returns: the policy in evaluation mode, and how long it was trained. With a patience it has the
        weights of the best `validation/ndcg@10` over all targets.
    Raises: TrainingFailed where it diverges, or the algorithm refuses its settings or the data.
    """
    given = {"policy": policy, "data": data, "algorithm": algorithm, "reward": reward}
    require_kinds({"folder": folder, "logger": logger}, **given, training=training, seed=seed)
    require_trainer(device, callbacks, policy)
    check_devices(devices, device)
    arguments = policy, data, algorithm, reward, training, seed, folder, device, log, judge
    with helped(devices, _trained, *arguments) as group:
        return _trained(*arguments, group, logger, callbacks)


def _trained(
    policy: Policy,
    data: Split,
    algorithm: Algorithm,
    reward: RewardModel,
    training: Training,
    seed: int,
    folder: Path | None,
    device: str,
    log: NoisyLog | None,
    judge: RewardModel | None,
    group: Group,
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Policy, Fitted]:
    """In each process of the group."""
    num_items, scale = len(policy.item_embedding_VD), data.corpus.reward_scale
    if encoder(data.corpus, policy.item_ids, num_items) is not None:
        assert policy.item_ids is not None
        require(
            log is None,
            f"the noisy log was built from {data.corpus.name}, which numbers its items "
            "otherwise than the policy does; build it from encode(data, policy.item_ids), and give "
            "that as the data.",
        )
        data = encode(data, policy.item_ids)
    reward = in_numbering(reward, policy.item_ids)
    reference = policy if isinstance(policy, FrozenPolicy) else FrozenPolicy(deepcopy(policy))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = heads_of(algorithm, policy.item_embedding_VD.shape[1], num_items)
    log = NoisyLog(data.train) if log is None else log
    logged = logged_rewards(log.sequences, num_items)._replace(liked=scale.liked_stars)
    actors = Actors(reference, reward, logged, heads)
    stream = training.batches(log.sequences, policy.max_length, seed, rule_of(data.corpus))
    snapshots = snapshot_steps(training.snapshots, stream.stop)
    is_large = num_items > training.exact_items
    share_V = proposal_of(reference, islice(stream, 1)) if is_large else None

    def objective(batch: Batch) -> LossOutput:
        actors.clear_cache()
        if log.redraw is not None:
            batch = log.redraw(batch, actors.generator.initial_seed())
        if share_V is not None:
            batch = with_sample(batch, share_V, training.sampled_items, actors.generator)
        try:
            output = algorithm.loss(batch, actors)
        except UserError as refusal:
            raise TrainingFailed(str(refusal)) from refusal
        if (actors.step + 1) % STEPS_BETWEEN_LOG_LINES == 0:
            measured = drift(batch, actors)
            if "reward/proxy" in measured:
                measured["reward/proxy"] = scale.from_stars(measured["reward/proxy"])
            output = output._replace(metrics={**output.metrics, **measured})
        return output

    def on_step(step: int) -> None:
        actors.step = step
        reward.resample(None)
        after_step(algorithm, actors)
        if folder is not None and step in snapshots and group.is_first:
            save_tensors(folder / SNAPSHOT.format(step), actors.policy.state_dict())

    def reseed(step: int, seed: int) -> None:
        actors.step = step
        actors.generator.manual_seed(group.own_seed(seed))
        reward.resample(seed)

    positions = positions_of(stream) if log.redraw is None else None

    def set_positions(positions: TrainingPositions | None) -> None:
        for frozen in (reference, reward):
            frozen.set_positions(positions)

    def validate() -> dict[str, float]:
        set_positions(None)
        rows = evaluate(
            actors.policy, data, reward, actors.reference, targets=data.validation
        ).per_user
        set_positions(positions)
        return validation_means(rows, scale)

    module = TrainingModule(
        actors,
        objective,
        training,
        seed,
        dropout=False,
        reseed=reseed,
        after_step=on_step,
        fixed=FIXED,
    )
    try:
        actors.set_logits_dtype(training.logits_dtype(device))
        set_positions(positions)
        fitted = fit(
            module,
            stream,
            folder,
            device=device,
            validate=validate,
            validate_every=max(
                -(-stream.stop // VALIDATIONS), min(training.validation_steps, stream.stop)
            ),
            monitor="validation/ndcg@10",
            title=type(algorithm).__name__,
            logger=logger,
            callbacks=callbacks,
            measure=measure_of(training.guard, actors, data.validation, judge),
            group=group,
        )
    finally:
        actors.set_logits_dtype(None)
        set_positions(None)
    fitted.note_few_pairs(type(algorithm).__name__)
    actors.clear_cache()
    return actors.policy.eval(), fitted
