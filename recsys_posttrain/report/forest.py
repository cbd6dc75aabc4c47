"""The forest plot: of each column the paired differences to the control, as a table whose second
column is drawn. It sorts, filters, prints and fits a phone as a table does."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.report.cells import NOTHING, decimal, p_text
from recsys_posttrain.report.study_folder import StudyFolder, value_columns
from recsys_posttrain.report.svg import number, ticks
from recsys_posttrain.report.verdicts import (
    CUTOFFS,
    Difference,
    differences,
    given_something,
    interval,
    is_better_high,
)


class Forest(NamedTuple):
    """title: the column. coverage: of each method, of lists as long as the column's."""

    title: str
    arrow: str
    control: str
    rows: list[Difference]
    coverage: Mapping[str, float]


def forests(study: StudyFolder) -> Iterator[Forest]:
    """Of each column that has differences, without noise, and of those at other cutoffs."""
    is_shown = (study.cells["place"] == "") & ~study.cells["method"].isin(given_something(study))
    clean = study.cells[is_shown]
    cutoffs = study.frame(CUTOFFS)
    both = clean if cutoffs is None else pd.concat([clean, cutoffs])
    names = value_columns(study)
    if cutoffs is not None:
        more = cutoffs["column"].unique()
        names += [name for name in more if name not in names and not name.startswith("popularity")]
    shown = both.groupby("column", sort=False)
    for name in names:
        cells = shown.get_group(name).drop_duplicates("method")
        if cells["difference"].notna().any():
            is_up = is_better_high(name)
            rows = differences(cells, study.control, is_up)
            yield Forest(name, "↑" if is_up else "↓", study.control, rows, _coverage(both, name))


def _coverage(cells: pd.DataFrame, column: str) -> dict[str, float]:
    """Of the column's own cutoff; empty where it has none, or coverage was not measured there."""
    at = column.partition("@")[2].partition(" ")[0]
    there = cells[cells["column"] == f"coverage@{at}"]
    return dict(zip(there["method"], there["mean"], strict=True)) if at else {}


def drawn(forest: Forest) -> str:
    """As a table."""
    edges = _edges(forest.rows)
    head = ["<th>method</th>", f'<th class="strip">{_axis(edges)}</th>']
    titles = [
        f"minus {forest.control} [95%]",
        "p",
        f"{forest.title}\N{NO-BREAK SPACE}{forest.arrow}",
    ]
    titles += [f"coverage@{forest.title.partition('@')[2].partition(' ')[0]}"] * bool(
        forest.coverage
    )
    head += [f"<th>{html.escape(title)}</th>" for title in titles]
    rows = "\n".join(_row(each, edges, forest.coverage) for each in forest.rows)
    return (
        f'<div class="scroll"><table class="forest"><thead><tr>{"".join(head)}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _edges(rows: Sequence[Difference]) -> tuple[float, float]:
    """Of the axis. Methods far from all others (popularity) would press them together: their bars
    end at the edge."""
    ends = [
        value
        for each in rows
        for value in (each.low, each.difference, each.high)
        if math.isfinite(value)
    ]
    middle = sorted(abs(value) for value in ends)
    reach = 3 * middle[len(middle) // 2] or 1.0
    low, high = (max(min([0.0, *ends]), -reach), min(max([0.0, *ends]), reach))
    edge = 0.06 * (high - low) or 1.0
    return low - edge, high + edge


def _at(value: float, edges: tuple[float, float]) -> float:
    """In percent of the strip's width, with room for a dot at either end."""
    low, high = edges
    return 2 + 96 * (min(max(value, low), high) - low) / (high - low)


def _axis(edges: tuple[float, float]) -> str:
    marks = "".join(
        f'<text x="{_at(value, edges):.1f}%" y="13" text-anchor="middle">{number(value)}</text>'
        for value in ticks(*edges, most=6)
    )
    return f'<svg class="strip" height="16" aria-hidden="true">{marks}</svg>'


def _row(each: Difference, edges: tuple[float, float], coverage: Mapping[str, float]) -> str:
    strip = f'<line class="zero" x1="{_at(0, edges):.1f}%" x2="{_at(0, edges):.1f}%" y2="24"/>'
    if math.isfinite(each.low):
        low, high = (_at(value, edges) for value in (each.low, each.high))
        strip += f'<line class="bar" x1="{low:.1f}%" x2="{high:.1f}%" y1="12" y2="12"/>'
    if math.isfinite(each.difference):
        is_out = not edges[0] <= each.difference <= edges[1]
        radius = 2 if is_out else 4  # a small dot at the edge: the value is outside
        strip += f'<circle cx="{_at(each.difference, edges):.1f}%" cy="12" r="{radius}"/>'
    strip = f'<svg class="strip" height="24" role="img"><title>{each.verdict}</title>{strip}</svg>'
    shown = decimal(each.difference, sign=True)
    shown += f"<small>{bounds}</small>" if (bounds := interval(each).strip()) else ""
    cells = [html.escape(each.method), strip, shown, p_text(each.p), decimal(each.mean)]
    if coverage:
        cells.append(decimal(coverage[each.method]) if each.method in coverage else NOTHING)
    return f'<tr class="{each.verdict}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
