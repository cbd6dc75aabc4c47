"""Cells as Markdown and HTML; LaTeX is in latex.py. Each escapes on its own."""

import html as standard
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from recsys_posttrain.files import write_text
from recsys_posttrain.report.cells import DAGGER, Block, Cell, Heading, Row, Sheet, write_sheet
from recsys_posttrain.report.latex import latex


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
