"""How far a policy is from the reference, on the batch that it learns from."""

import torch
from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.types import Batch

POSITIONS = 256  # of a batch, about


@torch.no_grad()
def drift(batch: Batch, actors: Actors) -> dict[str, Tensor]:
    """KL to the reference, entropy and, of a reward model that has sums over the catalogue,
    expected proxy reward, each a mean over positions; exact unless the batch has a sample.

    The positions are about POSITIONS of the batch, evenly spread. In nats and stars.
    """
    policy, reference = actors.policy.softmax(batch), actors.reference.softmax(batch)
    every = max(1, len(policy.hidden_NE) // POSITIONS)
    hidden_NE, vectors_ME = policy.hidden_NE.detach()[::every], policy.vectors_ME
    excluded = policy.excluded and policy.excluded.every(every)
    kl_N2 = ops.kl_and_entropy(
        hidden_NE, vectors_ME, reference.hidden_NE[::every], reference.vectors_ME, excluded=excluded
    )
    kl, entropy = kl_N2.mean(dim=0)
    if (sample := batch.catalogue_sample) is not None:
        # That of the places holds the mean of their log weights, with the other sign.
        given = hidden_NE, vectors_ME, torch.ones_like(hidden_NE[:, :1])
        log_weight_M1 = sample.log_weight_M[:, None]
        entropy = entropy + ops.expected_score(*given, log_weight_M1, excluded=excluded).mean()
    if not actors.reward.sums_exactly:
        return {"kl": kl, "entropy": entropy}
    state_NR, factor_MR = actors.reward.place_factors(batch)
    proxy_N = ops.expected_score(
        hidden_NE, vectors_ME, state_NR[::every], factor_MR, excluded=excluded
    )
    return {"kl": kl, "entropy": entropy, "reward/proxy": proxy_N.mean()}
