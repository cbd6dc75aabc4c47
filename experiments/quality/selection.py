"""By what should the strength of a method be chosen? What each rule would have got, in truth.

Every rule reads validation targets alone. The study's own is NDCG@10 of liked targets; the others
are what the method's own reward model says of the lists (reward/proxy@10), and what a judge says
that was trained on other users (reward/judge@10); not where the same judge decides what a policy is
worth. Beside them the best strength in hindsight, which no rule can beat and nobody can know.
"""

import numpy as np
import pandas as pd
from quality.results import compared_with, value_columns

from recsys_posttrain.report.cells import Block, Cell, cells, headings
from recsys_posttrain.report.noise_quality import CONDITION
from recsys_posttrain.reward_scale import RewardScale

OWN = "NDCG@10 liked"
RULES = {OWN: "liked_ndcg@10", "proxy": "reward/proxy@10", "judge": "reward/judge@10"}
HINDSIGHT = "hindsight"


def selections(
    test: pd.DataFrame, validation: pd.DataFrame, num_items: int, scale: RewardScale
) -> pd.DataFrame:
    """One row per condition, method and rule, where a method has several strengths: the strength
    that the rule chose, its mean value with interval, and its paired difference to the study's own
    rule. test, validation: of all units, as `Outcome` holds them."""
    of_method = test.groupby([*CONDITION, "method"], sort=False)
    frames = [
        _of_method(of_method.get_group(key), key, trials, num_items, scale)
        for key, trials in validation.groupby([*CONDITION, "method"], sort=False)
        if trials["strength"].nunique() > 1
    ]
    return pd.concat(frames, ignore_index=True)


def _of_method(
    rows: pd.DataFrame,
    key: tuple[str, str, float, str],
    trials: pd.DataFrame,
    num_items: int,
    scale: RewardScale,
) -> pd.DataFrame:
    column = value_columns(rows)[0]
    by_rule = {
        name: str(trials.groupby("strength", sort=False)[source].mean().idxmax())
        for name, source in RULES.items()
        if source in trials and not (name == "judge" and "judge" in column.source)
    }
    by_rule[HINDSIGHT] = str(rows.groupby("strength", sort=False)[column.source].mean().idxmax())
    named = [rows[rows["strength"] == at].assign(method=rule) for rule, at in by_rule.items()]
    compared = compared_with(OWN, pd.concat(named), [column], num_items, scale)
    wanted = ["mean", "low", "high", "difference", "difference_low", "difference_high"]
    found = compared.cells.set_index("method")[wanted].rename_axis("rule").reset_index()
    place, kind, level, method = key
    return found.assign(
        place=place,
        kind=kind,
        level=level,
        method=method,
        strength=found["rule"].map(by_rule),
    )[[*CONDITION, "method", "rule", "strength", *wanted]]


def block(table: pd.DataFrame) -> Block:
    """Conditions and methods by rules: value, difference to the study's own rule, strength."""
    rules = list(dict.fromkeys(table["rule"]))
    shown = []
    for (_, kind, level, method), rows in table.groupby([*CONDITION, "method"], sort=False):
        by_rule = rows.set_index("rule")
        own = str(by_rule.loc[OWN, "strength"])
        found = [_cell(by_rule.loc[r], own) if r in by_rule.index else Cell("") for r in rules]
        shown.append([*cells([f"{kind} {level:g}" if kind else "none", str(method)]), *found])
    return Block("", headings("noise", "method", *rules, text=2), shown)


def _cell(cell: pd.Series, own: str) -> Cell:
    if np.isnan(cell["difference"]):
        return Cell(f"{cell['mean']:.3f}", note=f"({cell['strength']})")
    if cell["strength"] == own:
        return Cell("the same")
    half = (cell["difference_high"] - cell["difference_low"]) / 2
    text = f"{cell['mean']:.3f}, {cell['difference']:+.3f} ± {half:.3f}"
    return Cell(text, note=f"({cell['strength']})")
