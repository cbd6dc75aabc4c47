"""The comparison table: from saved rows to Markdown, LaTeX, the terminal and a frame.

    rows = pd.concat([frame.assign(method="BC", seed=0), ...])   # per_user_frame of each run
    table = comparison_table(rows, num_items=3416, control="BC")
    print(table.markdown())

The same rows give the same bytes. Exact interval bounds are in `frame()` (table.csv).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Group

from recsys_posttrain.evaluation.metrics import LIST_LENGTH
from recsys_posttrain.evaluation.off_policy import support_sentence
from recsys_posttrain.files import write_text
from recsys_posttrain.report import render
from recsys_posttrain.report.cells import (
    Block,
    Cell,
    Heading,
    Row,
    Sheet,
    counted,
    decimal,
    percent,
    plus_minus,
    write_sheet,
)
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import RESAMPLES
from recsys_posttrain.stats.columns import Column, columns_of
from recsys_posttrain.stats.comparison import Comparison, compare


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from, for the caption; empty parts are left out."""

    dataset: str = ""
    split: str = ""
    steps: str = ""
    tuning: str = ""
    commit: str = ""
    command: str = ""
    left_out: str = ""  # methods without a row, and why
    seeds: str = ""  # what they are of


@dataclass(frozen=True, eq=False)
class Table:
    """A finished comparison. `caption` says all that is needed to read and repeat it."""

    comparison: Comparison = field(repr=False)
    columns: tuple[Column, ...]
    control: str
    relative: bool
    caption: str

    def frame(self) -> pd.DataFrame:
        """One row per method and column with every number, unrounded."""
        return self.comparison.cells.copy()

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
        methods = self.comparison.methods
        levels = [row(method, level) for method in methods]
        others = [row(method, difference) for method in methods if method != self.control]
        return Sheet(self.caption, [Block("", columns, levels), Block(title, columns, others)])

    def markdown(self) -> str:
        return render.markdown(self.sheet)

    def latex(self) -> str:
        """A table* for booktabs; it needs nothing else in the preamble."""
        return render.latex(self.sheet)

    def rich(self) -> Group:
        """For rich.print: fits into 100 columns."""
        return render.terminal(self.sheet)

    files = ("table.md", "table.tex", "table.csv")

    def write(self, folder: Path) -> None:
        write_table(self, folder)


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

    Raises UserError for an unknown control, missing columns, methods with different targets or
    with some of the seeds.
    """
    columns = columns_of(rows.columns) if columns is None else columns
    against = control if relative_to is None else relative_to
    comparison = compare(
        rows,
        columns,
        num_items=num_items,
        control=against,
        relative=relative_to is not None,
        scale=scale,
        resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    relative = relative_to is not None
    caption = _caption(comparison, tuple(columns), against, relative, provenance, scale, resamples)
    if num_items <= LIST_LENGTH and any(c.source == f"hr@{LIST_LENGTH}" for c in columns):
        caption += f" A list of {LIST_LENGTH} holds all {num_items} items: HR@{LIST_LENGTH} is 1."
    if found := support_sentence(rows):
        caption += f" {found}"
    return Table(comparison, tuple(columns), against, relative, caption)


def write_table(table: Table, folder: Path) -> list[Path]:
    """table.md, .tex, .csv and .json (the cells) in the folder, each replaced as a whole."""
    texts = {
        "table.md": table.markdown(),
        "table.tex": table.latex(),
        "table.csv": table.frame().to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    write_sheet(folder / "table.json", table.sheet)
    return [folder / name for name in (*texts, "table.json")]


def _caption(
    comparison: Comparison,
    columns: tuple[Column, ...],
    control: str,
    relative: bool,
    provenance: Provenance,
    scale: RewardScale,
    resamples: int,
) -> str:
    seeds = comparison.seeds
    source = [
        ", ".join(part for part in (provenance.dataset, provenance.split) if part),
        counted(comparison.num_users, "user"),
        counted(comparison.num_targets, "target"),
        (f"{len(seeds)} seeds: " if comparison.over_seeds else "seed ")
        + ", ".join(map(str, seeds))
        + (f" {provenance.seeds}" if provenance.seeds else ""),
        f"{provenance.steps} post-training steps" if provenance.steps else "",
        f"tuning budget: {provenance.tuning}" if provenance.tuning else "",
        f"left out: {provenance.left_out}" if provenance.left_out else "",
        f"commit {provenance.commit}" if provenance.commit else "",
        f"command: {provenance.command}" if provenance.command else "",
    ]
    sentences = ["; ".join(part for part in source if part) + "."]
    sentences.append(
        f"Mean ± half of the 95% interval (bootstrap, {resamples:,} resamples of users"
        + (", a t distribution over seeds)." if comparison.over_seeds else ").")
    )
    if not comparison.over_seeds:
        sentences.append(
            "With one seed no interval over seeds is possible: intervals and tests are over users "
            "alone, and another seed may differ by more."
        )
    if comparison.num_targets > comparison.num_users:
        sentences.append("Means are over targets; the targets of a user are drawn together.")
    if comparison.single_run:
        sentences.append(f"One run stands for all seeds: {', '.join(comparison.single_run)}.")
    sentences.append(
        f"Second block: {'change in percent of' if relative else 'minus'} {control}, paired on the "
        "same users and seeds."
    )
    sentences.append("↑ higher is better, ↓ lower is better.")
    plain = [column.name for column in columns if not column.bold]
    sentences.append(
        "Bold: best of the column, every row is eligible"
        + (f" (not used for {', '.join(plain)}: a useless ranker can win these)." if plain else ".")
    )
    sentences.append(
        f"† differs from {control} (p ≤ .05, bootstrap, Holm-corrected over the methods of a "
        "column)."
    )
    undefined = {name: count for name, count in comparison.undefined.items() if count}
    if undefined:
        counts = ", ".join(
            f"{counted(count, 'target')} ({name})" for name, count in undefined.items()
        )
        sentences.append(f"Left out, because a method has no value there: {counts}.")
    sentences += _of_rewards(scale)
    for why in dict.fromkeys(comparison.nothing.values()):
        names = ", ".join(name for name, each in comparison.nothing.items() if each == why)
        sentences.append(f"Nothing to show in {names}: {why}.")
    if any(column.of_lists for column in columns):
        lists = ", ".join(column.name for column in columns if column.of_lists)
        sentences.append(f"No interval or test for {lists} (mean over seeds).")
    return " ".join(sentences)


def _of_rewards(scale: RewardScale) -> list[str]:
    """Which targets count as what, and in what temperatures are given."""
    if scale.missing:
        return []
    shown = scale.shown
    above = f" above {shown(scale.zero)}" if scale.zero else ""
    targets = (
        f"Targets: liked: reward ≥ {shown(scale.liked)}; top: ≥ {shown(scale.top)}; disliked: "
        f"≤ {shown(scale.disliked)}; weighted: by reward{above}."
    )
    stars = (
        f"Rewards are in the log's own unit; temperatures count in stars of {shown(scale.unit)}."
    )
    return [targets] if scale.is_stars else [targets, stars]
