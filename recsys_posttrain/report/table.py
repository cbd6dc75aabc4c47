"""The comparison table: from saved rows to Markdown, LaTeX, the terminal and a frame.

    rows = pd.concat([frame.assign(method="BC", seed=0), ...])   # per_user_frame of each run
    table = comparison_table(rows, num_items=3416, control="BC")
    print(table.markdown())

The same rows give the same bytes. Exact interval bounds are in `frame()` (table.csv).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group
from rich.text import Text

from recsys_posttrain.evaluation.metrics import LIST_LENGTH
from recsys_posttrain.evaluation.support import support_sentence
from recsys_posttrain.files import write_text
from recsys_posttrain.report import render
from recsys_posttrain.report.caption import Provenance, caption_of, variance_sentence
from recsys_posttrain.report.cells import (
    Block,
    Cell,
    Heading,
    Row,
    Sheet,
    decimal,
    percent,
    plus_minus,
)
from recsys_posttrain.report.cutoffs import cutoffs_sheet, trade_offs
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.pairs import best_sentence, pairs_sheet, tests_text
from recsys_posttrain.report.terminal import OnTerminal
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import RESAMPLES
from recsys_posttrain.stats.columns import Column, columns_of, cutoff_columns
from recsys_posttrain.stats.comparison import Comparison, compare
from recsys_posttrain.stats.pairs import MARGIN
from recsys_posttrain.stats.variance import variance_components

OTHER = "other"


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A finished comparison. `caption` says all that is needed to read and repeat it."""

    comparison: Comparison
    columns: tuple[Column, ...]
    cutoff_columns: tuple[Column, ...]
    variance: pd.DataFrame
    control: str
    relative: bool
    caption: str
    families: Mapping[str, str] = field(default_factory=dict)

    def frame(self) -> pd.DataFrame:
        """One row per method and column with every number, unrounded."""
        return self._of(self.columns, self.comparison.cells)

    def _of(self, columns: Sequence[Column], frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["column"].isin([c.name for c in columns])].reset_index(drop=True)

    @property
    def sheet(self) -> Sheet:
        """The levels of all methods, then what separates the others from the control."""
        cells = self.comparison.cells.to_dict("records")
        found = {(cell["method"], cell["column"]): cell for cell in cells}

        def row(method: str, cell_of: Callable[[dict[Hashable, Any]], Cell]) -> Row:
            return [Cell(method), *(cell_of(found[method, each.name]) for each in self.columns)]

        def level(cell: dict[Hashable, Any]) -> Cell:
            half = plus_minus(decimal((cell["high"] - cell["low"]) / 2))
            is_sure = bool(cell["significant"])
            return Cell(decimal(cell["mean"]), half, bold=cell["best"], dagger=is_sure)

        def difference(cell: dict[Hashable, Any]) -> Cell:
            shown = percent if self.relative else decimal
            half = plus_minus(shown((cell["difference_high"] - cell["difference_low"]) / 2))
            value = shown(cell["difference"], sign=True)
            return Cell(value, half, dagger=bool(cell["significant"]))

        columns = [Heading("method", second="method", is_text=True)]
        columns += [Heading(c.name, c.metric, c.over, c.arrow) for c in self.columns]
        title = f"{'Change in percent of' if self.relative else 'Difference to'} {self.control}"
        methods = in_families(self.comparison.methods, self.families)
        others = {name: family for name, family in methods.items() if name != self.control}
        levels = [row(method, level) for method in methods]
        differences = [row(method, difference) for method in others]
        return Sheet(
            self.caption,
            [
                Block("", columns, levels, tuple(methods.values())),
                Block(title, columns, differences, tuple(others.values())),
            ],
        )

    def markdown(self) -> str:
        return render.markdown(self.sheet)

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return render.html_sheet(self.sheet)

    def latex(self) -> str:
        """For booktabs; it needs nothing else in the preamble."""
        return latex(self.sheet)

    def rich(self) -> Group:
        """For rich.print: fits into any width."""
        lines = [best_sentence(*self._compared)]
        if self.cutoff_columns:
            lines.append(trade_offs(self.comparison, self.control))
        return Group(OnTerminal(self.sheet), Text("\n".join(filter(None, lines))))

    @property
    def parts(self) -> dict[str, tuple[Sheet, pd.DataFrame]]:
        """By name what is shown and the numbers behind it."""
        found = {
            "table": (self.sheet, self.frame()),
            "pairs": (self.pairs, self._of(self.columns, self.comparison.pairs)),
        }
        if self.cutoff_columns:
            tests = tests_text(self.comparison)
            sheet = cutoffs_sheet(self.comparison, self.control, tests)
            found["cutoffs"] = sheet, self._of(self.cutoff_columns, self.comparison.cells)
        return found

    @property
    def pairs(self) -> Sheet:
        """Which methods differ and which are equal, in every column with a test."""
        return pairs_sheet(*self._compared, self.control)

    @property
    def _compared(self) -> tuple[Comparison, tuple[Column, ...]]:
        return self.comparison, self.columns

    @property
    def files(self) -> tuple[str, ...]:
        names = [f"{name}.{end}" for name in self.parts for end in ("md", "tex", "csv")]
        return *names, *(["variance.csv"] if len(self.variance) else [])

    def write(self, folder: Path) -> None:
        write_table(self, folder)


def in_families(methods: Sequence[str], families: Mapping[str, str]) -> dict[str, str]:
    """The family of each method, a family's methods together; families in the order of their first
    method, and OTHER, of methods that name none, last. Without families empty names."""
    if not families:
        return dict.fromkeys(methods, "")
    of = {method: families.get(method) or OTHER for method in methods}
    order = list(dict.fromkeys(of.values()))
    key = {family: (family == OTHER, place) for place, family in enumerate(order)}
    return {method: of[method] for method in sorted(methods, key=lambda method: key[of[method]])}


def comparison_table(
    rows: pd.DataFrame,
    *,
    num_items: int,
    control: str = "BC",
    relative_to: str | None = None,
    columns: Sequence[Column] | None = None,
    provenance: Provenance = Provenance(),
    scale: RewardScale = RewardScale(),
    resamples: int = RESAMPLES,
    seed: int = 0,
    margin: float = MARGIN,
    families: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """Compare methods evaluated on the same targets.

    rows: the columns of `per_user_frame` plus `method` (text; a categorical sets the order,
    otherwise the first appearance does) and `seed`. A method has all seeds, or one run that
    stands for all (popularity).
    num_items: size of the catalogue, for coverage and Gini.
    columns: None: all that the rows have.
    control: what the second block subtracts. relative_to: instead, the second block is the
    change in percent of this method, so that RWR, say, is the yardstick.
    scale: of the rewards in the rows, which do not say it; stars if left out.
    seed: of the bootstrap.
    margin: up to which share of the control's value, or of a star, two methods count as equal.
    families: of each method the name of those that it stands with; empty: in the order of the rows.

    Raises UserError for an unknown control, missing columns, methods with different targets or
    with some of the seeds.
    """
    by_cutoff = cutoff_columns(rows.columns) if columns is None else ()
    columns = columns_of(rows.columns) if columns is None else columns
    shown = {column.name for column in columns}
    against = control if relative_to is None else relative_to
    comparison = compare(
        rows,
        (*columns, *(column for column in by_cutoff if column.name not in shown)),
        num_items=num_items,
        control=against,
        relative=relative_to is not None,
        scale=scale,
        resamples=resamples,
        rng=np.random.default_rng(seed),
        margin=margin,
    )
    relative = relative_to is not None
    caption = caption_of(comparison, tuple(columns), against, relative, provenance, scale)
    if num_items <= LIST_LENGTH and any(c.source == f"hr@{LIST_LENGTH}" for c in columns):
        caption += f" A list of {LIST_LENGTH} holds all {num_items} items: HR@{LIST_LENGTH} is 1."
    variance = variance_components(rows, columns, scale)
    said = (caption, variance_sentence(variance, against), support_sentence(rows))
    caption = " ".join(filter(None, said))
    return Table(
        comparison, tuple(columns), by_cutoff, variance, against, relative, caption,
        families,
    )  # fmt: skip


def write_table(table: Table, folder: Path) -> list[Path]:
    """The table, its pairs and cutoffs as .md, .tex, .csv and .json (the cells) in the folder, each
    replaced as a whole."""
    frames = {name: frame for name, (_, frame) in table.parts.items()}
    frames |= {"variance": table.variance} if len(table.variance) else {}
    written = []
    for name, frame in frames.items():
        if name in table.parts:
            render.write(table.parts[name][0], folder, name)
            written += [folder / f"{name}.{end}" for end in ("md", "tex", "csv", "json")]
        else:
            written.append(folder / f"{name}.csv")
        text = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
        write_text(folder / f"{name}.csv", text)
    return written
