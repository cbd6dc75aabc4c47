"""How far a policy is from the reference, on the batch that it learns from."""

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch

POSITIONS = 256  # of a batch, about


@torch.no_grad()
def drift(batch: Batch, actors: Actors) -> dict[str, Tensor]:
    """Exact KL to the reference, entropy and, of a reward model that has sums over the catalogue,
    expected proxy reward, each a mean over positions.

    The positions are about POSITIONS of the batch, evenly spread. In nats and stars.
    """
    hidden_ND = actors.policy.hidden_states(batch).detach()
    every = max(1, len(hidden_ND) // POSITIONS)
    item_embedding_VD = actors.policy.item_embedding_VD
    excluded = batch.excluded and batch.excluded.every(every)
    kl_N2 = ops.kl_and_entropy(
        hidden_ND[::every],
        item_embedding_VD,
        actors.reference.hidden_states(batch)[::every],
        actors.reference.item_embedding_VD,
        excluded=excluded,
    )
    kl, entropy = kl_N2.mean(dim=0)
    if not actors.reward.sums_exactly:
        return {"kl": kl, "entropy": entropy}
    state_NR, factor_VR = actors.reward.factors(batch)
    proxy_N = ops.expected_score(
        hidden_ND[::every], item_embedding_VD, state_NR[::every], factor_VR, excluded=excluded
    )
    return {"kl": kl, "entropy": entropy, "reward/proxy": proxy_N.mean()}
