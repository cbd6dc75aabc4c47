"""The reward models of a setup and its judge: trained, with a noise's errors, or a control's."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data.user_holdout import both_logs
from recsys_posttrain.evaluation.projected import projected_correlation
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.models.reward_model import RewardConfig, RewardModel
from recsys_posttrain.plan import METRICS
from recsys_posttrain.rewards import noise_report
from recsys_posttrain.rewards.control import (
    ConstantReward,
    ConstantRewards,
    RewardControl,
    ShuffledRewards,
    TrueRewards,
)
from recsys_posttrain.rewards.noise import NoisyLog, RewardNoise
from recsys_posttrain.rewards.noise.base import ErrorNoise
from recsys_posttrain.rewards.noise.mixture import Mixture, TruthShare
from recsys_posttrain.store import delete
from recsys_posttrain.studies.keys import EvalSplit, Stage
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.shared_stages import SharedStages
from recsys_posttrain.tensors import save_tensors
from recsys_posttrain.training import judge as judge_training
from recsys_posttrain.training import reward as reward_training
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.true_reward import TrueReward

TrainReward = Callable[[Split, RewardConfig, int, Path, str], tuple[RewardModel, Fitted]]
Measure = Callable[[RewardModel, Split, RewardConfig, int], pd.DataFrame]

EVENTS_AT_A_TIME = 2**16
WEIGHTS = "reward.safetensors"
# Of models with a noise's errors: a study that draws noise for each seed would keep one per seed.
KEPT = 4


class RewardStages:
    def __init__(self, shared: SharedStages) -> None:
        self.shared = shared
        # Models and logs that all runs with one noise share, so that what they remember serves all
        # of them.
        latest = lru_cache(KEPT)
        self._trained = latest(self._load_trained)
        self._noisy = latest(self._with_errors)
        self._noisy_log = latest(self._log_with_errors)
        self._controlled = latest(self._by_control)

    @property
    def missing(self) -> str:
        """Why there are no rewards, so neither a model nor a judge; empty where there are."""
        return self.shared.data.corpus.reward_scale.missing

    @cached_property
    def gives_sums(self) -> bool:
        """Whether the reward model has sums over the catalogue."""
        corpus = self.shared.data.corpus
        model = self.shared.setup.reward.build(corpus.num_items)
        model.know(corpus)
        return model.sums_exactly

    def train(self, noise: RewardNoise = RewardNoise()) -> Path:
        """The folder of the model that learns from the data that the noise leaves."""
        noise = noise.of_training()
        title = _with_noise("reward model", noise)

        def train(
            data: Split, config: RewardConfig, seed: int, folder: Path, device: str
        ) -> tuple[RewardModel, Fitted]:
            reference = self.shared.load_pretrained() if noise.reads_reference else None
            given = noise.on_shared_log(data, reference)
            return reward_training.train_reward(given, config, seed, folder, device, noise)

        return self._train(self.shared.keys.reward(noise), title, train, self.shared.setup.reward)

    def train_judge(self) -> Path | None:
        """None where the split keeps no users for a judge."""
        if not self.shared.keys.has_judge:
            return None
        train, config = judge_training.train_judge, self.shared.setup.judge_config
        return self._train(self.shared.keys.judge, "judge", train, config)

    def _train_shuffled(self, shuffled: ShuffledRewards) -> Path:
        def train(data: Split, *settings: Any) -> tuple[RewardModel, Fitted]:
            reward_training.check_learns(self.shared.setup.reward, "shuffled rewards")
            rewards_E = shuffled.rewards(data.corpus.sequences)
            return reward_training.train_reward(self._with_rewards(rewards_E), *settings)

        stage = self.shared.keys.shuffled_reward(shuffled)
        title = f"reward model, {shuffled}"
        return self._train(stage, title, train, self.shared.setup.reward)

    def _train(self, stage: Stage, title: str, train: TrainReward, config: RewardConfig) -> Path:
        shared = self.shared

        def make(folder: Path) -> dict[str, Any]:
            model, fitted = train(shared.data, config, shared.setup.seed, folder, shared.device)
            save_tensors(folder / WEIGHTS, model.state_dict())
            return fitted.record

        return shared.build(stage, shared.title(title), make, WEIGHTS, METRICS).folder

    def load(self, noise: RewardNoise = RewardNoise()) -> RewardModel:
        """The model of `train`, without the errors that the noise adds to its predictions."""
        return self._trained(noise.of_training())

    def _load_trained(self, noise: RewardNoise) -> RewardModel:
        return self._read(self.train(noise), self.shared.setup.reward)

    def load_noisy(self, noise: RewardNoise) -> RewardModel:
        """The model of `train`, with the errors that the noise adds."""
        return self._noisy(noise.of_model())

    def _with_errors(self, noise: RewardNoise) -> RewardModel:
        """Reads the truth for the noise that names it."""
        shared, model, reference = self.shared, self.load(noise), self.shared.load_pretrained()
        if isinstance(noise.model, TruthShare):
            true = TrueReward(shared.load_truth(), reference.max_length)
            return Mixture(model, true, noise.model.level)
        return noise.on_model(model, shared.data, reference)

    def _log_with_errors(self, noise: RewardNoise) -> NoisyLog:
        return noise.on_log(self.shared.data, self.shared.load_pretrained())

    def load_judge(self) -> RewardModel | None:
        return self._judge

    @cached_property
    def _judge(self) -> RewardModel | None:
        folder = self.train_judge()
        return None if folder is None else self._read(folder, self.shared.setup.judge_config)

    def _read(self, folder: Path, config: RewardConfig) -> RewardModel:
        corpus = self.shared.data.corpus
        model = config.build(corpus.num_items)
        model.know(corpus)
        model.restore(folder / WEIGHTS, delete(folder))
        model.requires_grad_(False).eval()
        return model

    def given(self, run: Run) -> tuple[RewardModel, NoisyLog]:
        """The reward model and the log that the run's post-training reads; where there are no
        rewards, uninformative ones."""
        data = self.shared.data
        if self.missing:
            train = both_logs(data) if run.with_reward_log else data.train
            max_length = self.shared.load_pretrained().max_length
            num_items = self.shared.data.corpus.num_items
            return ConstantReward(float(train.rewards_E[0]), num_items, max_length), NoisyLog(train)
        if run.with_reward_log:
            return self.load_noisy(run.noise), NoisyLog(both_logs(data))
        if run.control is None:
            return self.load_noisy(run.noise), self._noisy_log(run.noise.of_log())
        return self._controlled(run.control)

    def _by_control(self, control: RewardControl) -> tuple[RewardModel, NoisyLog]:
        """Reads a world's truth for `TrueRewards` alone."""
        corpus, max_length = self.shared.data.corpus, self.shared.load_pretrained().max_length
        log = corpus.sequences
        model: RewardModel
        match control:
            case ShuffledRewards():
                rewards_E = control.rewards(log)
                model = self._read(self._train_shuffled(control), self.shared.setup.reward)
            case ConstantRewards():
                rewards_E = control.rewards(log)
                model = ConstantReward(float(rewards_E[0]), corpus.num_items, max_length)
            case TrueRewards():
                users_E = torch.repeat_interleave(log.lengths_N)
                truth = self.shared.load_truth()
                rewards_E = ops.map_chunks(
                    truth.rewards_of, users_E, log.items_E[:, None], chunk=EVENTS_AT_A_TIME
                )[:, 0]
                model = TrueReward(truth, max_length)
        return model, NoisyLog(self._with_rewards(rewards_E).train)

    def _with_rewards(self, rewards_E: Tensor) -> Split:
        """The split of the log whose events have these rewards."""
        corpus = self.shared.data.corpus
        log = replace(corpus.sequences, rewards_E=rewards_E)
        return self.shared.setup.split.split(replace(corpus, sequences=log))

    def measure(self) -> pd.DataFrame | None:
        """The reward model beside the naive baselines, one row each; None without rewards."""
        if self.missing:
            return None
        config, measure = self.shared.setup.reward, judge_training.reward_quality
        return self._measure("reward", self.train(), "reward model", measure, config)

    def measure_judge(self) -> pd.DataFrame | None:
        """The same of the judge, for users of its own part; None where there is no judge."""
        folder = self.train_judge()
        if folder is None:
            return None
        config, measure = self.shared.setup.judge_config, judge_training.judge_quality
        return self._measure("judge", folder, "judge", measure, config)

    def _measure(
        self, name: str, trained: Path, title: str, measure: Measure, config: RewardConfig
    ) -> pd.DataFrame:
        shared = self.shared

        def compute() -> pd.DataFrame:
            return measure(self._read(trained, config), shared.data, config, shared.setup.seed)

        stage = shared.keys.quality(name, trained, measure)
        return shared.build_frame(
            stage, shared.title(f"{title} quality"), compute, "quality.parquet"
        )

    def measure_axis(self, noise: RewardNoise, eval_split: EvalSplit = "test") -> dict[str, float]:
        """How good the noisy model is for a policy: `projected_correlation` with the truth, in test
        rows of a world, as `projected_truth`, and with the judge, where there is one, as
        `projected_judge`; each with its interval, `_low` and `_high`."""
        shared = self.shared
        noise = shared.keys.known(noise.of_model(), eval_split)

        def make(_: Path) -> dict[str, Any]:
            targets = shared.data.targets(eval_split)
            found: dict[str, float] = {}
            values = {}
            model = self.load_noisy(noise)
            if not (self.gives_sums and model.sums_exactly):
                return found
            if (judge := self.load_judge()) is not None and judge.sums_exactly:
                asked = targets.history, targets.times_N, targets.users_N
                values["judge"] = judge.last_factors(*asked)
            if shared.keys.is_judged_by_truth(eval_split):
                truth = shared.load_truth()
                values["truth"] = truth.state_UR[targets.users_N], truth.factor_VR
            reference = shared.load_pretrained()
            for name, value in values.items():
                measured = projected_correlation(model, value, reference, shared.data, targets)
                if measured.targets:
                    ends = zip(("", "_low", "_high"), measured, strict=False)
                    found |= {f"projected_{name}{end}": number for end, number in ends}
            return found

        stage = shared.keys.axis(noise, eval_split)
        title = shared.title(_with_noise("how good for a policy", noise))
        return shared.build(stage, title, make).record

    def measure_noise(
        self, noise: RewardNoise, eval_split: EvalSplit = "test"
    ) -> dict[str, dict[str, float]]:
        """What the noise does to the reward model and to the log of the runs that have it, with
        `measure_axis` of the model, of the clean one, and of one with the log's errors."""
        report = self._noise_report(noise)
        if "model" in report:
            clean = self.measure_axis(RewardNoise(), eval_split)
            report["model"] |= self.measure_axis(noise, eval_split)
            report["model"] |= {f"clean_{name}": value for name, value in clean.items()}
        if "log" in report and isinstance(noise.log, ErrorNoise):
            same = RewardNoise(model=noise.log, seed=noise.seed)
            report["log"] |= self.measure_axis(same, eval_split)
        return report

    def _noise_report(self, noise: RewardNoise) -> dict[str, dict[str, float]]:
        shared, setup = self.shared, self.shared.setup

        def make(_: Path) -> dict[str, Any]:
            held_out = setup.reward.held_out
            parts = reward_training.user_parts(shared.data.reward, held_out, setup.seed)
            return noise_report.noise_report(
                noise,
                self.load_noisy(noise),
                self.load(),
                shared.data,
                shared.load_pretrained(),
                parts.judged_N,
            )

        title = shared.title("what the noise does")
        return shared.build(shared.keys.noise_report(noise), title, make).record


def _with_noise(title: str, noise: RewardNoise) -> str:
    return ", ".join([title, *(str(each) for each in (noise.model, noise.log) if each is not None)])
