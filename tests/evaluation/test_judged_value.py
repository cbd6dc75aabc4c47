"""What a judge says of greedy steps, against a judge whose predictions are known by hand."""

import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.eligibility import Excluded
from recsys_posttrain.evaluation.judged_value import judged_value
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Targets

COLUMN = "reward/judge-rollout@5"
ITEMS = 7
COUNT_V = torch.tensor([70, 20, 30, 60, 50, 10, 40])  # popular first: items 1, 4, 5, 7, 3, 2, 6


class HandJudge(RewardModel):
    """r_hat = half of the latest reward of the history + a tenth of the item's id."""

    max_length = 5

    def __init__(self):
        super().__init__()
        self.asked = []

    def member_factors(self, batch):
        latest_N = batch.history_rewards_BT[batch.mask_BT]
        self.asked.append(len(batch.action_N))
        state_1N2 = torch.stack([latest_N / 2, torch.ones_like(latest_N)], dim=1)[None]
        item_V = torch.arange(1, ITEMS + 1).float()
        return state_1N2, torch.stack([torch.ones(ITEMS), item_V / 10], dim=1)[None]


@pytest.fixture
def targets():
    """Users who have seen items 1 and 5, everything but 6, and everything."""
    seen = [[1, 5], [1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 6, 7]]
    history = made_sequences([2, 6, 7], seen, rewards=15 * [4.0], times=range(15))
    ones_N = torch.ones(3, dtype=torch.int64)
    return Targets(history, ones_N, ones_N.float(), ones_N * 100, torch.arange(3))


def test_popularity_by_hand(targets):
    """The first user is shown 4, 7, 3, 2, 6; each reward halves into the next. The second has one
    step, the third none."""
    frame = judged_value(SameForAll(COUNT_V), HandJudge(), targets)
    assert list(frame.columns) == [COLUMN]
    rewards = [2.4, 1.9, 1.25, 0.825, 1.0125]
    weights = [1, 0.9, 0.81, 0.729, 0.6561]
    total = sum(reward * weight for reward, weight in zip(rewards, weights, strict=True))
    assert frame[COLUMN][0] == pytest.approx(total / sum(weights), abs=1e-6)
    assert frame[COLUMN][1] == pytest.approx(2.6, abs=1e-6)
    assert frame[COLUMN].isna().tolist() == [False, False, True]


def test_a_policy_is_asked_again_after_every_step(targets):
    """It reads the rewards that the judge predicted: the slow loop, event by event."""
    config = SASRec(dim=8, blocks=1, feed_forward=16, max_length=9, history_rewards=True)
    policy = new_policy(config, ITEMS, seed=0).eval()
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 5
    found = judged_value(policy, HandJudge(), targets)[COLUMN]

    items, rewards, times, latest, shown = [1, 5], [4.0, 4.0], [0, 1], 4.0, []
    for step in range(5):
        history = made_sequences([len(items)], items, rewards, times)
        hidden_1D = policy.last_hidden_states(history, torch.tensor([100 + 60 * step]))
        seen = Excluded(history.items_E, history.offsets_N1)
        item = int(top_items(hidden_1D, policy.item_embedding_VD.detach(), 1, seen)[0])
        latest = latest / 2 + item / 10
        items, rewards, times = [*items, item], [*rewards, latest], [*times, 100 + 60 * step]
        shown.append(latest)
    weight = [0.9**step for step in range(5)]
    expected = sum(w * r for w, r in zip(weight, shown, strict=True)) / sum(weight)
    assert found[0] == pytest.approx(expected, abs=1e-5)


def test_what_the_judge_knows_of_the_targets_is_kept(targets):
    """The histories of later steps are those of one policy: they do not drive out the first."""
    judge = HandJudge()
    judged_value(SameForAll(COUNT_V), judge, targets)
    passes = len(judge.asked)
    judged_value(SameForAll(COUNT_V), judge, targets)
    assert passes == 5
    assert len(judge.asked) == 9
