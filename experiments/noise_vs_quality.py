"""The study: reward-model quality against true policy quality, by algorithm.

    make study
    python experiments/noise_vs_quality.py [--dataset jester] [--seeds 5] [--workers 2]

Every method at three strengths, under every kind of noise at four levels, in the reward model and,
apart from that, in the logged rewards; each seed draws noise of its own (quality/grid.py). Users of
policy, reward model, judge, validation and test are disjoint. A policy is worth the mean true
reward of its five best unseen items where the truth is known, otherwise what the judge says of five
greedy steps, with ranking metrics beside it. Which strength stands for a method is decided by
NDCG@10 of liked validation targets, means over seeds, three trials for all that have a strength;
never by the truth. Under two kinds of noise it is decided at each level anew; under the others the
strength chosen without noise stays. A script and not a list of RUNS: one study holds one table,
this one holds many.

Writes results.csv, table.md, selection.md and .csv (what other rules would have chosen),
frontier.csv, two PNG files and run.json to experiments/results/, and keeps every policy as a stage
under --stages: interrupted, it continues; repeated, it only reads.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from quality import results, selection
from quality.grid import METHODS, base_of, conditions
from quality.units import Outcome, Unit, finished, references

from recsys_posttrain.config import require
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.progress import Progress
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.report import figures
from recsys_posttrain.report.cells import Sheet, write_sheet
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.report.render import markdown
from recsys_posttrain.studies.folder import RESULTS, claim, definition, result_set
from recsys_posttrain.studies.parallel import cores
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.worlds.catalog import dataset_named

OUTPUT = Path(__file__).parent / "results"
WRITTEN = (*RESULTS, "results.csv", "selection.*", "frontier.*", "quality.png")
SHOWN = [
    ("", "", 0.0),
    ("model", "Independent", 1.2),
    ("model", "Independent", 2.4),
    ("model", "ItemBias", 0.3),
    ("model", "ItemBias", 0.6),
    ("model", "ItemBias", 1.2),
]

RULES = (
    "What each rule gets that chooses a method's strength on validation targets: mean, difference "
    "to the study's own rule (NDCG@10 liked) ± half of the 95% interval over users and seeds, and "
    "the strength. proxy: the method's own reward model, with its errors; judge: a model of other "
    "users, without; hindsight: the best of the strengths, which nobody can know."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="jester", help="jester, semi-ml-100k, ml-1m, ...")
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=cores(), help="processes")
    parser.add_argument("--kinds", help="only these, e.g. ItemBias,Independent")
    parser.add_argument("--stages", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    kinds = None if arguments.kinds is None else {"", *arguments.kinds.split(",")}
    _check(arguments.seeds, kinds)
    base = base_of(dataset_named(arguments.dataset, arguments.data_root))
    folder = arguments.output / f"noise_vs_quality-{base.setup.dataset.name}"
    claim(folder, definition(Path(__file__), base.setup.dataset, kind="noise_vs_quality"))
    study(base, arguments.seeds, kinds, arguments.workers, arguments.stages, folder)


def _check(seeds: int, kinds: set[str] | None) -> None:
    known = {condition.kind for condition in conditions(0)}
    unknown = sorted((kinds or set()) - known)
    require(
        not unknown,
        f"--kinds: there is no noise {unknown and unknown[0]!r}; give some of "
        f"{', '.join(sorted(known - {''}))}.",
    )
    require(seeds >= 1, f"--seeds {seeds}: give at least 1, and 5 for claims.")


def study(
    base: Run, seeds: int, kinds: set[str] | None, processes: int, stages: Path, folder: Path
) -> None:
    """Runs what is missing and writes the folder. kinds: names of the noises; None: all."""
    # Asked first: what is written below makes a checkout differ from its commit.
    began, commit = time.monotonic(), git_commit()
    pipeline = Pipeline(base.setup, stages, told=Progress().add)
    # The shared stages, before several processes ask for them.
    baselines = references(base, stages, seed=0)
    pipeline.rewards.train()
    pipeline.rewards.train_judge()
    outcomes = _outcomes(base, seeds, kinds, processes, stages)
    test = pd.concat([outcome.test for _, outcome in outcomes], ignore_index=True)
    validation = pd.concat([outcome.validation for _, outcome in outcomes], ignore_index=True)
    quality = results.achieved({tuple(u.key().values()): o.report for u, o in outcomes})

    selected = results.chosen(validation)
    about = pipeline.data.corpus.num_items, pipeline.data.corpus.reward_scale
    compared = list(results.comparisons(test, selected, baselines, *about))
    table = results.all_cells(compared, selected, quality)
    column = results.value_columns(test)[0]
    unit = f"{column.metric} {column.over}"
    caption = _caption(base, compared[0][1], seeds, commit)

    frontier = results.frontier(test)
    rules = selection.selections(test, validation, *about)
    frames = {"results.csv": table, "frontier.csv": frontier, "selection.csv": rules}
    judged_by = table[table["column"] == column.name]
    there = set(frontier[CONDITION].itertuples(index=False, name=None))
    shown = [condition for condition in SHOWN if condition in there]
    lines = frontier[frontier["method"].isin([method.name for method in METHODS[1:]])]  # not BC
    record = {
        "commit": commit,
        "versions": package_versions(),
        "command": f"python experiments/noise_vs_quality.py --dataset {base.setup.dataset.name} "
        f"--seeds {seeds}" + (f" --kinds {','.join(sorted(kinds - {''}))}" if kinds else ""),
        "seconds": round(time.monotonic() - began),  # of this call: what was there is only read
        "policies": len(validation),
        "trials": {method.name: len(method.strengths) for method in METHODS},
    }
    sheets = {
        "table": Sheet(f"{unit}. {caption}", results.blocks(table)),
        "selection": Sheet(f"{unit}. {RULES}", [selection.block(rules)]),
    }
    with result_set(folder, WRITTEN) as new:
        for name, sheet in sheets.items():
            write_text(new / f"{name}.md", markdown(sheet))
            write_sheet(new / f"{name}.json", sheet)
        for name, frame in frames.items():
            write_text(new / name, frame.round(6).to_csv(index=False))
        figures.quality_against_value(judged_by, unit, new / "quality.png")
        figures.frontiers(lines, shown, unit, new / "frontier.png")
        write_json(new / "run.json", record)
    print(markdown(sheets["table"]))
    print(f"written: {folder}/table.md, selection.md, three .csv files, quality.png, frontier.png")


def _outcomes(
    base: Run, seeds: int, kinds: set[str] | None, processes: int, stages: Path
) -> list[tuple[Unit, Outcome]]:
    """In the order of the grid, not of finishing."""
    units = [
        Unit(base, condition, seed, stages)
        for seed in range(seeds)
        for condition in conditions(seed)
        if kinds is None or condition.kind in kinds
    ]
    clean = [unit for unit in units if not unit.condition.place]
    outcomes = list(finished(clean, processes, "without noise"))
    trials = pd.concat([outcome.validation for _, outcome in outcomes])
    only = dict(results.chosen(trials)[["method", "strength"]].itertuples(index=False, name=None))
    noisy = [
        unit if unit.condition.is_swept else replace(unit, only=only)
        for unit in units
        if unit.condition.place
    ]
    if noisy:
        outcomes += finished(noisy, processes, "noise x seeds")
    order = {tuple(unit.key().values()): place for place, unit in enumerate(units)}
    return sorted(outcomes, key=lambda pair: order[tuple(pair[0].key().values())])


def _caption(base: Run, compared: results.Comparison, seeds: int, commit: str) -> str:
    over = "users and seeds" if compared.over_seeds else "users; one seed gives none over seeds"
    return (
        f"{base.setup.dataset.name}, {base.setup.split.label}; {compared.num_users:,} test users; "
        f"{seeds} seed{'s' * (seeds > 1)}, each with noise of its own. Mean ± half of the 95% "
        f"interval over {over}. In brackets the strength that NDCG@10 of liked validation targets "
        "chose. † differs from BC (p ≤ .05, bootstrap, Holm-corrected over the methods of a "
        "column); rows with a shuffled or constant reward from BC with the same rewards. A method "
        "that the noise cannot change keeps its value. Pairwise accuracy and RMSE: of the reward "
        "model on logged rewards of users that it did not learn from, or of the noisy log against "
        "the clean one. Exploitable share: of the error's variance, what the reference's state "
        "explains. Commit "
        f"{commit}."
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
