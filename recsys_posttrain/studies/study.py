"""A study: the runs of an experiment file, over seeds, ending in rows on disk and a table."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table as RichTable

from recsys_posttrain.config import describe
from recsys_posttrain.data.audit import rewards_line
from recsys_posttrain.data.repeats import repeats_sentence
from recsys_posttrain.data.split import LeaveOneOut, untrained_items
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_parquet, write_json, write_parquet, write_text
from recsys_posttrain.progress import Progress, console, say
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.report.cells import NOTHING
from recsys_posttrain.report.over_optimisation import write_curves
from recsys_posttrain.report.quality import write_quality
from recsys_posttrain.report.record import read_rows, study_record
from recsys_posttrain.report.table import Provenance, Table, comparison_table, write_table
from recsys_posttrain.reward_scale import scale_in
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.stats.undefined import undefined_values
from recsys_posttrain.store import read_stage
from recsys_posttrain.studies.execute import (
    Made,
    Options,
    by_reason,
    made_by,
    make_in_processes,
    number_of_workers,
    refused,
    shared_rows,
)
from recsys_posttrain.studies.folder import RECORD, claim, result_set, say_what_is_replaced
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.tracking.mirror import track

TABLES = ("table.md", "table.tex", "table.csv")
NEEDED = ("dataset", "num_items", "steps", "tuning", "commit", "command")  # of run.json
QUALITY = {
    "rmse": "RMSE",
    "mae": "MAE",
    "pairwise_accuracy": "pairwise acc.",
    "spearman": "Spearman",
}
MAIN_STUDY = Path("experiments/movielens_main.py")  # of `make benchmark`


def run_study(file: Path, options: Options) -> Path:
    """Runs what is not done yet, prints and writes the tables; returns the study's folder."""
    study = options.study(file)
    workers = number_of_workers(options, study)
    folder = options.output / study.name
    claim(folder, study.definition([*options.overrides, *options.thresholds.options]))
    progress = Progress()
    pipeline = Pipeline(study.runs[0], options.output, options.device, progress.announce)
    say_what_is_read(pipeline)
    say_what_is_replaced(folder, pipeline.data.corpus.content_hash)
    left_out = refused(study, pipeline)
    # Evaluated with the shared models, so these are made first.
    _ = pipeline.rewards.quality, pipeline.rewards.judge_quality
    shared = shared_rows(study, pipeline)
    if workers > 1:
        make_in_processes(file, options, study, pipeline, progress, workers, left_out)
    made = made_by(study, pipeline, shared, left_out)
    progress.finish()
    write_study(study, pipeline, made, folder, {"command": _command(study, options)})
    return folder


def say_what_is_read(pipeline: Pipeline) -> None:
    corpus = pipeline.data.corpus
    say(
        f"{corpus.name}: {len(corpus.sequences.items_E):,} events, {len(corpus.sequences):,} "
        f"users, {corpus.num_items:,} items; "
        + ("" if corpus.reward_scale.missing else "every event has its reward, ")
        + "nothing is sampled"
    )
    console.print(rewards_line(corpus), markup=False, soft_wrap=True)
    sentence = repeats_sentence(pipeline.data, pipeline.run.repeats is None)
    console.print(sentence, markup=False, soft_wrap=True)


def write_study(
    study: Study,
    pipeline: Pipeline,
    made: Made,
    folder: Path,
    more: dict[str, Any],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes and prints the tables. more: `command`, and what else belongs into run.json. texts:
    further files, by name."""
    quality, judge_quality = pipeline.rewards.quality, pipeline.rewards.judge_quality
    record = _record(study, pipeline, made) | more
    table = _table(made.rows, record, _control(made.rows), None)
    gains = None
    with result_set(folder) as new:
        write_parquet(made.rows, new / "rows.parquet")
        if quality is not None:
            write_parquet(quality, new / "reward_models.parquet")
            caption = _quality_caption("Reward models", pipeline)
            write_quality(quality, caption, new / "reward_models.md")
        if judge_quality is not None:
            write_quality(judge_quality, _quality_caption("Judge", pipeline), new / "judge.md")
        for name, text in texts.items():
            write_text(new / name, text)
        write_table(table, new)
        if made.points:
            what = f"{pipeline.data.corpus.name}, {study.on} targets"
            gains = write_curves(pd.concat(made.points, ignore_index=True), new, what)
        write_json(new / RECORD, record)
    _show(quality, table, f"written: {folder}/{', '.join(TABLES)}")
    if gains is not None:
        say(gains)
    say(track(folder))


def study_table(folder: Path, control: str | None, relative_to: str | None) -> None:
    """Prints and writes table.md, table.tex and table.csv from rows.parquet and run.json.

    control: BC by default, or the first run of a study without it. Where they cannot be written
    the table is printed all the same.
    """
    record, rows = study_record(folder, NEEDED), read_rows(folder)
    table = _table(rows, record, control or _control(rows), relative_to)
    path = folder / "reward_models.parquet"
    quality = read_parquet(path, dict.fromkeys(QUALITY, float)) if path.exists() else None
    try:
        write_table(table, folder)
        written = f"written: {folder}/{', '.join(TABLES)}"
    except UserError as refusal:
        written = f"not written: {refusal}"
    _show(quality, table, written)


def _show(quality: pd.DataFrame | None, table: Table, written: str) -> None:
    if quality is not None:
        console.print(_quality_table(quality))
    console.print(table.rich())
    say(f"\n{written}")


def _control(rows: pd.DataFrame) -> str:
    """BC, or the first after popularity and pretrained."""
    methods = [str(method) for method in rows["method"].unique()]
    return "BC" if "BC" in methods else methods[min(2, len(methods) - 1)]


def _quality_caption(what: str, pipeline: Pipeline) -> str:
    return (
        f"{what} on {pipeline.data.corpus.name}: each logged reward predicted from what the "
        "user did before it, for users that no model was trained on. Bootstrap over users. Seed "
        f"{pipeline.run.pretraining_seed}."
    )


def _quality_table(quality: pd.DataFrame) -> RichTable:
    """The columns of reward_models.md that fit a terminal."""
    table = RichTable(
        box=box.SIMPLE_HEAD, pad_edge=False, title="\nReward models", title_justify="left"
    )
    table.add_column("model", min_width=17)
    for title in QUALITY.values():
        table.add_column(title, justify="right")
    for name, row in quality.iterrows():
        known = row[list(QUALITY)].notna()
        table.add_row(str(name), *(f"{row[c]:.4f}" if known[c] else NOTHING for c in QUALITY))
    if quality[list(QUALITY)].isna().any(axis=None):
        table.caption = f"{NOTHING} no held-out user has rewards that differ, to put in order"
        table.caption_justify = "left"
    return table


def _record(study: Study, pipeline: Pipeline, made: Made) -> dict[str, Any]:
    """Everything needed to make the rows again, and what it took."""
    shared, trained = {"pretrained": pipeline.pretrained_folder}, made.trained
    if not pipeline.rewards.missing:
        shared["reward"] = pipeline.rewards.folder
    if pipeline.rewards.judge_folder is not None:
        shared["judge"] = pipeline.rewards.judge_folder
    targets = pipeline.data.test if study.on == "test" else pipeline.data.validation
    steps = {read_stage(folder)["record"]["steps"] for folder in trained.values()}
    corpus = pipeline.data.corpus
    runs = [run for run in study.runs if run.label not in made.left_out]
    return {
        "name": study.name,
        "on": study.on,
        "tuning": study.tuning,
        "commit": git_commit(),
        "versions": package_versions(),
        "dataset": corpus.name,
        "split": pipeline.run.split.label + ("" if study.on == "test" else f", {study.on} targets"),
        "content_hash": corpus.content_hash,
        "reward_scale": asdict(corpus.reward_scale),
        "events": len(corpus.sequences.items_E),
        "users": len(corpus.sequences),
        "num_items": corpus.num_items,
        "repeats": corpus.repeats,
        "targets": len(targets.items_N),
        "targets_unshowable": targets.unshowable,
        "targets_undefined": undefined_values(made.rows),
        "targets_of_untrained_items": int(untrained_items(pipeline.data, targets).sum()),
        "seeds": list(study.seeds),
        "steps": sorted(steps),
        "runs": [describe(run) for run in runs],
        "left_out": made.left_out,
        "noise": {
            run.label: _noise_report(study, run, pipeline)
            for run in runs
            if run.noise.active() != RewardNoise()
        },
        "stages": {
            name: {
                "folder": folder.name,
                **{k: read_stage(folder)[k] for k in ("record", "seconds")},
            }
            for name, folder in {**shared, **trained}.items()
        },
    }


def _noise_report(study: Study, run: Run, pipeline: Pipeline) -> dict[str, dict[str, float]]:
    """Of noise that each seed draws anew, means over the seeds."""
    reports = [
        pipeline.rewards.report(study.with_seed(run, seed).noise)
        for seed in (study.seeds if study.redraws_noise else study.seeds[:1])
    ]
    return {
        place: {
            name: float(np.mean([report[place][name] for report in reports])) for name in measured
        }
        for place, measured in reports[0].items()
    }


def _command(study: Study, options: Options) -> str:
    """How to get this table from a fresh clone, after `make setup` where it is not `make`."""
    overrides = options.overrides
    changes_data = options.duplicates is not None or options.thresholds.given
    if study.file == MAIN_STUDY and study.on == "test" and not changes_data:
        chosen = shlex.quote(study.dataset or study.runs[0].dataset.name)
        command = f"make benchmark DATASET={chosen} SEEDS={len(study.seeds)}"
        command += f" SPLIT={study.split}" if study.split else ""
        return command + (f" SET={shlex.quote(' '.join(overrides))}" if overrides else "")
    command = f"recsys-posttrain run {shlex.quote(str(study.file))}"
    command += f" --dataset {shlex.quote(study.dataset)}" if study.dataset else ""
    command += f" --seeds {len(study.seeds)}"
    command += f" --split {study.split}" if study.split else ""
    command += "".join(f" {option}" for option in options.thresholds.options)
    command += f" --duplicates {options.duplicates}" if options.duplicates else ""
    command += "".join(f" --set {shlex.quote(assignment)}" for assignment in overrides)
    return command + ("" if study.on == "test" else f" --on {study.on}")


def _table(
    rows: pd.DataFrame, record: dict[str, Any], control: str, relative_to: str | None
) -> Table:
    return comparison_table(
        rows,
        num_items=record["num_items"],
        control=control,
        relative_to=relative_to,
        scale=scale_in(record),
        provenance=Provenance(
            dataset=record["dataset"],
            split=record.get("split", LeaveOneOut().label),  # older records had no other
            steps=" or ".join(f"{count:,}" for count in record["steps"])
            + (" equal" if len(record["steps"]) == 1 else ""),
            tuning=record["tuning"],
            left_out=by_reason(record.get("left_out", {})),
            commit=record["commit"],
            command=record["command"],
        ),
    )
