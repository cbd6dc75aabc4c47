"""The table of cutoffs: what a method gains at the head of a list and loses further down, and what
its lists show."""

from collections.abc import Hashable
from typing import Any

import pandas as pd

from recsys_posttrain.evaluation.metrics import SHOWN
from recsys_posttrain.report.cells import (
    NOTHING,
    Block,
    Cell,
    Heading,
    Row,
    Sheet,
    decimal,
    plus_minus,
)
from recsys_posttrain.stats.columns import CUTOFF_METRICS
from recsys_posttrain.stats.comparison import Comparison

REFERENCE = "Pretrained"  # what a shift is against, where the table has it
_TITLES = {
    "coverage": "coverage: share of the catalogue in the lists",
    "popularity": "popularity of what is shown, minus that of {}",
}


def cutoffs_sheet(comparison: Comparison, control: str, about: str) -> Sheet:
    """A block per metric, methods by cutoffs. about: how the tests were done."""
    against = REFERENCE if REFERENCE in comparison.methods else control
    shifts = _shifts(comparison.pairs, against)
    cells = _by_name(comparison.cells)
    columns = [Heading("method", second="method", is_text=True)]
    columns += [Heading(f"@{k}", "", f"@{k}") for k in SHOWN]
    blocks = []
    for metric in CUTOFF_METRICS:
        names = [_name(metric, k) for k in SHOWN]
        if not any((name, control) in cells for name in names):
            continue
        rows: list[Row] = []
        for method in comparison.methods:
            row = [Cell(method)]
            for name in names:
                if metric == "popularity" and method != against:
                    row.append(shifts.get((name, method), Cell(NOTHING)))
                elif (cell := cells.get((name, method))) is not None:
                    row.append(_level(cell, cells[name, control]))
                else:
                    row.append(Cell(NOTHING))
            rows.append(row)
        title = _TITLES.get(metric, f"{metric}, all targets").format(against)
        blocks.append(Block(title, columns, rows))
    found = trade_offs(comparison, control)
    caption = (
        f"At several cutoffs. In brackets the difference to {control}; † differs from it (p ≤ .05, "
        f"{about}). Popularity of an item: the share of the catalogue that is less popular; "
        f"{against} has its level, the others the shift ± half of its 95% interval. "
        f"{found or f'No method differs from {control} in both directions.'}"
    )
    return Sheet(caption, blocks)


def trade_offs(comparison: Comparison, control: str) -> str:
    """`X: NDCG@1 up, HR@50 down`: the methods that differ from the control in both directions."""
    cells = _by_name(comparison.cells)
    shown = [_name(metric, k) for metric in ("NDCG", "HR") for k in SHOWN]
    sentences = []
    for method in comparison.methods:
        ways: dict[bool, list[str]] = {True: [], False: []}
        for name in shown:
            cell = cells.get((name, method), {"significant": False})
            if cell["significant"]:
                is_up = cell["mean"] > cells[name, control]["mean"]
                ways[is_up].append(name.removesuffix(" all"))
        if all(ways.values()):
            up, down = (", ".join(ways[is_up]) for is_up in (True, False))
            sentences.append(f"{method}: {up} up, {down} down")
    return f"Against {control}: {'; '.join(sentences)}." if sentences else ""


def _name(metric: str, k: int) -> str:
    return f"{metric}@{k} all" if metric in ("NDCG", "HR") else f"{metric}@{k}"


def _by_name(cells: pd.DataFrame) -> dict[tuple[str, str], dict[Hashable, Any]]:
    return {(cell["column"], cell["method"]): cell for cell in cells.to_dict("records")}


def _level(cell: dict[Hashable, Any], control: dict[Hashable, Any]) -> Cell:
    difference = decimal(cell["mean"] - control["mean"], sign=True)
    note = "" if cell is control else f"({difference})"
    return Cell(decimal(cell["mean"]), note=note, bold=cell["best"], dagger=cell["significant"])


def _shifts(pairs: pd.DataFrame, against: str) -> dict[tuple[str, str], Cell]:
    """By column and method its difference to `against`, whichever stands first in the pair."""
    found = {}
    for pair in pairs.to_dict("records"):
        if against in (pair["method"], pair["other"]):
            sign, method = (-1, "other") if pair["method"] == against else (1, "method")
            half = plus_minus(decimal((pair["high"] - pair["low"]) / 2))
            value = decimal(sign * pair["difference"], sign=True)
            found[pair["column"], pair[method]] = Cell(value, half)
    return found
