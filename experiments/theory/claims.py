"""What one part of the theory experiment hands over, and how it is written down."""

from typing import Any, NamedTuple

import numpy as np

from recsys_posttrain.report.cells import cells, headings
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.worlds.tabular import Floats


class Check(NamedTuple):
    """A sentence of the theory, what was measured, and whether that agrees."""

    claim: str
    measured: str
    holds: bool


class Claim(NamedTuple):
    """rows: the table, one dict per row with the same keys. curves: what only the figure needs."""

    title: str
    setting: str
    rows: list[dict[str, Any]]
    curves: dict[str, Any]
    checks: list[Check]


def in_standard_errors(value_S: Floats) -> float:
    """The mean of independent values, divided by its standard error."""
    return float(value_S.mean() / (value_S.std(ddof=1) / np.sqrt(len(value_S))))


def markdown(claim: Claim, figure: str) -> str:
    """A section: the setting, the checks, the figure, the table."""
    columns = list(claim.rows[0])
    lines = [f"## {claim.title}", "", claim.setting, ""]
    for check in claim.checks:
        verdict = "holds" if check.holds else "**DOES NOT HOLD**"
        lines.append(f"- {check.claim}: {verdict}. {check.measured}")
    lines += ["", f"![{claim.title}]({figure})", ""]
    rows = [cells(_text(row[column]) for column in columns) for row in claim.rows]
    return "\n".join([*lines, markdown_table(headings(*columns), rows)])


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
