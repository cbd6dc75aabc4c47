"""An overloaded server against closed forms and against devices simulated one by one."""

import numpy as np
import pytest
from herd.model import Herd
from herd.overload import Retry, overload
from herd.tables import FIXED_WAIT, overloads
from scipy import stats

from recsys_posttrain.errors import UserError


def all_at_once(devices, seconds):
    first_T = np.zeros(seconds, dtype=np.int64)
    first_T[0] = devices
    return first_T


def test_enough_capacity_changes_nothing():
    first_T = np.array([5, 0, 10, 3])
    load = overload(first_T, 10, Retry(), np.random.default_rng(0))
    np.testing.assert_array_equal(load.asked_T, first_T)
    np.testing.assert_array_equal(load.served_T, first_T)
    assert not load.retried_T.any()


def test_a_fixed_wait_repeats_the_wave():
    """1,000 devices, 300 a second, a wait of 30 s: 1000, 700, 400 and 100 requests, 30 s apart."""
    load = overload(all_at_once(1000, 200), 300, FIXED_WAIT, np.random.default_rng(0))
    waves = load.asked_T.nonzero()[0]
    assert waves.tolist() == [0, 30, 60, 90]
    assert load.asked_T[waves].tolist() == [1000, 700, 400, 100]
    assert load.served_T[waves].tolist() == [300, 300, 300, 100]
    assert load.retried_T[waves].tolist() == [0, 700, 400, 100]
    assert load.seconds_until(0.9, 1000) == 60
    assert load.seconds_until(0.91, 1000) == 90
    assert load.seconds_until(1.01, 1000) is None


def test_full_jitter_spreads_each_wave_over_twice_the_seconds_of_the_one_before():
    """A wait of 10 s and then 0 to 3: 900 devices in 4 seconds, evenly (binomial, 10^-6 at either
    end), and who is refused again within 10 + 0 to 7 s of that, and then, at the cap, the same."""
    load = overload(all_at_once(1000, 60), 100, Retry(10, 4, 8), np.random.default_rng(0))
    first, second = load.asked_T[10:14], load.asked_T[20:31]
    assert first.sum() == 900
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 900, 1 / 4)
    assert ((low <= first) & (first <= high)).all()
    assert load.served_T[10:14].tolist() == [100] * 4
    assert second.sum() >= 500  # all those refused; some of these are refused again before 31
    assert load.asked_T[1:10].sum() == load.asked_T[14:20].sum() == 0
    assert Retry(10, 4, 8).widths() == [4, 8]
    assert Retry(1, 3, 20).widths() == [3, 6, 12, 20]
    assert Retry(30, 1, 1).widths() == [1]


@pytest.mark.parametrize("retry", [Retry(), FIXED_WAIT, Retry(1, 100, 100), Retry(3, 1, 500)])
def test_every_device_is_served_once(retry):
    """A million devices at once, in the end; before, no more than the capacity in a second."""
    first_T = all_at_once(10**6, 9000)
    load = overload(first_T, 5000, retry, np.random.default_rng(1))
    assert load.served_T.sum() == 10**6
    assert load.served_T.max() == 5000
    np.testing.assert_array_equal(load.asked_T - load.retried_T, first_T)
    # Whoever is refused asks again: one retry for each request that is not served.
    assert load.retried_T.sum() == (load.asked_T - load.served_T).sum()


def one_by_one(arrivals, capacity, retry, generator, seconds):
    """Requests per second, each device an entry of a list."""
    due = [[] for _ in range(seconds + retry.after_seconds + retry.cap_seconds)]
    for second, count in enumerate(arrivals):
        due[second] = [0] * count
    for second in range(seconds):
        asking = due[second]
        generator.shuffle(asking)
        for refusals in asking[capacity:]:
            most = min(retry.cap_seconds, retry.base_seconds * 2**refusals)
            wait = retry.after_seconds + int(generator.integers(0, most))
            due[second + wait].append(refusals + 1)
    return np.array([len(asking) for asking in due[:seconds]])


def test_it_has_the_means_of_devices_simulated_one_by_one():
    """The mean of the requests of each second over 300 draws each: the difference is within 4.5
    standard errors in each of 60 seconds (a chance of .0004 in all)."""
    arrivals, capacity, retry = [60, 40, 20], 7, Retry(1, 2, 8)
    first_T = np.array(arrivals + [0] * 57)
    generator = np.random.default_rng(2)
    ours = np.array([overload(first_T, capacity, retry, generator).asked_T for _ in range(300)])
    theirs = np.array([one_by_one(arrivals, capacity, retry, generator, 60) for _ in range(300)])
    error_T = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / 300)
    difference_T = ours.mean(axis=0) - theirs.mean(axis=0)
    assert (np.abs(difference_T) <= 4.5 * error_T).all()
    assert error_T[2:20].min() > 0


def test_the_table_of_overloads():
    """In a second everybody: 10 fixed waits of 30 s each serve a tenth."""
    herd = Herd(devices=1000, push_seconds=1, jitter_seconds=1, capacity=100)
    frame = overloads(herd, {"fixed": FIXED_WAIT}, np.random.default_rng(0), seconds=400)
    waits = ("", ", after up to 1 s")
    assert list(frame.index) == [f"fetch on push{wait}; retry fixed" for wait in waits]
    assert frame.to_numpy().tolist() == [[1000, 900, 5.5, 270]] * 2


def test_no_capacity_is_refused():
    with pytest.raises(UserError, match="capacity is 0: give 1 request/s or more"):
        overload(np.ones(3, dtype=np.int64), 0, Retry(), np.random.default_rng(0))
    with pytest.raises(UserError, match="after_seconds and base_seconds must be 1 or more"):
        Retry(after_seconds=0)
    with pytest.raises(UserError, match="cap_seconds at least base_seconds"):
        Retry(base_seconds=9, cap_seconds=8)
