"""Which items of a log are kept, and the numbers of its users and items."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys_posttrain.data.notes import note
from recsys_posttrain.data.propensity import PROPENSITY, check_propensities
from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from recsys_posttrain.types import Interactions

LOWER_MINIMUM = (
    "lower minimum_item_ratings, a field of the split (run --set split.minimum_item_ratings=1, or "
    "split=LeaveOneOut(minimum_item_ratings=1) in the experiment file)"
)


class Numbered(NamedTuple):
    """The events that are kept, and of each the numbers from 0 of its user and its item, by first
    appearance. interactions: those events, without their ids unless impressions are matched by
    them. left_out: the ids of users without such an event."""

    interactions: Interactions
    user_E: np.ndarray
    user_ids: Any
    item_E: np.ndarray
    item_ids: Any
    left_out: list[Any]


def numbered(interactions: Interactions, minimum_item_ratings: int) -> Numbered:
    """Without the items that have fewer ratings. Raises: UserError where that leaves none, or where
    a propensity is none."""
    import numpy as np
    import pandas as pd

    check_propensities(interactions)
    frame = interactions.frame
    # Text is compared here and nowhere after: in pandas it costs most of the time of preparing.
    user_E, user_ids = pd.factorize(frame["user_id"])
    item_E, item_ids = pd.factorize(frame["item_id"])
    count_V = np.bincount(item_E)
    kept_V = count_V >= minimum_item_ratings
    if not kept_V.any():
        raise UserError(
            f"{interactions.name} has no item with {minimum_item_ratings} ratings or more (the "
            f"most is {count_V.max(initial=0)}); {LOWER_MINIMUM}."
        )
    left_out: list[Any] = []
    if not kept_V.all():
        kept_E = kept_V[item_E]
        if PROPENSITY in frame:
            note(
                f"{interactions.name}: {1 - kept_E.mean():.2%} of events are on items left out as "
                "rare, so that off-policy estimates that are not self-normalised are about as much "
                f"too high; to keep them {LOWER_MINIMUM}"
            )
        frame = frame[kept_E]
        left_out = user_ids[np.bincount(user_E[kept_E], minlength=len(user_ids)) == 0].tolist()
        user_E, found = pd.factorize(user_E[kept_E])
        user_ids = user_ids[found]
        item_E, found = pd.factorize(item_E[kept_E])
        item_ids = item_ids[found]
    if interactions.shown is None and "position" not in frame:
        frame = frame.drop(columns=["user_id", "item_id"])  # text is most of a large log
    kept = replace(interactions, frame=frame)
    return Numbered(kept, user_E, user_ids, item_E, item_ids, left_out)
