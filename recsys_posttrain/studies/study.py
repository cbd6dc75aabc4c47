"""A study: the runs of an experiment file, over seeds, ending in rows on disk and a table."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.audit import rewards_line
from recsys_posttrain.data.repeats import repeats_sentence
from recsys_posttrain.data.split import LeaveOneOut
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import read_csv, read_parquet, write_json, write_parquet, write_text
from recsys_posttrain.progress import Progress, console, say
from recsys_posttrain.report import render
from recsys_posttrain.report.caption import Provenance
from recsys_posttrain.report.grid import Grid
from recsys_posttrain.report.over_optimisation import write_curves
from recsys_posttrain.report.quality import SHORT, terminal_sheet, write_quality
from recsys_posttrain.report.record import FIX, read_rows, study_record
from recsys_posttrain.report.study_folder import TEXTS
from recsys_posttrain.report.table import Table, comparison_table
from recsys_posttrain.reward_scale import scale_in
from recsys_posttrain.stats.pairs import MARGIN
from recsys_posttrain.studies.execute import (
    Options,
    Results,
    build_in_processes,
    build_runs,
    by_reason,
    number_of_workers,
    refused,
    shared_rows,
)
from recsys_posttrain.studies.folder import RECORD, claim, result_set, say_what_is_replaced
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.record import command_of, record_of, seeds_text
from recsys_posttrain.studies.select import OWN, RULES, TRIAL, grid_of
from recsys_posttrain.tracking.mirror import track

VALIDATION = "validation.csv"
TRIALS = {
    **dict.fromkeys((*TRIAL, RULES[OWN]), object),
    **{"level": float, "seed": float, RULES[OWN]: float},
}
NEEDED = ("dataset", "num_items", "steps", "tuning", "commit", "command")  # of run.json


def run_study(file: Path, options: Options) -> Path:
    """Runs what is not done yet, prints and writes the tables; returns the study's folder."""
    study = options.study(file)
    workers = number_of_workers(options, study)
    folder = options.output / study.name
    claim(folder, study.definition([*options.overrides, *options.thresholds.options]))
    progress = Progress()
    pipeline = Pipeline(study.runs[0].setup, options.output, options.device, progress.add)
    say_the_data(pipeline)
    say_what_is_replaced(folder, pipeline.data.corpus.content_hash)
    left_out = refused(study, pipeline)
    # All runs are evaluated with these, so no worker has to wait for another one to build them.
    qualities = measure_rewards(study, pipeline)
    shared = shared_rows(study, pipeline)

    def built(part: Study) -> Results:
        if workers > 1:
            build_in_processes(file, options, part, pipeline, progress, workers, left_out)
        return build_runs(part, pipeline, shared, left_out)

    if study.under_noise is not None:
        clean = built(study.without_noise())
        left_out |= clean.left_out
        study = study.chosen(clean.validation)
    results = built(study)
    progress.finish()
    more = {"command": command_of(study, options)}
    write_study(study, pipeline, results, qualities, folder, more)
    return folder


def say_the_data(pipeline: Pipeline) -> None:
    corpus = pipeline.data.corpus
    say(
        f"{corpus.name}: {len(corpus.sequences.items_E):,} events, {len(corpus.sequences):,} "
        f"users, {corpus.num_items:,} items; "
        + ("" if corpus.reward_scale.missing else "every event has its reward, ")
        + "nothing is sampled"
    )
    console.print(rewards_line(corpus), markup=False, soft_wrap=True)
    sentence = repeats_sentence(pipeline.data, pipeline.setup.repeats is None)
    console.print(sentence, markup=False, soft_wrap=True)


class Qualities(NamedTuple):
    """Of the reward models and the judges, one row each and for each naive baseline; None where
    there are none."""

    rewards: pd.DataFrame | None
    judges: pd.DataFrame | None


def measure_rewards(study: Study, pipeline: Pipeline) -> Qualities:
    models: dict[str, list[pd.DataFrame]] = {}
    judges: dict[str, list[pd.DataFrame]] = {}
    for name, _, setup in study.setups():
        stages = pipeline.at(setup).rewards
        for measured, frame in ((models, stages.measure()), (judges, stages.measure_judge())):
            if frame is not None:
                measured.setdefault(name, []).append(frame)
    return Qualities(_together(models), _together(judges))


def _together(by_setup: dict[str, list[pd.DataFrame]]) -> pd.DataFrame | None:
    """Means over the seeds of each setup; of setups that differ, each row with the setup's name."""
    means = {
        name: frames[0] if len(frames) == 1 else sum(frames[1:], frames[0]) / len(frames)
        for name, frames in by_setup.items()
    }
    first = next(iter(means.values()), None)
    if first is None or all(frame.equals(first) for frame in means.values()):
        return first
    named = [frame.set_axis(frame.index + name) for name, frame in means.items()]
    return pd.concat(named)


def write_study(
    study: Study,
    pipeline: Pipeline,
    results: Results,
    qualities: Qualities,
    folder: Path,
    more: dict[str, Any],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes and prints the tables. more: `command`, and what else belongs into run.json. texts:
    further files, by name."""
    record = record_of(study, pipeline, results) | more
    rows = results.rows
    table = _table(rows, results.validation if study.is_grid else None, record)
    gains = None
    with result_set(folder) as new:
        write_parquet(rows, new / "rows.parquet")
        if study.is_grid:
            validation = results.validation.to_csv(index=False, lineterminator="\n")
            write_text(new / VALIDATION, validation)
        if qualities.rewards is not None:
            write_parquet(qualities.rewards, new / "reward_models.parquet")
            caption = _quality_caption("Reward models", study, pipeline)
            write_quality(qualities.rewards, caption, new / "reward_models.md")
        if qualities.judges is not None:
            caption = _quality_caption("Judge", study, pipeline)
            write_quality(qualities.judges, caption, new / "judge.md")
        for name, text in texts.items():
            write_text(new / name, text)
        table.write(new)
        if results.points:
            what = f"{pipeline.data.corpus.name}, {study.eval_split} targets"
            gains = write_curves(pd.concat(results.points, ignore_index=True), new, what)
        write_json(new / RECORD, record)
    _show(qualities.rewards, table, f"written: {folder}/{', '.join(table.files)}")
    if gains is not None:
        say(gains)
    say(track(folder))


def study_table(folder: Path, control: str | None, relative_to: str | None) -> None:
    """Prints and writes table.md, table.tex and table.csv from rows.parquet and run.json.

    control: BC by default, or the first run of a study without it. Where they cannot be written
    the table is printed all the same.
    """
    record, rows = study_record(folder, NEEDED), read_rows(folder)
    path = folder / VALIDATION
    validation = read_csv(path, TRIALS, TEXTS, FIX) if path.exists() else None
    table = _table(rows, validation, record, control, relative_to)
    path = folder / "reward_models.parquet"
    quality = read_parquet(path, dict.fromkeys(SHORT.values(), float)) if path.exists() else None
    try:
        table.write(folder)
        written = f"written: {folder}/{', '.join(table.files)}"
    except UserError as refusal:
        written = f"not written: {refusal}"
    _show(quality, table, written)


def _show(quality: pd.DataFrame | None, table: Table | Grid, written: str) -> None:
    if quality is not None:
        console.print(render.terminal(terminal_sheet(quality)))
    console.print(table.rich())
    say(f"\n{written}")


def _control(rows: pd.DataFrame) -> str:
    """BC, or the first after popularity and pretrained."""
    methods = [str(method) for method in rows["method"].unique()]
    return "BC" if "BC" in methods else methods[min(2, len(methods) - 1)]


def _quality_caption(what: str, study: Study, pipeline: Pipeline) -> str:
    seeds = f"Seed {pipeline.setup.seed}."
    if study.full_seeds:
        shown = ", ".join(map(str, study.seeds))
        seeds = f"Mean over seeds {shown}, of values and of ends of intervals."
    return (
        f"{what} on {pipeline.data.corpus.name}: each logged reward predicted from what the "
        f"user did before it, for users that no model was trained on. Bootstrap over users. {seeds}"
    )


def _table(
    rows: pd.DataFrame,
    validation: pd.DataFrame | None,
    record: dict[str, Any],
    control: str | None = None,
    relative_to: str | None = None,
) -> Table | Grid:
    """validation: of a grid."""
    control = control or _control(rows)
    if validation is not None:
        require(relative_to is None, f"--relative-to {relative_to}: not in a table by noise.")
        return grid_of(rows, validation, record, control)
    return comparison_table(
        rows,
        num_items=record["num_items"],
        control=control,
        relative_to=relative_to,
        scale=scale_in(record),
        margin=record.get("equal_within", MARGIN),
        provenance=Provenance(
            dataset=record["dataset"],
            split=record.get("split", LeaveOneOut().label),  # older records had no other
            steps=" or ".join(f"{count:,}" for count in record["steps"])
            + (" equal" if len(record["steps"]) == 1 else ""),
            seeds=seeds_text(record),
            tuning=record["tuning"],
            left_out=by_reason(record.get("left_out", {})),
            commit=record["commit"],
            command=record["command"],
        ),
    )
