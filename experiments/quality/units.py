"""Runs the cells of the grid: a unit is one condition with one seed, in one process.

Every policy and every row is a stage on disk, shared with all other studies, so a unit that was
interrupted continues and one that is finished is only read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from quality.grid import Condition

from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.studies import parallel as processes
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.base import World

TARGET = ["user_id", "item_id", "reward", "total_reward"]
MEASURED = ["reward/gold@5", "reward/gold", "reward/judge@10", "reward/judge-rollout@5"]
MEASURED += ["reward/proxy@10", "kl", "ndcg@10"]


@dataclass(frozen=True)
class Unit:
    """All methods under one condition. base: what the runs share. only: the strength of each
    method; None: all of them."""

    base: Run
    condition: Condition
    seed: int
    root: Path
    only: Mapping[str, str] | None = None

    def key(self) -> dict[str, Any]:
        condition = self.condition
        return {
            "place": condition.place,
            "kind": condition.kind,
            "level": condition.level,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Outcome:
    """test: one row per method, strength and target. validation: the means of what settings can be
    chosen by, one row per method and strength. report: what the noise achieved (noise_report)."""

    test: pd.DataFrame
    validation: pd.DataFrame
    report: dict[str, Any]


def work(unit: Unit) -> Outcome:
    """A unit, from its stages; makes those that are missing."""
    pipeline = Pipeline(unit.base.setup, unit.root)
    noise, test, validation = unit.condition.noise, [], []
    for method in unit.condition.methods(isinstance(unit.base.setup.dataset, World)):
        for strength, algorithm in method.strengths.items():
            if unit.only is not None and unit.only[method.name] != strength:
                continue
            plan = unit.base.posttraining
            if strength in method.steps:
                plan = replace(plan, steps=max(1, round(method.steps[strength] * plan.steps)))
            run = replace(
                unit.base,
                algorithm=algorithm,
                posttraining=plan,
                noise=noise,
                control=method.control,
            ).with_seed(unit.seed)
            folder = pipeline.posttrain(run)
            named = {"method": method.name, "strength": strength, **unit.key()}
            test.append(_kept(pipeline.evaluate(folder, "test", noise)).assign(**named))
            rows = pipeline.evaluate(folder, "validation", noise)
            validation.append({**named, **_chosen_by(rows, pipeline.data.corpus.reward_scale)})
    report = {} if noise == RewardNoise() else pipeline.rewards.measure_noise(noise)
    return Outcome(pd.concat(test, ignore_index=True), pd.DataFrame(validation), report)


def references(base: Run, root: Path, seed: int) -> pd.DataFrame:
    """Test rows of what is not post-trained, named like methods."""
    pipeline = Pipeline(base.setup, root)
    return pd.concat(
        [
            _kept(pipeline.evaluate(folder)).assign(method=name, seed=seed)
            for name, folder in (("Popularity", None), ("Pretrained", pipeline.pretrain()))
        ],
        ignore_index=True,
    )


def _chosen_by(rows: pd.DataFrame, scale: RewardScale) -> dict[str, float]:
    """What settings are chosen by, NDCG@10 of validation targets that were liked; and what they
    could be chosen by instead (selection.py)."""
    others = [name for name in ("reward/proxy@10", "reward/judge@10") if name in rows]
    chosen_by = float(rows.loc[liked(rows, scale) > 0, "ndcg@10"].mean())
    return {"liked_ndcg@10": chosen_by, **rows[others].mean().to_dict()}


def _kept(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[TARGET + [name for name in MEASURED if name in rows.columns]]


def finished(units: list[Unit], count: int, title: str) -> Iterator[tuple[Unit, Outcome]]:
    """Each unit with its outcome, as they finish. count: of processes; 1 is this one."""
    return processes.finished(work, units, count, title, units[0].root / "workers.log")
