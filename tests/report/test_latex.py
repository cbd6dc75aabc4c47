"""Tables as LaTeX: what a page has no room for goes on in another table, and all of it compiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from doc_pages import ROOT
from hostile_names import HOSTILE

from recsys_posttrain.report.cells import Block, Cell, Heading, Sheet, headings, read_sheet
from recsys_posttrain.report.latex import latex

RESULTS = ROOT / "experiments" / "results"
PDFLATEX = shutil.which("pdflatex")


def sheet_of(columns, rows, blocks=1, **fields):
    """Values of ten characters and as many in small print, below 90 points wide."""
    names = headings("method", *(f"column {number}" for number in range(columns)))
    body = [
        [Cell(f"row {number}"), *[Cell("3.1234", "±.0123") for _ in range(columns)]]
        for number in range(rows)
    ]
    titles = [f"title {number}" for number in range(blocks)]
    return Sheet("What it is. And more.", [Block(title, names, body, **fields) for title in titles])


def tables_of(text):
    return re.findall(r"\\begin\{table\*\}.*?\\end\{table\*\}", text, re.DOTALL)


def rows_of(table):
    return re.findall(r"^row (\d+) ", table, re.MULTILINE)


def test_a_table_that_fits_is_one():
    text = latex(sheet_of(3, 10, blocks=2), "mine")
    assert len(tables_of(text)) == 1
    assert text.count(r"\label{tab:mine}") == text.count("title 1") == 1
    assert r"\caption[What it is.]{\footnotesize What it is. And more.}" in text


def test_columns_without_room_go_on_beside_the_names_of_the_rows():
    text = latex(sheet_of(12, 3), "mine")
    tables = tables_of(text)
    assert len(tables) > 1
    assert all(rows_of(table) == ["0", "1", "2"] for table in tables)
    shown = [re.findall(r"column (\d+)", table) for table in tables]
    in_order = [int(number) for each in shown for number in each]
    assert in_order == list(range(12)), "each column once"
    assert all(r"Table~\ref{tab:mine}, continued" in table for table in tables[1:])
    assert text.count(r"\caption") == 1


def test_rows_without_room_go_on_below_the_titles_of_their_block_and_group():
    names = ["first"] * 60 + ["second"] * 60
    tables = tables_of(latex(sheet_of(2, 120, groups=names), "mine"))
    assert len(tables) > 2
    assert [int(number) for table in tables for number in rows_of(table)] == list(range(120))
    for table in tables:
        at_first = int(rows_of(table)[0])
        head = table[: table.index("row ")]
        assert "title 0" in head
        assert ("first" if at_first < 60 else "second") in head


def test_blocks_of_other_columns_have_tables_of_their_own():
    blocks = [*sheet_of(2, 2).blocks, *sheet_of(4, 2).blocks]
    tables = tables_of(latex(Sheet("", blocks)))
    assert [len(re.findall(r"column \d", table)) for table in tables] == [2, 4]
    assert [re.search(r"tabular\}\{(\w+)\}", table)[1] for table in tables] == ["lrr", "lrrrr"]


def test_a_long_text_breaks_its_lines():
    heads = [Heading("what", is_text=True), Heading("value")]
    text = latex(Sheet("", [Block("", heads, [[Cell("word " * 30), Cell("1")]])]))
    assert r"\begin{tabular}{p{150pt}r}" in text
    assert " & value" in text, "a title of one line"


def test_more_tables_than_tex_holds_are_let_out_between():
    text = latex(sheet_of(4, 1200), "mine")
    for part in text.split(r"\clearpage"):
        assert 0 < len(tables_of(part)) <= 16


def test_every_sign_that_the_package_writes_is_known_to_latex():
    """What is left in the text must be a letter that LaTeX knows by itself."""
    files = [*(ROOT / "recsys_posttrain").rglob("*.py"), *RESULTS.rglob("*.json")]
    signs = {sign for path in files for sign in path.read_text() if not sign.isascii()}
    drawn = set("━─█")  # of the bar on a terminal
    assert signs - drawn > {"±", "√", "≤"}
    for sign in signs - drawn:
        text = latex(Sheet(sign, [Block(sign, headings(sign, sign), [[Cell(sign), Cell(sign)]])]))
        assert text.isascii(), f"{sign!r} has no LaTeX in report/latex.py"


def log_of(folder: Path, text: str) -> str:
    """What pdflatex says of a document with these tables and booktabs alone."""
    begin = "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (folder / "paper.tex").write_text(f"{begin}{text}\n\\end{{document}}\n", encoding="utf-8")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    said = (folder / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, said[-2000:]
    return said


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed")
def test_every_published_table_compiles_and_fits(tmp_path):
    """In one document: a table that is wider or longer than a page is an Overfull line."""
    paths = sorted(path for path in RESULTS.glob("*/*.tex") if path.with_suffix(".json").exists())
    assert len(paths) >= 28
    said = log_of(tmp_path, "\n\\clearpage\n".join(path.read_text() for path in paths))
    assert not re.findall(r"Overfull \\hbox.*|Float too large.*", said)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*.tex")), ids=lambda path: path.parent.name)
def test_published_tables_are_their_cells(path):
    if path.with_suffix(".json").exists():
        assert path.read_text() == latex(read_sheet(path.with_suffix(".json")), path.stem)


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed")
def test_hostile_names_compile(tmp_path):
    rows = [[Cell(name, "±.1", name, bold=True, dagger=True), Cell(name)] for name in HOSTILE]
    blocks = [Block(name, headings(name, name), rows, [name] * len(rows)) for name in HOSTILE]
    log_of(tmp_path, latex(Sheet(" ".join(HOSTILE), blocks)))
