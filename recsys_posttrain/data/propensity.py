"""The probability with which a log's policy chose each item: a column that a log may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_posttrain.errors import UserError

if TYPE_CHECKING:
    from recsys_posttrain.types import Interactions

PROPENSITY = "propensity"
NO_PROPENSITY = (
    "a propensity, the probability with which the log's policy chose the item, must be above 0 and "
    "at most 1 in every row"
)


def check_propensities(interactions: Interactions) -> None:
    """Raises UserError where the log has propensities and one is none."""
    frame = interactions.frame
    if PROPENSITY not in frame:
        return
    bad_E = ~((frame[PROPENSITY] > 0) & (frame[PROPENSITY] <= 1)).to_numpy()  # NaN is neither
    if bad_E.any():
        row = int(bad_E.argmax())
        raise UserError(
            f"{interactions.name}: {NO_PROPENSITY}; row {row + 1} has "
            f"{frame[PROPENSITY].iloc[row]:g}: correct it, or leave the column out."
        )
