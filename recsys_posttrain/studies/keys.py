"""What each stage of a run depends on, and so in which folder it is kept.

A key holds configurations, seeds, hashes of data, names of earlier stages, and a digest of the code
behind them (closure.py): whatever changes one of these builds the stage anew.
"""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.closure import code_digest
from recsys_posttrain.config import digest
from recsys_posttrain.data import prepare
from recsys_posttrain.data.available import windows_rows
from recsys_posttrain.data.expected import expected_digest
from recsys_posttrain.data.never_shown import never_shown_ids
from recsys_posttrain.data.prepare import FORMAT_VERSION
from recsys_posttrain.data.user_holdout import both_logs
from recsys_posttrain.evaluation import evaluate, judged_value, projected, subsets, true_value
from recsys_posttrain.evaluation.over_optimisation import curve_point
from recsys_posttrain.models.checkpoint import save_policy
from recsys_posttrain.models.own import weights_digest
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardConfig
from recsys_posttrain.rewards import noise_report
from recsys_posttrain.rewards.control import (
    ConstantReward,
    ConstantRewards,
    RewardControl,
    ShuffledRewards,
    TrueRewards,
)
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.noise.correlated import correlated
from recsys_posttrain.store import stage_folder
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training import judge as judge_training
from recsys_posttrain.training import posttrain, pretrain
from recsys_posttrain.training import reward as reward_training
from recsys_posttrain.training.bar import training_bar
from recsys_posttrain.types import EvalSplit as EvalSplit
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import World, truth_of, world
from recsys_posttrain.worlds.true_reward import TrueReward


class Stage(NamedTuple):
    folder: Path
    key: dict[str, Any]


class StageKeys:
    """Of the runs of a setup, on its data; kept in `root`.

    The log's repeat rule, the catalogue and the mask decide which pretrained policy is kept and how
    each policy is evaluated, and no reward model.
    """

    def __init__(
        self, setup: Setup, data: Split, root: Path, outside: Policy | None = None
    ) -> None:
        self.setup = setup
        self.outside = outside
        self.corpus = data.corpus
        self.scale = data.corpus.reward_scale
        self.has_judge = data.judge is not None and not self.scale.missing
        self.expected = expected_digest(data, setup.dataset)
        self.root = root

    def _stage(self, name: str, key: dict[str, Any]) -> Stage:
        return Stage(stage_folder(self.root, name, key), key)

    @cached_property
    def _data(self) -> dict[str, Any]:
        # A policy from elsewhere numbers the items.
        numbers = {} if self.outside is None else {"items": digest(self.corpus.item_ids.tolist())}
        return {
            **numbers,
            "content_hash": self.corpus.content_hash,
            "format": FORMAT_VERSION,
            "rewards": self.scale.map,
            "split": self.setup.split,
            "split_code": code_digest([prepare], self.setup.split),
        }

    @cached_property
    def pretrain(self) -> Stage:
        setup = self.setup
        key = {
            **self._data,
            "repeats": self.corpus.repeats,
            "catalogue": self.corpus.catalogue,
            "never shown": never_shown_ids(self.corpus),
        }
        if windows := windows_rows(self.corpus):
            key["available"] = windows
        if self.outside is not None:
            key["weights"] = weights_digest(self.outside)
            key["code"] = code_digest([save_policy], setup.pretrained)
            return self._stage("pretrain", key)
        parts = setup.policy_backbone, setup.pretraining, setup.pretraining_loss
        key |= dict(zip(("backbone", "training", "loss"), parts, strict=True))
        key["seed"] = setup.seed
        key["code"] = code_digest([pretrain.pretrain, save_policy], parts, [training_bar])
        return self._stage("pretrain", key)

    def _reward(self, train: object, config: RewardConfig, read: object = None) -> dict[str, Any]:
        """read: a noise or a control that decides what the model learns from."""
        without = [training_bar, *([] if isinstance(read, RewardNoise) else [RewardNoise])]
        return {
            **self._data,
            "reward": config,
            "seed": self.setup.seed,
            "code": code_digest([train], [config, read], without),
        }

    def reward(self, noise: RewardNoise = RewardNoise()) -> Stage:
        """Of the model that learns from the data that the noise leaves."""
        given = _of_noise(noise.of_training())
        key = self._reward(reward_training.train_reward, self.setup.reward, given.get("noise"))
        if noise.reads_reference:
            key["reference"] = self.pretrain.folder.name
        return self._stage("reward", key | given)

    def shuffled_reward(self, shuffled: ShuffledRewards) -> Stage:
        """Of the model that learns from shuffled rewards."""
        key = self._reward(reward_training.train_reward, self.setup.reward, shuffled)
        return self._stage("reward", {**key, "control": shuffled})

    @cached_property
    def judge(self) -> Stage:
        key = self._reward(judge_training.train_judge, self.setup.judge_config)
        key["users"] = "judge"
        if self.expected:
            key["expected"] = self.expected
        return self._stage("judge", key)

    def quality(self, name: str, trained: Path, measure: object) -> Stage:
        key = {"reward": trained.name, "code": code_digest([measure])}
        return self._stage(f"{name}-quality", key)

    def noise_report(self, noise: RewardNoise) -> Stage:
        key = {
            "reference": self.pretrain.folder.name,
            "reward": self.reward(noise).folder.name,
            "clean": self.reward().folder.name,
            "noise": noise,
            **self._truth_in(noise),
            "code": code_digest([noise_report.noise_report], noise),
        }
        return self._stage("noise-report", key)

    def axis(self, noise: RewardNoise, eval_split: EvalSplit) -> Stage:
        """Of how good the model is for a policy."""
        name = self.pretrain.folder.name
        measures: list[object] = [projected.projected_correlation]
        key = self._judged(name, eval_split, noise, measures, projected.projected_correlation)
        return self._stage("axis", key)

    def posttrain(self, run: Run) -> Stage:
        # Validation only decides which weights stay where there is a patience.
        without: list[object] = [training_bar]
        without += [] if run.posttraining.patience else [evaluate.evaluate, subsets.liked]
        parts = run.algorithm, run.posttraining
        key = {
            "pretrained": self.pretrain.folder.name,
            **self._rewards_read(run),
            "algorithm": run.algorithm,
            "training": run.posttraining,
            "seed": run.seed,
            "liked": self.scale.liked,  # every validation has a metric of these targets
            "code": code_digest([posttrain.posttrain, save_policy], parts, without),
        }
        if run.with_reward_log:
            key["log"] = code_digest([both_logs])
        if self.reads_judge(run):
            key["judge"] = self.judge.folder.name
        return self._stage("posttrain", key)

    def reads_judge(self, run: Run) -> bool:
        """Whether the guard of its training asks the judge, and there is one."""
        return self.has_judge and run.posttraining.guard.gap is not None

    def _rewards_read(self, run: Run) -> dict[str, Any]:
        """What decides the rewards that the run's post-training reads."""
        if self.scale.missing:
            return {"control_code": code_digest([ConstantReward])}
        match run.control:
            case None:
                name = self.reward(run.noise).folder.name
                return {"reward": name, **_of_noise(run.noise), **self._truth_in(run.noise)}
            case ShuffledRewards():
                model = self.shuffled_reward(run.control).folder.name
                return {"reward": model, **_of_control(run.control)}
            case ConstantRewards():
                return _of_control(run.control, ConstantReward)
            case TrueRewards():
                return {**self._truth_of_rewards(), **_of_control(run.control)}

    def _truth_of_rewards(self) -> dict[str, Any]:
        code = self._truth_code(TrueReward)
        return {"truth": {"world": world(self.setup.dataset), "code": code}}

    def _truth_in(self, noise: RewardNoise) -> dict[str, Any]:
        return {"mixed": self._truth_of_rewards()} if noise.reads_truth else {}

    def known(self, noise: RewardNoise, eval_split: EvalSplit) -> RewardNoise:
        """The noise of the reward model that judges; validation never asks for a truth."""
        is_hidden = noise.reads_truth and not self.is_judged_by_truth(eval_split)
        return replace(noise, model=None) if is_hidden else noise

    def _truth_code(self, *readers: object) -> str:
        return code_digest([truth_of, *readers], self.setup.dataset)

    def rows(
        self, policy: Path | Run, eval_split: EvalSplit, noise: RewardNoise = RewardNoise()
    ) -> Stage:
        """policy: the folder of one, or a run without training."""
        measures: list[object] = [evaluate.evaluate]
        if self.has_judge and self.is_judged_by_judge(eval_split):
            measures.append(judged_value.judged_value)
        name: Any = policy.name if isinstance(policy, Path) else self._untrained(policy)
        key = self._judged(name, eval_split, noise, measures, true_value.true_value)
        has_errors = self.has_judge and noise.reaches_judges and eval_split == "validation"
        if self.setup.judge_errors and has_errors:
            key["judge errors"] = self.setup.judge_errors
            key["judge errors code"] = code_digest([correlated])
        return self._stage("evaluate", key)

    def _untrained(self, run: Run) -> dict[str, Any]:
        """What decides the order of a method without training."""
        read = self._rewards_read(run) if reads_rewards(run.algorithm) else {}
        return {**read, "method": run.algorithm, "method_code": code_digest([], run.algorithm)}

    def curve(self, posttrained: Path, eval_split: EvalSplit, noise: RewardNoise) -> Stage:
        key = self._judged(posttrained.name, eval_split, noise, [curve_point], curve_point)
        return self._stage("curve", key)

    def _judged(
        self,
        policy: str | dict[str, Any],
        eval_split: EvalSplit,
        noise: RewardNoise,
        measures: list[object],
        value: object,
    ) -> dict[str, Any]:
        """The targets and models by which a policy is judged. value: the function that reads the
        truth."""
        noise = self.known(noise, eval_split)
        key = {
            **self._data,
            "policy": policy,
            "targets": eval_split,
            "reference": self.pretrain.folder.name,
            "reward": None if self.scale.missing else self.reward(noise).folder.name,
            **_of_noise(noise.of_model()),
            **self._truth_in(noise),
            "code": code_digest(measures),
        }
        if self.is_judged_by_truth(eval_split):
            key["truth"] = {"world": self.setup.dataset, "code": self._truth_code(value)}
        if self.has_judge:
            key["judge"] = self.judge.folder.name
        return key

    def is_judged_by_truth(self, eval_split: EvalSplit) -> bool:
        """Test and final rows of a world. Settings are chosen on validation rows, never by the
        truth."""
        return eval_split != "validation" and isinstance(self.setup.dataset, World)

    def is_judged_by_judge(self, eval_split: EvalSplit) -> bool:
        """Test and final rows of logged data, where the split has a judge to stand for the user."""
        return eval_split != "validation" and not isinstance(self.setup.dataset, World)


def _of_noise(noise: RewardNoise) -> dict[str, Any]:
    """Nothing where the noise does nothing: such a run is the run without it."""
    if noise == RewardNoise():
        return {}
    return {"noise": noise, "noise_code": code_digest([], noise)}


def _of_control(chosen: RewardControl, *models: object) -> dict[str, Any]:
    return {"control": chosen, "control_code": code_digest(models, chosen)}
