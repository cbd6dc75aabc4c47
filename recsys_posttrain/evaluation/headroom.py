"""What there is to gain in a world, before any model: the true value of items in fixed orders.

uniform             any item that may be shown, with equal probability
log                 what the log shows, the mean over its training events: how far its policy
                    follows preference
popularity          the most logged items first; drawn in proportion to their counts
best fixed list     first the items with the highest mean true reward, over the users who may be
                    shown them
oracle              each user's own best items first

`list` is the mean true reward of the five items that come first and `one` that of a single item:
the drawn one, or the first of the best fixed list and of the oracle. Only items that may be shown
count (data/repeats.py). Both are means over targets.
"""

import pandas as pd
import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.data.popularity import event_counts
from recsys_posttrain.data.repeats import removed_for
from recsys_posttrain.evaluation.expectation import (
    EVENTS_AT_A_TIME,
    expected_unseen,
    mean_where_shown,
)
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.types import Split
from recsys_posttrain.worlds.base import Truth

LIST = 5
ENOUGH = 0.5  # of what the oracle has over popularity, above the best fixed list


def headroom(truth: Truth, data: Split) -> pd.DataFrame:
    """The rows and columns of the module's text, at the test targets. truth: aligned to the corpus
    of the data, whose events are counted for popularity (`event_counts`)."""
    targets = data.test
    state_NR, factor_VR = truth.state_UR[targets.users_N], truth.factor_VR
    one_N1 = torch.ones(len(state_NR), 1)
    mean_V1 = mean_where_shown(state_NR, factor_VR, targets)[:, None]
    popularity_V1 = event_counts(data).double().clamp(min=1e-9).log()[:, None]

    def drawn(logit_V1: Tensor) -> float:
        mean_N = expected_unseen(one_N1, logit_V1, state_NR, factor_VR, targets)
        return float(mean_N.nanmean())

    def first(hidden_ND: Tensor, item_embedding_VD: Tensor, k: int) -> float:
        seen = removed_for(targets)
        items_NK, _ = top_items(hidden_ND, item_embedding_VD, min(k, len(factor_VR)), seen)
        reward_NK = truth.rewards_of(targets.users_N, items_NK).double()
        return float(reward_NK.nanmean(dim=1).nanmean())

    row_E = torch.repeat_interleave(data.train.lengths_N)
    logged_E1 = ops.map_chunks(
        truth.rewards_of, row_E, data.train.items_E[:, None], chunk=EVENTS_AT_A_TIME
    )
    log = float(logged_E1.double().mean())
    uniform = drawn(torch.zeros_like(mean_V1))
    best, oracle = (one_N1, mean_V1), (state_NR, factor_VR)
    rows = {
        "uniform": (uniform, uniform),
        "log": (log, log),
        "popularity": (first(one_N1, popularity_V1, LIST), drawn(popularity_V1)),
        "best fixed list": (first(*best, LIST), first(*best, 1)),
        "oracle": (first(*oracle, LIST), first(*oracle, 1)),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["list", "one"])


def share_of_people(values: pd.DataFrame) -> float:
    """(oracle - best fixed list) / (oracle - popularity), of lists: how much of what there is to
    gain needs to know the user; NaN where there is nothing to gain."""
    of_list = values["list"]
    all_of_it = of_list["oracle"] - of_list["popularity"]
    beyond_items = of_list["oracle"] - of_list["best fixed list"]
    return float(beyond_items / all_of_it) if all_of_it > 0 else float("nan")


def headroom_lines(name: str, values: pd.DataFrame) -> list[str]:
    """The figures in one line; in a world without headroom a second one says so."""
    shown = ", ".join(f"{row} {v:.3f} ({one:.3f})" for row, v, one in values.itertuples())
    share = share_of_people(values)
    lines = [f"{name}, mean true reward of the first {LIST} unseen items (of one item): {shown}"]
    if share >= ENOUGH:
        return lines
    why = (
        f"the best fixed list, the same for everybody, leaves {share:.0%} of what the oracle has "
        f"over popularity, less than {ENOUGH:.0%}, so methods that know people can hardly be told "
        "from lists that do not."
    )
    if share != share:
        why = "the oracle's list is no better than popularity's, so there is nothing to gain."
    return [*lines, f"{name} has no headroom: {why}"]
