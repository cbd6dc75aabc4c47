"""The quality of reward models as a table (rewards/quality.py has the numbers)."""

from pathlib import Path

import pandas as pd

from recsys_posttrain.files import write_text
from recsys_posttrain.report import render
from recsys_posttrain.report.cells import NOTHING, Block, Cell, Sheet, headings, write_sheet
from recsys_posttrain.rewards.quality import INTERVALS

COLUMNS = {
    "RMSE": "rmse",
    "MAE": "mae",
    "pairwise accuracy": "pairwise_accuracy",
    "in one context": "context_accuracy",
    "Spearman": "spearman",
    "calibration slope": "calibration_slope",
    "calibration error": "calibration_error",
    "if calibrated": "calibration_floor",
    "out of range": "out_of_range",
}
SHORT = {
    "RMSE": "rmse",
    "MAE": "mae",
    "pairwise acc.": "pairwise_accuracy",
    "in one context": "context_accuracy",
    "Spearman": "spearman",
}


def write_quality(frame: pd.DataFrame, caption: str, path: Path) -> None:
    """`quality_frame` as Markdown, and its cells as JSON beside it."""
    sheet = quality_sheet(frame, caption)
    write_text(path, render.markdown(sheet))
    write_sheet(path.with_suffix(".json"), sheet)


def quality_sheet(frame: pd.DataFrame, caption: str) -> Sheet:
    first = frame.iloc[0]
    note = (
        f"{first['events']:,.0f} events of {first['users']:,.0f} users, 95% intervals. "
        f"Pairwise accuracy and Spearman are within a user, averaged over users; in one context: "
        f"of pairs that are predicted from the same history. "
        f"{first['constant_users']:,.0f} users whose rewards are all equal have no order. "
        f"Calibration error is a share of the reward range, and beside it what a perfectly "
        f"calibrated model with such errors would score."
    )
    rows = [
        [Cell(str(name)), *(_cell(row, key) for key in COLUMNS.values())]
        for name, row in frame.iterrows()
    ]
    return Sheet(f"{caption} {note}", [Block("", headings("reward model", *COLUMNS), rows)])


def terminal_sheet(frame: pd.DataFrame) -> Sheet:
    """The columns that fit a terminal, without intervals."""
    rows = [
        [Cell(str(name)), *(Cell(_value(row[key])) for key in SHORT.values())]
        for name, row in frame.iterrows()
    ]
    unknown = frame[list(SHORT.values())].isna().any(axis=None)
    note = f"{NOTHING} no held-out user has rewards that differ, to put in order" if unknown else ""
    return Sheet(note, [Block("\nReward models", headings("model", *SHORT), rows)])


def _cell(row: pd.Series, metric: str) -> Cell:
    known = row[metric] == row[metric]
    interval = ""
    if known and metric in INTERVALS:
        interval = f"[{row[f'{metric}_low']:.4f}, {row[f'{metric}_high']:.4f}]"
    return Cell(_value(row[metric]), interval)


def _value(number: float) -> str:
    return f"{number:.4f}" if number == number else NOTHING
