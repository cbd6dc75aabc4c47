"""The tables and figures of a study whose methods have several strengths and noises: one block per
noise, methods by levels, and what each rule gets that chooses the strength (studies/select.py)."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Group

from recsys_posttrain.files import write_text
from recsys_posttrain.report import figures, render
from recsys_posttrain.report.cells import Block, Cell, Sheet, cells, counted, headings, p_text
from recsys_posttrain.report.equal_kl import equal_kl_sheet
from recsys_posttrain.report.noise_quality import (
    AXES,
    CONDITION,
    methods_drawn,
    noise_kinds,
    of_kind,
    swept,
)
from recsys_posttrain.report.study_folder import ACHIEVED, pairs_text, runs_of
from recsys_posttrain.report.terminal import OnTerminal
from recsys_posttrain.stats.bootstrap import FEW_USERS

WHERE = {"model": "reward model's predictions", "log": "logged rewards"}
WHERE["shared"] = "logged rewards, from which the reward model learns"
MEASURES = {**AXES, "pairwise_accuracy": "pairwise accuracy", "rmse": "rmse"}

FRAMES = ("table", "equal_kl", "pairs", "frontier", "selection")
RESAMPLES = 2_000  # at least, of each noise, of which there are many


class Grid(NamedTuple):
    """table: one row per noise, method and column, with the chosen strength. equal_kl: gains at the
    same KL (stats/equal_kl.py). pairs: all pairs of methods at their chosen strengths, by noise and
    column. frontier: the mean kl and value of each noise, method and strength. selection: what each
    rule gets. own: the rule that chose, in words. about: the data, users and seeds. caption: of
    what is compared, and over what the intervals are."""

    table: pd.DataFrame
    equal_kl: pd.DataFrame
    pairs: pd.DataFrame
    frontier: pd.DataFrame
    selection: pd.DataFrame
    own: str
    about: str
    caption: str

    @property
    def unit(self) -> str:
        return str(self.table["column"].iloc[0])

    def rich(self) -> Group:
        """For rich.print: of gains at equal KL those without noise alone."""
        shown = dict(self.sheets)
        if (main := shown.get("equal_kl")) is not None:
            clean = self.equal_kl["place"] == ""
            main = equal_kl_sheet(self.equal_kl[clean], self.about) if clean.any() else main
        return Group(*([OnTerminal(main)] if main else []), OnTerminal(shown["table"]))

    @property
    def files(self) -> tuple[str, ...]:
        """What `write` leaves, beside the cells."""
        sheets = (f"{name}.{end}" for name in self.sheets for end in ("md", "tex"))
        return *sheets, *(f"{name}.csv" for name in FRAMES), *self.pictures

    @property
    def pictures(self) -> dict[str, Callable[[Path], None]]:
        """What draws each, by the name of its file; a study without noise has none."""
        found: dict[str, Callable[[Path], None]] = {}
        judged_by = self.table[self.table["column"] == self.unit]
        if noise_kinds(judged_by):
            found["quality.png"] = partial(figures.quality_against_value, judged_by, self.unit)
        lines = self.frontier[self.frontier["method"].isin(methods_drawn(judged_by))]
        if len(lines) and swept(lines):
            found["frontier.png"] = partial(figures.frontiers, lines, self.unit)
        return found

    @property
    def sheets(self) -> dict[str, Sheet]:
        found = {}
        if len(self.equal_kl):
            found["equal_kl"] = equal_kl_sheet(self.equal_kl, self.about)
        found["table"] = Sheet(f"{self.unit}. {self.caption}", blocks(self.table))
        if len(self.selection):
            shown = [selection_block(self.selection)]
            found["selection"] = Sheet(f"{self.unit}. {_rules(self.own)}", shown)
        return found

    def write(self, folder: Path) -> None:
        """The frames as CSV, some of them as sheets too, and the pictures."""
        for name, sheet in self.sheets.items():
            render.write(sheet, folder, name)
        for name in FRAMES:
            frame: pd.DataFrame = getattr(self, name)
            write_text(folder / f"{name}.csv", frame.round(6).to_csv(index=False))
        for name, draw in self.pictures.items():
            draw(folder / name)


def achieved(record: Mapping[str, Any]) -> pd.DataFrame:
    """What each noise achieved, by run.json: one row per condition.

    pairwise_accuracy, rmse: of the reward model (or of the log's rewards). projected_truth,
    projected_judge: see evaluation/projected.py; NaN where they were not measured.
    """
    rows = [noise for _, _, noise in runs_of(record)]
    return pd.DataFrame(rows, columns=[*CONDITION, *ACHIEVED]).drop_duplicates(CONDITION)


def about(record: Mapping[str, Any], num_users: int) -> str:
    """The data, users, seeds and draws."""
    seeds = len(record["seeds"])
    own = ", each with noise of its own" if record.get("redraws_noise") else ""
    few = "; a t distribution over users" if num_users < FEW_USERS else ""
    return (
        f"{record['dataset']}, {record['split']}; {counted(num_users, 'user')}{few}; "
        f"{counted(seeds, 'seed')}{own}; at least {RESAMPLES:,} draws, and as many as a test needs "
        "to be significant after correction."
    )


def caption(record: Mapping[str, Any], num_users: int, control: str, rule: str) -> str:
    several, methods = len(record["seeds"]) > 1, record.get("methods")
    chosen = f"Chosen: {', '.join(methods)}. " if methods else ""
    pairs = f"{text[0].upper()}{text[1:]}. " if (text := pairs_text(record)) else ""
    over = "users and seeds" if several else "users; one seed gives none over seeds"
    return (
        f"{about(record, num_users)} Mean ± half of the 95% interval over {over}. In brackets "
        f"the strength that {rule} chose; do nothing: none was better there than the pretrained "
        "policy, whose value stands in the row; at the edge: a stronger or weaker one was not "
        "tried. † differs from "
        f"{control} (p ≤ .05, bootstrap, Holm-corrected over the pairs of methods of a column "
        "under one noise); methods "
        f"given something in place of the rewards from {control} given the same, where the study "
        "has that. A method that the noise cannot change keeps its value. Pairwise accuracy and "
        "RMSE: of the reward model on logged rewards of users that it did not learn from, or of "
        "the noisy log against the clean one. Projected correlation: of what a policy can "
        "represent of the reward model with the truth or a judge, under the pretrained policy over "
        "items that may be shown; beside a noisy log, of a model with the same errors. Tuning: "
        f"{record['tuning']}. {pairs}{chosen}Commit {record['commit']}; "
        f"command: {record['command']}."
    )


def _rules(own: str) -> str:
    return (
        "What each rule gets that chooses a method's strength on validation targets: mean, "
        f"difference to the study's own rule ({own}) ± half of the 95% interval, the strength, and "
        "how often the rule chooses it when users and seeds are drawn again. In each draw every "
        "rule chooses anew, so the intervals hold the uncertainty of the choice. do nothing: the "
        "pretrained policy, a candidate of every method. proxy: the method's own reward model, "
        "with its errors; judge: a model of other users, without; judge, errors c: that judge with "
        "errors that correlate by c with the model's; dr: the doubly robust estimate, "
        "by the propensities of the log; hindsight: the best strength, which nobody can know."
    )


def blocks(table: pd.DataFrame) -> list[Block]:
    """For each column what all methods and controls are worth without noise; then one block per
    place and kind of noise: methods by levels."""
    found = []
    for place, (name, of_column) in enumerate(table.groupby("column", sort=False)):
        shown = f"{name}: " if place else ""  # the caption names the first
        found.append(_without_noise(of_column, shown))
        found += [_block(of_column, *pair, shown) for pair in noise_kinds(of_column)]
    return found


def _without_noise(table: pd.DataFrame, column: str) -> Block:
    rows = []
    for _, cell in table[table["place"] == ""].iterrows():
        against = cells(["", ""])
        if not np.isnan(cell["difference"]):
            half = (cell["difference_high"] - cell["difference_low"]) / 2
            difference = Cell(f"{cell['difference']:+.3f}", f"±{half:.3f}")
            against = [difference, Cell(p_text(cell["p_holm"]))]
        rows.append([Cell(cell["method"]), _cell(cell), *against])
    columns = headings("", "value", "minus the control", "p (Holm)")
    return Block(f"{column}Without noise", columns, rows)


def _block(table: pd.DataFrame, place: str, kind: str, column: str) -> Block:
    rows = of_kind(table, place, kind)
    levels = sorted(rows["level"].unique())
    by_level = [rows[rows["level"] == level].set_index("method") for level in levels]
    shown = []
    for name in (each for each in ACHIEVED if each in rows and rows[each].notna().any()):
        values = [float(rows_of_level[name].iloc[0]) for rows_of_level in by_level]
        texts = ("" if np.isnan(value) else f"{value:.3f}" for value in values)
        shown.append(cells([MEASURES[name], *texts]))
    for method in dict.fromkeys(rows["method"]):
        shown.append([Cell(method), *(_cell(of_level.loc[method]) for of_level in by_level)])
    columns = headings("", *(f"level {level:g}" for level in levels))
    return Block(f"{column}{kind}, in the {WHERE[place]}", columns, shown)


def _cell(cell: pd.Series) -> Cell:
    half = (cell["high"] - cell["low"]) / 2
    strength, at_edge = cell["strength"], ", at the edge" * bool(cell.get("at_edge") == 1)
    return Cell(
        f"{cell['mean']:.3f}",
        f"±{half:.3f}",
        f"({strength}{at_edge})" if isinstance(strength, str) and strength else "",
        dagger=bool(cell["significant"]),
    )


def selection_block(selection: pd.DataFrame) -> Block:
    """Conditions and methods by rules: value, difference to the study's own rule, strength and how
    often it is chosen."""
    rules = list(dict.fromkeys(selection["rule"]))
    shown = []
    for (_, kind, level, method), rows in selection.groupby([*CONDITION, "method"], sort=False):
        by_rule = rows.set_index("rule")
        there = [_chosen(by_rule.loc[r]) if r in by_rule.index else Cell("") for r in rules]
        shown.append([*cells([f"{kind} {level:g}" if kind else "none", str(method)]), *there])
    return Block("", headings("noise", "method", *rules, text=2), shown)


def _chosen(cell: pd.Series) -> Cell:
    note = f"({cell['strength']}, {cell['chosen_share']:.0%})"
    if np.isnan(cell["difference"]):
        half = (cell["high"] - cell["low"]) / 2
        return Cell(f"{cell['mean']:.3f} ± {half:.3f}", note=note)
    half = (cell["difference_high"] - cell["difference_low"]) / 2
    return Cell(f"{cell['mean']:.3f}, {cell['difference']:+.3f} ± {half:.3f}", note=note)
