"""The stages of one run, each a folder named by what it depends on (stage_keys.py).

corpus -> pretrain -> posttrain -> evaluate, and a curve (where weights on the way were kept)
     \\-> reward ----/----------/
      \\-> judge ---------------/    (where the split has users for one)
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data import prepare
from recsys_posttrain.evaluation import evaluate, true_value
from recsys_posttrain.evaluation.curve import curve_point
from recsys_posttrain.frozen import FrozenPolicy
from recsys_posttrain.policy import Policy
from recsys_posttrain.rewards import noise_report
from recsys_posttrain.rewards import train as reward_training
from recsys_posttrain.rewards.base import RewardModel
from recsys_posttrain.rewards.control import (
    ConstantReward,
    ConstantRewards,
    RewardControl,
    ShuffledRewards,
    TrueRewards,
)
from recsys_posttrain.rewards.ensemble import EnsembleModule, RewardEnsemble
from recsys_posttrain.rewards.noise import NoisyLog, RewardNoise
from recsys_posttrain.run import Run
from recsys_posttrain.saved_policy import load_policy, save_policy
from recsys_posttrain.stage_keys import On, Stage, StageKeys
from recsys_posttrain.stages import build, load_tensors, replacing, save_tensors
from recsys_posttrain.training import posttrain, pretrain
from recsys_posttrain.training.fit import Fitted, Report, validations
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import Truth, truth_of
from recsys_posttrain.worlds.true_reward import TrueReward

Announce = Callable[[str, Path], None]
TrainReward = Callable[[Split, RewardEnsemble, int, Path, str], tuple[EnsembleModule, Fitted]]
Measure = Callable[[EnsembleModule, Split, RewardEnsemble, int], pd.DataFrame]

EVENTS_AT_A_TIME = 2**16


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
        # By the noise that changed them: models and logs that all runs with that noise share, so
        # that what they remember serves all of them.
        self._trained: dict[RewardNoise, EnsembleModule] = {}
        self._noisy: dict[RewardNoise, RewardModel] = {}
        self._logs: dict[RewardNoise, NoisyLog] = {}
        self._controlled: dict[RewardControl, tuple[RewardModel, NoisyLog]] = {}

    @cached_property
    def data(self) -> Split:
        corpus = prepare(self.run.dataset, self.run.split.minimum_item_ratings)
        return self.run.split.split(corpus)

    @cached_property
    def keys(self) -> StageKeys:
        return StageKeys(self.run, self.data.corpus.content_hash, self.root)

    def _made(
        self, stage: Stage, title: str, make: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """The record of a stage, which is there afterwards."""
        self.announce(title, stage.folder)
        return build(stage.folder, stage.key, make)

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

        self._made(self.keys.pretrain, "pretrained policy", make)
        return self.keys.pretrain.folder

    @cached_property
    def pretrained(self) -> FrozenPolicy:
        return load_policy(self.pretrained_folder).policy

    @cached_property
    def reward_folder(self) -> Path:
        return self._trained_reward(RewardNoise())

    @cached_property
    def judge_folder(self) -> Path | None:
        """None where the split keeps no users for a judge."""
        if self.data.judge is None:
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
            save_tensors(folder / "reward.safetensors", model.state_dict())
            return fitted._asdict()

        self._made(stage, title, make)
        return stage.folder

    @property
    def reward(self) -> EnsembleModule:
        return self.reward_of(RewardNoise())

    def reward_of(self, noise: RewardNoise) -> EnsembleModule:
        """Trained on the data that the noise leaves, without the errors that it adds."""
        noise = noise.of_training()
        if noise not in self._trained:
            clean = noise == RewardNoise()
            folder = self.reward_folder if clean else self._trained_reward(noise)
            self._trained[noise] = self._ensemble(folder)
        return self._trained[noise]

    def noisy_reward(self, noise: RewardNoise) -> RewardModel:
        """`reward_of`, with the errors that the noise adds."""
        noise = replace(noise, log=None).active()
        if noise not in self._noisy:
            self._noisy[noise] = noise.on_model(self.reward_of(noise), self.data, self.pretrained)
        return self._noisy[noise]

    def _noisy_log(self, noise: RewardNoise) -> NoisyLog:
        noise = replace(noise, model=None).active()
        if noise not in self._logs:
            self._logs[noise] = noise.on_log(self.data, self.pretrained)
        return self._logs[noise]

    def _given(self, run: Run) -> tuple[RewardModel, NoisyLog]:
        """The reward model and the log that the run's post-training reads."""
        if run.control is None:
            return self.noisy_reward(run.noise), self._noisy_log(run.noise)
        if run.control not in self._controlled:
            self._controlled[run.control] = self._by_control(run.control)
        return self._controlled[run.control]

    def _by_control(self, control: RewardControl) -> tuple[RewardModel, NoisyLog]:
        """Apart from evaluation, the only reader of a world's truth, and only for `TrueRewards`."""
        corpus, max_length = self.data.corpus, self.pretrained.max_length
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
                true = self._truth.rewards_of
                rewards_E = ops.map_chunks(true, users_E, items_E1, chunk=EVENTS_AT_A_TIME)[:, 0]
                model = TrueReward(self._truth, max_length)
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
        def make(folder: Path) -> dict[str, Any]:
            model = self._ensemble(trained)
            frame = measure(model, self.data, self.run.reward, self.run.pretraining_seed)
            _write_parquet(frame, folder / "quality.parquet")
            return {}

        stage = self.keys.quality(name, trained)
        self._made(stage, title, make)
        return pd.read_parquet(stage.folder / "quality.parquet")

    def noise_report(self, noise: RewardNoise) -> dict[str, dict[str, float]]:
        """What the noise does to the reward model and to the log of the runs that have it."""
        noise = noise.active()
        self.reward_of(noise)  # trained under a line of its own, not inside this stage's

        def make(folder: Path) -> dict[str, Any]:
            seed = self.run.pretraining_seed
            parts = reward_training.user_parts(self.data.reward, self.run.reward.held_out, seed)
            return noise_report.noise_report(
                noise,
                self.reward_of(noise),
                self.reward,
                self.data,
                self.pretrained,
                parts.judged_N,
            )

        return self._made(self.keys.noise_report(noise), "what the noise does", make)

    def posttrained_folder(self, run: Run, report: Report | None = None) -> Path:
        """report: called with what each validation of the run gave, also where it is there already.

        Raises: UserError for the control `TrueRewards` on a dataset that is no world;
        TrainingFailed where post-training itself refuses, because it diverged say.
        """
        was_made = False
        # Reward models are trained under lines of their own, not inside this stage's.
        if run.noise.of_training().model is not None:
            self.reward_of(run.noise)
        if isinstance(run.control, ShuffledRewards):
            self._shuffled_reward(run.control)

        def make(folder: Path) -> dict[str, Any]:
            nonlocal was_made
            was_made = True
            reward, log = self._given(run)
            trained, fitted = posttrain.posttrain(
                self.pretrained,
                self.data,
                run.algorithm,
                reward,
                run.posttraining,
                run.seed,
                folder,
                self.device,
                log,
                report,
            )
            self._save(folder, trained)
            return fitted._asdict()

        stage = self.keys.posttrain(run)
        self._made(stage, f"{run.label}, seed {run.seed}", make)
        if report is not None and not was_made:
            with (stage.folder / "metrics.jsonl").open(encoding="utf-8") as lines:
                for metrics in validations(lines):
                    report(metrics)
        return stage.folder

    def rows_of(
        self, policy_folder: Path | None, on: On = "test", noise: RewardNoise = RewardNoise()
    ) -> pd.DataFrame:
        """One row per target: of a saved policy, or of popularity (None).

        noise: of the reward model behind `reward/proxy@10`, the one that the policy was given. Runs
        with a control are evaluated as runs without: by the clean reward model and the clean log.
        In a world the test rows have the columns of `true_value`.
        """
        noise = replace(noise, log=None)
        # Both are made under lines of their own, not inside this stage's.
        self.reward_of(noise)
        has_judge = self.judge_folder is not None

        def make(folder: Path) -> dict[str, Any]:
            rows = self._rows(policy_folder, on, self.noisy_reward(noise))
            _write_parquet(rows, folder / "rows.parquet")
            return {"targets": len(rows)}

        stage = self.keys.rows(policy_folder, on, noise, has_judge)
        self._made(stage, f"{on} rows of {stage.key['policy']}", make)
        return pd.read_parquet(stage.folder / "rows.parquet")

    def _rows(self, policy_folder: Path | None, on: On, reward: RewardModel) -> pd.DataFrame:
        data, judge = self.data, self.judge
        targets = (
            None if on == "test" else data.validation
        )  # None: popularity counts up to the test
        if policy_folder is None:
            result = evaluate.evaluate_popularity(data, reward, targets=targets, judge=judge)
            value = partial(true_value.true_value_of_popularity, evaluate.event_counts(data))
        else:
            judged = load_policy(policy_folder).policy
            result = evaluate.evaluate(
                judged, data, reward, self.pretrained, targets=targets, judge=judge
            )
            value = partial(true_value.true_value, judged)
        if not self.keys.is_judged_by_truth(on):
            return result.per_user
        return result.per_user.join(value(self._truth, data.test))

    def curve_of(
        self, posttrained: Path, on: On = "test", noise: RewardNoise = RewardNoise()
    ) -> pd.DataFrame:
        """One row per step whose weights a run kept, from step 0, which is the reference: `step`
        and what `curve_point` returns. These are the weights of the steps themselves: with an
        average or a patience the run's own policy is another.

        noise: as for `rows_of`. `reward/judge` needs a judge, `reward/gold` test rows of a world.
        """
        noise = replace(noise, log=None)
        # Both are made under lines of their own, not inside this stage's.
        self.reward_of(noise)
        has_judge = self.judge_folder is not None

        def make(folder: Path) -> dict[str, Any]:
            models: dict[str, RewardModel] = {"proxy": self.noisy_reward(noise)}
            if self.judge is not None:
                models["judge"] = self.judge
            targets = self.data.test if on == "test" else self.data.validation
            truth = self._truth if self.keys.is_judged_by_truth(on) else None
            point = partial(
                curve_point, reference=self.pretrained, targets=targets, models=models, truth=truth
            )
            rows = [{"step": 0, **point(self.pretrained)}]
            for step in _kept_steps(posttrained):
                policy = load_policy(posttrained, posttrain.SNAPSHOT.format(step)).policy
                rows.append({"step": step, **point(policy)})
            _write_parquet(pd.DataFrame(rows), folder / "curve.parquet")
            return {"points": len(rows)}

        stage = self.keys.curve(posttrained, on, noise, has_judge)
        self._made(stage, f"{on} curve of {posttrained.name}", make)
        return pd.read_parquet(stage.folder / "curve.parquet")

    @cached_property
    def _truth(self) -> Truth:
        return truth_of(self.run.dataset, self.data.corpus)


def _kept_steps(posttrained: Path) -> list[int]:
    """The steps whose weights a run left behind, in order."""
    names = [path.stem for path in posttrained.glob("step-*.safetensors")]
    return sorted(int(name.removeprefix("step-")) for name in names)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary)
