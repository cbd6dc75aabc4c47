"""Which rows of a table belong to which noise, for figures of the quality of the reward model.

Such a table has one row per method and condition: place ("model", "log", "shared", "" without
noise), kind and level, what the noise achieved (AXES, rmse), mean, low and high.
"""

from typing import Any

import pandas as pd

WHERE = {"model": "reward model", "log": "log", "shared": "log and reward model"}
# How good rewards are, the measure that tells most first. What evaluation/projected.py measures
# needs a truth or a judge, and errors that have a field.
AXES = {
    "projected_truth": "projected correlation (truth)",
    "projected_judge": "projected correlation (judge)",
    "pairwise_accuracy": "achieved pairwise accuracy",
}
CONDITION = ["place", "kind", "level"]
# Policies that no reward changes.
BANDS: dict[str, dict[str, Any]] = {
    "Pretrained": {"facecolor": "#ececec"},
    "BC": {"facecolor": "#c8c8c8"},
}
BOUNDS = ("Uniform", "BestFixedList", "Oracle")  # of a world; two of them know the truth


def noise_kinds(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(place, kind) of each noise, in the order of the table."""
    pairs = table[["place", "kind"]].drop_duplicates().itertuples(index=False, name=None)
    return [(place, kind) for place, kind in pairs if place]


def of_kind(table: pd.DataFrame, place: str, kind: str) -> pd.DataFrame:
    """The rows of one kind of noise in one place, and those without noise as its level 0."""
    noisy = table[(table["place"] == place) & (table["kind"] == kind)]
    clean = table[(table["place"] == "") & table["method"].isin(noisy["method"])]
    if place == "log":  # a log without noise agrees with itself
        clean = clean.assign(pairwise_accuracy=1.0, rmse=0.0)
    return pd.concat([clean, noisy])


def axis_of(table: pd.DataFrame) -> str:
    """The first of AXES that every row has."""
    return next((n for n in AXES if n in table and table[n].notna().all()), [*AXES][-1])


def methods_drawn(table: pd.DataFrame) -> list[str]:
    """Those that have a line, and may be advised: run under some noise, and neither a band nor
    popularity nor a bound of a world."""
    noisy = table[table["place"] != ""]["method"]
    return [name for name in dict.fromkeys(noisy) if name not in (*BANDS, *BOUNDS, "Popularity")]


def swept(frontier: pd.DataFrame) -> list[tuple[str, str, float]]:
    """The conditions in which a method has several strengths."""
    counts = frontier.groupby([*CONDITION, "method"], sort=False)["strength"].nunique()
    several = counts[counts > 1].reset_index()[CONDITION].drop_duplicates()
    return list(several.itertuples(index=False, name=None))
