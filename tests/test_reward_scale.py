"""How rewards of any kind are understood: the same log in another unit is the same log."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from recsys_posttrain.data import MovieLens1M, MovieLensSmall, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.reward_scale import (
    STARS_PER_DEVIATION,
    RewardScale,
    Thresholds,
    scale_in,
    scale_of,
)

STARS = np.array([1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5], dtype=np.float32)


def thresholds(scale):
    return scale.liked, scale.top, scale.disliked, scale.zero


def counted(scale, reward_E):
    """Which of the rewards are liked, top and disliked, as the subsets ask it."""
    raw_E = scale.from_stars(scale.to_stars(reward_E).astype(np.float64))
    return [raw_E >= scale.liked, raw_E >= scale.top, raw_E <= scale.disliked]


@pytest.mark.parametrize("reward_E", [STARS, STARS - 0.5, np.float32([4, 4.5, 5])])
def test_stars_are_read_as_they_are(reward_E):
    scale = scale_of(reward_E)
    assert scale == RewardScale()
    assert thresholds(scale) == (4, 5, 2, 0)
    assert scale.to_stars(reward_E) is reward_E
    assert scale.from_stars(reward_E) is reward_E


@pytest.mark.parametrize(
    ("unit", "shift", "expected"),
    [
        (0.25, -0.25, (0.75, 1, 0.25, -0.25)),  # 0..1 in quarters
        (20, 0, (80, 100, 40, 0)),  # 20..100
        (1, -3, (1, 2, -1, -3)),  # -2..2
        (2, -1, (7, 9, 3, -1)),  # 1..9
    ],
)
def test_another_unit_of_the_same_stars_is_the_same_log(unit, shift, expected):
    reward_E = unit * STARS + np.float32(shift)
    scale = scale_of(reward_E)
    assert thresholds(scale) == expected
    assert scale.to_stars(reward_E).tolist() == STARS.tolist()
    assert scale.from_stars(STARS.astype(np.float64)).tolist() == reward_E.tolist()


def test_ten_levels_run_from_one_star_to_five():
    """7 is 1 + 4 x 6/9 = 3.67 stars and 8 is 4.11: liked. 3 is 1.89 stars and 4 is 2.33."""
    scale = scale_of(np.arange(1, 11, dtype=np.float32))
    assert (scale.liked, scale.top, scale.disliked) == pytest.approx((8, 10, 3))
    assert scale.to_stars(np.array([1.0, 10.0])).tolist() == [1, 5]


def test_levels_that_are_not_whole_are_met_exactly():
    """0.7 is not a float32; the threshold is rounded as the rewards are."""
    tenths = np.arange(1, 11, dtype=np.float32) / 10
    scale = scale_of(tenths, Thresholds(liked=0.7, disliked=0.3))
    liked, _, disliked = counted(scale, tenths)
    assert liked.tolist() == 6 * [False] + 4 * [True]
    assert disliked.tolist() == 3 * [True] + 7 * [False]


@given(
    unit=st.floats(1e-3, 1e3),
    shift=st.floats(-300, 300),
    levels=st.integers(3, 21),
    seed=st.integers(0, 9),
)
@example(unit=1 / 3, shift=300.0, levels=7, seed=0)
def test_no_unit_and_no_shift_changes_how_a_rating_scale_is_read(unit, shift, levels, seed):
    drawn_E = np.random.default_rng(seed).integers(0, levels, 40)
    level_E = np.concatenate([np.arange(levels), drawn_E])
    one, other = ((a * level_E + b).astype(np.float32) for a, b in ((7, 10), (unit, shift * unit)))
    scales = [scale_of(each) for each in (one, other)]
    assume(not scales[1].is_stars)  # an image may happen to be 1..5 stars, which are themselves
    np.testing.assert_array_equal(scales[0].to_stars(one), scales[1].to_stars(other))
    np.testing.assert_array_equal(counted(scales[0], one), counted(scales[1], other))


@given(unit=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), seed=st.integers(0, 9))
def test_no_unit_and_no_shift_changes_how_a_signal_is_read(unit, shift, seed):
    signal_E = np.random.default_rng(seed).lognormal(size=200).round(2)
    one, other = ((a * signal_E + b).astype(np.float32) for a, b in ((1, 0), (unit, shift * unit)))
    scales = [scale_of(each) for each in (one, other)]
    stars = [scale.to_stars(each) for scale, each in zip(scales, (one, other), strict=True)]
    np.testing.assert_allclose(*stars, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(counted(scales[0], one), counted(scales[1], other))


def test_seconds_are_counted_in_deviations_from_the_shortest():
    seconds = np.float32([2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
    scale = scale_of(seconds)
    assert thresholds(scale) == pytest.approx((13, 55, 3, 2))
    assert scale.to_stars(seconds).std() == pytest.approx(1.1171, rel=1e-5)
    assert scale.to_stars(seconds)[0] == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_clicks_are_liked_and_nothing_else_is(share):
    clicks = (np.arange(100) < 100 * share).astype(np.float32)
    scale = scale_of(clicks)
    liked, top, disliked = counted(scale, clicks)
    assert liked.tolist() == top.tolist() == (clicks == 1).tolist()
    assert disliked.tolist() == (clicks == 0).tolist()
    assert scale.zero == 0


def test_a_signed_signal_is_worth_nothing_at_its_lowest():
    signal = np.float32(np.linspace(-10, 10, 41) ** 3)
    scale = scale_of(signal)
    assert thresholds(scale) == pytest.approx((0, 216, -343, -1000), abs=1e-3)
    assert scale.shown(scale.liked) == "0"
    assert scale.to_stars(signal).min() == 0


def test_rewards_that_say_nothing_are_missing():
    assert scale_of(np.ones(5, np.float32)).missing == "every reward is 1"
    assert scale_of(np.ones(5, np.float32), has_ratings=False).missing == "the log has no ratings"
    with pytest.raises(UserError, match=r"^--liked=1 has no rewards to divide: every reward is 1"):
        scale_of(np.ones(5, np.float32), Thresholds(liked=1.0))


def test_thresholds_are_values_or_quantiles():
    """Of the eleven stars, 4 have 45% of events or more at or above, 3 has 50% at or below."""
    scale = scale_of(STARS, Thresholds(liked="50%", top=4.0, disliked="0%", zero=-1.0))
    assert thresholds(scale) == (3, 4, 1, -1)
    assert scale.to_stars(STARS).tolist() == (STARS + 1).tolist()
    given = Thresholds(liked="80%", top=0.25, zero=-3.0)
    assert given.options == ["--liked=80%", "--top=0.25", "--reward-zero=-3"]


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"liked": "many"}, r"^liked='many' is no reward; give a number, or a quantile"),
        ({"top": "101%"}, "^top='101%' is no reward"),
        ({"zero": float("nan")}, "^zero=nan is no reward"),
        ({"liked": 9.0}, r"^liked=9 is outside of the log's rewards, 1 to 5; give one"),
        ({"liked": 2.0}, "^disliked=2, liked=2 and top=5 must rise"),
        ({"top": 3.0}, "^disliked=2, liked=4 and top=3 must rise"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(chosen, sentence):
    with pytest.raises(UserError, match=sentence):
        scale_of(STARS, Thresholds(**chosen))


def test_a_world_keeps_its_zero():
    declared = RewardScale()
    reward_E = np.linspace(1, 5, 99, dtype=np.float32)
    assert scale_of(reward_E, declared=declared) == declared
    assert scale_of(reward_E, Thresholds(liked=3.5), declared=declared).liked == 3.5
    with pytest.raises(UserError, match=r"^zero=1 cannot be chosen"):
        scale_of(reward_E, Thresholds(zero=1), declared=declared)


def test_one_line_says_how_rewards_are_understood():
    signed = (STARS - 3).astype(np.float32)
    assert scale_of(signed).line(signed.astype(np.float64)) == (
        "rewards: -2 to 2 in steps of 1, counted as 1 to 5 stars; liked: 1 or more (45% of "
        "events), top: 2 (18%), disliked: -1 or less (27%), zero -3; temperatures count in stars "
        "of 1 (0.82 standard deviations)"
    )
    assert scale_of(STARS).line(STARS.astype(np.float64)).startswith("rewards: 1 to 5 stars; liked")
    clicks = np.float32([0, 0, 0, 1])
    assert scale_of(clicks).line(clicks.astype(np.float64)) == (
        "rewards: 0 to 1, counted as 0 to 2.58 stars; liked: 1 or more (25% of events), top: 1 "
        "(25%), disliked: 0 or less (75%), zero 0; temperatures count in stars of 0.38762 (0.90 "
        "standard deviations)"
    )
    same = np.ones(3)
    assert scale_of(same).line(same) == "rewards: none to learn from, every reward is 1"


def test_older_records_knew_stars_alone():
    assert scale_in({}) == RewardScale()
    assert scale_in({"reward_scale": {"liked": 1.0, "zero": -3.0}}) == RewardScale(1.0, zero=-3.0)
    for damaged in (5, None, [], {"a": 1}, {"liked": "4"}, {"zero": math.nan}, {"missing": 1}):
        with pytest.raises(UserError, match="is no scale of rewards: restore the file"):
            scale_in({"reward_scale": damaged})


def test_movielens_is_the_measure(shared_data, tmp_path):
    """Of 1M the deviation that a star is counted by, and the quantiles that 4, 5 and 2 stars are;
    of the small one the half stars as they are."""
    corpus = prepare(MovieLens1M(str(shared_data)), 1, cache=tmp_path)
    reward_E = corpus.sequences.rewards_E.double().numpy()
    assert reward_E.std() == pytest.approx(STARS_PER_DEVIATION, abs=5e-5)
    assert corpus.reward_scale == RewardScale()
    squeezed = scale_of(np.float32(reward_E + 1e-4 * np.arange(len(reward_E)) / len(reward_E)))
    assert thresholds(squeezed)[:3] == pytest.approx((4, 5, 2), abs=2e-4)
    assert squeezed.unit == pytest.approx(1, abs=1e-3)
    small = prepare(MovieLensSmall(str(shared_data)), 1, cache=tmp_path)
    assert small.reward_scale == RewardScale()
    assert 0.5 in small.sequences.rewards_E
