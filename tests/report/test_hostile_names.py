"""Names of data are text wherever they are shown: never markup, structure or a formula."""

import ast
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hostile_names import HOSTILE
from markdown_it import MarkdownIt
from rich.table import Table

import recsys_posttrain
from recsys_posttrain.progress import console, plain_console, say
from recsys_posttrain.report import figures
from recsys_posttrain.report.cells import Block, Cell, Heading, Sheet
from recsys_posttrain.report.forest import Forest, drawn
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.render import html, markdown
from recsys_posttrain.report.sections import caption, tables
from recsys_posttrain.report.svg import Line, Panel, draw
from recsys_posttrain.report.verdicts import Difference

PACKAGE = Path(recsys_posttrain.__file__).parent


class Read(HTMLParser):
    """The tags and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_terminal_shows_ids_as_they_are(capsys):
    """Also in cells and titles; and one longer than the screen stays in one piece."""
    names = [*HOSTILE[:5], "x" * 500]
    for name in names:
        say(name)
    lines = capsys.readouterr().out.splitlines()
    assert lines == names

    table = Table(title="[/b] urn:book:12")
    table.add_column("[/i]", min_width=30)
    table.add_row("[deleted]")
    wide = plain_console(width=80, record=True)
    wide.print(table)
    shown = wide.export_text()
    assert all(text in shown for text in ("[/b] urn:book:12", "[/i]", "[deleted]"))


def test_every_console_is_a_plain_one():
    """`Console(` stands in progress.py alone; a column with a template turns its markup off."""
    made, columns = [], []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).rpartition(".")[2]
                made += [path.name] if called in ("Console", "from_markup", "Markdown") else []
                plain = "markup=False" in [ast.unparse(each) for each in node.keywords]
                columns += [plain] if called == "TextColumn" else []
            if isinstance(node, ast.Constant) and "{task." in str(node.value):
                columns.append(True)
            if isinstance(node, ast.ImportFrom) and node.module == "rich":
                assert "print" not in [name.name for name in node.names], path
    assert made == ["progress.py"]
    assert columns
    assert all(columns)
    assert (console._markup, console._emoji, console._highlight) == (False, False, False)


def sheet_of(name):
    """The name in a caption, a block's title, a heading and a cell with everything."""
    cell = Cell(name, "±.1", name, bold=True, dagger=True)
    columns = [Heading("method", is_text=True), Heading(name, name, name, "↑")]
    return Sheet(name, [Block("", columns, []), Block(name, columns, [[Cell(name), cell]])])


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_the_name(name):
    """By a full renderer."""
    expected = " ".join(name.split("\n"))
    full = MarkdownIt("commonmark").enable("table")
    table = ["table", "thead", "tr", "th", "th"]
    read = Read(full.render(markdown(sheet_of(name))))
    tags = ["p", *table, "p", *table, "tbody", "tr", "td", "td", "strong"]
    assert read.tags == tags
    shown = "".join(line for line in read.text.splitlines())
    assert shown.startswith(expected)
    assert shown.count(expected) == 7
    assert f"{expected}† ±.1 {expected}" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_shows_the_name(name):
    sheet = sheet_of(name)
    table = ["div", "table", "thead", "tr", "th"]
    read = Read(html(sheet.blocks[1]))
    assert read.tags == [*table, "th", "tbody", "tr", "td", "td", "strong", "small", "small"]
    assert read.text.count(name) == 4
    around = Read(tables(sheet.blocks) + caption(sheet.caption))
    assert set(around.tags) - set(read.tags) == {"h3", "p"}
    assert around.text.count(name) == 7


def test_latex_keeps_brackets_and_signs():
    text = latex(sheet_of("[a_b] & 5% #1 $x$"))
    assert text.count(r"{[}a\_b{]} \& 5\% \#1 \$x\$") == 8
    assert r"{[}a\_b{]} \& 5\% \#1 \$x\$}$^\dagger$\,{\scriptsize $\pm$.1 {[}a" in text


def test_figures_show_the_name():
    assert figures.plain("$x$") == r"\$x\$"


@pytest.mark.parametrize("name", HOSTILE)
def test_charts_show_the_name(name):
    line = Line(name, [0.0, 1.0], [0.0, 1.0], notes=[name, name])
    chart = Read(draw(Panel(name, name, name, [line])))
    assert set(chart.tags) == {"svg", "title", "text", "line", "g", "path"}
    assert chart.text.count(name) == 8  # title twice, two labels, and both points with their notes
    row = Difference(name, 1.0, 0.5, 0.1, 0.9, 0.01, "better")
    forest = Read(drawn(Forest(name, "↑", name, [row], {})))
    assert "script" not in forest.tags
    assert "b" not in forest.tags
    assert forest.text.count(name) == 3


def test_matplotlib_draws_dollars(tmp_path):
    """A formula that is none would end the figure with an error."""
    cells = pd.DataFrame({"method": ["$\\frac$"]})
    figure, (axis,) = figures.panels(1, 1)
    axis.scatter([1], cells["method"].map(figures.plain))
    axis.set(title=figures.plain("$\\undefined$"))
    figures.save(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size
