"""The reference of a KL, which may number its items otherwise than the policy."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import numbers, same_items
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Targets


def scores_of(reference: Policy, ids: np.ndarray | None, targets: Targets) -> tuple[Tensor, Tensor]:
    """The scores of a reference policy, in the ranker's numbering of the items.

    Raises: UserError where the two do not know the same items: no KL is defined between them.
    """
    history, reference_ids, number_V1 = targets.history, reference.item_ids, None
    if ids is not None and reference_ids is not None and not same_items(ids, reference_ids):
        number_V1 = numbers(reference_ids, ids)
        require(
            len(ids) == len(reference_ids) and bool((number_V1[1:] > 0).all()),
            f"the policy knows {len(ids):,} items and the reference {len(reference_ids):,}, not "
            "the same ones, so that there is no KL between them; give the policy that it was "
            "post-trained from.",
        )
        history = replace(history, items_E=number_V1[history.items_E])
    hidden_ND, item_embedding_VD = reference.scores(history, targets.times_N)
    if number_V1 is not None:
        item_embedding_VD = item_embedding_VD[number_V1[1:] - 1]
    return hidden_ND, item_embedding_VD
