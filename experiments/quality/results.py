"""From rows to numbers: which strength validation chose, what it is worth, what differs from BC."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from quality.grid import BOUNDS, CONTROLS, METHODS

from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.report.cells import Block, Cell, cells, headings
from recsys_posttrain.report.noise_quality import CONDITION, noise_kinds, of_kind
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.comparison import Comparison, compare

CONTROL = "BC"
AGAINST = {method.name: method.against for method in (*METHODS, *CONTROLS, *BOUNDS)}
WHERE = {"model": "reward model's predictions", "log": "logged rewards"}


class NoiseLevel(NamedTuple):
    """A noise, without the seed that drew it."""

    place: str
    kind: str
    level: float


def value_columns(rows: pd.DataFrame) -> tuple[Column, ...]:
    """What policies are judged by: the truth where it is known, otherwise first of all the judge,
    then what was chosen."""
    if "reward/gold@5" in rows.columns:
        return (Column("true reward", "of the top 5", "reward/gold@5"),)
    return (
        Column("judge's reward", "of 5 greedy steps", "reward/judge-rollout@5"),
        Column("NDCG@10", "liked", "ndcg@10", liked),
        Column("NDCG@10", "all", "ndcg@10"),
    )


def chosen(validation: pd.DataFrame) -> pd.DataFrame:
    """For each condition and method the strength with the best mean over seeds on validation."""
    means = validation.groupby([*CONDITION, "method", "strength"], sort=False)["liked_ndcg@10"]
    best = means.mean().groupby([*CONDITION, "method"], sort=False).idxmax()
    return pd.DataFrame(list(best), columns=[*CONDITION, "method", "strength"])


def comparisons(
    test: pd.DataFrame,
    selected: pd.DataFrame,
    references: pd.DataFrame,
    num_items: int,
    scale: RewardScale,
) -> Iterator[tuple[NoiseLevel, Comparison]]:
    """Of each condition: all methods at their chosen strength against BC on the same users and
    seeds. A method that the noise cannot change keeps the value it has without noise; controls
    are compared without noise alone, each with its own BC (`Method.against`)."""
    columns = value_columns(test)
    kept = test.merge(selected, on=[*CONDITION, "method", "strength"])
    clean = kept[kept["place"] == ""]
    repeated = clean[clean["method"].isin([method.name for method in METHODS])]
    for key, rows in kept.groupby(CONDITION, sort=False):
        unchanged = repeated[~repeated["method"].isin(set(rows["method"]))]
        together = pd.concat([references, unchanged, rows] if key[0] else [references, clean])
        own = together["method"].map(AGAINST).fillna(CONTROL)
        for control, part in together.groupby(own, sort=False):
            yield NoiseLevel(*key), compared_with(str(control), part, columns, num_items, scale)


def compared_with(
    control: str,
    rows: pd.DataFrame,
    columns: Sequence[Column],
    num_items: int,
    scale: RewardScale,
) -> Comparison:
    """All methods of the rows against one of them, on the same users, seeds and draws."""
    return compare(
        rows,
        columns,
        num_items=num_items,
        control=control,
        relative=False,
        scale=scale,
        resamples=2_000,
        rng=np.random.default_rng(0),
    )


def frontier(test: pd.DataFrame) -> pd.DataFrame:
    """Mean kl and value of each condition, method and strength."""
    source = value_columns(test)[0].source
    groups = test.groupby([*CONDITION, "method", "strength"], sort=False)
    return groups[[source, "kl"]].mean().rename(columns={source: "value"}).reset_index()


def achieved(reports: Mapping[tuple[str, str, float, int], dict[str, Any]]) -> pd.DataFrame:
    """What each noise achieved, means over seeds: one row per condition, the clean model first.

    pairwise_accuracy, rmse: of the reward model (or of the log's rewards); exploitable_share: see
    rewards/noise_report.py.
    """
    wanted = ["pairwise_accuracy", "rmse", "exploitable_share"]
    rows = []
    for (place, kind, level, _), report in reports.items():
        if place:
            found = report[place]
            rows.append([place, kind, level, *(found.get(name, np.nan) for name in wanted)])
            if place == "model":
                clean = (found["clean_pairwise_accuracy"], found["clean_rmse"], 0.0)
                rows.append(["", "", 0.0, *clean])
    frame = pd.DataFrame(rows, columns=[*CONDITION, *wanted])
    return frame.groupby(CONDITION, sort=False).mean().reset_index().sort_values(CONDITION)


def all_cells(
    compared: Sequence[tuple[NoiseLevel, Comparison]],
    selected: pd.DataFrame,
    quality: pd.DataFrame,
) -> pd.DataFrame:
    """All comparisons as one frame: the cells of each with its condition, the chosen strength and
    what the noise achieved."""
    frames = [comparison.cells.assign(**condition._asdict()) for condition, comparison in compared]
    joined = pd.concat(frames, ignore_index=True)
    joined = joined.merge(selected, how="left", on=[*CONDITION, "method"])
    return joined.merge(quality, how="left", on=CONDITION)


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
            against = [difference, Cell(f"{cell['p_holm']:.3g}")]
        rows.append([Cell(cell["method"]), _cell(cell), *against])
    return Block(f"{column}Without noise", headings("", "value", "minus BC", "p (Holm)"), rows)


def _block(table: pd.DataFrame, place: str, kind: str, column: str) -> Block:
    rows = of_kind(table, place, kind)
    levels = sorted(rows["level"].unique())
    by_level = [rows[rows["level"] == level].set_index("method") for level in levels]
    shown = []
    for name, digits in (("pairwise_accuracy", 3), ("rmse", 3), ("exploitable_share", 2)):
        values = [float(rows_of_level[name].iloc[0]) for rows_of_level in by_level]
        texts = ("" if np.isnan(value) else f"{value:.{digits}f}" for value in values)
        shown.append(cells([name.replace("_", " "), *texts]))
    for method in dict.fromkeys(rows["method"]):
        shown.append([Cell(method), *(_cell(of_level.loc[method]) for of_level in by_level)])
    columns = headings("", *(f"level {level:g}" for level in levels))
    return Block(f"{column}{kind}, in the {WHERE[place]}", columns, shown)


def _cell(cell: pd.Series) -> Cell:
    half = (cell["high"] - cell["low"]) / 2
    strength = cell["strength"]
    return Cell(
        f"{cell['mean']:.3f}",
        f"±{half:.3f}",
        f"({strength})" if isinstance(strength, str) and strength else "",
        dagger=bool(cell["significant"]),
    )
