"""The reward models of a pipeline and its judge: trained, with a noise's errors, or a control's."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.files import read_parquet, write_parquet
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards import noise_report
from recsys_posttrain.rewards.control import (
    ConstantReward,
    ConstantRewards,
    RewardControl,
    ShuffledRewards,
    TrueRewards,
)
from recsys_posttrain.rewards.ensemble import EnsembleModule, RewardEnsemble
from recsys_posttrain.rewards.noise import NoisyLog, RewardNoise
from recsys_posttrain.store import delete
from recsys_posttrain.studies.keys import Stage, StageKeys
from recsys_posttrain.studies.run import Run
from recsys_posttrain.tensors import load_tensors, save_tensors
from recsys_posttrain.training import reward as reward_training
from recsys_posttrain.training.fit import METRICS, Fitted
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import Truth
from recsys_posttrain.worlds.true_reward import TrueReward

Make = Callable[[Path], dict[str, Any]]
TrainReward = Callable[[Split, RewardEnsemble, int, Path, str], tuple[EnsembleModule, Fitted]]
Measure = Callable[[EnsembleModule, Split, RewardEnsemble, int], pd.DataFrame]

EVENTS_AT_A_TIME = 2**16
WEIGHTS = "reward.safetensors"
# Of models with a noise's errors: a study that draws noise for each seed would keep one per seed.
KEPT = 4


class MakeStage(Protocol):
    def __call__(self, stage: Stage, title: str, make: Make, *files: str) -> dict[str, Any]: ...


class RewardStages:
    """Each made or read once.

    made(stage, title, make): the record of a stage, which is there afterwards. pretrained, truth:
    called where the reference policy, or the truth of a world, is asked for.
    """

    def __init__(
        self,
        run: Run,
        data: Split,
        keys: StageKeys,
        device: str,
        made: MakeStage,
        pretrained: Callable[[], Policy],
        truth: Callable[[], Truth],
    ) -> None:
        self.run = run
        self.data = data
        self.keys = keys
        self.device = device
        self.made = made
        self.pretrained = pretrained
        self.truth = truth
        # By the noise that changed them: models and logs that all runs with that noise share, so
        # that what they remember serves all of them.
        latest = lru_cache(KEPT)
        self._trained = latest(self._load_trained)
        self._noisy = latest(self._make_noisy)
        self._noisy_log = latest(self._make_noisy_log)
        self._controlled = latest(self._by_control)

    @property
    def missing(self) -> str:
        """Why there are no rewards, so neither a model nor a judge; empty where there are."""
        return self.data.corpus.reward_scale.missing

    @cached_property
    def folder(self) -> Path:
        return self._trained_reward(RewardNoise())

    @cached_property
    def judge_folder(self) -> Path | None:
        """None where the split keeps no users for a judge."""
        if self.data.judge is None or self.missing:
            return None
        return self._reward_stage(self.keys.judge, "judge", reward_training.train_judge)

    def _trained_reward(self, noise: RewardNoise) -> Path:
        title = "reward model" if noise.model is None else f"reward model, {noise.model}"
        train = partial(reward_training.train_reward, noise=noise)
        return self._reward_stage(self.keys.reward(noise), title, train)

    def _reward_stage(self, stage: Stage, title: str, train: TrainReward) -> Path:
        def make(folder: Path) -> dict[str, Any]:
            model, fitted = train(
                self.data, self.run.reward, self.run.pretraining_seed, folder, self.device
            )
            save_tensors(folder / WEIGHTS, model.state_dict())
            return fitted._asdict()

        self.made(stage, title, make, WEIGHTS, METRICS)
        return stage.folder

    @property
    def model(self) -> EnsembleModule:
        return self.model_of(RewardNoise())

    def model_of(self, noise: RewardNoise) -> EnsembleModule:
        """Trained on the data that the noise leaves, without the errors that it adds."""
        return self._trained(noise.of_training())

    def _load_trained(self, noise: RewardNoise) -> EnsembleModule:
        return self._ensemble(
            self.folder if noise == RewardNoise() else self._trained_reward(noise)
        )

    def noisy(self, noise: RewardNoise) -> RewardModel:
        """`model_of`, with the errors that the noise adds."""
        return self._noisy(replace(noise, log=None).active())

    def _make_noisy(self, noise: RewardNoise) -> RewardModel:
        return noise.on_model(self.model_of(noise), self.data, self.pretrained())

    def _make_noisy_log(self, noise: RewardNoise) -> NoisyLog:
        return noise.on_log(self.data, self.pretrained())

    def prepare(self, run: Run) -> None:
        """Trains what the run's noise or control needs under lines of its own, so that it is not
        made, and timed, inside another stage."""
        if run.noise.of_training().model is not None:
            self.model_of(run.noise)
        if isinstance(run.control, ShuffledRewards):
            self._shuffled_reward(run.control)

    def given(self, run: Run) -> tuple[RewardModel, NoisyLog]:
        """The reward model and the log that the run's post-training reads; where there are no
        rewards, ones that say nothing."""
        if self.missing:
            same = float(self.data.train.rewards_E[0])
            model = ConstantReward(same, self.data.corpus.num_items, self.pretrained().max_length)
            return model, NoisyLog(self.data.train)
        if run.control is None:
            return self.noisy(run.noise), self._noisy_log(replace(run.noise, model=None).active())
        return self._controlled(run.control)

    def _by_control(self, control: RewardControl) -> tuple[RewardModel, NoisyLog]:
        """Apart from evaluation, the only reader of a world's truth, and only for `TrueRewards`."""
        corpus, max_length = self.data.corpus, self.pretrained().max_length
        log = corpus.sequences
        model: RewardModel
        match control:
            case ShuffledRewards():
                rewards_E = control.rewards(log)
                model = self._ensemble(self._shuffled_reward(control))
            case ConstantRewards():
                rewards_E = control.rewards(log)
                model = ConstantReward(float(rewards_E[0]), corpus.num_items, max_length)
            case TrueRewards():
                users_E = torch.repeat_interleave(log.lengths_N)
                items_E1 = log.items_E[:, None]
                true = self.truth().rewards_of
                rewards_E = ops.map_chunks(true, users_E, items_E1, chunk=EVENTS_AT_A_TIME)[:, 0]
                model = TrueReward(self.truth(), max_length)
        return model, NoisyLog(self._with_rewards(rewards_E).train)

    def _shuffled_reward(self, shuffled: ShuffledRewards) -> Path:
        def train(data: Split, *settings: Any) -> tuple[EnsembleModule, Fitted]:
            rewards_E = shuffled.rewards(data.corpus.sequences)
            return reward_training.train_reward(self._with_rewards(rewards_E), *settings)

        stage = self.keys.shuffled_reward(shuffled)
        return self._reward_stage(stage, f"reward model, {shuffled}", train)

    def _with_rewards(self, rewards_E: Tensor) -> Split:
        """The split of the log whose events have these rewards."""
        corpus = self.data.corpus
        log = replace(corpus.sequences, rewards_E=rewards_E)
        return self.run.split.split(replace(corpus, sequences=log))

    @cached_property
    def judge(self) -> EnsembleModule | None:
        return None if self.judge_folder is None else self._ensemble(self.judge_folder)

    def _ensemble(self, folder: Path) -> EnsembleModule:
        model = self.run.reward.build(self.data.corpus.num_items, 0.0)
        model.item_ids = self.data.corpus.item_ids
        model.load_state_dict(load_tensors(folder / WEIGHTS, model.state_dict(), delete(folder)))
        model.requires_grad_(False).eval()
        return model

    @cached_property
    def quality(self) -> pd.DataFrame | None:
        """The reward model beside the naive baselines, one row each; None without rewards."""
        if self.missing:
            return None
        measure = reward_training.reward_quality
        return self._quality("reward", self.folder, "reward model quality", measure)

    @cached_property
    def judge_quality(self) -> pd.DataFrame | None:
        """The same of the judge, for users of its own part; None where there is no judge."""
        if self.judge_folder is None:
            return None
        measure = reward_training.judge_quality
        return self._quality("judge", self.judge_folder, "judge quality", measure)

    def _quality(self, name: str, trained: Path, title: str, measure: Measure) -> pd.DataFrame:
        def make(folder: Path) -> dict[str, Any]:
            model = self._ensemble(trained)
            frame = measure(model, self.data, self.run.reward, self.run.pretraining_seed)
            write_parquet(frame, folder / "quality.parquet")
            return {}

        stage = self.keys.quality(name, trained)
        self.made(stage, title, make, "quality.parquet")
        return read_parquet(stage.folder / "quality.parquet", fix=delete(stage.folder))

    def report(self, noise: RewardNoise) -> dict[str, dict[str, float]]:
        """What the noise does to the reward model and to the log of the runs that have it."""
        noise = noise.active()
        self.model_of(noise)  # trained under a line of its own, not inside this stage's

        def make(folder: Path) -> dict[str, Any]:
            seed = self.run.pretraining_seed
            parts = reward_training.user_parts(self.data.reward, self.run.reward.held_out, seed)
            return noise_report.noise_report(
                noise,
                self.model_of(noise),
                self.model,
                self.data,
                self.pretrained(),
                parts.judged_N,
            )

        return self.made(self.keys.noise_report(noise), "what the noise does", make)
