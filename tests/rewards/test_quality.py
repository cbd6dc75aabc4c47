"""Reward-model quality: hand numbers, slow oracles, and intervals that behave."""

import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.rewards.order import context_accuracy, pairwise_accuracy
from recsys_posttrain.rewards.quality import (
    INTERVALS,
    InContext,
    quality,
    quality_frame,
    variance_quartiles,
)

STARS = (1.0, 5.0)


def slow_pairwise(predicted, reward, user):
    """Double loop over pairs."""
    shares = []
    for one in np.unique(user):
        index = np.flatnonzero(user == one)
        right, pairs = 0.0, 0
        for i in index:
            for j in index:
                if reward[i] > reward[j]:
                    pairs += 1
                    right += 1.0 if predicted[i] > predicted[j] else 0.0
                    right += 0.5 if predicted[i] == predicted[j] else 0.0
        shares.append(right / pairs if pairs else np.nan)
    return shares


def random_case(seed, levels, users=25, events=400):
    """Unsorted users with gaps in their ids, tied predictions, and a user with one event."""
    generator = np.random.default_rng(seed)
    user = generator.integers(users, size=events) * 3 + 5
    user[0] = 1000
    reward = generator.integers(1, levels + 1, size=events) * 0.5
    predicted = np.round(reward + generator.normal(scale=levels / 2, size=events), 1)
    return predicted, reward, user


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 5, 8, 9, 200])
def test_pairwise_accuracy_equals_the_double_loop(levels):
    predicted, reward, user = random_case(levels, levels)
    expected = slow_pairwise(predicted, reward, user)
    assert pairwise_accuracy(predicted, reward, user) == pytest.approx(expected, nan_ok=True)


def test_pairwise_accuracy_by_hand():
    # User 7: rewards 5, 3, 1 predicted 4, 3, 3: two right, one tied. User 9: all equal.
    predicted = np.array([4.0, 2.0, 3.0, 1.0, 3.0])
    reward = np.array([5.0, 2.0, 3.0, 2.0, 1.0])
    user = np.array([7, 9, 7, 9, 7])
    accuracy = pairwise_accuracy(predicted, reward, user)
    assert accuracy == pytest.approx([2.5 / 3, np.nan], nan_ok=True)
    predicted[0] = 2.5  # now below both: (5,3) and (5,1) wrong, (3,1) tied
    assert pairwise_accuracy(predicted, reward, user)[0] == pytest.approx(0.5 / 3)


def test_spearman_counts_the_users_whose_rewards_differ():
    """Equal predictions are an order of 0 (user 0), equal rewards none at all (user 1)."""
    user, reward = np.repeat([0, 1, 2], 3), np.array([1.0, 2, 3, 4, 4, 4, 1, 2, 3])
    predicted = np.array([3.1, 3.1, 3.1, 1.0, 2.0, 3.0, 1.0, 3.0, 2.0])
    # User 2: 1 2 3 against 1 3 2 is 1 - 6 * 2 / 24 = .5; the mean of 0 and .5.
    assert quality(predicted, reward, user, STARS)["spearman"] == pytest.approx(0.25)


def test_quality_by_hand():
    predicted = np.array([4.0, 2.0, 6.0, 3.0])
    reward = np.array([5.0, 2.0, 3.0, 3.0])
    user = np.array([0, 0, 1, 1])
    result = quality(predicted, reward, user, STARS)
    assert result["rmse"] == pytest.approx(np.sqrt(10 / 4))
    assert result["mae"] == pytest.approx(1.0)
    assert result["pairwise_accuracy"] == 1.0  # user 0 only
    assert result["spearman"] == 1.0
    # Centred predictions .25, -1.75, 2.25, -.75; times rewards 1.25 - 3.5 + 6.75 - 2.25 = 2.25.
    assert result["calibration_slope"] == pytest.approx(2.25 / 8.75)
    # Each of the four events has its own bin: mean |error| = 1, over a range of 4.
    assert result["calibration_error"] == pytest.approx(0.25)
    assert result["out_of_range"] == 0.25
    assert (result["users"], result["events"], result["constant_users"]) == (2, 4, 1)


def test_calibration_of_a_model_that_is_right_on_average_and_of_one_that_exaggerates():
    generator = np.random.default_rng(0)
    truth = np.repeat(np.linspace(1.5, 4.5, 10), 200)
    noise = np.tile(generator.permutation(np.repeat([-0.5, 0.5], 100)), 10)
    reward, user = truth + noise, np.arange(2000) % 50
    right = quality(truth, reward, user, STARS)
    assert right["calibration_slope"] == pytest.approx(1.0)
    assert right["calibration_error"] == pytest.approx(0.0, abs=1e-12)
    extreme = quality(3 + 2 * (truth - 3), reward, user, STARS)
    assert extreme["calibration_slope"] == pytest.approx(0.5)
    wanted = np.abs(np.linspace(-1.5, 1.5, 10)).mean() / 4
    assert extreme["calibration_error"] == pytest.approx(wanted)
    shifted = quality(truth + 0.4, reward, user, STARS)
    assert shifted["calibration_slope"] == pytest.approx(1.0)
    assert shifted["calibration_error"] == pytest.approx(0.1)


def test_users_count_equally_however_many_events_they_have():
    user = np.array([0] * 40 + [1] * 2)
    reward = np.concatenate([np.arange(40), [1.0, 2.0]])
    predicted = np.concatenate([np.arange(40), [2.0, 1.0]])  # first user right, second wrong
    assert quality(predicted, reward, user, (0.0, 40.0))["pairwise_accuracy"] == 0.5


def test_constant_prediction_is_a_coin_flip_without_a_slope():
    predicted, reward, user = random_case(0, 5)
    result = quality(np.full_like(predicted, 0.1), reward, user, STARS)
    assert result["pairwise_accuracy"] == 0.5
    assert result["spearman"] == 0.0
    assert np.isnan(result["calibration_slope"])
    assert result["out_of_range"] == 1.0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_predictions_name_the_model(broken):
    predicted, reward, user = random_case(0, 5)
    predicted[3] = broken
    with pytest.raises(UserError, match="my model predicts 1 of 400"):
        quality(predicted, reward, user, STARS, name="my model")
    with pytest.raises(UserError, match="my model"):
        quality_frame({"my model": predicted}, reward, user, STARS, np.random.default_rng(0))


def test_no_events_and_wrong_shapes():
    with pytest.raises(UserError, match="no held-out events"):
        quality(np.zeros(0), np.zeros(0), np.zeros(0, int), STARS)
    with pytest.raises(ValueError, match="must be one"):
        quality(np.zeros(3), np.zeros(4), np.zeros(4, int), STARS)


def test_frame_holds_quality_and_the_bootstrap_over_users():
    predicted, reward, user = random_case(3, 5, users=12, events=150)
    models = {"a": predicted, "b": np.full_like(predicted, 2.0)}
    frame = quality_frame(models, reward, user, STARS, np.random.default_rng(8), resamples=200)
    assert frame.loc["a", "rmse"] == quality(predicted, reward, user, STARS)["rmse"]
    # The same resamples, each rebuilt event by event and judged by NumPy and the double loop.
    generator, ids = np.random.default_rng(8), np.unique(user)
    share = np.array(slow_pairwise(predicted, reward, user))
    rmse, mae, accuracy, slope = [], [], [], []
    for _ in range(200):
        drawn = generator.integers(len(ids), size=len(ids))
        events = np.concatenate([np.flatnonzero(user == ids[n]) for n in drawn])
        rmse.append(np.sqrt(np.mean((predicted[events] - reward[events]) ** 2)))
        mae.append(np.abs(predicted[events] - reward[events]).mean())
        accuracy.append(np.nanmean(share[drawn]))
        slope.append(np.polyfit(predicted[events], reward[events], 1)[0])
    for name, drawn in (("rmse", rmse), ("mae", mae), ("pairwise_accuracy", accuracy)):
        found = frame.loc["a", [f"{name}_low", f"{name}_high"]].tolist()
        assert found == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
    ends = frame.loc["a", ["calibration_slope_low", "calibration_slope_high"]].tolist()
    assert ends == pytest.approx(np.percentile(slope, [2.5, 97.5]))
    for name in set(INTERVALS) - {"context_accuracy", "calibration_error"}:
        assert frame.loc["a", f"{name}_low"] < frame.loc["a", name] < frame.loc["a", f"{name}_high"]
    assert frame.loc["b", ["pairwise_accuracy_low", "pairwise_accuracy_high"]].tolist() == [0.5] * 2


def test_frame_is_numbers_only_and_survives_users_without_pairs():
    user = np.array([0, 0, 1, 1])
    models = {"m": np.array([1.0, 2.0, 3.0, 4.0])}
    frame = quality_frame(models, np.full(4, 3.0), user, STARS, np.random.default_rng(0))
    assert all(kind == np.float64 for kind in frame.dtypes)
    assert np.isnan(frame.loc["m", "pairwise_accuracy_low"])
    assert frame.loc["m", "rmse_low"] < frame.loc["m", "rmse_high"]
    assert "rmse" in frame.to_latex()


def test_order_in_one_context_by_hand():
    """User 7: contexts 0 (rewards 5, 3: right) and 2 (4, 1: wrong; 4, 2: right; 2, 1: wrong). User
    9: one pair, wrong. Between contexts nothing is compared, however wrong it would be."""
    user = np.array([7, 7, 7, 7, 7, 9, 9])
    context = np.array([0, 0, 2, 2, 2, 5, 5])
    reward = np.array([5.0, 3, 4, 1, 2, 1, 2])
    predicted = np.array([-8.0, -9, 3, 4, 2, 2, 1])
    assert context_accuracy(predicted, reward, user, context).tolist() == [2 / 4, 0.0]
    in_context = InContext({"m": predicted}, context)
    own = np.zeros(7)
    found = quality(own, reward, user, STARS, "m", in_context)
    assert found["context_accuracy"] == 0.25
    assert found["pairwise_accuracy"] == 0.5
    assert np.isnan(quality(own, reward, user, STARS)["context_accuracy"])
    frame = quality_frame(
        {"m": own}, reward, user, STARS, np.random.default_rng(0), in_context=in_context
    )
    assert frame.loc["m", ["context_accuracy_low", "context_accuracy_high"]].tolist() == [0.0, 0.5]


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_the_floor_is_what_perfectly_calibrated_models_score(shared):
    """Rewards are predictions plus errors of mean 0, a part of which all events of a user share."""
    scores, floors = [], []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        user = np.repeat(np.arange(80), 10)
        predicted = generator.uniform(2, 4, 800)
        error = generator.normal(size=800) + shared * generator.normal(size=80)[user]
        found = quality(predicted, predicted + error, user, STARS)
        scores.append(found["calibration_error"])
        floors.append(found["calibration_floor"])
    # The mean of the 1,000 bins' |x| has a relative deviation of .75 / sqrt(1000), more where
    # bins share users: 4 of them.
    assert np.mean(floors) == pytest.approx(np.mean(scores), rel=0.1)


def test_quarters_of_predicted_variance_by_hand():
    variance, predicted = np.array([4.0, 1, 3, 2, 8, 7, 6, 5]), np.zeros(8)
    reward = np.sqrt([40.0, 10, 30, 20, 80, 70, 60, 50])
    table = variance_quartiles(variance, predicted, reward)
    assert table["predicted"].tolist() == [1.5, 3.5, 5.5, 7.5]
    assert table["squared_error"].tolist() == pytest.approx([15.0, 35.0, 55.0, 75.0])
