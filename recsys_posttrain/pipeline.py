"""The stages of one run, each a folder named by what it depends on (stages.py).

corpus -> pretrain -> posttrain -> evaluate
     \\-> reward ----/----------/
      \\-> judge ---------------/    (where the split has users for one)
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from recsys_posttrain import (
    backbones,
    frozen,
    log_prob,
    logsumexp,
    ops,
    policy,
    seeding,
    types,
    worlds,
)
from recsys_posttrain.algorithms import base as algorithm_base
from recsys_posttrain.algorithms import weights
from recsys_posttrain.config import describe
from recsys_posttrain.data import batching, positions, prepare, split
from recsys_posttrain.data.prepare import FORMAT_VERSION
from recsys_posttrain.evaluation import evaluate, metrics, ranking, rollout, true_value
from recsys_posttrain.losses import base as loss_base
from recsys_posttrain.losses import negatives, one_pass
from recsys_posttrain.policy import Policy
from recsys_posttrain.rewards import base, baselines, ensemble, noise_report, quality
from recsys_posttrain.rewards import noise as noises
from recsys_posttrain.rewards import train as reward_training
from recsys_posttrain.rewards.ensemble import EnsembleModule, RewardEnsemble
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.run import Run
from recsys_posttrain.saved_policy import load_policy, save_policy
from recsys_posttrain.stages import (
    build,
    code_digest,
    load_tensors,
    replacing,
    save_tensors,
    stage_folder,
)
from recsys_posttrain.training import actors, average, fit, module, posttrain, pretrain
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import World, truth_of

from recsys_posttrain import signals  # isort: skip

_TRAINING = (
    average,
    backbones,
    batching,
    fit,
    logsumexp,
    module,
    ops,
    policy,
    seeding,
    split,
    types,
)
_EVALUATION = (evaluate, metrics, ranking)
_LOSS = (loss_base, negatives, one_pass)
_TRUTH = (worlds, rollout, true_value)
_REWARD = (base, ensemble, reward_training)

On = Literal["test", "validation"]
Announce = Callable[[str, Path], None]
TrainReward = Callable[[Split, RewardEnsemble, int, Path, str], tuple[EnsembleModule, fit.Fitted]]
Measure = Callable[[EnsembleModule, Split, RewardEnsemble, int], pd.DataFrame]


class Pipeline:
    """The shared stages of a study's runs, each made or read once.

    root: where stages are kept. announce(what, folder): called before a stage is made or reused.
    """

    def __init__(
        self, run: Run, root: Path, device: str = "cpu", announce: Announce = lambda *_: None
    ) -> None:
        self.run = run
        self.root = root
        self.device = device
        self.announce = announce
        self._rewards: dict[RewardNoise, EnsembleModule] = {}

    @cached_property
    def data(self) -> Split:
        corpus = prepare(self.run.dataset, self.run.split.minimum_item_ratings)
        return self.run.split.split(corpus)

    @cached_property
    def _data_key(self) -> dict[str, Any]:
        return {
            "content_hash": self.data.corpus.content_hash,
            "format": FORMAT_VERSION,
            "split": self.run.split,
            "split_code": code_digest(sys.modules[type(self.run.split).__module__]),
        }

    @cached_property
    def _pretrain_key(self) -> dict[str, Any]:
        loss_code = sys.modules[type(self.run.pretraining_loss).__module__]
        return {
            **self._data_key,
            "backbone": self.run.backbone,
            "training": self.run.pretraining,
            "loss": self.run.pretraining_loss,
            "seed": self.run.pretraining_seed,
            "code": code_digest(*_TRAINING, *_LOSS, metrics, ranking, pretrain, loss_code),
        }

    @cached_property
    def _reward_key(self) -> dict[str, Any]:
        return {
            **self._data_key,
            "reward": self.run.reward,
            "seed": self.run.pretraining_seed,
            "code": code_digest(*_TRAINING, *_REWARD),
        }

    @cached_property
    def _judge_key(self) -> dict[str, Any]:
        return {**self._reward_key, "users": "judge"}

    def _reward_name(self, noise: RewardNoise) -> str:
        return self._folder("reward", self._reward_key | _noise_key(noise.of_training())).name

    def _posttrain_key(self, run: Run) -> dict[str, Any]:
        algorithm_code = sys.modules[type(run.algorithm).__module__]
        return {
            "pretrained": self._folder("pretrain", self._pretrain_key).name,
            "reward": self._reward_name(run.noise),
            **_noise_key(run.noise),
            "algorithm": run.algorithm,
            "training": run.posttraining,
            "seed": run.seed,
            # Validation only decides which weights stay where there is a patience.
            "selection": code_digest(*_EVALUATION) if run.posttraining.patience else None,
            "code": code_digest(
                actors,
                algorithm_base,
                base,
                frozen,
                log_prob,
                positions,
                posttrain,
                signals,
                weights,
                algorithm_code,
            ),
        }

    def _folder(self, name: str, key: dict[str, Any]) -> Path:
        return stage_folder(self.root, name, key)

    def _stage(
        self, name: str, key: dict[str, Any], title: str, make: Callable[[Path], dict[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        folder = self._folder(name, key)
        self.announce(title, folder)
        return folder, build(folder, key, make)

    def _save(self, folder: Path, trained: Policy) -> None:
        save_policy(
            folder,
            trained,
            self.run.backbone,
            self.data.corpus,
            getattr(self.run.dataset, "path", self.run.dataset.name),
            self.run.split.minimum_item_ratings,
        )

    @cached_property
    def pretrained_folder(self) -> Path:
        def make(folder: Path) -> dict[str, Any]:
            run = self.run
            trained, fitted = pretrain.pretrain(
                self.data,
                run.backbone,
                run.pretraining,
                run.pretraining_seed,
                folder,
                self.device,
                run.pretraining_loss,
            )
            self._save(folder, trained)
            return fitted._asdict()

        return self._stage("pretrain", self._pretrain_key, "pretrained policy", make)[0]

    @cached_property
    def pretrained(self) -> Policy:
        return load_policy(self.pretrained_folder).policy

    @cached_property
    def reward_folder(self) -> Path:
        return self._trained_reward(RewardNoise())

    @cached_property
    def judge_folder(self) -> Path | None:
        """None where the split keeps no users for a judge."""
        if self.data.judge is None:
            return None
        return self._reward_stage("judge", self._judge_key, "judge", reward_training.train_judge)

    def _trained_reward(self, noise: RewardNoise) -> Path:
        title = "reward model" if noise.model is None else f"reward model, {noise.model}"
        train = partial(reward_training.train_reward, noise=noise)
        return self._reward_stage("reward", self._reward_key | _noise_key(noise), title, train)

    def _reward_stage(self, name: str, key: dict[str, Any], title: str, train: TrainReward) -> Path:
        def make(folder: Path) -> dict[str, Any]:
            model, fitted = train(
                self.data, self.run.reward, self.run.pretraining_seed, folder, self.device
            )
            save_tensors(folder / "reward.safetensors", model.state_dict())
            return fitted._asdict()

        return self._stage(name, key, title, make)[0]

    @property
    def reward(self) -> EnsembleModule:
        return self.reward_of(RewardNoise())

    def reward_of(self, noise: RewardNoise) -> EnsembleModule:
        """Trained on the data that the noise leaves, without the errors that it adds."""
        noise = noise.of_training()
        if noise not in self._rewards:
            clean = noise == RewardNoise()
            folder = self.reward_folder if clean else self._trained_reward(noise)
            self._rewards[noise] = self._ensemble(folder)
        return self._rewards[noise]

    @cached_property
    def judge(self) -> EnsembleModule | None:
        return None if self.judge_folder is None else self._ensemble(self.judge_folder)

    def _ensemble(self, folder: Path) -> EnsembleModule:
        model = self.run.reward.build(self.data.corpus.num_items, 0.0)
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        model.load_state_dict(load_tensors(folder / "reward.safetensors", shapes))
        model.requires_grad_(False).eval()
        return model

    @cached_property
    def reward_quality(self) -> pd.DataFrame:
        """The reward model beside the naive baselines, one row each."""
        measure = reward_training.reward_quality
        return self._quality("reward", self.reward_folder, "reward model quality", measure)

    @cached_property
    def judge_quality(self) -> pd.DataFrame | None:
        """The same of the judge, for users of its own part; None where there is no judge."""
        if self.judge_folder is None:
            return None
        measure = reward_training.judge_quality
        return self._quality("judge", self.judge_folder, "judge quality", measure)

    def _quality(self, name: str, trained: Path, title: str, measure: Measure) -> pd.DataFrame:
        key = {"reward": trained.name, "code": code_digest(baselines, quality)}

        def make(folder: Path) -> dict[str, Any]:
            model = self._ensemble(trained)
            frame = measure(model, self.data, self.run.reward, self.run.pretraining_seed)
            _write_parquet(frame, folder / "quality.parquet")
            return {}

        folder, _ = self._stage(f"{name}-quality", key, title, make)
        return pd.read_parquet(folder / "quality.parquet")

    def noise_report(self, noise: RewardNoise) -> dict[str, float]:
        """`noise_report` of the reward model that a run with this noise is given."""
        noise = replace(noise, log=None).active()
        key = {
            "reference": self._folder("pretrain", self._pretrain_key).name,
            "reward": self._reward_name(noise),
            "clean": self._reward_name(RewardNoise()),
            **_noise_key(noise),
            "code": code_digest(quality, noise_report),
        }

        # Trained, if need be, under a line of its own, not inside this stage's.
        noisy = noise.on_model(self.reward_of(noise), self.data, self.pretrained)

        def make(folder: Path) -> dict[str, Any]:
            seed = self.run.pretraining_seed
            parts = reward_training.user_parts(self.data.train, self.run.reward.held_out, seed)
            return noise_report.noise_report(
                noisy, self.reward, self.data, self.pretrained, parts.judged_N, noise.seed
            )

        return self._stage("noise-report", key, f"report on {noise.model}", make)[1]

    def posttrained_folder(self, run: Run) -> Path:
        if run.noise.of_training().model is not None:
            self.reward_of(run.noise)  # trained under a line of its own, not inside this stage's

        def make(folder: Path) -> dict[str, Any]:
            trained, fitted = posttrain.posttrain(
                self.pretrained,
                self.data,
                run.algorithm,
                self.reward_of(run.noise),
                run.posttraining,
                run.seed,
                folder,
                self.device,
                run.noise,
            )
            self._save(folder, trained)
            return fitted._asdict()

        title = f"{run.label}, seed {run.seed}"
        return self._stage("posttrain", self._posttrain_key(run), title, make)[0]

    def rows_of(
        self, policy_folder: Path | None, on: On = "test", noise: RewardNoise = RewardNoise()
    ) -> pd.DataFrame:
        """One row per target: of a saved policy, or of popularity (None).

        noise: of the reward model behind `reward/proxy@10`, the one that the policy was given.
        In a world the test rows have the columns of `true_value`. Validation rows never do:
        settings are chosen on them, and must not be chosen by the truth.
        """
        noise = replace(noise, log=None)
        targets = None if on == "test" else self.data.validation
        is_judged_by_truth = on == "test" and isinstance(self.run.dataset, World)
        key = {
            **self._data_key,
            "targets": on,
            "policy": "popularity" if policy_folder is None else policy_folder.name,
            "reference": self._folder("pretrain", self._pretrain_key).name,
            "reward": self._reward_name(noise),
            **_noise_key(noise),
            "code": code_digest(*_EVALUATION),
        }
        if is_judged_by_truth:
            key["truth"] = {"world": self.run.dataset, "code": code_digest(*_TRUTH)}
        # Both are made under lines of their own, not inside this stage's.
        self.reward_of(noise)
        if self.judge_folder is not None:
            key["judge"] = self.judge_folder.name

        def make(folder: Path) -> dict[str, Any]:
            reward = noise.on_model(self.reward_of(noise), self.data, self.pretrained)
            if policy_folder is None:
                result = evaluate.evaluate_popularity(
                    self.data, reward, targets=targets, judge=self.judge
                )
            else:
                result = evaluate.evaluate(
                    load_policy(policy_folder).policy,
                    self.data,
                    reward,
                    self.pretrained,
                    targets=targets,
                    judge=self.judge,
                )
            rows = result.per_user
            if is_judged_by_truth:
                rows = rows.join(self._true_values(policy_folder))
            _write_parquet(rows, folder / "rows.parquet")
            return {"targets": len(rows)}

        name = key["policy"] if policy_folder is None else policy_folder.name
        folder, _ = self._stage("evaluate", key, f"{on} rows of {name}", make)
        return pd.read_parquet(folder / "rows.parquet")

    def _true_values(self, policy_folder: Path | None) -> pd.DataFrame:
        truth = truth_of(self.run.dataset, self.data.corpus)
        if policy_folder is None:
            count_V = evaluate.event_counts(self.data)
            return true_value.true_value_of_popularity(count_V, truth, self.data.test)
        judged = load_policy(policy_folder).policy
        return true_value.true_value(judged, truth, self.data.test)


def shared_part(run: Run) -> dict[str, Any]:
    """What all runs of one study must agree on, described."""
    described: dict[str, Any] = describe(run)
    own = ("algorithm", "name", "posttraining", "noise", "seed")
    return {k: v for k, v in described.items() if k not in own}


def _noise_key(noise: RewardNoise) -> dict[str, Any]:
    """Nothing where the noise does nothing: such a run is the run without it."""
    noise = noise.active()
    return {} if noise == RewardNoise() else {"noise": noise, "noise_code": code_digest(noises)}


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary)
