"""A point of a curve against loops over targets and items."""

import numpy as np
import pytest
import torch

from recsys_posttrain.evaluation.curve import curve_point
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import Sequences, Targets
from recsys_posttrain.worlds.base import Truth

ITEMS = 6
SEEN = [[3, 1], [5], [1, 2, 3, 4, 5, 6], [2, 2, 6]]  # the third has seen everything
USERS = [2, 0, 1, 2]


class Products:
    """A reward model that says the same about a target whatever came before it."""

    def __init__(self, state_NR, factor_VR):
        self.state_NR, self.factor_VR = state_NR, factor_VR

    def last_states(self, histories, next_times_N, users_N):
        assert users_N.tolist() == USERS
        return self.state_NR, self.factor_VR


@pytest.fixture(scope="module")
def targets():
    lengths = [len(seen) for seen in SEEN]
    ones_E = torch.ones(sum(lengths))
    history = Sequences(
        torch.tensor([item for seen in SEEN for item in seen]),
        ones_E,
        ones_E.long(),
        torch.tensor([0, *lengths]).cumsum(0),
    )
    ones_N = torch.ones(len(SEEN), dtype=torch.int64)
    return Targets(history, ones_N, ones_N.float(), ones_N, torch.tensor(USERS))


def policy_of(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(SASRec(dim=4, blocks=1, feed_forward=8, max_length=6).build(ITEMS))
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 20
    return policy.eval()


def probabilities(policy, targets):
    with torch.no_grad():
        state_ND = policy.last_states(targets.history, targets.times_N)
        logit_NV = (state_ND.double() @ policy.table_VD.double().T).numpy()
    weight_NV = np.exp(logit_NV - logit_NV.max(axis=1, keepdims=True))
    return weight_NV / weight_NV.sum(axis=1, keepdims=True)


def slow_worth(pi_NV, reward_NV):
    """E[r] over unseen items, averaged over the targets that have any."""
    worth = []
    for n, seen in enumerate(SEEN):
        unseen = [v for v in range(ITEMS) if v + 1 not in seen]
        if unseen:
            share = sum(pi_NV[n, v] for v in unseen)
            worth.append(sum(pi_NV[n, v] * float(reward_NV[n, v]) for v in unseen) / share)
    return np.mean(worth)


def test_a_point_is_the_slow_loop(targets):
    """Scores are rounded to float32 (about 6 significant digits of each probability)."""
    policy, reference = policy_of(0), policy_of(1)
    random = torch.Generator().manual_seed(2)
    proxy = Products(*(torch.randn(n, 3, generator=random) for n in (len(SEEN), ITEMS)))
    state_UR, factor_VR = (torch.randn(n, 2, generator=random) for n in (3, ITEMS))
    truth = Truth(state_UR, factor_VR, np.arange(3), np.arange(ITEMS), np.ones(1))
    point = curve_point(policy, reference, targets, {"proxy": proxy}, truth)
    assert list(point) == ["kl", "sqrt_kl", "reward/proxy", "reward/gold"]

    pi_NV, reference_NV = (probabilities(each, targets) for each in (policy, reference))
    kl = np.mean([sum(p * np.log(p / q)) for p, q in zip(pi_NV, reference_NV, strict=True)])
    assert kl > 0.1, "there is a distance to get wrong"
    assert point["kl"] == pytest.approx(kl, rel=1e-5)
    assert point["sqrt_kl"] == pytest.approx(kl**0.5, rel=1e-5)
    proxy_NV = proxy.state_NR @ proxy.factor_VR.T
    assert point["reward/proxy"] == pytest.approx(slow_worth(pi_NV, proxy_NV), rel=1e-5)
    gold_NV = state_UR[USERS] @ factor_VR.T
    assert point["reward/gold"] == pytest.approx(slow_worth(pi_NV, gold_NV), rel=1e-5)


def test_the_reference_is_at_no_distance_from_itself(targets):
    reference = policy_of(1)
    point = curve_point(reference, reference, targets, {})
    assert point == {"kl": 0, "sqrt_kl": 0}
