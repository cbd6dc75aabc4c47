"""The columns of a comparison table: one `Column` per metric and subset. A new one is one value."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.data.signals import SIGNAL, is_signal
from recsys_posttrain.evaluation.metrics import SHOWN, coverage, gini
from recsys_posttrain.evaluation.subsets import (
    BySignal,
    Subset,
    Weights,
    all_targets,
    disliked,
    liked,
    reward_weighted,
    top_rated,
    unusable,
)
from recsys_posttrain.reward_scale import RewardScale


@dataclass(frozen=True)
class Column:
    """A metric over a subset of the targets.

    metric, over: the two lines of the header.
    source: the per-user column that is averaged, or the lists that `of_lists` summarises.
    subset: weight of each target. of_lists: (items_NK, num_items) -> one number per seed.
    bold: whether the best value is marked. False where a useless ranker wins: one that finds
    nothing has no disliked target in its list, a random one covers the catalogue evenly.
    """

    metric: str
    over: str
    source: str
    subset: Subset = all_targets
    of_lists: Callable[[NDArray[np.int64], int], float] | None = None
    higher_is_better: bool = True
    bold: bool = True

    @property
    def in_rewards(self) -> bool:
        """Whether its unit is that of the rewards."""
        return self.source.startswith(("reward/", "regret"))

    @property
    def name(self) -> str:
        return f"{self.metric} {self.over}".replace(" @", "@").strip()

    def weights(self, rows: pd.DataFrame, scale: RewardScale) -> Weights:
        """Of each target; 0 everywhere where the column has nothing to show."""
        weight_N = self.subset(rows, scale)
        return weight_N * (not unusable(self.subset, weight_N, scale))

    def nothing(self, rows: pd.DataFrame, scale: RewardScale) -> str:
        """Why the column has nothing to show; empty where it has something."""
        if self.of_lists is None and rows[self.source].isna().all():
            return scale.missing or "it was not measured"
        return unusable(self.subset, self.subset(rows, scale), scale)

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"


COLUMNS = (
    Column("NDCG@10", "all", "ndcg@10"),
    Column("HR@10", "all", "hr@10"),
    Column("NDCG@10", "liked", "ndcg@10", liked),
    Column("NDCG@10", "top", "ndcg@10", top_rated),
    Column("NDCG@10", "disliked", "ndcg@10", disliked, higher_is_better=False, bold=False),
    Column("NDCG@10", "weighted", "ndcg@10", reward_weighted),
    Column("reward", "proxy@10", "reward/proxy@10"),
    Column("coverage", "@10", "top10", of_lists=coverage, bold=False),
    Column("Gini", "@10", "top10", of_lists=gini, higher_is_better=False, bold=False),
)

# Estimates from the propensities of a log that has them (evaluation/off_policy.py). A ranker whose
# weights are few and large can lead each of them by chance.
OFF_POLICY_COLUMNS = tuple(
    Column("reward", name, f"reward/{name}", bold=False)
    for name in ("dm", "ips", "snips", "dr", "adjusted-dr")
)

# What the judge says, of a split that keeps users for one (its rollouts not of a world), and, of a
# world only, the true reward (evaluation/judged_value.py, true_value.py).
OPTIONAL_COLUMNS = (
    *OFF_POLICY_COLUMNS,
    Column("reward", "judge@10", "reward/judge@10"),
    Column("reward", "judge-rollout@5", "reward/judge-rollout@5"),
    Column("reward", "gold", "reward/gold"),
    Column("reward", "gold@5", "reward/gold@5"),
    Column("reward", "gold@10", "reward/gold@10"),
    Column("regret", "@10", "regret@10", higher_is_better=False),
    Column("reward", "gold-rollout@5", "reward/gold-rollout@5"),
)

# At several cutoffs, for the table of trade-offs. popularity: the share of the catalogue that is
# less popular than an item, mean over what is shown.
CUTOFF_METRICS = ("NDCG", "HR", "coverage", "popularity")
_BY_CUTOFF = (
    *(
        Column(f"{name}@{k}", "all", f"{name.lower()}@{k}")
        for name in ("NDCG", "HR")
        for k in SHOWN
    ),
    *(
        Column("coverage", f"@{k}", "top50", of_lists=partial(coverage, first=k), bold=False)
        for k in SHOWN
    ),
    *(Column("popularity", f"@{k}", f"popularity@{k}", bold=False) for k in SHOWN),
)


def cutoff_columns(sources: Iterable[str]) -> tuple[Column, ...]:
    """The columns at several cutoffs whose rows have these sources."""
    known = set(sources)
    return tuple(column for column in _BY_CUTOFF if column.source in known)


def columns_of(sources: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a table whose rows have these sources."""
    known = dict.fromkeys(sources)
    return (
        COLUMNS
        + tuple(column for column in OPTIONAL_COLUMNS if column.source in known)
        + tuple(signal_column(source) for source in known if is_signal(source))
    )


def signal_column(source: str) -> Column:
    """NDCG weighted by a signal: whether what had much of it is found."""
    name = source.removeprefix(SIGNAL)
    return Column("NDCG@10", f"by {name}", "ndcg@10", BySignal(source), bold=False)


def value_columns(sources: Iterable[str]) -> tuple[Column, ...]:
    """What a policy is worth: the truth where it is known, otherwise first of all the judge, then
    what strengths are chosen by."""
    known = set(sources)
    if "reward/gold@5" in known:
        return (Column("true reward", "of the top 5", "reward/gold@5"),)
    of_judge = Column("judge's reward", "of 5 greedy steps", "reward/judge-rollout@5")
    ranking = Column("NDCG@10", "liked", "ndcg@10", liked), Column("NDCG@10", "all", "ndcg@10")
    return (of_judge, *ranking) if of_judge.source in known else ranking
