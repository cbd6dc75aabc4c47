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

from recsys_posttrain.algorithms.base import reads_rewards
from recsys_posttrain.data import prepare
from recsys_posttrain.errors import TrainingFailed
from recsys_posttrain.evaluation import evaluate, judged_value, true_value
from recsys_posttrain.evaluation.over_optimisation import curve_point
from recsys_posttrain.files import read_parquet, write_parquet
from recsys_posttrain.models.checkpoint import POLICY_FILES, load_policy, save_policy
from recsys_posttrain.models.frozen import FrozenPolicy
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.store import build, delete
from recsys_posttrain.studies.keys import On, Stage, StageKeys
from recsys_posttrain.studies.reward_stages import RewardStages
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training import posttrain, pretrain
from recsys_posttrain.training.fit import METRICS, Report, validations
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import Truth, truth_of

Announce = Callable[[str, Path], None]


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

    @cached_property
    def data(self) -> Split:
        run = self.run
        minimum = run.split.minimum_item_ratings
        corpus = prepare(run.dataset, minimum, repeats=run.repeats, thresholds=run.thresholds)
        return run.split.split(corpus)

    @cached_property
    def keys(self) -> StageKeys:
        corpus = self.data.corpus
        scale, rule = corpus.reward_scale, corpus.repeats
        return StageKeys(self.run, corpus.content_hash, scale, self.root, rule)

    def _made(
        self, stage: Stage, title: str, make: Callable[[Path], dict[str, Any]], *files: str
    ) -> dict[str, Any]:
        """The record of a stage, which is there afterwards. files: what `make` leaves."""
        self.announce(title, stage.folder)
        return build(stage.folder, stage.key, make, files)

    def _save(self, folder: Path, trained: Policy) -> None:
        save_policy(folder, trained, self.run.backbone, self.data.corpus, self.run.dataset)

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

        self._made(self.keys.pretrain, "pretrained policy", make, *POLICY_FILES, METRICS)
        return self.keys.pretrain.folder

    @cached_property
    def pretrained(self) -> FrozenPolicy:
        return load_policy(self.pretrained_folder).policy

    @cached_property
    def rewards(self) -> RewardStages:
        """The reward models and the judge."""
        return RewardStages(
            self.run,
            self.data,
            self.keys,
            self.device,
            self._made,
            lambda: self.pretrained,
            lambda: self._truth,
        )

    def refusal(self, run: Run) -> str:
        """Why the log's rewards cannot serve a run; empty where they can, or only trying tells."""
        if not self.rewards.missing:
            return ""
        is_changed = run.control is not None or run.noise.active() != RewardNoise()
        reads = is_changed or reads_rewards(run.algorithm)
        return f"no rewards to read: {self.rewards.missing}" if reads else ""

    def posttrained_folder(self, run: Run, report: Report | None = None) -> Path:
        """report: called with what each validation of the run gave, also where it is there already.

        Raises: UserError for the control `TrueRewards` on a dataset that is no world;
        TrainingFailed where post-training itself refuses, because it diverged say, or there are no
        rewards.
        """
        was_made = False
        if reason := self.refusal(run):
            raise TrainingFailed(reason)
        self.rewards.prepare(run)

        def make(folder: Path) -> dict[str, Any]:
            nonlocal was_made
            was_made = True
            reward, log = self.rewards.given(run)
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
        files = (*POLICY_FILES, METRICS, "step-*.safetensors")
        self._made(stage, f"{run.label}, seed {run.seed}", make, *files)
        if report is not None and not was_made:
            with (stage.folder / METRICS).open(encoding="utf-8") as lines:
                for metrics in validations(lines):
                    report(metrics)
        return stage.folder

    def rows_of(
        self, policy_folder: Path | None, on: On = "test", noise: RewardNoise = RewardNoise()
    ) -> pd.DataFrame:
        """One row per target: of a saved policy, or of popularity (None).

        noise: of the reward model behind `reward/proxy@10`, the one that the policy was given. Runs
        with a control are evaluated as runs without: by the clean reward model and the clean log.
        Test rows have the columns of `true_value` in a world, elsewhere those of `judged_value`
        where there is a judge.
        """
        noise, has_rewards = replace(noise, log=None), not self.rewards.missing
        # Both are made under lines of their own, not inside this stage's.
        if has_rewards:
            self.rewards.model_of(noise)
        has_judge = self.rewards.judge_folder is not None

        def make(folder: Path) -> dict[str, Any]:
            reward = self.rewards.noisy(noise) if has_rewards else None
            rows = self._rows(policy_folder, on, reward)
            write_parquet(rows, folder / "rows.parquet")
            return {"targets": len(rows)}

        stage = self.keys.rows(policy_folder, on, noise, has_judge)
        self._made(stage, f"{on} rows of {stage.key['policy']}", make, "rows.parquet")
        return read_parquet(stage.folder / "rows.parquet", fix=delete(stage.folder))

    def _rows(self, policy_folder: Path | None, on: On, reward: RewardModel | None) -> pd.DataFrame:
        data, judge = self.data, self.rewards.judge
        targets = (
            None if on == "test" else data.validation
        )  # None: popularity counts up to the test
        if policy_folder is None:
            result = evaluate.evaluate_popularity(data, reward, targets=targets, judge=judge)
            count_V = evaluate.event_counts(data)
            value = partial(true_value.true_value_of_popularity, count_V)
            opinion = partial(judged_value.judged_value_of_popularity, count_V)
        else:
            judged = load_policy(policy_folder).policy
            result = evaluate.evaluate(
                judged, data, reward, self.pretrained, targets=targets, judge=judge
            )
            value = partial(true_value.true_value, judged)
            opinion = partial(judged_value.judged_value, judged)
        rows = result.per_user
        if self.keys.is_judged_by_truth(on):
            return rows.join(value(self._truth, data.test))
        if judge is not None and self.keys.is_judged_by_judge(on):
            return rows.join(data.corpus.reward_scale.from_stars(opinion(judge, data.test)))
        return rows

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
        self.rewards.model_of(noise)
        has_judge = self.rewards.judge_folder is not None

        def make(folder: Path) -> dict[str, Any]:
            models: dict[str, RewardModel] = {"proxy": self.rewards.noisy(noise)}
            if self.rewards.judge is not None:
                models["judge"] = self.rewards.judge
            targets = self.data.test if on == "test" else self.data.validation
            truth = self._truth if self.keys.is_judged_by_truth(on) else None
            point = partial(
                curve_point, reference=self.pretrained, targets=targets, models=models, truth=truth
            )
            rows = [{"step": 0, **point(self.pretrained)}]
            for step in _kept_steps(posttrained):
                policy = load_policy(posttrained, posttrain.SNAPSHOT.format(step)).policy
                rows.append({"step": step, **point(policy)})
            curve = pd.DataFrame(rows)
            opinions = [f"reward/{name}" for name in models]
            curve[opinions] = self.data.corpus.reward_scale.from_stars(curve[opinions])
            write_parquet(curve, folder / "curve.parquet")
            return {"points": len(rows)}

        stage = self.keys.curve(posttrained, on, noise, has_judge)
        self._made(stage, f"{on} curve of {posttrained.name}", make, "curve.parquet")
        return read_parquet(stage.folder / "curve.parquet", fix=delete(stage.folder))

    @cached_property
    def _truth(self) -> Truth:
        return truth_of(self.run.dataset, self.data.corpus)


def _kept_steps(posttrained: Path) -> list[int]:
    """The steps whose weights a run left behind, in order."""
    names = [path.stem for path in posttrained.glob("step-*.safetensors")]
    return sorted(int(name.removeprefix("step-")) for name in names)
