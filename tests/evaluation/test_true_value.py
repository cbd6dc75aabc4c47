"""Exact values against loops over users and items, and against all slates that there are."""

from functools import partial

import numpy as np
import pytest
import torch
from data_factory import made_sequences

from recsys_posttrain.evaluation.rollout import appended, discounted_mean, first_of, rollout
from recsys_posttrain.evaluation.true_value import expected_reward, true_value
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.ranker import SameForAll
from recsys_posttrain.types import History, Targets
from recsys_posttrain.worlds.base import Truth

ITEMS, WINDOW = 14, 5
# The items that each target's user has seen, and the user: not in the order of the targets.
SEEN = [[3, 1, 4], [5], [9, 2, 6, 8, 7, 1, 3], list(range(1, 13)), list(range(1, 15)), [14, 13]]
USERS = [4, 0, 7, 2, 5, 1]
ALL_SEEN = 4
COLUMNS = ["reward/gold", "reward/gold@5", "reward/gold@10", "regret@5", "regret@10"]
COLUMNS.append("reward/gold-rollout@5")


@pytest.fixture(scope="module")
def targets():
    lengths = [len(seen) for seen in SEEN]
    generator = torch.Generator().manual_seed(3)
    history = made_sequences(
        lengths,
        SEEN,
        torch.randint(1, 6, (sum(lengths),), generator=generator).tolist(),
        torch.randint(1, 5000, (sum(lengths),), generator=generator).cumsum(0).tolist(),
    )
    latest_N = history.timestamps_E[history.offsets_N1[1:] - 1]
    return Targets(
        history,
        items_N=torch.ones(len(SEEN), dtype=torch.int64),
        rewards_N=torch.ones(len(SEEN)),
        times_N=latest_N + torch.tensor([5, 500, 7, 90, 0, 3000]),
        users_N=torch.tensor(USERS),
    )


@pytest.fixture(scope="module")
def truth():
    generator = torch.Generator().manual_seed(4)
    state_UR, factor_VR = (torch.randn(n, 3, generator=generator) for n in (8, ITEMS))
    return Truth(state_UR, factor_VR, np.arange(8), np.arange(ITEMS))


def made_policy(backbone):
    policy = new_policy(backbone, ITEMS, seed=5)
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 3
    return policy.eval()


@pytest.fixture(scope="module", params=["SASRec", "HSTU"])
def policy(request):
    """One reads past rewards, the other times, also that of the action to come."""
    if request.param == "SASRec":
        config = SASRec(dim=8, blocks=1, feed_forward=16, max_length=WINDOW, history_rewards=True)
        return made_policy(config)
    policy = made_policy(HSTU(dim=8, blocks=1, heads=2, max_length=WINDOW, target_time=True))
    with torch.no_grad():
        policy.backbone.blocks[0].time_bias *= 200  # so that another time is another state
    return policy


def true_rewards(truth, n):
    """r* of items 1..14 for the user of target n, as a dictionary."""
    state = truth.state_UR[USERS[n]].double()
    return {item: float(truth.factor_VR[item - 1].double() @ state) for item in range(1, ITEMS + 1)}


def events_of(targets, n):
    """(item, reward, time) of the history of target n."""
    start, stop = targets.history.offsets_N1[n : n + 2].tolist()
    parts = (targets.history.items_E, targets.history.rewards_E, targets.history.timestamps_E)
    return list(zip(*(part[start:stop].tolist() for part in parts), strict=True))


def slow_logits(policy, events, now):
    """{item: logit} after these events, for an action at the time `now`."""
    items, rewards, times = (
        torch.tensor([column]) for column in zip(*events[-WINDOW:], strict=True)
    )
    following = torch.cat([times[:, 1:], torch.tensor([[now]])], dim=1)
    with torch.no_grad():
        state_D = policy.backbone(History(items, rewards.float(), times, following))[0, -1]
    logit_V = policy.item_embedding_VD.detach().double() @ state_D.double()
    return {item: float(logit_V[item - 1]) for item in range(1, ITEMS + 1)}


def mean_of_first(ranked, reward, k):
    return float(np.mean([reward[item] for item in ranked[:k]]))


def slow_row(logits_of, reward, seen, targets, n):
    """The six columns from sums and full sorts. logits_of(events, now) -> {item: logit}."""
    events, now = events_of(targets, n), int(targets.times_N[n])
    logit = logits_of(events, now)
    unseen = [item for item in reward if item not in seen]
    weight = {item: np.exp(logit[item]) for item in unseen}
    ranked = sorted(unseen, key=lambda item: -logit[item])
    best = sorted(unseen, key=lambda item: -reward[item])
    row = [sum(weight[item] * reward[item] for item in unseen) / sum(weight.values())]
    row += [mean_of_first(ranked, reward, k) for k in (5, 10)]
    row += [mean_of_first(best, reward, k) - mean_of_first(ranked, reward, k) for k in (5, 10)]
    total = weights = 0.0
    for step in range(min(5, len(unseen))):
        logit = logits_of(events, now + 60 * step)
        shown = max((item for item in unseen if item not in {e[0] for e in events}), key=logit.get)
        events = [*events, (shown, reward[shown], now + 60 * step)]
        total, weights = total + 0.9**step * reward[shown], weights + 0.9**step
    return [*row, total / weights]


def test_every_column_of_a_policy_is_the_slow_loop(policy, truth, targets):
    """atol: the policy's states and the truth's products are float32 sums of ten terms near 1."""
    frame = true_value(policy, truth, targets)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == len(SEEN)
    for n, seen in enumerate(SEEN):
        if n == ALL_SEEN:
            assert frame.loc[n].isna().all()
            continue
        logits_of = partial(slow_logits, policy)
        expected = slow_row(logits_of, true_rewards(truth, n), seen, targets, n)
        np.testing.assert_allclose(frame.loc[n], expected, atol=2e-5)


def test_one_list_for_all_is_the_slow_loop_too(truth, targets):
    count = dict(enumerate([7, 0, 3, 12, 5, 1, 9, 2, 4, 8, 6, 11, 10, 0], start=1))
    logit_V = torch.tensor(list(count.values())).double().clamp(min=1e-9).log()
    frame = true_value(SameForAll(logit_V), truth, targets)
    logit = {item: np.log(number) if number else -50.0 - item for item, number in count.items()}
    for n, seen in enumerate(SEEN):
        if n == ALL_SEEN:
            continue
        expected = slow_row(lambda *_: logit, true_rewards(truth, n), seen, targets, n)
        if n == 3:  # only items 13 and 14 are left: item 14, never chosen, has no weight
            assert expected[0] == pytest.approx(true_rewards(truth, n)[13])
        np.testing.assert_allclose(frame.loc[n], expected, atol=2e-5)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_chunk_does_not_change_a_value(chunk, truth):
    """More rows than one block of the ranking has."""
    generator = torch.Generator().manual_seed(6)
    rows = 300
    hidden_ND, item_embedding_VD = (torch.randn(n, 4, generator=generator) for n in (rows, ITEMS))
    shown = torch.randint(1, ITEMS + 1, (rows,), generator=generator).tolist()
    many = Targets(
        made_sequences(rows * [1], shown),
        *(torch.ones(rows, dtype=torch.int64) for _ in range(3)),
        users_N=torch.randint(0, 8, (rows,), generator=generator),
    )
    whole_N = expected_reward(hidden_ND, item_embedding_VD, truth, many)
    assert torch.equal(expected_reward(hidden_ND, item_embedding_VD, truth, many, chunk), whole_N)
    assert not bool(whole_N.isnan().any())


def test_each_step_of_a_rollout_shows_something_new(policy, truth, targets):
    def true_reward(_, items_N, __):
        return truth.rewards_of(targets.users_N, items_N[:, None])[:, 0]

    reward_NS = rollout(first_of(policy, targets), true_reward, targets, 14)
    for n, seen in enumerate(SEEN):
        found = [float(value) for value in reward_NS[n] if not value.isnan()]
        unseen = [value for item, value in true_rewards(truth, n).items() if item not in seen]
        np.testing.assert_allclose(sorted(found), sorted(unseen), atol=1e-5)
        assert bool(reward_NS[n, len(unseen) :].isnan().all())


def test_the_discounted_mean_by_hand():
    nan = float("nan")
    reward_NS = torch.tensor([[4.0, 2.0, 1.0], [4.0, 2.0, nan], [nan, nan, nan]])
    found = discounted_mean(reward_NS, 0.5)
    assert found[:2].tolist() == [(4 + 1 + 0.25) / 1.75, (4 + 1) / 1.5]
    assert bool(found[2].isnan())


def test_appended_events_by_hand():
    histories = made_sequences([1, 0, 2], rewards=[1, 2, 3], times=[10, 20, 30])
    grown = appended(
        histories, torch.tensor([7, 8, 0]), torch.tensor([7.0, 8, 9]), torch.tensor([70, 80, 90])
    )
    assert grown.items_E.tolist() == [1, 7, 8, 2, 3]
    assert grown.rewards_E.tolist() == [1, 7, 8, 2, 3]
    assert grown.timestamps_E.tolist() == [10, 70, 80, 20, 30]
    assert grown.offsets_N1.tolist() == [0, 2, 3, 5]
    assert histories.items_E.tolist() == [1, 2, 3]
