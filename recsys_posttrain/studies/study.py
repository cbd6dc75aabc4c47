"""A study: the runs of an experiment file, over seeds, ending in rows on disk and a table."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.audit import rewards_line
from recsys_posttrain.data.available import windows_sentence
from recsys_posttrain.data.never_shown import never_shown_sentence
from recsys_posttrain.data.repeats import repeats_sentence
from recsys_posttrain.data.split import LeaveOneOut
from recsys_posttrain.evaluation.headroom import headroom, headroom_lines
from recsys_posttrain.evaluation.subsets import all_targets, liked
from recsys_posttrain.files import (
    check_writable,
    read_csv,
    read_parquet,
    write_json,
    write_parquet,
    write_text,
)
from recsys_posttrain.progress import Progress, console, live_table, say
from recsys_posttrain.report.caption import Provenance
from recsys_posttrain.report.grid import Grid
from recsys_posttrain.report.over_optimisation import write_curves
from recsys_posttrain.report.page import write_page
from recsys_posttrain.report.quality import SHORT, terminal_sheet, write_quality
from recsys_posttrain.report.record import FIX, read_rows, study_record
from recsys_posttrain.report.study_folder import TEXTS, families_of, label_of, pairs_text
from recsys_posttrain.report.table import Table, comparison_table
from recsys_posttrain.report.terminal import OnTerminal
from recsys_posttrain.reward_scale import scale_in
from recsys_posttrain.stats.pairs import MARGIN
from recsys_posttrain.studies.choose import NOTHING, TRIAL, few_targets
from recsys_posttrain.studies.execute import (
    Known,
    Options,
    Results,
    build_in_processes,
    build_runs,
    number_of_workers,
)
from recsys_posttrain.studies.folder import RECORD, claim, result_set, say_what_is_replaced
from recsys_posttrain.studies.left_out import by_reason, refused
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.qualities import Qualities, measure_rewards, quality_caption
from recsys_posttrain.studies.record import command_of, record_of, seeds_text, sums_text
from recsys_posttrain.studies.rules import OWN, WORDS, check_rule, validation_means
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.select import grid_of
from recsys_posttrain.studies.stages import COLUMNS, Stages
from recsys_posttrain.studies.tracked import Tracked
from recsys_posttrain.tracking.curves import streamed
from recsys_posttrain.tracking.mirror import track
from recsys_posttrain.training.processes import check_devices
from recsys_posttrain.untrained import Pretrained
from recsys_posttrain.worlds.base import World

VALIDATION, TARGETS = "validation.csv", "validation.parquet"
TRIALS = dict[str, type](dict.fromkeys((*TRIAL, "setup"), object), level=float, seed=float)
NEEDED = ("dataset", "num_items", "steps", "tuning", "commit", "command")  # of run.json


def run_study(file: Path, options: Options) -> Path:
    """Runs what is not done yet, prints and writes the tables; returns the study's folder."""
    study = options.study(file)
    workers = number_of_workers(options, study)
    check_devices(options.devices, options.device)
    folder = options.output / study.name
    changes = (
        *options.overrides, *options.thresholds.options, *options.rules.options,
        *options.own.options,
    )  # fmt: skip
    claim(folder, study.definition(changes))
    progress = Progress()
    pipeline = Pipeline(study.runs[0].setup, options.output, options.device, progress.add)
    pipeline.devices = options.devices
    check_rule(study.rule, pipeline.data)
    say_the_data(pipeline)
    say_what_is_replaced(folder, pipeline.data.corpus.content_hash)
    if left_out := refused(study, pipeline):
        say(f"cannot be run, and is left out: {by_reason(left_out)}")
    if study.is_grid:
        candidates = 1 + max(study.strengths[run.label] for run in study.runs)
        over = liked if study.rule == OWN else all_targets
        if warning := few_targets(pipeline.data, over, candidates):
            say(warning)
    # All runs are evaluated with these, so no worker has to wait for another one to build them.
    qualities = measure_rewards(study, pipeline)
    for _, _, setup in study.setups():
        pipeline.at(setup).pretrain()
    if not study.is_grid:
        study = chosen_baselines(study, pipeline, left_out)
    known: Known = {}
    scale = pipeline.data.corpus.reward_scale
    tracked = Tracked(folder, pipeline.root / "stages", scale, study.rule)

    def built(part: Study) -> Results:
        stages = Stages(part, pipeline, left_out, known)
        tracked.add(stages.planned())
        with live_table(COLUMNS, stages.look, console), streamed(tracked.look):
            if not options.engine.is_here(workers):
                build_in_processes(file, options, part, pipeline, progress, workers, left_out)
            return build_runs(part, pipeline, left_out, known)

    part = study if study.next_runs is None else study.grown((), pd.DataFrame())
    results = built(part)
    while study.next_runs is not None:
        grown = study.grown(part.rows, results.validation)
        if len(grown.rows) == len(part.rows):
            break
        part, results = grown, built(grown)
    study = part
    tracked.refresh()
    progress.finish()
    more = {"command": command_of(study, options)}
    write_study(study, pipeline, results, qualities, folder, more)
    return folder


def chosen_baselines(study: Study, pipeline: Pipeline, left_out: Collection[str] = ()) -> Study:
    """The study with one baseline of each label: the one with the best mean over seeds of NDCG@10
    of liked validation targets, which is said, and stands in the caption. Doing nothing is a
    candidate too. left_out: titles of runs that are not run."""
    kept: list[Run] = []
    texts = [study.tuning]
    for label in dict.fromkeys(run.label for run in study.baselines):
        candidates = [run for run in study.baselines if run.label == label]
        if len(candidates) > 1 and label not in left_out:
            nothing = replace(candidates[0], algorithm=Pretrained(), name=label, strength=NOTHING)
            candidates = [nothing, *candidates]
            alone = study._replace(baselines=tuple(candidates), runs=())
            values: dict[str, list[float]] = {run.strength: [] for run in candidates}
            scale = pipeline.data.corpus.reward_scale
            for _, run in alone.with_seeds():
                rows = pipeline.at(run.setup).evaluate(run, "validation", run.noise)
                values[run.strength].append(validation_means(rows, scale)[study.rule])
            means = {strength: float(np.mean(each)) for strength, each in values.items()}
            best = max(candidates, key=lambda run: np.nan_to_num(means[run.strength], nan=-np.inf))
            tried = ", ".join(f"{strength} {mean:.4f}" for strength, mean in means.items())
            texts.append(f"{label}: {best.strength}, by {WORDS[study.rule]}")
            say(f"{texts[-1]} ({tried})")
            candidates = [best]
        kept.append(candidates[0])
    return study._replace(baselines=tuple(kept), tuning="; ".join(texts))


def say_the_data(pipeline: Pipeline) -> None:
    corpus = pipeline.data.corpus
    say(
        f"{corpus.name}: {len(corpus.sequences.items_E):,} events, {len(corpus.sequences):,} "
        f"users, {corpus.num_items:,} items; "
        + ("" if corpus.reward_scale.missing else "every event has its reward, ")
        + "nothing is sampled"
    )
    console.print(rewards_line(corpus), markup=False, soft_wrap=True)
    lines = [repeats_sentence(pipeline.data, pipeline.setup.repeats is None)]
    lines += filter(None, [never_shown_sentence(pipeline.data), windows_sentence(pipeline.data)])
    if isinstance(pipeline.setup.dataset, World):
        lines += headroom_lines(corpus.name, headroom(pipeline.load_truth(), pipeline.data))
    console.print("\n".join(lines), markup=False, soft_wrap=True)


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
    chosen_by = (results.validation, results.targets) if study.is_grid else None
    table = _table(rows, chosen_by, record)
    gains = None
    with result_set(folder) as new:
        write_parquet(rows, new / "rows.parquet")
        if study.is_grid:
            validation = results.validation.to_csv(index=False, lineterminator="\n")
            write_text(new / VALIDATION, validation)
            write_parquet(results.targets, new / TARGETS)
        if qualities.rewards is not None:
            write_parquet(qualities.rewards, new / "reward_models.parquet")
            caption = quality_caption(study, pipeline)
            write_quality(qualities.rewards, caption, new / "reward_models.md")
        if qualities.judges is not None:
            caption = quality_caption(study, pipeline, is_judge=True)
            write_quality(qualities.judges, caption, new / "judge.md")
        for name, text in texts.items():
            write_text(new / name, text)
        table.write(new)
        if results.points:
            what = f"{pipeline.data.corpus.name}, {study.eval_split} targets"
            gains = write_curves(pd.concat(results.points, ignore_index=True), new, what)
        write_json(new / RECORD, record)
    _show(qualities.rewards, table)
    _say_written(folder, table)
    if gains is not None:
        say(gains)
    say(write_page(folder))
    say(track(folder))


def study_table(
    folder: Path, control: str | None, relative_to: str | None, output: Path | None = None
) -> None:
    """Prints the table again, from rows.parquet and run.json, and writes its files to `output`.

    control: BC by default, or the first run of a study without it.
    """
    if output is not None:
        check_writable(output)
    record, rows = study_record(folder, NEEDED), read_rows(folder)
    chosen_by = None
    if (folder / VALIDATION).exists():
        columns = TRIALS | {record.get("chosen_by", OWN): float}
        validation = read_csv(folder / VALIDATION, columns, TEXTS, FIX)
        chosen_by = validation, read_parquet(folder / TARGETS, {"strength": str}, FIX)
    table = _table(rows, chosen_by, record, control, relative_to)
    path = folder / "reward_models.parquet"
    quality = read_parquet(path, dict.fromkeys(SHORT.values(), float)) if path.exists() else None
    _show(quality, table)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        table.write(output)
        _say_written(output, table)


def _show(quality: pd.DataFrame | None, table: Table | Grid) -> None:
    if quality is not None:
        console.print(OnTerminal(terminal_sheet(quality)))
    console.print(table.rich())


def _say_written(folder: Path, table: Table | Grid) -> None:
    say(f"\nwritten: {folder}/{', '.join(table.files)}")


def _control(rows: pd.DataFrame, record: dict[str, Any]) -> str:
    """BC, or the first that is trained."""
    methods = [str(method) for method in rows["method"].unique()]
    trained = [label_of(run) for run in record.get("runs", []) if run.get("trained", True)]
    return next(name for name in ("BC", *trained, *methods) if name in methods)


def _table(
    rows: pd.DataFrame,
    chosen_by: tuple[pd.DataFrame, pd.DataFrame] | None,
    record: dict[str, Any],
    control: str | None = None,
    relative_to: str | None = None,
) -> Table | Grid:
    """chosen_by: of a grid, the validation means and rows."""
    control, formula = control or _control(rows, record), record.get("reward", "")
    if chosen_by is not None:
        require(relative_to is None, f"--relative-to {relative_to}: not in a table by noise.")
        return grid_of(rows, *chosen_by, record, control)
    return comparison_table(
        rows,
        num_items=record["num_items"],
        control=control,
        relative_to=relative_to,
        scale=scale_in(record),
        margin=record.get("equal_within", MARGIN),
        families=families_of(record),
        provenance=Provenance(
            dataset=record["dataset"] + (f", reward {formula}" if formula else ""),
            split=record.get("split", LeaveOneOut().label),  # older records had no other
            steps=" or ".join(f"{count:,}" for count in record["steps"])
            + (" equal" if len(record["steps"]) == 1 else ""),
            seeds=seeds_text(record),
            sums=sums_text(record),
            pairs=pairs_text(record),
            tuning=record["tuning"],
            chosen=", ".join(record.get("methods", ())),
            left_out=by_reason(record.get("left_out", {})),
            commit=record["commit"],
            command=record["command"],
        ),
    )
