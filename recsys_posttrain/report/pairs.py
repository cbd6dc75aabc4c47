"""Which methods differ, and which are equal: how many others each is above and below, per column,
and a sentence for the terminal.

All pairs stand in pairs.csv (stats/pairs.py).
"""

from collections.abc import Sequence

import numpy as np

from recsys_posttrain.report.cells import (
    NOTHING,
    Block,
    Cell,
    Heading,
    Sheet,
    counted,
    p_text,
)
from recsys_posttrain.report.study_folder import JUDGED_BY
from recsys_posttrain.stats.bootstrap import ALPHA, smallest_p
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.comparison import Comparison
from recsys_posttrain.stats.pairs import equal, separated, wins


def pairs_sheet(comparison: Comparison, columns: Sequence[Column], control: str) -> Sheet:
    """Of each method how many others it is above and below, and the p of equivalence with the
    control."""
    methods = comparison.methods
    tested = [column for column in columns if column.of_lists is None]
    wins_MC, equal_MC = [[Cell(name)] for name in methods], [[Cell(name)] for name in methods]
    for column in tested:
        order, best = ranked(comparison, column)
        pairs = comparison.pairs[comparison.pairs["column"] == column.name]
        won = wins(pairs, order, column.higher_is_better)
        found = {
            name: f"{above} / {below}" for name, (above, below) in zip(order, won, strict=True)
        }
        with_control = pairs[(pairs["method"] == control) | (pairs["other"] == control)]
        p = {
            name: float(row["p_equal_holm"])
            for _, row in with_control.iterrows()
            for name in (row["method"], row["other"])
        }
        for m, name in enumerate(methods):
            wins_MC[m].append(Cell(found.get(name, NOTHING), bold=name in best and column.bold))
            if name != control:
                of_control = p.get(name, np.nan)
                equal_MC[m].append(Cell(p_text(of_control), dagger=of_control <= ALPHA))
    headings = [Heading("method", second="method", is_text=True)]
    headings += [Heading(c.name, c.metric, c.over, c.arrow) for c in tested]
    others = [row for row in equal_MC if row[0].text != control]
    caption = (
        "Above how many other methods a test puts a method, and below how many (p ≤ .05, "
        f"{tests_text(comparison)}); bold: those that none separates from the best of "
        f"the column. Second block: p of equivalence with {control} (two one-sided tests, "
        f"Holm-corrected alike); † equal, p ≤ .05. Margin: {comparison.margin:.0%} of {control}'s "
        f"value, of rewards {comparison.margin:.0%} of a star. All pairs: pairs.csv."
    )
    title = f"Equivalence with {control}, p"
    return Sheet(caption, [Block("", headings, wins_MC), Block(title, headings, others)])


def ranked(comparison: Comparison, column: Column) -> tuple[list[str], frozenset[str]]:
    """The methods that have a value in the column, best first, and those that no test separates
    from the best."""
    cells = comparison.cells[comparison.cells["column"] == column.name].dropna(subset=["mean"])
    order = list(cells.sort_values("mean", ascending=not column.higher_is_better)["method"])
    pairs = comparison.pairs[comparison.pairs["column"] == column.name]
    near_M = ~separated(pairs, order)[0] if order else []
    return order, frozenset(name for name, near in zip(order, near_M, strict=True) if near)


def best_sentence(comparison: Comparison, columns: Sequence[Column]) -> str:
    """Which methods no test separates from the best, of what policies are judged by first."""
    tested = {column.name: column for column in columns if column.of_lists is None}
    shown = [name for name in (*JUDGED_BY, *tested) if name in tested]
    for column in (tested[name] for name in shown):
        order, best = ranked(comparison, column)
        if len(order) > 1:
            pairs = comparison.pairs[comparison.pairs["column"] == column.name]
            same = equal(pairs, order)[0]
            named = [
                name + (" (equal)" if same[place] else "")
                for place, name in enumerate(order)
                if name in best
            ]
            others = f", not separated from it: {', '.join(named[1:])}" if named[1:] else ""
            return f"{column.name}: the best is {named[0]}{others or ', apart from all others'}."
    return ""


def tests_text(comparison: Comparison) -> str:
    """`p ≤ .05, ...`: how tests are corrected, for a caption."""
    number = len(comparison.methods) * (len(comparison.methods) - 1) // 2
    smallest = smallest_p(comparison.resamples)
    text = (
        f"bootstrap, {comparison.resamples:,} draws, so that no p is below "
        f"{f'{smallest:.1g}'.removeprefix('0')}, "
        f"Holm-corrected over the {counted(number, 'pair')} of methods of a column"
    )
    none = ": too many for any to be marked, so choose fewer methods with --methods"
    return text + (none if smallest * number > ALPHA else "")
