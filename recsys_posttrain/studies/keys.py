"""What each stage of a run depends on, and so in which folder it is kept (stages.py).

A key holds configurations, seeds, hashes of data, names of earlier stages, and digests of the code
that decides the result: whatever changes one of them makes the stage anew.
"""

import sys
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recsys_posttrain import basic_statistics, ops, reward_scale, seeding, types, worlds
from recsys_posttrain import models as backbones
from recsys_posttrain.algorithms import actors, weights
from recsys_posttrain.algorithms import base as algorithm_base
from recsys_posttrain.config import describe
from recsys_posttrain.data import batching, encode, positions, repeats, split
from recsys_posttrain.data.prepare import FORMAT_VERSION
from recsys_posttrain.evaluation import (
    evaluate,
    expectation,
    judged_value,
    metrics,
    over_optimisation,
    ranking,
    rollout,
    subsets,
    true_value,
)
from recsys_posttrain.losses import base as loss_base
from recsys_posttrain.losses import negatives, one_pass
from recsys_posttrain.models import checkpoint as saved_policy
from recsys_posttrain.models import frozen, policy
from recsys_posttrain.models import reward_model as base
from recsys_posttrain.ops import log_prob, logsumexp
from recsys_posttrain.provenance import code_digest
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards import baselines, control, ensemble, noise_report, quality
from recsys_posttrain.rewards import noise as noises
from recsys_posttrain.rewards.control import RewardControl, ShuffledRewards, TrueRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.store import stage_folder
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training import average, fit, module, posttrain, pretrain
from recsys_posttrain.training import reward as reward_training
from recsys_posttrain.types import Repeats
from recsys_posttrain.worlds.base import World, world

from recsys_posttrain.algorithms import signals  # isort: skip

On = Literal["test", "validation"]

_TRAINING = (
    average,
    backbones,
    batching,
    fit,
    logsumexp,
    module,
    ops,
    policy,
    repeats,
    reward_scale,
    seeding,
    split,
    types,
)
_EVALUATION = (encode, evaluate, metrics, ranking)
_LOSS = (loss_base, negatives, one_pass)
_TRUTH = (worlds, expectation, rollout, true_value)
_JUDGED = (judged_value, rollout)
_CURVE = (over_optimisation, expectation, ranking)
_REWARD = (base, ensemble, reward_training)
_POSTTRAINING = (
    actors,
    algorithm_base,
    base,
    frozen,
    log_prob,
    positions,
    posttrain,
    signals,
    subsets,
    weights,
)


class Stage(NamedTuple):
    folder: Path
    key: dict[str, Any]


class StageKeys:
    """Of the runs that share what `run` names, on data with this content hash and scale of rewards;
    kept in `root`.

    repeats: the rule of the log. It decides which pretrained policy is kept and how each policy is
    evaluated, and no reward model.
    """

    def __init__(
        self, run: Run, content_hash: str, scale: RewardScale, root: Path, repeats: Repeats
    ) -> None:
        self.run = run
        self.content_hash = content_hash
        self.scale = scale
        self.repeats = repeats
        self.root = root

    def _stage(self, name: str, key: dict[str, Any]) -> Stage:
        return Stage(stage_folder(self.root, name, key), key)

    @cached_property
    def _data(self) -> dict[str, Any]:
        return {
            "content_hash": self.content_hash,
            "format": FORMAT_VERSION,
            "rewards": self.scale.map,
            "split": self.run.split,
            "split_code": code_digest(_module_of(self.run.split)),
        }

    @cached_property
    def pretrain(self) -> Stage:
        loss_code = _module_of(self.run.pretraining_loss)
        key = {
            **self._data,
            "backbone": self.run.backbone,
            "training": self.run.pretraining,
            "loss": self.run.pretraining_loss,
            "repeats": self.repeats,
            "seed": self.run.pretraining_seed,
            "code": code_digest(
                *_TRAINING, *_LOSS, metrics, ranking, pretrain, saved_policy, loss_code
            ),
        }
        return self._stage("pretrain", key)

    @cached_property
    def _reward(self) -> dict[str, Any]:
        return {
            **self._data,
            "reward": self.run.reward,
            "seed": self.run.pretraining_seed,
            "code": code_digest(*_TRAINING, *_REWARD),
        }

    def reward(self, noise: RewardNoise = RewardNoise()) -> Stage:
        """Of the model that learns from the data that the noise leaves."""
        return self._stage("reward", self._reward | _of_noise(noise.of_training()))

    def shuffled_reward(self, shuffled: ShuffledRewards) -> Stage:
        """Of the model that learns from shuffled rewards."""
        return self._stage("reward", self._reward | _of_control(shuffled))

    @cached_property
    def judge(self) -> Stage:
        return self._stage("judge", {**self._reward, "users": "judge"})

    def quality(self, name: str, trained: Path) -> Stage:
        key = {"reward": trained.name, "code": code_digest(baselines, basic_statistics, quality)}
        return self._stage(f"{name}-quality", key)

    def noise_report(self, noise: RewardNoise) -> Stage:
        key = {
            "reference": self.pretrain.folder.name,
            "reward": self.reward(noise).folder.name,
            "clean": self.reward().folder.name,
            **_of_noise(noise),
            "code": code_digest(basic_statistics, quality, noise_report),
        }
        return self._stage("noise-report", key)

    def posttrain(self, run: Run) -> Stage:
        key = {
            "pretrained": self.pretrain.folder.name,
            **self._rewards_read(run),
            "algorithm": run.algorithm,
            "training": run.posttraining,
            "seed": run.seed,
            "liked": self.scale.liked,  # validations are told of these targets too
            # Validation only decides which weights stay where there is a patience.
            "selection": code_digest(*_EVALUATION) if run.posttraining.patience else None,
            "code": code_digest(*_POSTTRAINING, _module_of(run.algorithm)),
        }
        return self._stage("posttrain", key)

    def _rewards_read(self, run: Run) -> dict[str, Any]:
        """What decides the rewards that the run's post-training reads."""
        if self.scale.missing:
            return {}
        match run.control:
            case None:
                return {"reward": self.reward(run.noise).folder.name, **_of_noise(run.noise)}
            case ShuffledRewards():
                model = self.shuffled_reward(run.control).folder.name
                return {"reward": model, **_of_control(run.control)}
            case TrueRewards():
                truth = {"world": world(self.run.dataset), "code": code_digest(worlds)}
                return {"truth": truth, **_of_control(run.control)}
            case _:
                return _of_control(run.control)

    def rows(
        self, policy_folder: Path | None, on: On, noise: RewardNoise, has_judge: bool
    ) -> Stage:
        rollouts = _JUDGED if has_judge and self.is_judged_by_judge(on) else ()
        key = {
            **self._judged(on, noise, has_judge),
            "policy": "popularity" if policy_folder is None else policy_folder.name,
            "code": code_digest(*_EVALUATION, *rollouts),
        }
        return self._stage("evaluate", key)

    def curve(self, posttrained: Path, on: On, noise: RewardNoise, has_judge: bool) -> Stage:
        key = {
            **self._judged(on, noise, has_judge),
            "policy": posttrained.name,
            "code": code_digest(*_CURVE),
        }
        return self._stage("curve", key)

    def _judged(self, on: On, noise: RewardNoise, has_judge: bool) -> dict[str, Any]:
        """On what, and by which models, a policy is judged."""
        key = {
            **self._data,
            "targets": on,
            "reference": self.pretrain.folder.name,
            "reward": None if self.scale.missing else self.reward(noise).folder.name,
            **_of_noise(noise),
        }
        if self.is_judged_by_truth(on):
            key["truth"] = {"world": self.run.dataset, "code": code_digest(*_TRUTH)}
        if has_judge:
            key["judge"] = self.judge.folder.name
        return key

    def is_judged_by_truth(self, on: On) -> bool:
        """Test rows of a world. Settings are chosen on validation rows, so never by the truth."""
        return on == "test" and isinstance(self.run.dataset, World)

    def is_judged_by_judge(self, on: On) -> bool:
        """Test rows of logged data, where the split has a judge to stand for the user."""
        return on == "test" and not isinstance(self.run.dataset, World)


def shared_part(run: Run) -> dict[str, Any]:
    """What all runs of one study must agree on, described."""
    described: dict[str, Any] = describe(run)
    own = ("algorithm", "name", "posttraining", "noise", "control", "seed")
    return {k: v for k, v in described.items() if k not in own}


def _of_noise(noise: RewardNoise) -> dict[str, Any]:
    """Nothing where the noise does nothing: such a run is the run without it."""
    noise = noise.active()
    return {} if noise == RewardNoise() else {"noise": noise, "noise_code": code_digest(noises)}


def _of_control(chosen: RewardControl) -> dict[str, Any]:
    return {"control": chosen, "control_code": code_digest(control)}


def _module_of(part: object) -> Any:
    return sys.modules[type(part).__module__]
