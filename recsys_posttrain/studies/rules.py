"""The rules by which a strength, or a setting, can be chosen on validation targets.

NDCG@10 of liked targets is the default. The others are what the method's own reward model says of
the lists (reward/proxy@10), with its errors; what a judge says that was trained on other users
(reward/judge@10), which is no rule where the same judge decides what a policy is worth; and, of a
log with propensities, the doubly robust estimate of one item drawn from the policy (reward/dr,
evaluation/off_policy.py), which is unbiased whatever the reward model, but varies.
"""

from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.errors import did_you_mean, nearest
from recsys_posttrain.evaluation.subsets import Weights, liked
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.noise.correlated import CORRELATIONS, judge_column
from recsys_posttrain.stats.columns import Column
from recsys_posttrain.stats.runs import TARGET
from recsys_posttrain.types import Split


def _liked(rows: pd.DataFrame, scale: RewardScale) -> Weights:
    """A column of the table is empty where every target is liked; a choice is made there too."""
    return liked(rows, scale)


OWN, PROXY, JUDGE, DR = "NDCG@10 liked", "proxy", "judge", "dr"
RULES = {
    OWN: Column("NDCG@10", "liked", "ndcg@10", _liked),
    PROXY: Column("reward", "proxy@10", "reward/proxy@10"),
    JUDGE: Column("reward", "judge@10", "reward/judge@10"),
    DR: Column("reward", "dr", "reward/dr"),
}
# Judges whose errors correlate so with those of a noisy reward model.
CORRELATED = {f"judge, errors {rho:g}": judge_column(rho) for rho in CORRELATIONS}
RULES |= {name: Column("reward", name, source) for name, source in CORRELATED.items()}
# For captions: what chose.
WORDS = {
    OWN: "NDCG@10 of liked validation targets",
    PROXY: "the reward model on validation targets",
    JUDGE: "the judge on validation targets",
    DR: "the doubly robust estimate on validation targets",
}


def rule_of(experiment: ModuleType, file: Path) -> str:
    """CHOSEN_BY of an experiment file. Raises: UserError where there is no such rule."""
    rule, rules = (
        getattr(experiment, "CHOSEN_BY", OWN),
        [name for name in RULES if name not in CORRELATED],
    )
    require(
        rule in rules,
        f"{file}: CHOSEN_BY={rule!r} is no rule{did_you_mean(nearest(str(rule), rules))} (one of: "
        f"{', '.join(rules)})",
    )
    return str(rule)


def check_rule(rule: str, data: Split) -> None:
    """Raises: UserError where the data lacks what the rule reads; before anything is trained."""
    corpus, fix = data.corpus, f"choose by {OWN!r}"
    require(
        rule == OWN or not corpus.reward_scale.missing,
        f"CHOSEN_BY={rule!r} reads a reward model, and {corpus.name} has no rewards to learn from "
        f"({corpus.reward_scale.missing}); {fix}.",
    )
    require(
        rule != JUDGE or data.judge is not None,
        f"CHOSEN_BY={rule!r}: this split of {corpus.name} keeps no users for a judge; {fix}, or "
        "give the setup split=UserHoldout().",
    )
    require(
        rule != DR or data.validation.propensities_N is not None,
        f"CHOSEN_BY={rule!r} weighs by propensities, and {corpus.name} states none; {fix}, or give "
        "a log with the column propensity.",
    )


def validation_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """What the rules read of the validation rows of one policy."""
    return rows[[*TARGET, *(rule.source for rule in RULES.values() if rule.source in rows)]]


def validation_means(rows: pd.DataFrame, scale: RewardScale) -> dict[str, float]:
    """By rule the mean over the validation rows of one policy; NaN where it reads no target."""
    found = {}
    for name, rule in RULES.items():
        if rule.source in rows:
            found[name] = weighted_mean(rows[rule.source], rule.subset(rows, scale))
    return found


def weighted_mean(value_N: pd.Series, weight_N: Weights) -> float:
    """Without those that have no value, as where nothing was left to show; NaN without weights."""
    if value_N.notna().any():
        weight_N, value_N = weight_N[value_N.notna()], value_N.dropna()
    return float(np.average(value_N, weights=weight_N)) if weight_N.any() else np.nan
