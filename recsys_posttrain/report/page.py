"""One self-contained HTML page of a study, and its figures as PDF and PNG.

The page needs no network: plotly.js is in it, once. Its tables are the study's own table.md and
the like, so its numbers are theirs; the panels are drawn from the same folder's CSV files.
"""

from importlib.resources import files
from pathlib import Path

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import check_writable, write_text
from recsys_posttrain.report import figures, interactive
from recsys_posttrain.report.cells import counted
from recsys_posttrain.report.sections import Section, question, sections
from recsys_posttrain.report.study_folder import StudyFolder, study_folder


def write_report(folder: Path, live: Path | None = None) -> Path:
    """Writes report.html and figures/ into a study's folder; returns the page.

    live: a folder of `make live-bench`, which gets a section.
    Raises: UserError for no study, or one without results; a machine without matplotlib gets the
    page and one line that says what is missing.
    """
    study = study_folder(folder)
    check_writable(folder, "report")
    write_text(folder / "report.html", page(study, live))
    try:
        written = figures.write_figures(study, folder / "figures")
        print(f"written: {folder}/report.html and {len(written)} figures in {folder}/figures")
    except UserError as refusal:
        print(f"written: {folder}/report.html; no PDF and PNG figures: {refusal}")
    return folder / "report.html"


def page(study: StudyFolder, live: Path | None = None) -> str:
    """The page as text; the same folder gives the same bytes."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    own = {name: _resource(f"page.{name}") for name in ("html", "css", "js")}
    shown = sections(study, live)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(own["html"]).render(
        title=study.name,
        question=question(study),
        facts=_facts(study),
        sections=shown,
        figures={section.identifier: _json(section) for section in shown},
        styles=list(zip(interactive.COLORS, interactive.SVG_DASHES, strict=True)),
        css=own["css"],
        plotly=get_plotlyjs(),
        js=own["js"],
    )


def _facts(study: StudyFolder) -> list[str]:
    """The line below the question."""
    record = study.record
    return [
        study.dataset,
        *([counted(record["users"], "user")] if "users" in record else []),
        *([counted(len(record["seeds"]), "seed")] if "seeds" in record else []),
        *([f"{record['policies']:,} policies"] if "policies" in record else []),
        f"commit {record['commit']}",
    ]


def _json(section: Section) -> list[str]:
    """Figures as JSON that may stand in a script element: Plotly escapes what could end it."""
    return [str(figure.to_json()) for _, figure in section.panels]


def _resource(name: str) -> str:
    return files("recsys_posttrain.report").joinpath(name).read_text(encoding="utf-8")
