"""A search for the recipe of a backbone, by validation NDCG@10 alone.

    python experiments/base_search.py [--dataset ml-1m] [--trials 8] [--epochs 12]

A trial is a pretraining with fewer epochs than the recipe has, from seed 0; the test targets are
never read. Optuna's TPE proposes; its study is a SQLite file beside the stages, so that a second
process with the same command takes trials of the same budget, and a trial that was interrupted
(or killed, a minute later) is the next to run and goes on where it stopped. Short trials favour
what learns fast: see experiments/README.md.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from recsys_posttrain.config import describe, require
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.models import HSTU
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.store import read_stage
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.sweep.storage import open_storage, sqlite_url
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.worlds.catalog import dataset_named

BASE = HSTU(target_time=True)
SPACE: dict[str, tuple[int | float, ...]] = {
    "blocks": (2, 4, 8),
    "heads": (1, 2, 4),
    "dropout": (0.1, 0.2, 0.3),
    "learning_rate": (1e-3, 2e-3, 4e-3),
}
"""Fields of the backbone, and the rate of its training."""

FIRST = (
    {"blocks": 2, "heads": 1, "dropout": 0.1, "learning_rate": 2e-3},  # the default
    {"blocks": 8, "heads": 2, "dropout": 0.2, "learning_rate": 2e-3},  # as large as the paper's
    {"blocks": 4, "heads": 2, "dropout": 0.1, "learning_rate": 2e-3},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data-root")
    parser.add_argument("--trials", type=int, default=8, help="of all processes together")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--stages", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()

    dataset = dataset_named(arguments.dataset, arguments.data_root)
    name = f"base_search-{dataset.name}"
    training = replace(PRETRAINING, epochs=arguments.epochs)
    arguments.stages.mkdir(parents=True, exist_ok=True)

    def validation(trial: optuna.Trial) -> float:
        chosen: dict[str, Any] = {
            field: trial.suggest_categorical(field, SPACE[field]) for field in SPACE
        }
        rate = chosen.pop("learning_rate")
        pipeline = Pipeline(
            Setup(
                dataset=dataset,
                backbone=replace(BASE, **chosen),
                pretraining=replace(training, learning_rate=rate),
            ),
            arguments.stages,
        )
        started = time.monotonic()
        try:
            record = read_stage(pipeline.pretrain())["record"]
        except (KeyboardInterrupt, SystemExit):  # an interrupt, or a signal
            trial.study.enqueue_trial(trial.params)
            raise
        require(
            record["best_value"] is not None,
            f"--epochs {arguments.epochs}: too few for a validation; give more.",
        )
        trial.set_user_attr("seconds", round(time.monotonic() - started))
        trial.set_user_attr("best step", record["best_step"])
        print(f"trial {trial.number}: {trial.params}: {record['best_value']:.4f}", flush=True)
        return float(record["best_value"])

    study = optuna.create_study(
        storage=open_storage(sqlite_url(arguments.stages / f"{name}-{arguments.epochs}-epochs.db")),
        study_name=name,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            n_startup_trials=4, multivariate=True, constant_liar=True
        ),
        load_if_exists=True,
    )
    for settings in FIRST:
        study.enqueue_trial(settings, skip_if_exists=True)
    taken = (TrialState.COMPLETE, TrialState.RUNNING)
    while len(study.get_trials(deepcopy=False, states=taken)) < arguments.trials:
        study.optimize(validation, n_trials=1)
    write(study, arguments.output / name, arguments)


def write(study: optuna.Study, folder: Path, arguments: argparse.Namespace) -> None:
    """The trials that are complete, best first."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    frame = pd.DataFrame([_row(trial) for trial in trials])
    frame = frame.sort_values("validation NDCG@10", ascending=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "history.csv", frame.to_csv(index=False))
    write_json(
        folder / "run.json",
        {
            "commit": git_commit(),
            "versions": package_versions(),
            "base": describe(BASE),
            "space": SPACE,
            "epochs of a trial": arguments.epochs,
            "trials": len(frame),
            "seconds": int(frame["seconds"].sum()),
        },
    )
    print(frame.to_string(index=False))


def _row(trial: FrozenTrial) -> dict[str, object]:
    return {"trial": trial.number, **trial.params, "validation NDCG@10": trial.value} | dict(
        trial.user_attrs
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
