"""Ranking metrics: one number per target from its rank, or one number per set of lists.

Each target is the single relevant item of its ranking. A tie gives a rank that ends in .5
(the middle of the tied places): it is used as it is, so rank 10.5 is not among the first 10
and rank 1.5 has gain 1 / log2(2.5).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from recsys_posttrain.basic_statistics import Floats, ratio

CUTOFFS = (1, 5, 10, 20, 50)
LIST_LENGTH = 10
CUTOFF_LENGTH = 50  # of the lists that coverage and popularity at several cutoffs need
LISTS = f"top{LIST_LENGTH}", f"top{CUTOFF_LENGTH}"  # columns of lists
SHOWN = (1, 5, 10, 50)


def hit_rate(rank_N: ArrayLike, k: int) -> Floats:
    """The hit rate: 1 where the target is among the first k, else 0. It equals recall@k here."""
    return (np.asarray(rank_N, dtype=np.float64) <= k).astype(np.float64)


def ndcg(rank_N: ArrayLike, k: int) -> Floats:
    """The NDCG: 1 / log2(rank + 1) where rank <= k, else 0; the ideal gain is 1."""
    rank_N = np.asarray(rank_N, dtype=np.float64)
    return np.where(rank_N <= k, 1 / np.log2(rank_N + 1), 0.0)


def reciprocal_rank(rank_N: ArrayLike) -> Floats:
    """The reciprocal rank 1 / rank over the whole catalogue, without a cutoff."""
    return 1 / np.asarray(rank_N, dtype=np.float64)


def exposure(items_NK: ArrayLike, num_items: int) -> Floats:
    """How often each item 1..V is recommended: [V]. Item 0 (no item) is not counted."""
    return np.bincount(np.asarray(items_NK).ravel(), minlength=num_items + 1)[1:].astype(np.float64)


def coverage(items_NK: ArrayLike, num_items: int, first: int | None = None) -> float:
    """The share of the catalogue that is in at least one list. first: items of each that count."""
    return float((exposure(np.asarray(items_NK)[:, :first], num_items) > 0).mean())


def gini(items_NK: ArrayLike, num_items: int) -> float:
    """Gini index of exposure over the whole catalogue, items never shown included.

    0 when all items are shown equally often, (V - 1) / V when only one is shown.
    """
    count_V = np.sort(exposure(items_NK, num_items))
    rank_V = np.arange(1, num_items + 1)
    return float(((2 * rank_V - num_items - 1) * count_V).sum() / (num_items * count_V.sum()))


def popularity_rank(count_V: ArrayLike) -> Floats:
    """The share of the catalogue that is less popular than each item, ties counted half: [V]."""
    count_V = np.asarray(count_V)
    sorted_V = np.sort(count_V)
    below_V, up_to_V = (np.searchsorted(sorted_V, count_V, side) for side in ("left", "right"))
    return np.asarray((below_V + up_to_V) / (2 * len(count_V)))


def shown_popularity(items_NK: ArrayLike, rank_V: ArrayLike, k: int) -> Floats:
    """The mean `popularity_rank` of the first k items of each list; NaN of an empty one."""
    first_NK = np.asarray(items_NK)[:, :k]
    shown_N = (first_NK > 0).sum(1)
    return ratio(np.append(0.0, rank_V)[first_NK].sum(1), shown_N)


def per_user_frame(
    rank_N: ArrayLike,
    top_items_NK: ArrayLike,
    *,
    user_id: ArrayLike,
    item_id: ArrayLike,
    reward_N: ArrayLike,
    total_reward_N: ArrayLike,
    proxy_reward_N: ArrayLike | None = None,
    count_V: ArrayLike | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
) -> pd.DataFrame:
    """One row of metrics per target, from which every statistic is computed.

    rank_N: as `target_ranks` gives them.
    top_items_NK: at least 10 per row; the first 50 are kept.
    user_id, item_id: the target's original ids.
    reward_N: the target's logged reward.
    total_reward_N: the summed reward of the user's training events.
    proxy_reward_N: the reward model's mean score of the row's first 10 items.
    count_V: how often the training log has each item; adds popularity@k (`shown_popularity`).
    cutoffs: the k of hr@k and ndcg@k.

    Columns: user_id, item_id, reward, total_reward, rank, hr@k, ndcg@k, mrr,
    reward/proxy@10 (NaN when not given), top10 and top50 (lists of ids 1..V, 0 = no item).
    """
    rank_N = np.asarray(rank_N, dtype=np.float64)
    top_items_NK = np.asarray(top_items_NK)[:, :CUTOFF_LENGTH]
    columns: dict[str, object] = {
        "user_id": np.asarray(user_id),
        "item_id": np.asarray(item_id),
        "reward": np.asarray(reward_N, dtype=np.float64),
        "total_reward": np.asarray(total_reward_N, dtype=np.float64),
        "rank": rank_N,
    }
    columns |= {f"hr@{k}": hit_rate(rank_N, k) for k in cutoffs}
    columns |= {f"ndcg@{k}": ndcg(rank_N, k) for k in cutoffs}
    columns["mrr"] = reciprocal_rank(rank_N)
    columns[f"reward/proxy@{LIST_LENGTH}"] = (
        np.full(len(rank_N), np.nan)
        if proxy_reward_N is None
        else np.asarray(proxy_reward_N, dtype=np.float64)
    )
    if count_V is not None:
        rank_V = popularity_rank(count_V)
        columns |= {f"popularity@{k}": shown_popularity(top_items_NK, rank_V, k) for k in SHOWN}
    columns[LISTS[0]] = list(top_items_NK[:, :LIST_LENGTH].astype(np.int64))
    columns[LISTS[1]] = list(top_items_NK.astype(np.int32))
    return pd.DataFrame(columns)
