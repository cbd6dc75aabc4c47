"""What the studies' validity rests on, before and after, in one script: lists, reward models, axis.

    python experiments/validity.py [--dataset jester] [--seeds 3] [--study FOLDER]

Before: a softmax over the whole catalogue and the transformer ensemble. After: over what may be
shown, and the factor model. Each seed is one of pretraining, of the reward model and of
post-training. Tables: the value of lists without and with training (the truth's in a world,
elsewhere the judge's) and NDCG@10 of the pretrained policy among them; the quality of the reward
models beside the item mean; the share of DPO's pairs that the filter keeps, and that hold an item
the user had before; and of finished studies of noise, how each axis orders the methods' values.
Intervals are 95%, over users and seeds. They are printed, and written to OUTPUT/DATASET.md.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from noise_vs_quality import base_of

from recsys_posttrain.algorithms import ASFT, BC, DPO, FilteredBC, OfflinePPO
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.algorithms.pairs import WIDTH, SampledPairs
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.basic_statistics import spearman
from recsys_posttrain.data.batching import fixed_batches
from recsys_posttrain.data.repeats import rule_of
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import check_writable, write_text
from recsys_posttrain.progress import Progress
from recsys_posttrain.provenance import git_commit
from recsys_posttrain.report.cells import Cell, cells, headings
from recsys_posttrain.report.noise_quality import AXES, CONDITION
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.report.study_folder import StudyFolder, study_folder, value_columns
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.stats.bootstrap import bootstrap_interval
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.untrained import ItemMean, Popularity, Pretrained, RewardArgmax, Tilt
from recsys_posttrain.worlds.catalog import dataset_named

METHODS: dict[str, Any] = {
    "Popularity": Popularity(),
    "Pretrained": Pretrained(),
    "ItemMean": ItemMean(),
    "RewardArgmax": RewardArgmax(),
    "Tilt, temperature 0.1": Tilt(0.1),
    "Tilt, temperature 0.03": Tilt(0.03),
    "BC": BC(),
    "FilteredBC": FilteredBC(),
    "OfflinePPO, KL 0.03": OfflinePPO(kl_coefficient=0.03),
    "ASFT(model), temperature 0.25": ASFT(model_reward, reference_value, temperature=0.25),
    "DPO, beta 2": DPO(beta=2.0),
}
VALUES = ("reward/gold@5", "reward/judge-rollout@5")  # the first that there is
QUALITY = {
    "rmse": "RMSE",
    "mae": "MAE",
    "pairwise_accuracy": "pairwise accuracy",
    "context_accuracy": "in one context",
    "spearman": "Spearman",
}
WIDTHS = {"before": 1.0, "after": WIDTH}
BATCHES = 8  # of 64 histories, for DPO's pairs


def variants(base: Run) -> dict[str, Run]:
    ensemble = base.setup.reward
    if not isinstance(ensemble, RewardEnsemble):
        ensemble = RewardEnsemble()
    before = replace(base.setup, catalogue="all", reward=ensemble)
    after = replace(base.setup, catalogue="eligible", reward=type(base.setup)().reward)
    return {"before": replace(base, setup=before), "after": replace(base, setup=after)}


def measure(base: Run, seeds: Sequence[int], stages: Path) -> Iterator[str]:
    """Builds what is missing; one table after the other."""
    first = Pipeline(base.setup, stages, on_stage=Progress().add)
    bases = variants(base)
    pipelines = {
        (name, seed): first.at(run.with_seed(seed, full=True).setup)
        for name, run in bases.items()
        for seed in seeds
    }
    yield lists(bases, pipelines, seeds)
    yield reward_models(pipelines)
    yield kept_pairs(pipelines)


def lists(
    bases: dict[str, Run], pipelines: dict[tuple[str, int], Pipeline], seeds: Sequence[int]
) -> str:
    shown: dict[str, list[Cell]] = {}
    for variant, base in bases.items():
        for label, method in METHODS.items():
            frames = []
            for seed in seeds:
                run = replace(base, algorithm=method, name=label).with_seed(seed, full=True)
                frames.append(pipelines[variant, seed].build_run(run, "test").rows)
            value = next((name for name in VALUES if name in frames[0]), None)
            row = shown.setdefault(label, [Cell(label)])
            for column in (value, "ndcg@10"):
                row.append(Cell("") if column is None else _interval(frames, column))
    return markdown_table(
        headings("list", *(f"{what} {when}" for when in bases for what in ("value", "NDCG@10"))),
        list(shown.values()),
    )


def _interval(frames: Sequence[pd.DataFrame], column: str) -> Cell:
    values_SN = np.stack([frame[column].to_numpy(float) for frame in frames])
    found = bootstrap_interval(values_SN, rng=np.random.default_rng(0))
    return Cell(f"{found.value:.4f}", f"±{(found.high - found.low) / 2:.4f}")


def reward_models(pipelines: dict[tuple[str, int], Pipeline]) -> str:
    """Means over seeds: on logged events, and how good each model is for a policy."""
    rows: dict[str, list[dict[str, float]]] = {}
    for (variant, _), pipeline in pipelines.items():
        quality = pipeline.rewards.measure()
        assert quality is not None, "the dataset has rewards"
        name = f"{quality.index[-1]}, {variant}"
        of_axis = pipeline.rewards.measure_axis(RewardNoise())
        rows.setdefault("item mean", []).append(
            {name: float(quality[name]["item mean"]) for name in QUALITY}
        )
        rows.setdefault(name, []).append({**quality.iloc[-1][[*QUALITY]], **of_axis})
    names = {**AXES, **QUALITY}
    columns = [*QUALITY, *(name for name in AXES if name not in QUALITY)]
    shown = []
    for name, found in rows.items():
        means = pd.DataFrame(found).mean()
        texts = (f"{means[column]:.4f}" if column in means else "" for column in columns)
        shown.append(cells([name, *texts]))
    return markdown_table(headings("reward model", *(names[c] for c in columns)), shown)


def kept_pairs(pipelines: dict[tuple[str, int], Pipeline]) -> str:
    found: dict[str, list[tuple[float, float]]] = {}
    for (variant, _), pipeline in pipelines.items():
        found.setdefault(variant, []).append(pairs_of(pipeline, WIDTHS[variant]))
    shown = []
    for variant, shares in found.items():
        kept, seen = np.mean(shares, axis=0)
        shown.append(cells([f"{variant}, width {WIDTHS[variant]:g}", f"{kept:.1%}", f"{seen:.1%}"]))
    return markdown_table(headings("DPO's pairs", "kept", "with an item of the history"), shown)


def pairs_of(pipeline: Pipeline, width: float) -> tuple[float, float]:
    """The share of training positions whose pair is kept, and that of kept pairs with an item
    that the user had before, within the window."""
    data, reference = pipeline.data, pipeline.load_pretrained()
    log = logged_rewards(data.train, data.corpus.num_items)
    actors = Actors(reference, pipeline.rewards.load(), log)
    rule = rule_of(data.corpus)
    kept = seen = positions = 0
    for batch in islice(fixed_batches(data.train, reference.max_length, 64, rule), BATCHES):
        pairs = SampledPairs(width=width)(batch, actors)
        is_past_TT = torch.ones(batch.mask_BT.shape[1], batch.mask_BT.shape[1]).tril().bool()
        row_N, place_N = batch.mask_BT.nonzero(as_tuple=True)
        history_NT = batch.history_BT[row_N].masked_fill(~is_past_TT[place_N], 0)
        had_N = (history_NT == pairs.chosen_N[:, None]).any(dim=1)
        had_N |= (history_NT == pairs.rejected_N[:, None]).any(dim=1)
        kept += int(pairs.kept_N.sum())
        seen += int((had_N & pairs.kept_N).sum())
        positions += len(had_N)
    return kept / positions, seen / max(kept, 1)


def axes(study: StudyFolder) -> str:
    """By method, the rank correlation of each axis with its values over all conditions in which the
    reward model is noisy, and over those without noise."""
    column = value_columns(study)[0]
    table = study.cells[(study.cells["column"] == column) & (study.cells["place"] != "log")]
    there = [name for name in AXES if name in table and table[name].notna().all()]
    shown = []
    for method, rows in table.groupby("method", sort=False):
        rows = rows.drop_duplicates(CONDITION)
        if len(rows) < 3 or rows["mean"].nunique() < 2:  # no error reaches it
            continue
        group = np.zeros(len(rows), dtype=int)
        texts = [f"{spearman(rows[name], rows['mean'], group)[0]:.2f}" for name in there]
        shown.append(cells([str(method), str(len(rows)), *texts]))
    names = [AXES[name] for name in there]
    title = f"{study.name}: rank correlation with {column}\n\n"
    return title + markdown_table(headings("method", "conditions", *names), shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="jester", help="a world, or a set of ratings")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stages", type=Path, default=Path("runs"))
    parser.add_argument("--study", type=Path, action="append", help="of noise; may be given twice")
    parser.add_argument("--output", type=Path, default=Path("runs/validity"))
    arguments = parser.parse_args()
    check_writable(arguments.output.parent)
    arguments.output.mkdir(parents=True, exist_ok=True)
    base = base_of(dataset := dataset_named(arguments.dataset, arguments.data_root))
    studies = (axes(study_folder(folder)) for folder in arguments.study or ())
    texts = [
        f"{dataset.name}, {arguments.seeds} seeds of pretraining, reward model and post-training; "
        f"commit {git_commit()}; command: python experiments/validity.py --dataset "
        f"{dataset.name} --seeds {arguments.seeds}. Means ± half of the 95% intervals over users "
        "and seeds. Before: a softmax over the whole catalogue, and the transformer ensemble; "
        "after: over what may be shown, and the factor model."
    ]
    for text in chain(studies, measure(base, range(arguments.seeds), arguments.stages)):
        print(text, flush=True)
        texts.append(text)
    write_text(arguments.output / f"{dataset.name}.md", "\n\n".join(texts) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code(main))
