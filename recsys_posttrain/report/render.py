"""Text of a comparison table in three formats, from one list of blocks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.comparison import DECIMALS

DAGGER = "†"
COLUMNS_PER_TABLE = 9  # what fits into a terminal of 100 characters
NOTHING = "–"  # noqa: RUF001 (an en dash for an empty cell)


@dataclass(frozen=True)
class Cell:
    """`.1822`, `±.0072`, and how it is marked."""

    value: str
    half: str = ""
    bold: bool = False
    significant: bool = False


@dataclass(frozen=True)
class Block:
    """A title (empty for the levels), a two-line header per column, and rows of cells."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def blocks(
    cells: pd.DataFrame,
    methods: Sequence[str],
    columns: tuple[Column, ...],
    control: str,
    relative: bool,
) -> list[Block]:
    """The levels of all methods, then what separates the others from the control."""
    by_place = {(cell["method"], cell["column"]): cell for cell in cells.to_dict("records")}

    def level(method: str, column: Column) -> Cell:
        cell = by_place[method, column.name]
        half = (cell["high"] - cell["low"]) / 2
        return Cell(
            decimal(cell["mean"]), _half(decimal(half)), cell["best"], bool(cell["significant"])
        )

    def difference(method: str, column: Column) -> Cell:
        cell = by_place[method, column.name]
        shown = percent if relative else decimal
        half = (cell["difference_high"] - cell["difference_low"]) / 2
        value = shown(cell["difference"], sign=True)
        return Cell(value, _half(shown(half)), False, bool(cell["significant"]))

    title = f"{'Change in percent of' if relative else 'Difference to'} {control}"
    others = [method for method in methods if method != control]
    return [
        Block("", columns, tuple((m, tuple(level(m, c) for c in columns)) for m in methods)),
        Block(title, columns, tuple((m, tuple(difference(m, c) for c in columns)) for m in others)),
    ]


def decimal(value: float, sign: bool = False) -> str:
    """.1822 or 3.9120; with a sign +.0021, but never a signed zero."""
    return re.sub(r"^([+-]?)0\.", r"\1.", _signed(value, DECIMALS, sign))


def percent(value: float, sign: bool = False) -> str:
    return _signed(value, 1, sign)


def _signed(value: float, decimals: int, sign: bool) -> str:
    if value != value:
        return NOTHING
    value = round(value, decimals) + 0.0  # no negative zero
    return f"{value:{'+' if sign and value else ''}.{decimals}f}"


def _half(text: str) -> str:
    return "" if text == NOTHING else f"±{text}"


def markdown(caption: str, parts: Sequence[Block]) -> str:
    text = [escaped(caption)]
    for block in parts:
        head = [f"{escaped(column.name)} {column.arrow}" for column in block.columns]
        lines = [f"| method | {' | '.join(head)} |", "|:--|" + "--:|" * len(head)]
        for method, cells in block.rows:
            lines.append(f"| {escaped(method)} | {' | '.join(map(_markdown_cell, cells))} |")
        if block.title:
            text.append(f"{escaped(block.title)}:")
        text.append("\n".join(lines))
    return "\n\n".join(text) + "\n"


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.bold else cell.value
    return f"{value}{DAGGER if cell.significant else ''} {cell.half}".rstrip()


def escaped(text: str) -> str:
    """As plain text in Markdown, on one line."""
    text = " ".join(text.split("\n")).translate(_MARKDOWN)
    text = re.sub(r"&(?=\\?[#\w])", r"\&", text)  # an entity
    return re.sub(r"^(\s*\d*)([-+=>.)])", r"\1\\\2", text)  # a list or a quotation


_MARKDOWN = {ord(letter): f"\\{letter}" for letter in "\\`*_|<[]#~"} | {ord("\r"): " "}


def latex(caption: str, parts: Sequence[Block]) -> str:
    columns = parts[0].columns
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex(caption)}}}",
        r"\label{tab:comparison}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *(_latex(column.metric) for column in columns)]) + r" \\",
        " & ".join(["method", *(_latex(f"{c.over} {c.arrow}".strip()) for c in columns)]) + r" \\",
    ]
    for block in parts:
        lines.append(r"\midrule")
        if block.title:
            width = len(columns) + 1
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(block.title)}}}}} \\")
        for method, cells in block.rows:
            lines.append(" & ".join([_latex(method), *map(_latex_cell, cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    value = _latex(cell.value)
    value = rf"\textbf{{{value}}}" if cell.bold else value
    value += r"$^\dagger$" if cell.significant else ""
    return value + (rf"\,{{\scriptsize {_latex(cell.half)}}}" if cell.half else "")


_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"[": "{[}", "]": "{]}"}  # after a line's end brackets are a length
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "≤": r"$\leq$", "≥": r"$\geq$", "±": r"$\pm$", NOTHING: "--"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", DAGGER: r"$\dagger$"}
)


def _latex(text: str) -> str:
    """Escaped text; a minus sign before a number is set as one."""
    escaped = text.translate(_LATEX)
    return f"$-${escaped[1:]}" if text.startswith("-") else escaped


def terminal(caption: str, parts: Sequence[Block]) -> Group:
    """Value over interval in each cell; a block of more columns than fit is several tables."""
    shown: list[RichTable | Text] = []
    for block in (piece for part in parts for piece in _pieces(part)):
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.title = Text(block.title) if block.title else None
        table.title_justify = "left"
        # A narrow terminal may cut figures, but never which method they belong to.
        longest = max(len(method) for method, _ in block.rows)
        table.add_column("method", overflow="fold", min_width=min(longest, 16))
        for column in block.columns:
            header = Text(f"{column.metric}{column.arrow}\n{column.over}")
            table.add_column(header, justify="right", no_wrap=True)
        for method, cells in block.rows:
            table.add_row(Text(method), *map(_terminal_cell, cells))
        shown.append(table)
    return Group(*shown, Text(caption, style="dim"))


def _pieces(block: Block) -> list[Block]:
    """The block in parts of COLUMNS_PER_TABLE columns."""
    return [
        Block(
            block.title,
            block.columns[start : start + COLUMNS_PER_TABLE],
            tuple((name, cells[start : start + COLUMNS_PER_TABLE]) for name, cells in block.rows),
        )
        for start in range(0, len(block.columns), COLUMNS_PER_TABLE)
    ]


def _terminal_cell(cell: Cell) -> Text:
    text = Text(cell.value, style="bold" if cell.bold else "")
    text.append(DAGGER if cell.significant else "")
    return text.append(f"\n{cell.half}", style="dim not bold") if cell.half else text
