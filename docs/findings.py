"""Reads committed results for the findings of docs/results.md, which findings_page.py writes.

A sentence of the page is checked before its figures are filled in: `claim` stops where the rows say
otherwise, so a page can neither keep an old figure nor an old conclusion.
"""

import json
from collections.abc import Collection, Hashable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_posttrain import algorithms
from recsys_posttrain.files import read_csv, read_parquet
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.report.study_folder import TEXTS

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"
JESTER, SEMI = "whole_field-jester-full-seeds", "whole_field-semi-ml-100k-full-seeds"
CLEAN = ("", "", 0.0)  # place, kind and level without noise
Frame = Any  # of pandas, whose cells have no type
# Named after their class, with a remark behind a comma where they are no method that one may take.
TRAINED = frozenset(name for name in vars(algorithms) if name[:1].isupper())


class Refuted(Exception):
    """A sentence of the page is not what the results say."""


def claim(holds: object, sentence: str) -> None:
    if not bool(holds):
        raise Refuted(f"the committed results no longer say: {sentence}")


def is_method(label: str) -> bool:
    """Whether a row is a trained method on rewards that one has; no control and no bound."""
    return "," not in label and label.partition("(")[0] in TRAINED


class Results:
    """The frames of one folder of results/. Conditions without noise have place "" and level 0."""

    def __init__(self, name: str, root: Path = RESULTS) -> None:
        self.name, self.folder = name, root / name

    def _read(self, name: str) -> pd.DataFrame:
        return read_csv(self.folder / name, texts=TEXTS)

    @cached_property
    def table(self) -> Frame:
        return self._read("table.csv")

    @cached_property
    def equal_kl(self) -> Frame:
        return self._read("equal_kl.csv")

    @cached_property
    def selection(self) -> Frame:
        return self._read("selection.csv")

    @cached_property
    def frontier(self) -> Frame:
        return self._read("frontier.csv")

    @cached_property
    def validation(self) -> Frame:
        return self._read("validation.csv")

    @cached_property
    def strengths(self) -> Frame:
        return self._read("strengths.csv")

    @cached_property
    def pairs(self) -> Frame:
        return self._read("pairs.csv")

    @cached_property
    def rows(self) -> Frame:
        return read_parquet(self.folder / "rows.parquet")

    @property
    def seeds(self) -> int:
        return int(self.rows["seed"].nunique())

    @property
    def seeds_in_words(self) -> str:
        """How many, and of what."""
        record = json.loads((RESULTS / self.name / "run.json").read_text(encoding="utf-8"))
        return f"{self.seeds} {'full seeds' if record['full_seeds'] else 'seeds of post-training'}"

    def beside(self, name: str) -> "Results":
        """Another folder of the same results."""
        return Results(name, self.folder.parent)

    @property
    def link(self) -> str:
        return f"../experiments/results/{self.name}"

    def at(self, condition: tuple[str, str, float] = CLEAN) -> Frame:
        """Rows of the table under one noise, by method."""
        found = self.table[(self.table[CONDITION] == list(condition)).all(axis=1)]
        return found.set_index("method")

    def gains(self, column: str, kl: float) -> Frame:
        """At one KL, without noise, by method: those that every seed took so far."""
        frame = self.equal_kl
        kept = (frame["column"] == column) & (frame["kl"] == kl) & (frame["place"] == "")
        return frame[kept & frame["gain"].notna()].set_index("method")


def trained(labels: Iterable[Hashable]) -> list[str]:
    return [str(label) for label in labels if is_method(str(label))]


def with_interval(row: Any, name: str) -> str:
    """+.123 ±.004; half of the interval's width."""
    return f"{plain(row[name], '+.3f')} ±{plain((row['high'] - row['low']) / 2)}"


def plain(number: Any, how: str = ".3f") -> str:
    """Without the zero before the point."""
    return format(number, how).replace("0.", ".", 1) if abs(number) < 1 else format(number, how)


def listed(names: Collection[str]) -> str:
    """`A`, `B` and `C`."""
    marked = [f"`{name}`" for name in names]
    return marked[0] if len(marked) == 1 else f"{', '.join(marked[:-1])} and {marked[-1]}"
