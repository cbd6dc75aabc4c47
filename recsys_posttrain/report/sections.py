"""The sections of the page: what each file of a study's folder becomes. One without files says so
or is left out."""

import base64
import html
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from markdown_it import MarkdownIt

from recsys_posttrain.config import require
from recsys_posttrain.files import read_csv, read_text
from recsys_posttrain.report import plots
from recsys_posttrain.report.noise_quality import methods_drawn
from recsys_posttrain.report.render import NOTHING, decimal
from recsys_posttrain.report.study_folder import StudyFolder, by_line, value_columns

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Panels = Sequence[tuple[str, "Figure"]]

# Names of data stand in these files. Tables and emphasis are ours; whatever else is text.
_THEIRS = ["link", "autolink", "image", "heading", "lheading", "hr", "code", "fence", "reference"]
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable(_THEIRS)


class Section(NamedTuple):
    """lead: a sentence. html: below the panels. legend: names of lines that all panels share, each
    with its style's number. one_at_a_time: a choice instead of a grid."""

    identifier: str
    title: str
    lead: str
    panels: Panels = ()
    html: str = ""
    legend: tuple[str, ...] = ()
    one_at_a_time: bool = False


def question(study: StudyFolder) -> str:
    if (study.cells["place"] != "").any():
        return "How good must the reward model be, and for which method?"
    return f"Which post-training method is best on {study.dataset}?"


def sections(study: StudyFolder, live: Path | None = None) -> list[Section]:
    """live: a folder of `live bench`, for a section of its own."""
    return [
        section
        for section in (
            noise_section(study),
            leaderboard_section(study),
            over_optimisation_section(study),
            selection_section(study),
            reward_section(study),
            calibration_section(study),
            *tuning_sections(study),
            live_section(live) if live else None,
            environment_section(study),
        )
        if section is not None
    ]


def noise_section(study: StudyFolder) -> Section | None:
    column = value_columns(study)[0]
    panels = plots.noise_against_quality(study, column)
    if not panels:
        return None
    blocks = noise_blocks(study.text("table.md") or "")[1:]
    folded = [f"<details><summary>{title}</summary>{body}</details>" for title, body in blocks]
    return Section(
        "noise",
        "Noise against quality",
        f"{column} of each method as its reward model, or its log, gets worse. To the left the "
        "rewards are good; bars are 95% intervals.",
        panels,
        "".join(folded),
        tuple(methods_drawn(by_line(study, column))),
    )


def leaderboard_section(study: StudyFolder) -> Section:
    text = study.text("table.md") or ""
    blocks = noise_blocks(text)
    # A comparison's table.md has its caption first; one of noise ends with it.
    body = blocks[0][1] + caption_of(text) if blocks else comparison_html(text)
    return Section(
        "leaderboard",
        "Leaderboard",
        f"Mean and 95% interval of each method. † and colour: differs from "
        f"{study.control} (p ≤ .05, Holm-corrected).",
        plots.leaderboard(study),
        body,
        one_at_a_time=True,
    )


def over_optimisation_section(study: StudyFolder) -> Section | None:
    points, frontier = study.frame("curves.parquet"), study.frame("frontier.csv")
    text = html_of(study.text("over_optimisation.md") or "")
    title = "Over-optimisation"
    if points is not None:
        lead = "What each run gained over the reference on its way, by the proxy and in truth."
        legend = ("gold (truth)", "proxy (reward model)", "judge (of other users)")
        return Section("way", title, lead, plots.over_optimisation(points), text, legend)
    if frontier is not None:
        # Controls have one strength, so no line, and there are fewer styles than methods.
        frontier = frontier[frontier["method"].isin(methods_drawn(frontier))]
        lead = "Value against the distance from the reference, at every strength that was tried."
        legend = tuple(dict.fromkeys(frontier["method"]))
        return Section("way", title, lead, plots.frontiers(frontier), text, legend)
    picture = study.path / "over_optimisation.png"
    if not text:
        return None
    lead = "What each run gained over the reference on its way (the points were not kept)."
    return Section("way", title, lead, html=(image(picture) if picture.is_file() else "") + text)


def selection_section(study: StudyFolder) -> Section | None:
    text = study.text("selection.md")
    if text is None:
        return None
    lead = "What each method would be worth had another rule chosen its strength."
    return Section("selection", "Choosing a strength", lead, html=html_of(text.partition("\n")[2]))


def reward_section(study: StudyFolder) -> Section | None:
    texts = [study.text(name) for name in ("reward_models.md", "judge.md")]
    body = "".join(html_of(text) for text in texts if text)
    lead = "The reward model beside the naive baselines that it must beat."
    return Section("rewards", "Reward model", lead, html=body) if body else None


def calibration_section(study: StudyFolder) -> Section | None:
    """Of a semi-synthetic world: what world_calibration.py wrote, here or in a folder beside."""
    folders = (study.path, study.path.parent / "worlds")
    names = [f"{name}-{study.dataset}" for name in ("calibration", "headroom")]
    tables = [f / f"{name}.csv" for f in folders for name in names if (f / f"{name}.csv").is_file()]
    pictures = [f / f"{names[0]}.png" for f in folders if (f / f"{names[0]}.png").is_file()]
    if not tables:
        return None
    body = "".join(map(image, pictures)) + "".join(frame_html(read_csv(t)) for t in tables)
    lead = "How much the world's log looks like the real one, and what there is to gain in it."
    return Section("world", "World calibration", lead, html=body)


def tuning_sections(study: StudyFolder) -> Iterator[Section]:
    trials = study.trials
    if trials is None:
        return
    panels = plots.tuning(trials)
    counts = trials.groupby(["algorithm", "noise"], sort=False)["state"].value_counts()
    table = counts.unstack(fill_value=0).reset_index().rename_axis(columns=None)
    lead = (
        f"{len(trials)} trials, chosen on validation only. Stairs: the best so far; triangles: "
        "ended early, behind the others; crosses: failed."
    )
    noises = tuple(str(noise) or "no noise" for noise in trials["noise"].unique())
    yield Section("tuning", "Tuning history", lead, panels, frame_html(table), noises)
    failed = trials[trials["state"] == "failed"]
    lead = f"{len(failed)} of {len(trials)} trials failed; each counts as one of its budget."
    shown = failed[["algorithm", "noise", "trial", "reason"]]
    yield Section("failed", "Failed trials", lead, html=frame_html(shown) if len(failed) else "")


def live_section(folder: Path) -> Section:
    """Raises: UserError for a folder that `live bench` did not write."""
    table = folder / "table.md"
    require(table.is_file(), f"--live {folder} has no table.md: give a folder of live bench")
    text, *_ = read_text(table).partition("\n![")
    pictures = "".join(image(path) for path in sorted(folder.glob("*.png")))
    lead = "Faults of a live event's delivery, and what the devices saw."
    return Section("live", "Live events", lead, html=pictures + html_of(text))


def environment_section(study: StudyFolder) -> Section:
    record = study.record
    versions = "\n".join(f"{name:<20}{version}" for name, version in record["versions"].items())
    stages = record.get("stages", {})
    seconds = sum(stage["seconds"] for stage in stages.values() if "seconds" in stage)
    facts = {
        "commit": record.get("commit"),
        "data, SHA-256": record.get("content_hash"),
        "tuning": record.get("tuning"),
        "stages": f"{len(stages)}, {seconds:,.0f} s to make" if seconds else None,
        "not in this folder": "; ".join(study.missing),
    }
    shown = {name: html.escape(str(value)) for name, value in facts.items() if value}
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in shown.items())
    commands = f"{record['command']}\nrecsys-posttrain report {shlex.quote(study.path.name)}"
    body = f"{fenced(commands)}<dl>{listed}</dl>{fenced(versions)}"
    lead = "To get these numbers again."
    return Section("environment", "Environment and commands", lead, html=body)


def noise_blocks(text: str) -> list[tuple[str, str]]:
    """Title and HTML of each "### " block of a table of noise; the last one's caption left out."""
    found = re.findall(r"^### (.*)\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [(str(MARKDOWN.renderInline(title)), html_of(body)) for title, body in found]


def caption_of(text: str) -> str:
    """What follows the last table."""
    return f'<div class="caption">{html_of(text.rpartition("|")[2])}</div>'


def comparison_html(text: str) -> str:
    """A comparison's tables, its caption below them."""
    caption, _, tables = text.partition("\n\n")
    return f'{html_of(tables)}<div class="caption">{html_of(caption)}</div>'


def html_of(text: str) -> str:
    """Markdown as HTML; tables scroll by themselves, what follows a value in its cell is small."""
    made = str(MARKDOWN.render(re.sub(r" ([↑↓])", "\N{NO-BREAK SPACE}\\1", text)))
    made = made.replace("<table>", '<div class="scroll"><table>')
    made = made.replace("</table>", "</table></div>")
    made = re.sub(r" (±\s?[\d.]+)(†?)", r"\2<small>\1</small>", made)
    return re.sub(r" ([\[(][^\])]*[\])])</td>", r"<small>\1</small></td>", made)


def frame_html(frame: pd.DataFrame) -> str:
    table = frame.to_html(
        index=False, border=0, float_format=decimal, na_rep=NOTHING, justify="left"
    )
    return f'<div class="scroll">{table}</div>'


def fenced(text: str) -> str:
    return f"<pre><code>{html.escape(text, quote=False)}\n</code></pre>\n"


def image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'
