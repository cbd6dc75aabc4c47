"""The sections of the page: what each file of a study's folder becomes. One without files says so
or is left out."""

import base64
import html
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recsys_posttrain.config import require
from recsys_posttrain.files import read_csv
from recsys_posttrain.report import charts, forest, render
from recsys_posttrain.report.cells import Block, frame_block
from recsys_posttrain.report.noise_quality import methods_drawn
from recsys_posttrain.report.study_folder import StudyFolder, value_columns
from recsys_posttrain.report.svg import Panel

# Title and lead of the sections that are one sheet.
EQUAL_KL = "Equal distance", "What methods gain at the same KL to the policy that all start from."
PAIRS = "Which methods differ", "Above how many others a test puts each method, and below how many."
CUTOFFS = "Cut-offs", "What a method gains at the head of a list, loses further down, and shows."
SELECTION = (
    "Choosing a strength",
    "What each method would be worth had another rule chosen its strength.",
)


class Section(NamedTuple):
    """A part of the page.

    lead: a sentence below the title.
    panels: charts, with one legend for all of their lines.
    html: what stands below the panels.
    choice: tables of which the reader chooses one, by their titles.
    """

    identifier: str
    title: str
    lead: str
    panels: Sequence[Panel] = ()
    html: str = ""
    choice: Sequence[tuple[str, str]] = ()


def question(study: StudyFolder) -> str:
    if (study.cells["place"] != "").any():
        return "How good must the reward model be, and for which method?"
    return f"Which post-training method is best on {study.dataset}?"


def sections(study: StudyFolder, live: Path | None = None) -> list[Section]:
    """live: a folder of `make live-bench`, for a section of its own."""
    return [
        section
        for section in (
            sheet_section(study, "equal_kl", *EQUAL_KL),
            forest_section(study),
            noise_section(study),
            leaderboard_section(study),
            sheet_section(study, "pairs", *PAIRS),
            sheet_section(study, "cutoffs", *CUTOFFS),
            over_optimisation_section(study),
            training_section(study),
            sheet_section(study, "selection", *SELECTION),
            reward_section(study),
            calibration_section(study),
            *tuning_sections(study),
            live_section(live) if live else None,
            environment_section(study),
        )
        if section is not None
    ]


def forest_section(study: StudyFolder) -> Section | None:
    shown = list(forest.forests(study))
    lead = (
        f"The paired difference of each method to {study.control}, with its 95% interval. Filled: "
        "better (blue) or worse (red), p ≤ .05 after Holm's correction; hollow: undecided."
    )
    choice = [(each.title, forest.drawn(each)) for each in shown]
    title = f"Differences to {study.control}"
    return Section("differences", title, lead, choice=choice) if shown else None


def noise_section(study: StudyFolder) -> Section | None:
    column = value_columns(study)[0]
    panels = charts.noise_against_quality(study, column)
    if not panels:
        return None
    sheet = study.sheet("table")
    blocks = sheet.blocks[1:] if sheet and study.is_grid else ()
    folded = [
        f"<details><summary>{html.escape(block.title)}</summary>{render.html(block)}</details>"
        for block in blocks
    ]
    lead = (
        f"The {column} of each method as its reward model, or its log, gets worse. To the left the "
        "rewards are good; bars are 95% intervals."
    )
    return Section("noise", "Noise against quality", lead, panels, "".join(folded))


def leaderboard_section(study: StudyFolder) -> Section:
    sheet, body = study.sheet("table"), ""
    if sheet is not None:
        blocks = sheet.blocks[:1] if study.is_grid else sheet.blocks
        body = tables(blocks) + caption(sheet.caption)
    lead = f"Mean and 95% interval of each method. † differs from {study.control}."
    return Section("leaderboard", "Leaderboard", lead, html=body)


def training_section(study: StudyFolder) -> Section | None:
    panels = charts.training(study)
    lead = "What training logged on its way, of each method's first seed."
    return Section("training", "Training curves", lead, panels) if panels else None


def sheet_section(study: StudyFolder, name: str, title: str, lead: str) -> Section | None:
    body = sheet_html(study, name)
    return Section(name, title, lead, html=body) if body else None


def over_optimisation_section(study: StudyFolder) -> Section | None:
    points, frontier = study.frame("curves.parquet"), study.frame("frontier.csv")
    body = sheet_html(study, "over_optimisation")
    title = "Over-optimisation"
    if points is not None:
        lead = "What each run gained over the reference on its way, by the proxy and in truth."
        return Section("way", title, lead, charts.over_optimisation(points), body)
    if frontier is not None:
        # Controls have one strength, so no line.
        frontier = frontier[frontier["method"].isin(methods_drawn(frontier))]
        lead = "Value against the distance from the reference, at every strength that was tried."
        return Section("way", title, lead, charts.frontiers(frontier), body)
    return None


def reward_section(study: StudyFolder) -> Section | None:
    body = sheet_html(study, "reward_models") + sheet_html(study, "judge")
    lead = "The reward model beside the naive baselines that it must beat."
    return Section("rewards", "Reward model", lead, html=body) if body else None


def calibration_section(study: StudyFolder) -> Section | None:
    """Of a semi-synthetic world: what world_calibration.py wrote, here or in a folder beside."""
    folders = (study.path, study.path.parent / "worlds")
    names = [f"{name}-{study.dataset}" for name in ("calibration", "headroom")]
    found = [f / f"{name}.csv" for f in folders for name in names if (f / f"{name}.csv").is_file()]
    pictures = [f / f"{names[0]}.png" for f in folders if (f / f"{names[0]}.png").is_file()]
    if not found:
        return None
    body = "".join(map(image, pictures)) + tables(frame_block(read_csv(t)) for t in found)
    lead = "How much the world's log looks like the real one, and what there is to gain in it."
    return Section("world", "World calibration", lead, html=body)


def tuning_sections(study: StudyFolder) -> Iterator[Section]:
    trials = study.trials
    if trials is None:
        return
    panels = charts.tuning(trials)
    counts = trials.groupby(["algorithm", "noise"], sort=False)["state"].value_counts()
    table = counts.unstack(fill_value=0).reset_index().rename_axis(columns=None)
    lead = (
        f"{len(trials)} trials, chosen on validation only. Stairs: the best so far; triangles: "
        "ended early, behind the others; crosses: failed."
    )
    yield Section("tuning", "Tuning history", lead, panels, tables([frame_block(table)]))
    failed = trials[trials["state"] == "failed"]
    lead = f"{len(failed)} of {len(trials)} trials failed; each counts as one of its budget."
    shown = failed[["algorithm", "noise", "trial", "reason"]]
    body = tables([frame_block(shown)]) if len(failed) else ""
    yield Section("failed", "Failed trials", lead, html=body)


def live_section(folder: Path) -> Section:
    """Raises: UserError for a folder that `make live-bench` did not write."""
    faults = folder / "faults.csv"
    require(
        faults.is_file(), f"--live {folder} has no faults.csv: give a folder of make live-bench"
    )
    frame = read_csv(faults).rename(columns=lambda name: str(name).replace("_", " "))
    pictures = "".join(image(path) for path in sorted(folder.glob("*.png")))
    lead = (
        "Faults of a live event's delivery, and what the devices saw. Times are from an update's "
        "publication until a device shows it."
    )
    return Section("live", "Live events", lead, html=pictures + tables([frame_block(frame)]))


def environment_section(study: StudyFolder) -> Section:
    record = study.record
    versions = "\n".join(f"{name:<20}{version}" for name, version in record["versions"].items())
    stages = record.get("stages", {})
    facts = {
        "commit": record.get("commit"),
        "data, SHA-256": record.get("content_hash"),
        "tuning": record.get("tuning"),
        "stages": f"{len(stages)} (seconds of each: run.json)" if stages else None,
        "not in this folder": "; ".join(study.missing),
    }
    shown = {name: html.escape(str(value)) for name, value in facts.items() if value}
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in shown.items())
    name = shlex.quote(study.path.resolve().name)
    commands = f"{record['command']}\nrecsys-posttrain report {name}"
    body = f"{fenced(commands)}<dl>{listed}</dl>{fenced(versions)}"
    lead = "To get these numbers again."
    return Section("environment", "Environment and commands", lead, html=body)


def sheet_html(study: StudyFolder, name: str) -> str:
    """A sheet of the folder, its caption below it; empty where there is none."""
    sheet = study.sheet(name)
    return "" if sheet is None else tables(sheet.blocks) + caption(sheet.caption)


def tables(blocks: Iterable[Block]) -> str:
    """Each below its title."""
    titles = ((f"<h3>{html.escape(b.title)}</h3>" if b.title else "", b) for b in blocks)
    return "".join(title + render.html(block) for title, block in titles)


def caption(text: str) -> str:
    return f'<p class="caption">{html.escape(text, quote=False)}</p>' if text else ""


def fenced(text: str) -> str:
    return f"<pre><code>{html.escape(text, quote=False)}\n</code></pre>\n"


def image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'
