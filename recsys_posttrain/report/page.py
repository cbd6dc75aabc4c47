"""One self-contained HTML page of a study, and its figures as PDF and PNG.

The page needs no network and draws without a script: its charts are SVG. Its tables are the study's
own table.md and the like, so its numbers are theirs; the answer, the differences and the panels are
of the same folder's CSV files, which it holds to be saved.
"""

import base64
import json
from importlib.resources import files
from pathlib import Path

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import check_writable, write_text
from recsys_posttrain.report import figures
from recsys_posttrain.report.cells import counted
from recsys_posttrain.report.charts import names
from recsys_posttrain.report.sections import question, sections
from recsys_posttrain.report.study_folder import (
    StudyFolder,
    families_of,
    means_by_seed,
    study_folder,
)
from recsys_posttrain.report.style import style_of
from recsys_posttrain.report.svg import draw
from recsys_posttrain.report.verdicts import answers

PAGE = "report.html"
# Not pairs.csv, which is long, and not rows.parquet, which names users.
SAVED = {"table.csv": "the table", "cutoffs.csv": "the cut-offs", "trials.csv": "the trials"}


def write_report(folder: Path, live: Path | None = None) -> Path:
    """Writes report.html and figures/ into a study's folder; returns the page.

    live: a folder of `make live-bench`, which gets a section.
    Raises: UserError for no study, or one without results; a machine without matplotlib gets the
    page and one line that says what is missing.
    """
    study = study_folder(folder)
    check_writable(folder, "report")
    write_text(folder / PAGE, page(study, live))
    try:
        written = figures.write_figures(study, folder / "figures")
        print(f"written: {folder}/{PAGE} and {len(written)} figures in {folder}/figures")
    except UserError as refusal:
        print(f"written: {folder}/{PAGE}; no PDF and PNG figures: {refusal}")
    return folder / PAGE


def write_page(folder: Path) -> str:
    """Writes the page alone, which a study ends with; returns a line that says so."""
    try:
        write_text(folder / PAGE, page(study_folder(folder)))
    except UserError as refusal:
        return f"no page: {refusal}"
    return f"page: {folder}/{PAGE}"


def page(study: StudyFolder, live: Path | None = None) -> str:
    """The page as text; the same folder gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    own = {name: _resource(f"page.{name}") for name in ("html", "css", "js")}
    found = list(answers(study))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals |= {"draw": draw, "names": names, "style_of": style_of}
    clean = [each for each in found if not each.goal.startswith("With ")]
    return environment.from_string(own["html"]).render(
        title=study.name,
        question=question(study),
        facts=_facts(study),
        answers=clean,
        under_noise=found[len(clean) :],
        control=study.control,
        sections=sections(study, live),
        families=_json(families_of(study.record)),
        saved=_saved(study),
        css=own["css"],
        js=own["js"],
    )


def alone(body: str) -> str:
    """A part of the page as a page of its own, with its style."""
    return f"<!doctype html><meta charset=utf-8><style>{_resource('page.css')}</style>{body}"


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


def _saved(study: StudyFolder) -> list[tuple[str, str, str]]:
    """Name, words and address of each text that can be saved from the page."""
    there = {name: study.path / name for name in SAVED if (study.path / name).is_file()}
    texts = [(name, SAVED[name], path.read_bytes()) for name, path in there.items()]
    means = means_by_seed(study).to_csv(index=False, lineterminator="\n")
    texts.append(("seeds.csv", "the means of each seed", means.encode()))
    return [
        (name, words, f"data:text/csv;base64,{base64.b64encode(text).decode()}")
        for name, words, text in texts
    ]


def _json(value: object) -> str:
    """As JSON that may stand in a script element: what could end it is escaped."""
    return json.dumps(value).replace("<", "\\u003c")


def _resource(name: str) -> str:
    return files("recsys_posttrain.report").joinpath(name).read_text(encoding="utf-8")
