"""Cells as Markdown, LaTeX and HTML. Each escapes on its own."""

import html as standard
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from recsys_posttrain.files import write_text
from recsys_posttrain.report.cells import NOTHING, Block, Cell, Heading, Row, Sheet, write_sheet

DAGGER = "†"


def write(sheet: Sheet, folder: Path, name: str) -> None:
    """`<name>.md`, `.tex` and `.json` (the cells), each replaced as a whole."""
    write_text(folder / f"{name}.md", markdown(sheet))
    write_text(folder / f"{name}.tex", latex(sheet, name))
    write_sheet(folder / f"{name}.json", sheet)


def markdown(sheet: Sheet) -> str:
    """The caption, then each block below its title; ends with a newline."""
    text = [escaped(sheet.caption)] if sheet.caption else []
    for block in sheet.blocks:
        text += [f"{escaped(block.title)}:"] if block.title else []
        text.append(_markdown_block(block))
    return "\n\n".join(text) + "\n"


def markdown_table(columns: Sequence[Heading], rows: Iterable[Row]) -> str:
    """One table, without a newline at its end."""
    return _markdown_block(Block("", columns, list(rows)))


def _markdown_block(block: Block) -> str:
    """A group's name stands in a row of its own."""
    columns = block.columns
    lines = [[f"{_inline(column.name)} {column.arrow}".strip() for column in columns]]
    for group, rows in block.by_group():
        lines += [[f"*{_inline(group)}*", *[""] * (len(columns) - 1)]] if group else []
        lines += [[_markdown_cell(cell) for cell in row] for row in rows]
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    rule = "".join(":--|" if column.is_text else "--:|" for column in columns)
    return "\n".join([head, f"|{rule}", *body])


def _markdown_cell(cell: Cell) -> str:
    text = _inline(cell.text)
    value = f"**{text}**" if cell.bold else text
    value += DAGGER if cell.dagger else ""
    return " ".join(part for part in (value, cell.interval, _inline(cell.note)) if part)


def escaped(text: str) -> str:
    """A paragraph of plain text in Markdown, on one line."""
    # No list and no quotation.
    return re.sub(r"^(\s*\d*)([-+=>.)])", r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    text = " ".join(text.split("\n")).translate(_MARKDOWN)
    return re.sub(r"&(?=\\?[#\w])", r"\&", text)  # an entity


_MARKDOWN = {ord(letter): f"\\{letter}" for letter in "\\`*_|<[]#~"} | {ord("\r"): " "}


def latex(sheet: Sheet, label: str = "comparison") -> str:
    """A table* for booktabs; it needs nothing else in the preamble."""
    columns = sheet.blocks[0].columns
    alignment = "".join("l" if column.is_text else "r" for column in columns)
    titles = [(_latex(column.first), _latex(_second(column))) for column in columns]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex(sheet.caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *(" & ".join(line) + r" \\" for line in zip(*titles, strict=True)),
    ]
    for block in sheet.blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(_latex_line(block.title, len(columns)))
        for group, rows in block.by_group():
            lines += [r"\addlinespace", _latex_line(group, len(columns))] if group else []
            lines += [" & ".join(map(_latex_cell, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _latex_line(text: str, columns: int) -> str:
    """Text over all columns."""
    return rf"\multicolumn{{{columns}}}{{l}}{{\textit{{{_latex(text)}}}}} \\"


def _second(column: Heading) -> str:
    return f"{column.second} {column.arrow}".strip()


def _latex_cell(cell: Cell) -> str:
    value = _latex(cell.text)
    value = rf"\textbf{{{value}}}" if cell.bold else value
    value += r"$^\dagger$" if cell.dagger else ""
    return value + (rf"\,{{\scriptsize {_latex(_small(cell))}}}" if _small(cell) else "")


def _small(cell: Cell) -> str:
    """What follows the value, on one line."""
    return " ".join(part for part in (cell.interval, cell.note) if part)


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


def html_sheet(sheet: Sheet) -> str:
    """All blocks with their titles, and the caption."""
    blocks = (
        (f"<p>{_escape(each.title)}</p>\n" if each.title else "", each) for each in sheet.blocks
    )
    return (
        "".join(title + html(each) for title, each in blocks) + f"<p>{_escape(sheet.caption)}</p>\n"
    )


def html(block: Block) -> str:
    """One table that scrolls by itself; what follows a value in its cell is small."""
    head = "".join(f"<th>{_escape(each.name)}{_arrow(each)}</th>" for each in block.columns)
    bodies = []
    for group, rows in block.by_group():
        over = f'<tr class="group"><td colspan="{len(block.columns)}">{_escape(group)}</td></tr>'
        cells = ("".join(f"<td>{_html_cell(cell)}</td>" for cell in row) for row in rows)
        lines = [*([over] if group else []), *(f"<tr>{row}</tr>" for row in cells)]
        bodies.append("<tbody>" + "\n".join(lines) + "</tbody>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"{''.join(bodies)}</table></div>\n"
    )


def _arrow(column: Heading) -> str:
    return f"\N{NO-BREAK SPACE}{column.arrow}" if column.arrow else ""


def _html_cell(cell: Cell) -> str:
    value = _escape(cell.text)
    value = f"<strong>{value}</strong>" if cell.bold else value
    small = "".join(
        f"<small>{_escape(part)}</small>" for part in (cell.interval, cell.note) if part
    )
    return value + (DAGGER if cell.dagger else "") + small


def _escape(text: str) -> str:
    return standard.escape(text, quote=False)
