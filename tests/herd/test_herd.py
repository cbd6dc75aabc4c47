"""The herd against closed forms, the exact distribution of a peak, and the pilot's figures."""

from dataclasses import replace

import numpy as np
import pytest
from herd.model import (
    Herd,
    bell,
    even,
    fetch_on_push,
    latecomers,
    lifetime,
    peak,
    prefetch,
    refreshes,
    requests,
)
from herd.tables import event_habits, peaks, refresh_habits
from scipy import stats

from recsys_posttrain.errors import UserError

HERD = Herd()
HABITS = event_habits(HERD) | refresh_habits(HERD)


def generator():
    return np.random.default_rng(3)


def peak_between(devices, share_T, bin_seconds=1, risk=1e-4):
    """Requests/s that the busiest bin falls below, or passes, with this probability each.

    Counts of a multinomial over many bins are Poisson and all but independent, so the chance that
    none passes x is the product of their distribution functions.
    """
    starts = np.arange(0, len(share_T), bin_seconds)
    mean_B = devices * np.add.reduceat(share_T, starts)
    top, deviation = mean_B.max(), mean_B.max() ** 0.5
    grid = np.arange(int(max(0, top - 6 * deviation)), int(top + 10 * deviation + 30))
    # The others do not reach the peak; rounded, because equal means are many.
    means, counts = np.unique(mean_B[mean_B > top / 2].round(6), return_counts=True)
    log_cdf = counts @ stats.poisson.logcdf(grid, means[:, None])
    low, high = grid[np.searchsorted(np.exp(log_cdf), [risk, 1 - risk])]
    return low / bin_seconds, high / bin_seconds


@pytest.mark.parametrize("name", HABITS)
def test_every_device_asks_once_and_the_peak_is_as_likely_as_it_should_be(name):
    devices, share_T = HABITS[name]
    assert share_T.sum() == pytest.approx(1, abs=1e-9)  # 10^5 sums of doubles
    requests_T = requests(devices, share_T, generator())
    assert requests_T.sum() == devices
    for bin_seconds in (1, 10):
        low, high = peak_between(devices, share_T, bin_seconds)
        assert low <= peak(requests_T, bin_seconds) <= high


@pytest.mark.parametrize("devices", [10**6, 10**7, 10**8])
def test_none_is_lost_at_any_size(devices):
    herd = replace(HERD, devices=devices)
    asked = [requests(*habit, generator()) for habit in event_habits(herd).values()]
    assert [each.sum() for each in asked[:2]] == [devices, devices]
    assert asked[2].sum() + asked[3].sum() == devices


@pytest.mark.parametrize(
    ("figure", "name", "bin_seconds"),
    [
        (17_000, "fetch on push, after up to 60 s", 1),
        (77, "prefetch over 6 h", 1),
        (2_230, "fixed lifetime, the burst", 10),
        (2_230, "fixed lifetime, refresh 4", 10),
        (529, "±30% lifetime, refresh 1", 1),
        (356, "±30% lifetime, refresh 3", 10),
        (356, "±30% lifetime, refresh 4", 1),
    ],
)
def test_the_pilots_figures_are_met(figure, name, bin_seconds):
    """Its lifetime and burst were not written down: 1 h and a standard deviation of 3 minutes give
    its 2,230 and 529. Its 356 is the third refresh in bins of 10 s, or the fourth in bins of 1."""
    low, high = peak_between(*HABITS[name], bin_seconds)
    assert low <= figure <= high


def test_a_six_hour_window_is_200_times_below():
    """By the medians of the two peaks, against fetching on the push at its best, with its jitter;
    also if 1% have missed the window and ask within ten minutes of the broadcast."""
    asked = event_habits(HERD)
    fetching = peak_between(*asked["fetch on push, after up to 60 s"], risk=0.5)[0]
    window = peak_between(HERD.devices, prefetch(HERD), risk=0.5)[0]
    late = peak_between(*asked["missed by it, after up to 600 s"], risk=0.5)[0]
    assert fetching / max(window, late) > 200


def test_a_window_has_an_even_rate():
    share_T = prefetch(Herd(window_hours=2.5))
    np.testing.assert_array_equal(share_T, np.full(9000, 1 / 9000))


def test_fetching_on_a_push_is_a_trapezoid():
    """10 s of broadcast and up to 60 s of waiting: 1/60 a second from the 10th to the 60th."""
    share_T = fetch_on_push(HERD, is_jittered=True)
    rising = np.arange(1, 10) / 600
    expected = np.concatenate([rising, np.full(51, 1 / 60), rising[::-1]])
    np.testing.assert_allclose(share_T, expected, rtol=1e-12)
    np.testing.assert_allclose(fetch_on_push(HERD, is_jittered=False), np.full(10, 0.1))
    late_T = latecomers(Herd(push_seconds=2, late_seconds=4))
    assert late_T.tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])


def test_cycles_have_the_mean_and_the_variance_of_sums_of_independent_times():
    """A lifetime is even over 2161 whole seconds: variance (2161^2 - 1) / 12."""
    burst_T, *cycles = refreshes(HERD, 0.3)
    moments = [(float(np.arange(len(p)) @ p), p) for p in (burst_T, *cycles)]
    variances = [float((np.arange(len(p)) - mean) ** 2 @ p) for mean, p in moments]
    for cycle, (mean, _) in enumerate(moments):
        assert mean == pytest.approx(720 + 3600 * cycle, abs=1e-6)
        expected = variances[0] + cycle * (2161**2 - 1) / 12
        assert variances[cycle] == pytest.approx(expected, rel=1e-9)


def test_the_peaks_of_sums_of_uniform_times_are_those_of_irwin_and_hall():
    """1, 1, 3/4 and 2/3 over the width, for a burst that is a moment. A burst of sd 1 s lowers the
    second's tip, the most, by .8 of 2161."""
    cycles = refreshes(Herd(burst_seconds=1), 0.3)[1:]
    heights = [2161 * share_T.max() for share_T in cycles]
    assert heights == pytest.approx([1, 1, 3 / 4, 2 / 3], rel=1e-3)


def test_a_fixed_lifetime_repeats_the_burst():
    burst_T, *cycles = refreshes(HERD, 0.0)
    for cycle, share_T in enumerate(cycles, start=1):
        np.testing.assert_array_equal(share_T[3600 * cycle :], burst_T)
        assert not share_T[: 3600 * cycle].any()


def test_shares_by_hand():
    assert even(4).tolist() == [0.25] * 4
    assert lifetime(10, 0.2).tolist() == pytest.approx([0] * 8 + [0.2] * 5)
    assert lifetime(3, 0.0).tolist() == [0, 0, 0, 1]
    share_T = bell(50)
    assert len(share_T) == 401
    assert share_T.argmax() == 200
    # Density at the middle, 1 / (50 sqrt(2 pi)), over the share that is within 4 sd.
    within = stats.norm.cdf(4.01) - stats.norm.cdf(-4.01)
    assert share_T[200] == pytest.approx(stats.norm.pdf(0) / 50 / within, rel=1e-5)


def test_a_peak_by_hand():
    requests_T = np.array([1, 2, 3, 4, 5])
    assert peak(requests_T) == 5
    assert peak(requests_T, 2) == 3.5
    assert peak(requests_T, 10) == 1.5


def test_a_table_of_peaks_over_draws():
    frame = peaks({"window": (5000, even(100)), "a moment": (70, even(1))}, 15, generator())
    assert frame.loc["a moment"].tolist() == [70, 70, 70, 70, 70, 7]
    low, high = peak_between(5000, even(100))
    window = frame.loc["window"]
    assert window["expected"] == 50
    assert low <= window["lowest"] <= window["1 s"] <= window["highest"] <= high
    assert window["lowest"] < window["highest"]
    assert 50 < window["10 s"] < window["1 s"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("devices", 0, "0: give 1 or more"),
        ("devices", 10**9, "1,000,000,000: give fewer than 10"),
        ("missed", 1.0, "1.0: give a share from 0 to less than 1"),
        *((name, 0, "0") for name in ("push_seconds", "jitter_seconds", "burst_seconds")),
        *((name, 0, "0") for name in ("lifetime_seconds", "capacity", "window_hours")),
        *((name, -1, "-1") for name in ("late_seconds", "cycles", "lifetime_jitter")),
    ],
)
def test_settings_that_cannot_be(name, value, sentence):
    with pytest.raises(UserError, match=f"{name} is {sentence}"):
        Herd(**{name: value})
