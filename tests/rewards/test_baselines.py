"""Naive reward baselines: hand numbers, slow event-by-event oracles, and no leakage."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from data_factory import made_corpus
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards import baselines
from recsys_posttrain.rewards.baselines import NAIVE_BASELINES, judged_events

NAMES = [name for name, _ in NAIVE_BASELINES]


def sequences(log):
    """One list of (item, reward) per user; an event a minute."""
    items, rewards = ([[each[n] for each in user] for user in log] for n in (0, 1))
    lengths = [len(user) for user in log]
    times = range(0, 60 * sum(lengths), 60)
    return made_corpus(lengths, items=items, rewards=rewards, times=times).sequences


def random_log(users, num_items, seed):
    """Rewards with item, user and noise parts; some users have no event or a single one."""
    generator = np.random.default_rng(seed)
    item_effect = np.random.default_rng(99).normal(size=num_items + 1)
    log = []
    for user in range(users):
        length = [0, 1][user] if user < 2 else int(generator.integers(2, 12))
        items = generator.choice(num_items, size=length, replace=False) + 1
        mean = 3 + item_effect[items] + generator.normal()
        reward = np.clip(np.round(mean + generator.normal(scale=0.5, size=length)), 1, 5)
        log.append(list(zip(items.tolist(), reward.tolist(), strict=True)))
    return log


FIT = random_log(60, 15, seed=0)
HELD_OUT = random_log(12, 16, seed=1)  # item 16 is unknown to FIT


def predict(name, fit, held_out):
    return dict(NAIVE_BASELINES)[name](sequences(fit), sequences(held_out), 16)


def item_sums(log, skip_fold=None):
    """{item: (sum of r - mu, count)} over users outside the fold."""
    mean = np.mean([reward for user in log for _, reward in user])
    sums = {}
    for index, user in enumerate(log):
        if index % 10 == skip_fold:
            continue
        for item, reward in user:
            total, count = sums.get(item, (0.0, 0))
            sums[item] = (total + reward - mean, count + 1)
    return sums


def bias_oracle(fit, user, sums, damping_i, damping_u):
    """mu + b_i + b_u(t) for the events after a user's first, one at a time."""
    mean = np.mean([reward for other in fit for _, reward in other])

    def bias(item):
        total, count = sums.get(item, (0.0, 0))
        return total / (count + damping_i)

    predictions = []
    for t in range(1, len(user)):
        past = sum(reward - mean - bias(item) for item, reward in user[:t])
        predictions.append(mean + bias(user[t][0]) + past / (t + damping_u))
    return predictions


def errors_on_fit(dampings):
    """Squared error on the fit users themselves, with item sums of the other folds."""
    total = 0.0
    for index, user in enumerate(FIT):
        predicted = bias_oracle(FIT, user, item_sums(FIT, index % 10), *dampings)
        rewards = [reward for _, reward in user[1:]]
        total += sum((a - b) ** 2 for a, b in zip(rewards, predicted, strict=True))
    return total


def test_judged_events_are_all_but_each_users_first():
    held_out = sequences([[(1, 5.0), (2, 4.0), (3, 3.0)], [], [(1, 2.0)], [(2, 1.0), (1, 2.0)]])
    judged = judged_events(held_out)
    assert judged.index_E.tolist() == [1, 2, 5]
    assert judged.reward_E.tolist() == [4.0, 3.0, 2.0]
    assert judged.user_E.tolist() == [0, 0, 3]


def test_global_mean_and_user_mean_by_hand():
    fit = [[(1, 5.0), (2, 2.0)], [(1, 2.0)]]
    held_out = [[(1, 1.0), (2, 4.0), (3, 4.0), (1, 5.0)], [(2, 5.0), (1, 1.0)]]
    assert predict("global mean", fit, held_out).tolist() == [3.0] * 4
    assert predict("user mean", fit, held_out).tolist() == [1.0, 2.5, 3.0, 5.0]


def test_item_mean_by_hand(monkeypatch):
    monkeypatch.setattr(baselines, "DAMPINGS", (2.0,))
    fit = [[(1, 5.0), (2, 1.0)], [(1, 4.0), (3, 2.0)]]  # mu = 3
    predicted = predict("item mean", fit, [[(3, 1.0), (1, 1.0), (2, 1.0), (9, 1.0)]])
    # (2 + 1) / (2 + 2); (-2) / (1 + 2); nothing known about item 9.
    assert predicted == pytest.approx([3.75, 3 - 2 / 3, 3.0])


def test_user_item_bias_by_hand(monkeypatch):
    monkeypatch.setattr(baselines, "DAMPINGS", (1.0,))
    fit = [[(1, 5.0), (2, 1.0)]]  # mu = 3, b_1 = 2 / 2 = 1, b_2 = -1
    predicted = predict("user + item bias", fit, [[(1, 5.0), (2, 4.0), (1, 3.0)]])
    # Residuals 5 - 4 = 1 and 4 - 2 = 2, so b_u is 1 / 2 and then 3 / 3.
    assert predicted == pytest.approx([3 - 1 + 0.5, 3 + 1 + 1.0])


def test_item_mean_chooses_the_damping_of_least_error_on_other_folds():
    mean = np.mean([reward for user in FIT for _, reward in user])

    def error(damping):
        total = 0.0
        for index, user in enumerate(FIT):
            sums = item_sums(FIT, index % 10)
            for item, reward in user[1:]:
                other, count = sums.get(item, (0.0, 0))
                total += (reward - mean - other / (count + damping)) ** 2
        return total

    best = min(baselines.DAMPINGS, key=error)
    sums = item_sums(FIT)
    known = [sums.get(item, (0.0, 0)) for user in HELD_OUT for item, _ in user[1:]]
    expected = [mean + total / (count + best) for total, count in known]
    assert best not in (baselines.DAMPINGS[0], baselines.DAMPINGS[-1])
    assert predict("item mean", FIT, HELD_OUT) == pytest.approx(expected)


def test_user_item_bias_matches_the_event_by_event_oracle():
    best = min(product(baselines.DAMPINGS, repeat=2), key=errors_on_fit)
    expected = [
        value for user in HELD_OUT for value in bias_oracle(FIT, user, item_sums(FIT), *best)
    ]
    assert predict("user + item bias", FIT, HELD_OUT) == pytest.approx(expected)


def test_boosting_features_by_hand(monkeypatch):
    monkeypatch.setattr(baselines, "DAMPINGS", (1.0,))
    fit, held_out = sequences([[(1, 5.0), (2, 1.0)]]), sequences([[(1, 5.0), (2, 4.0), (1, 3.0)]])
    log, held = baselines._flat(fit), baselines._flat(held_out)
    items = baselines._of_items(log, held, num_items=2, mean=3.0)
    features = baselines._features(held, items, 3.0, (1.0, 1.0))
    gap = np.log(61)
    # Past mean and deviation (around mu = 3), count, last, user bias, item bias, item count, gap.
    assert features[0] == pytest.approx([2.0, 0.0, 1, 5.0, 0.5, -1.0, 1, gap])
    assert features[1] == pytest.approx([1.5, 0.5, 2, 4.0, 1.0, 1.0, 1, gap])


def test_boosting_trains_on_item_statistics_of_other_folds_only():
    """A user's reward must not be visible in the item statistics of its own training rows."""
    changed = [list(user) for user in FIT]
    user = next(index for index, events in enumerate(FIT) if len(events) > 3)
    item, reward = changed[user][2]
    changed[user][2] = (item, reward + 7.0)
    rows = [index for index, events in enumerate(FIT) for _ in events]
    before, after = (
        baselines._of_other_folds(baselines._flat(sequences(log)), 16, 3.0)
        for log in (FIT, changed)
    )
    same_fold = np.array([row % 10 == user % 10 for row in rows])
    assert before.sum_E[same_fold] == pytest.approx(after.sum_E[same_fold])
    moved = np.array([i == item for events in FIT for i, _ in events]) & ~same_fold
    assert after.sum_E[moved] - before.sum_E[moved] == pytest.approx(np.full(moved.sum(), 7.0))


def test_each_richer_baseline_is_better_where_items_and_users_matter():
    fit, held_out = random_log(800, 16, seed=2), random_log(300, 16, seed=3)
    reward_E = judged_events(sequences(held_out)).reward_E
    rmse = {
        name: np.sqrt(np.mean((predict(name, fit, held_out) - reward_E) ** 2)) for name in NAMES
    }
    assert rmse["item mean"] < rmse["global mean"]
    assert rmse["user mean"] < rmse["global mean"]
    assert rmse["user + item bias"] < min(rmse["item mean"], rmse["user mean"])
    assert rmse["gradient boosting"] < min(rmse["item mean"], rmse["user mean"])


@pytest.mark.parametrize("name", NAMES)
def test_no_prediction_sees_its_own_reward_or_a_later_one(name):
    held_out = sequences(HELD_OUT)
    judged = judged_events(held_out)
    before = dict(NAIVE_BASELINES)[name](sequences(FIT), held_out, 16)
    user = next(index for index, events in enumerate(HELD_OUT) if len(events) >= 5)
    start = int(held_out.offsets_N1[user])
    for t in (0, 2, len(HELD_OUT[user]) - 1):
        rewards_E = held_out.rewards_E.clone()
        rewards_E[start + t] += 1e9  # so large that adding and subtracting it would show
        changed = replace(held_out, rewards_E=rewards_E)
        after = dict(NAIVE_BASELINES)[name](sequences(FIT), changed, 16)
        later = (judged.user_E == user) & (judged.index_E > start + t)
        assert np.array_equal(before[~later], after[~later])  # earlier ones and other users
        if later.any() and name not in ("global mean", "item mean"):
            assert not np.array_equal(before[later], after[later])


@pytest.mark.parametrize("name", NAMES)
def test_other_held_out_users_do_not_matter(name):
    alone = predict(name, FIT, HELD_OUT[3:4])
    judged = judged_events(sequences(HELD_OUT))
    assert np.array_equal(predict(name, FIT, HELD_OUT)[judged.user_E == 3], alone)


@pytest.mark.parametrize("name", NAMES)
def test_one_prediction_per_judged_event_and_the_same_each_time(name):
    first, second = predict(name, FIT, HELD_OUT), predict(name, FIT, HELD_OUT)
    assert first.shape == judged_events(sequences(HELD_OUT)).reward_E.shape
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)
    assert predict(name, FIT, [[], [(1, 2.0)]]).shape == (0,)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "user mean"])
def test_nothing_to_learn_from_is_the_users_error(name):
    with pytest.raises(UserError, match="have no events"):
        predict(name, [[], []], HELD_OUT)


def test_boosting_is_fitted_by_one_thread(monkeypatch):
    """Two wait for each other where a core is busy: minutes for a second's work."""
    seen = []

    class Recorded(HistGradientBoostingRegressor):
        def fit(self, *known):
            seen.append({each["num_threads"] for each in threadpool_info()
                         if each["user_api"] == "openmp"})  # fmt: skip
            return super().fit(*known)

    monkeypatch.setattr(baselines, "HistGradientBoostingRegressor", Recorded)
    before = threadpool_info()
    with threadpool_limits(2, user_api="openmp"):
        predict("gradient boosting", FIT, HELD_OUT)
    assert seen == [{1}]
    assert threadpool_info() == before


def test_boosting_needs_an_event_with_a_past():
    with pytest.raises(UserError, match="at least two events"):
        predict("gradient boosting", [[(1, 3.0)], [(2, 4.0)]], HELD_OUT)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_is_predicted_from_the_history_before_it(name):
    """Of blocks of three: as if each event came right after that history, at the block's time."""
    of_block = dict(NAIVE_BASELINES)[name](sequences(FIT), sequences(HELD_OUT), 16, 3)
    places = [(user, place) for user in HELD_OUT for place in range(1, len(user))]
    firsts = [place - (place - 1) % 3 for _, place in places]
    moved = [
        [*user[:first], user[place]] for (user, place), first in zip(places, firsts, strict=True)
    ]
    last_E = np.cumsum(firsts) - 1  # of the judged events of each moved log
    assert of_block == pytest.approx(predict(name, FIT, moved)[last_E])
    starts = np.cumsum([0, *(len(user) for user in HELD_OUT)])
    start_E = np.repeat(starts[:-1], [max(len(user) - 1, 0) for user in HELD_OUT])
    judged = judged_events(sequences(HELD_OUT), 3)
    assert judged.context_E.tolist() == (start_E + firsts).tolist()
