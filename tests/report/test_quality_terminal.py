"""The table of reward models on a terminal."""

import pandas as pd
from rich.console import Console

from recsys_posttrain.report.quality import terminal_sheet
from recsys_posttrain.report.terminal import OnTerminal


def printed(quality):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(OnTerminal(terminal_sheet(quality)))
    return capture.get()


def test_what_cannot_be_shown_is_a_dash_with_its_reason():
    """Where no held-out user has two rewards that differ there is no order to get right."""
    row = {"rmse": 0.5, "mae": 0.25, "pairwise_accuracy": 0.75, "spearman": 0.5}
    row["context_accuracy"] = 0.625
    whole = pd.DataFrame([row], index=["item mean"])
    missing = whole.assign(pairwise_accuracy=float("nan"), spearman=float("nan"))
    cells = [line.split() for line in printed(missing).splitlines() if "item mean" in line]
    assert cells == [["item", "mean", "0.5000", "0.2500", "–", "0.6250", "–"]]  # noqa: RUF001
    assert "no held-out user has rewards that differ" in printed(missing)
    assert "nan" not in printed(missing)
    assert "no held-out user" not in printed(whole)
