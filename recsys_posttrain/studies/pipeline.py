"""The stages of a setup's runs, each a folder named by what it depends on (keys.py).

corpus -> pretrain -> posttrain -> evaluate, and a curve (where weights on the way were kept)
     \\-> reward ----/----------/
      \\-> judge ---------------/    (where the split has users for one)

Each verb builds what is missing, and reads the rest.
"""

from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.config import require
from recsys_posttrain.errors import TrainingFailed, UserError
from recsys_posttrain.evaluation import evaluate, judged_value, true_value
from recsys_posttrain.evaluation.over_optimisation import curve_point
from recsys_posttrain.logged import check_signal
from recsys_posttrain.models.checkpoint import POLICY_FILES
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import GIVEN_ITEMS, RewardModel
from recsys_posttrain.plan import METRICS
from recsys_posttrain.rewards.control import ShuffledRewards
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.rewards.noise.base import is_resampled
from recsys_posttrain.rewards.noise.correlated import judge_column
from recsys_posttrain.studies.given_items import needs_sums, signals_read
from recsys_posttrain.studies.keys import EvalSplit, Stage
from recsys_posttrain.studies.reward_stages import RewardStages
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.studies.shared_stages import SharedStages
from recsys_posttrain.training import posttrain
from recsys_posttrain.training.snapshots import SNAPSHOT
from recsys_posttrain.types import Targets
from recsys_posttrain.untrained import RewardArgmax, Tilt
from recsys_posttrain.untrained.base import Given, Untrained


class RunResult(NamedTuple):
    """trained: the stage of post-training; None: the method has none. points: the curve, where
    weights were kept for one."""

    trained: Path | None
    rows: pd.DataFrame
    points: pd.DataFrame | None


class Pipeline(SharedStages):
    @cached_property
    def rewards(self) -> RewardStages:
        """The reward models and the judge."""
        return RewardStages(self)

    @cached_property
    def _others(self) -> "list[Pipeline]":
        return []

    def at(self, setup: Setup) -> "Pipeline":
        """The pipeline of another setup, which shares the data where that is the same."""
        for other in (self, *self._others):
            if other.setup == setup:
                other.on_stage = self.on_stage
                return other
        other = Pipeline(setup, self.root, self.device, self.on_stage)
        other.devices = self.devices
        if setup.pretrained == self.setup.pretrained:
            other.outside = self.outside
            if (setup.data, setup.catalogue) == (self.setup.data, self.setup.catalogue):
                other.data = self.data
        self._others.append(other)
        return other

    def refusal(self, run: Run) -> str:
        """Why the log's rewards cannot serve a run; empty where they can, or only trying tells."""
        if not run.is_trained and is_resampled(run.noise.model):
            return "errors that are drawn anew in every step need steps"
        try:
            for name in signals_read(run.algorithm):
                check_signal(name, tuple(self.data.corpus.signal_scales))
        except UserError as refusal:
            return str(refusal).rstrip(".")
        if not self.rewards.missing:
            ranks_by_reward = isinstance(run.algorithm, RewardArgmax | Tilt) and run.control is None
            only = f"{type(self.setup.reward).__name__} scores given items only, and this"
            if ranks_by_reward and not self.rewards.gives_sums:
                return f"{only} ranks the whole catalogue by it"
            asks_model = run.control is None or isinstance(run.control, ShuffledRewards)
            if asks_model and not self.rewards.gives_sums and needs_sums(run.algorithm):
                return f"{only} needs the rewards of the whole catalogue: take {GIVEN_ITEMS}"
            return ""
        is_changed = run.is_trained and (run.control is not None or run.noise != RewardNoise())
        reads = is_changed or reads_rewards(run.algorithm)
        return f"no rewards to read: {self.rewards.missing}; BC needs none" if reads else ""

    def stages_of(self, run: Run, eval_split: EvalSplit) -> list[Stage]:
        """Those that `build_run` leaves of this run alone."""
        if not run.is_trained:
            return [self.keys.rows(run, eval_split, run.noise)]
        trained = self.keys.posttrain(run)
        stages = [trained, self.keys.rows(trained.folder, eval_split, run.noise)]
        if self._has_curve(run):
            stages.append(self.keys.curve(trained.folder, eval_split, run.noise))
        return stages

    def build_run(self, run: Run, eval_split: EvalSplit) -> RunResult:
        if not run.is_trained:
            return RunResult(None, self.evaluate(run, eval_split, run.noise), None)
        trained = self.posttrain(run)
        rows = self.evaluate(trained, eval_split, run.noise)
        has_curve = self._has_curve(run)
        return RunResult(
            trained, rows, self.trace(trained, eval_split, run.noise) if has_curve else None
        )

    def _has_curve(self, run: Run) -> bool:
        return bool(run.posttraining.snapshots) and not self.rewards.missing

    def posttrain(self, run: Run) -> Path:
        """The folder of the post-trained policy.

        Raises: UserError for the control `TrueRewards` on a dataset that is no world;
        TrainingFailed where post-training itself refuses, because it diverged say, or there are no
        rewards.
        """
        require(
            run.setup == self.setup,
            f"{run.label} is of another setup ({run.setup.label}); ask pipeline.at(run.setup).",
        )
        algorithm = run.algorithm
        require(run.is_trained, f"{run.label} is a method without training; ask evaluate(run).")
        assert not isinstance(algorithm, Untrained)
        if reason := self.refusal(run):
            raise TrainingFailed(reason)

        def make(folder: Path) -> dict[str, Any]:
            reward, log = self.rewards.given(run)
            trained, fitted = posttrain.posttrain(
                self.load_pretrained(),
                self.data,
                algorithm,
                reward,
                run.posttraining,
                run.seed,
                folder,
                self.device,
                log,
                judge=self.rewards.load_judge() if self.keys.reads_judge(run) else None,
            )
            self.save(folder, trained)
            return fitted.record

        files = (*POLICY_FILES, METRICS, "step-*.safetensors")
        built = self.build(self.keys.posttrain(run), f"{run.label}, seed {run.seed}", make, *files)
        return built.folder

    def evaluate(
        self,
        policy: Path | Run,
        eval_split: EvalSplit = "test",
        noise: RewardNoise = RewardNoise(),
    ) -> pd.DataFrame:
        """One row per target: of the policy in a folder, or of a run without training.

        noise: of the reward model behind `reward/proxy@10`, the one that the policy was given. Runs
        with a control are evaluated as runs without: by the clean reward model and the clean log.
        Test rows have the columns of `true_value` in a world, elsewhere those of `judged_value`
        where there is a judge.
        """
        noise = self.keys.known(noise, eval_split)

        def compute() -> pd.DataFrame:
            reward = None if self.rewards.missing else self.rewards.load_noisy(noise)
            return self._rows(policy, eval_split, reward, noise)

        stage = self.keys.rows(policy, eval_split, noise)
        name = policy.name if isinstance(policy, Path) else policy.title
        title = f"{eval_split} rows of {name}"
        return self.build_frame(stage, title, compute, "rows.parquet")

    def _rows(
        self,
        policy: Path | Run,
        eval_split: EvalSplit,
        reward: RewardModel | None,
        noise: RewardNoise,
    ) -> pd.DataFrame:
        data, judge = self.data, self.rewards.load_judge()
        targets = data.targets(eval_split)
        ranker: Ranker = (
            self.load(policy) if isinstance(policy, Path) else self._ranker(policy, targets)
        )
        reference = self.load_pretrained()
        rows = evaluate.evaluate(
            ranker, data, reward, reference, targets=targets, judge=judge
        ).per_user
        if self.keys.is_judged_by_truth(eval_split):
            return rows.join(true_value.true_value(ranker, self.load_truth(), targets))
        if judge is not None and self.keys.is_judged_by_judge(eval_split):
            opinion = judged_value.judged_value(ranker, judge, targets)
            return rows.join(data.corpus.reward_scale.from_stars(opinion))
        return rows.assign(**self._by_judges_with_errors(rows, targets, noise, judge))

    def _by_judges_with_errors(
        self, rows: pd.DataFrame, targets: Targets, noise: RewardNoise, judge: RewardModel | None
    ) -> dict[str, Any]:
        """What judges that err like the model say of the lists, by column."""
        if judge is None or not noise.reaches_judges:
            return {}
        reference, scale = self.load_pretrained(), self.data.corpus.reward_scale
        top_NK = torch.from_numpy(np.stack(rows["top10"].to_list()).astype(np.int64))
        return {
            judge_column(rho): evaluate.shown_reward(
                noise.on_judge(judge, self.data, reference, rho), targets, top_NK, scale
            )
            for rho in self.setup.judge_errors
        }

    def _ranker(self, run: Run, targets: Targets) -> Ranker:
        """Of a method without training. Of a log whose errors are drawn anew in every step it reads
        one draw."""
        assert isinstance(run.algorithm, Untrained)
        if reason := self.refusal(run):
            raise TrainingFailed(reason)
        reward, log = self.rewards.given(run)
        if log.redraw is not None:
            log = run.noise.on_log(self.data, self.load_pretrained(), one_draw=True)
        given = Given(self.data, self.load_pretrained(), reward, log.sequences, targets)
        return run.algorithm.ranker(given)

    def trace(
        self, posttrained: Path, eval_split: EvalSplit = "test", noise: RewardNoise = RewardNoise()
    ) -> pd.DataFrame:
        """One row per step whose weights a run kept, from step 0, which is the reference: `step`
        and what `curve_point` returns. These are the weights of the steps themselves: with an
        average or a patience the run's own policy is another.

        noise: as for `evaluate`. `reward/judge` needs a judge, `reward/gold` test rows of a world.
        """
        noise = self.keys.known(noise, eval_split)

        def compute() -> pd.DataFrame:
            models: dict[str, RewardModel] = {"proxy": self.rewards.load_noisy(noise)}
            if (judge := self.rewards.load_judge()) is not None:
                models["judge"] = judge
            targets = self.data.targets(eval_split)
            truth = self.load_truth() if self.keys.is_judged_by_truth(eval_split) else None
            reference = self.load_pretrained()
            point = partial(
                curve_point, reference=reference, targets=targets, models=models, truth=truth
            )
            rows = [{"step": 0, **point(reference)}]
            for step in _kept_steps(posttrained):
                policy = self.load(posttrained, SNAPSHOT.format(step))
                rows.append({"step": step, **point(policy)})
            curve = pd.DataFrame(rows)
            opinions = [f"reward/{name}" for name in models]
            curve[opinions] = self.data.corpus.reward_scale.from_stars(curve[opinions])
            return curve

        stage = self.keys.curve(posttrained, eval_split, noise)
        title = f"{eval_split} curve of {posttrained.name}"
        return self.build_frame(stage, title, compute, "curve.parquet")


def _kept_steps(posttrained: Path) -> list[int]:
    """The steps whose weights a run left behind, in order."""
    names = [path.stem for path in posttrained.glob("step-*.safetensors")]
    return sorted(int(name.removeprefix("step-")) for name in names)
