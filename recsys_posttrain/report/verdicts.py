"""The table in words: for each goal the best method, by how much, or that it is undecided.

From the cells of table.csv and cutoffs.csv, and which pairs differ from pairs.csv. Differences are
paired, with the 95% interval of a bootstrap; a verdict needs p ≤ .05 after Holm's correction.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import pandas as pd

from recsys_posttrain.report.cells import decimal, p_text
from recsys_posttrain.report.noise_quality import BOUNDS, CONDITION, WHERE
from recsys_posttrain.report.study_folder import StudyFolder, runs_of, value_columns
from recsys_posttrain.stats.bootstrap import ALPHA
from recsys_posttrain.stats.columns import COLUMNS, OPTIONAL_COLUMNS

Verdict = Literal["better", "worse", "undecided", "control"]
UNITS = {column.name: column for column in (*COLUMNS, *OPTIONAL_COLUMNS)}
GOALS = {
    "all": "To find the next choice",
    "liked": "To find what users will like",
    "top": "To find favourites",
    "weighted": "To find what brings reward",
    "proxy@10": "To please the reward model",
}
MOST_NAMES = 4  # in a sentence
CUTOFFS = "cutoffs.csv"


class Difference(NamedTuple):
    """A method against the control in one column: its mean, the difference with its interval, and
    p after Holm's correction (nan: there is none)."""

    method: str
    mean: float
    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict


class Answer(NamedTuple):
    """goal: in words. column: what it is measured by. best: the method; empty: undecided. text:
    what follows its name."""

    goal: str
    column: str
    best: str
    text: str


def differences(
    cells: pd.DataFrame, control: str, higher_is_better: bool = True
) -> list[Difference]:
    """Of the cells of one column (and noise), best first."""
    shown = cells[cells["mean"].notna()].sort_values("mean", ascending=not higher_is_better)
    found = []
    for cell in shown.to_dict("records"):
        difference = float(cell["difference"])
        verdict: Verdict = "undecided"
        if cell["significant"]:
            verdict = "better" if (difference > 0) == higher_is_better else "worse"
        if cell["method"] == control:
            verdict = "control"
        values = (float(cell.get(name, float("nan"))) for name in _VALUES)
        mean, change, low, high, p = values
        found.append(Difference(str(cell["method"]), mean, change, low, high, p, verdict))
    return found


_VALUES = ("mean", "difference", "difference_low", "difference_high", "p_holm")


def is_better_high(column: str) -> bool:
    return UNITS[column].higher_is_better if column in UNITS else True


def answers(study: StudyFolder) -> Iterator[Answer]:
    """Of each column that has a best: without noise, then of the first under each noise."""
    first, *others = value_columns(study)
    columns = [first, *(name for name in others if name not in UNITS or UNITS[name].bold)]
    clean = study.cells[study.cells["place"] == ""]
    pairs = study.frame("pairs.csv")
    known = given_something(study) | set(BOUNDS)
    for column in columns:
        cells = clean[(clean["column"] == column) & ~clean["method"].isin(known)]
        if cells["difference"].notna().any():
            over = column.partition(" ")[2]
            yield answer(
                GOALS.get(over, column), column, cells, study.control, _pairs(pairs, column)
            )
    if study.is_grid:
        noisy = study.cells[(study.cells["place"] != "") & (study.cells["column"] == first)]
        for condition, cells in noisy.groupby(CONDITION, sort=False):
            place, kind, level = map(str, condition)
            at = _pairs(pairs, first, place, kind, float(level))
            goal = f"With {kind} {float(level):g}, {WHERE[place]}"
            if cells["difference"].notna().any():
                yield answer(goal, first, cells[~cells["method"].isin(known)], study.control, at)


def given_something(study: StudyFolder) -> set[str]:
    """Runs that were given something in place of their rewards. Their differences are to the
    control given the same, where the study has it."""
    runs = runs_of(study.record)
    return {str(run.get("name") or title) for title, run, _ in runs if run.get("control")}


def _pairs(
    pairs: pd.DataFrame | None, column: str, place: str = "", kind: str = "", level: float = 0.0
) -> pd.DataFrame | None:
    if pairs is None:
        return None
    of = pairs[pairs["column"] == column]
    if "place" in of:
        is_there = (of["place"].fillna("") == place) & (of["kind"].fillna("") == kind)
        of = of[is_there & (of["level"] == level)]
    return of


def answer(
    goal: str, column: str, cells: pd.DataFrame, control: str, pairs: pd.DataFrame | None
) -> Answer:
    """In words. pairs: of this column; None: only differences to the control are known."""
    found = differences(cells, control, is_better_high(column))
    winners = [each for each in found if each.verdict == "better"]
    if not winners:
        others = [each for each in found if each.verdict == "undecided"]
        if not others:
            return Answer(goal, column, control, "the control: every other method is worse.")
        text = f"No method is shown to be better than {control}. "
        lead = found[0]
        if lead.verdict == "control":
            text += f"It has the highest mean; not separated from it: {_few(others)}."
        else:
            text += f"Nearest: {lead.method}, {_by(lead)}."
        return Answer(goal, column, "", text)
    best = winners[0]
    above = [each for each in found[: found.index(best)] if each.verdict != "control"]
    tied = above + [
        each for each in found if each not in (best, *above) and _is_open(pairs, best, each)
    ]
    text = f"{_by(best)} against {control}."
    if tied:
        text += f" Undecided between it and {_few(tied)}."
    elif pairs is None:
        text += f" Its mean is the best of the {len(winners)} that are better than {control}."
    elif len(found) > 2:
        text += " Every other method is worse."
    return Answer(goal, column, best.method, text)


def _is_open(pairs: pd.DataFrame | None, best: Difference, other: Difference) -> bool:
    """Whether no test separates the two."""
    if other.verdict == "control" or pairs is None:
        return False
    two = {best.method, other.method}
    of_both = pairs[pairs["method"].isin(two) & pairs["other"].isin(two)]
    return not (of_both["p_holm"] <= ALPHA).any()


def _by(found: Difference) -> str:
    p = p_text(found.p)
    sign = "p " if p.startswith("≤") else "p = "
    return f"{decimal(found.difference, sign=True)}{interval(found)} ({sign}{p})"


def interval(found: Difference) -> str:
    """` [.001, .004]`; empty where there is none."""
    if found.low != found.low:
        return ""
    return f" [{decimal(found.low, sign=True)}, {decimal(found.high, sign=True)}]"


def _few(found: Iterable[Difference]) -> str:
    names = [each.method for each in found]
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
