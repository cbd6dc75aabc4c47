"""One point of an over-optimisation curve: how far a policy is from the reference, and its worth.

Every worth is E_pi[r] over the items that the user has not seen (expectation.py), by the reward
model, the judge and in truth, so that they differ in nothing but the reward.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from recsys_posttrain import ops
from recsys_posttrain.evaluation.expectation import expected_unseen
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Targets
from recsys_posttrain.worlds.base import Truth


def curve_point(
    policy: Policy,
    reference: Policy,
    targets: Targets,
    models: Mapping[str, RewardModel],
    truth: Truth | None = None,
) -> dict[str, float]:
    """Means over the targets: `kl`, the exact KL(policy || reference) in nats over the whole
    catalogue, and its root `sqrt_kl`; in reward units `reward/<name>` for each model, and
    `reward/gold` for the truth.

    truth: aligned to the targets' corpus. Targets whose users have seen every item have no worth
    and are left out of it.
    """
    policy.eval()
    reference.eval()
    states_ND = policy.last_states(targets.history, targets.times_N)
    reference_ND = reference.last_states(targets.history, targets.times_N)
    table_VD = policy.table_VD.detach()
    kl_N2 = ops.kl_and_entropy(states_ND, table_VD, reference_ND, reference.table_VD)
    kl = max(0.0, float(kl_N2[:, 0].double().mean()))  # rounding may leave next to nothing below 0
    point = {"kl": kl, "sqrt_kl": math.sqrt(kl)}
    for name, factors in _factors(targets, models, truth).items():
        value_N = expected_unseen(states_ND, table_VD, *factors, targets)
        point[f"reward/{name}"] = float(value_N.nanmean())
    return point


def _factors(
    targets: Targets, models: Mapping[str, RewardModel], truth: Truth | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """(state_NR, factor_VR) of each reward."""
    found = {
        name: model.last_states(targets.history, targets.times_N, targets.users_N)
        for name, model in models.items()
    }
    if truth is not None:
        found["gold"] = (truth.state_UR[targets.users_N], truth.factor_VR)
    return found
