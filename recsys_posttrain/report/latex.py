r"""A sheet as LaTeX for booktabs, in as many tables as fit on pages.

What is too wide or too long for a page goes on in another `table*`; each has the first columns and
the titles again. Widths are estimated from the number of letters, towards too many, because no TeX
may be here to measure them. The first table has the caption and the label, the others say that they
continue it and what their rows are of.
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from recsys_posttrain.report.cells import DAGGER, NOTHING, Block, Cell, Heading, Sheet

# In points: a page of `article` in two columns, less a little, its lines in \footnotesize.
WIDTH, HEIGHT, LINE, GAP = 455.0, 520.0, 10.0, 6.0
TITLES = 40.0  # of rules and the titles of columns
LETTER, CAPITAL, SMALL, SPACE = 4.3, 6.0, 4.0, 6.0  # of a value, in a small note, around a column
TEXT = 150.0  # a column of text that is wider breaks its lines
HELD = 16  # tables in a row: TeX holds 18 until they have a place


def latex(sheet: Sheet, label: str = "comparison") -> str:
    r"""`table*` for booktabs; it needs nothing else in the preamble."""
    head, room = _caption(sheet.caption, label), HEIGHT - LINE * math.ceil(len(sheet.caption) / 100)
    written = list[str]()
    for _, blocks in groupby(sheet.blocks, key=lambda block: list(block.columns)):
        for part in _panels(list(blocks)):
            widths = _widths(part)
            for lines in _pages(list(_units(part, widths)), room):
                written.append(_table(head, part[0].columns, widths, lines))
                head, room = [rf"Table~\ref{{tab:{label}}}, continued\par\medskip"], HEIGHT
    parts = ["\n".join(written[first : first + HELD]) for first in range(0, len(written), HELD)]
    return "\n\\clearpage\n".join(parts)


def _widths(blocks: Sequence[Block]) -> list[float]:
    """Of each column of blocks with equal columns, the space around it included."""
    columns = blocks[0].columns
    cells = [list(map(Cell, _titles(each))) for each in columns]
    for row in (row for block in blocks for row in block.rows):
        for cell, column in zip(row, cells, strict=True):
            column.append(cell)
    return [
        SPACE + min(max(map(_width, column)), TEXT if heading.is_text else math.inf)
        for heading, column in zip(columns, cells, strict=True)
    ]


def _panels(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """The blocks once for as many columns as a page has room for beside the names of the rows."""
    widths = _widths(blocks)
    names = list(range(blocks[0].num_names))
    values = list(range(len(names), len(widths)))
    while True:
        taken = values[:1]
        while (more := values[: len(taken) + 1]) != taken:
            if sum(widths[place] for place in names + more) > WIDTH:
                break
            taken = more
        yield [block.part(names + taken) for block in blocks]
        values = values[len(taken) :]
        if not values:
            return


class Unit(NamedTuple):
    """Lines that stay on one page, and their height in points. titles: what also stands above them
    where a page begins with them."""

    lines: list[str]
    height: float
    titles: list[str]


def _units(blocks: Sequence[Block], widths: Sequence[float]) -> Iterator[Unit]:
    """Each row, with what stands above it."""
    for number, block in enumerate(blocks):
        above, height = ([r"\midrule"], GAP) if number else ([], 0.0)
        title = [_over_all(block.title, len(widths))] if block.title else []
        above, height = above + title, height + LINE * len(title)
        for group, rows in block.by_group():
            name = [r"\addlinespace", _over_all(group, len(widths))] if group else []
            above, height = above + name, height + (LINE + GAP) * bool(group)
            for row in rows:
                lines = max(
                    math.ceil((SPACE + _width(cell)) / width)
                    for cell, width in zip(row, widths, strict=True)
                )
                written = " & ".join(map(_cell, row)) + r" \\"
                titles = [] if title and title[0] in above else title
                yield Unit(
                    [*above, written], height + LINE * lines, titles + (name if not above else [])
                )
                above, height = [], 0.0
        if above:
            yield Unit(above, height, [])


def _pages(units: Sequence[Unit], room: float) -> Iterator[list[str]]:
    """Lines of as many units as a page has room for; the first page has `room`."""
    lines, left = list[str](), room - TITLES
    for unit in units:
        if lines and unit.height > left:
            yield lines
            lines, left = list(unit.titles), HEIGHT - TITLES - (LINE + GAP) * len(unit.titles)
        lines, left = lines + unit.lines, left - unit.height
    yield lines


def _table(
    head: Sequence[str], columns: Sequence[Heading], widths: Sequence[float], lines: Sequence[str]
) -> str:
    titles = zip(*(map(_escaped, _titles(each)) for each in columns), strict=True)
    alignment = "".join(map(_alignment, columns, widths))
    return "\n".join(
        [
            r"\begin{table*}[tp]",
            r"\centering",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{3pt}",
            *head,
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            *(" & ".join(line) + r" \\" for line in titles if any(line)),
            r"\midrule",
            *(lines[1:] if lines[:1] == [r"\midrule"] else lines),  # a block that begins a page
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _alignment(heading: Heading, width: float) -> str:
    if not heading.is_text:
        return "r"
    return rf"p{{{TEXT:g}pt}}" if width >= SPACE + TEXT else "l"


def _caption(text: str, label: str) -> list[str]:
    """Its first sentence in the list of tables."""
    first = re.split(r"(?<=\.) ", text, maxsplit=1)[0]
    said = rf"\caption[{_escaped(first)}]{{\footnotesize {_escaped(text)}}}"
    return [said, rf"\label{{tab:{label}}}\par\medskip"]


def _titles(heading: Heading) -> tuple[str, str]:
    """On two lines."""
    above, below = (heading.first, heading.second) if heading.second else ("", heading.name)
    return above, f"{below} {heading.arrow}".strip()


def _over_all(text: str, columns: int) -> str:
    return rf"\multicolumn{{{columns}}}{{l}}{{\textit{{{_escaped(text)}}}}} \\"


def _cell(cell: Cell) -> str:
    value = _escaped(cell.text)
    value = rf"\textbf{{{value}}}" if cell.bold else value
    value += r"$^\dagger$" if cell.dagger else ""
    return value + (rf"\,{{\scriptsize {_escaped(_small(cell))}}}" if _small(cell) else "")


def _small(cell: Cell) -> str:
    """What follows the value, on one line."""
    return " ".join(part for part in (cell.interval, cell.note) if part)


def _width(cell: Cell) -> float:
    """In points, at least."""
    letters = cell.text + DAGGER * cell.dagger
    value = sum(CAPITAL if each.isupper() or each in "+-±" else LETTER for each in letters)
    return value + SMALL * len(_small(cell)) + (2 if _small(cell) else 0)


_LETTERS = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"[": "{[}", "]": "{]}"}  # after a line's end brackets are a length
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "≤": r"$\leq$", "≥": r"$\geq$", "±": r"$\pm$", "√": r"$\surd$"}
    | {"²": "$^2$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", DAGGER: r"$\dagger$", NOTHING: "--"}
)


def _escaped(text: str) -> str:
    """A minus sign before a number is set as one."""
    escaped = text.translate(_LETTERS)
    return f"$-${escaped[1:]}" if text.startswith("-") else escaped
