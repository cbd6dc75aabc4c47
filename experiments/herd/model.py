"""When a herd of devices asks: counts per second for 10^6 to 10^8 devices, none of them an object.

A habit of devices is a distribution of the second in which one of them asks (share_T); sums of
independent times are convolutions. Devices are independent, so the counts are one multinomial draw.
"""

from dataclasses import dataclass

import numpy as np
from herd.overload import Counts, Retry
from numpy.typing import NDArray

from recsys_posttrain.config import require

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Herd:
    """The devices and their habits; times in whole seconds where no other unit is named.

    push_seconds: a broadcast reaches the devices evenly over so long. jitter_seconds: a device that
    fetches on a push waits up to so long. window_hours: prefetches are spread evenly over so long.
    missed: the share of devices that the window has missed, which fetch on the push and wait up to
    late_seconds. lifetime_seconds, lifetime_jitter: a cached answer is asked for anew after
    lifetime (1 ± jitter), evenly. burst_seconds: standard deviation of a burst of app starts, whose
    caches therefore expire together. cycles: how many refreshes follow it. capacity: how many
    requests a second are answered; retry: how a device comes back when its own was not.
    """

    devices: int = 1_000_000
    push_seconds: int = 10
    jitter_seconds: int = 60
    window_hours: float = 6.0
    missed: float = 0.01
    late_seconds: int = 600
    lifetime_seconds: int = 3600
    lifetime_jitter: float = 0.3
    burst_seconds: int = 180
    cycles: int = 4
    capacity: int = 5_000
    retry: Retry = Retry()

    def __post_init__(self) -> None:
        for name in ("devices", "capacity", *(each for each in vars(self) if "_seconds" in each)):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: give 1 or more")
        require(self.devices < 10**9, f"devices is {self.devices:,}: give fewer than 10^9")
        require(self.window_hours > 0, f"window_hours is {self.window_hours}: give more than 0")
        require(self.cycles >= 0, f"cycles is {self.cycles}: give 0 or more")
        for name in ("missed", "lifetime_jitter"):
            share = getattr(self, name)
            require(0 <= share < 1, f"{name} is {share}: give a share from 0 to less than 1")

    @property
    def late_devices(self) -> int:
        """Those that the window has missed."""
        return round(self.missed * self.devices)


def even(seconds: int) -> Shares:
    """[T]: any of so many seconds, equally likely."""
    return np.full(seconds, 1 / seconds)


def bell(deviation: int) -> Shares:
    """[T]: normal around second 4 sd, with that standard deviation, cut off at 4 of them."""
    density_T = np.exp(-0.5 * (np.arange(-4 * deviation, 4 * deviation + 1) / deviation) ** 2)
    return np.asarray(density_T / density_T.sum())


def lifetime(seconds: int, jitter: float) -> Shares:
    """[T]: the age at which a cached answer is asked for anew: seconds (1 ± jitter), evenly."""
    spread = round(seconds * jitter)
    return np.concatenate([np.zeros(seconds - spread), even(2 * spread + 1)])


def fetch_on_push(herd: Herd, is_jittered: bool) -> Shares:
    """[T]: a device asks once the broadcast reaches it, or after a wait; T from the broadcast."""
    wait_T = even(herd.jitter_seconds if is_jittered else 1)
    return np.convolve(even(herd.push_seconds), wait_T)


def prefetch(herd: Herd) -> Shares:
    """[T]: a device asks once in the window, since its cache outlives it; T from its start."""
    return even(round(herd.window_hours * 3600))


def latecomers(herd: Herd) -> Shares:
    """[T]: a device that the window has missed asks; T from the broadcast."""
    return np.convolve(even(herd.push_seconds), even(herd.late_seconds))


def refreshes(herd: Herd, jitter: float) -> list[Shares]:
    """[T] of the burst of app starts and of each cycle of refreshes after it, from one second on.

    A cycle has its exact distribution; that the same devices make all of them is left out.
    """
    cycles, age_T = [bell(herd.burst_seconds)], lifetime(herd.lifetime_seconds, jitter)
    for _ in range(herd.cycles):
        cycles.append(np.convolve(cycles[-1], age_T))
    return cycles


def requests(devices: int, share_T: Shares, generator: np.random.Generator) -> Counts:
    """[T]: how many of the devices ask in each second."""
    return generator.multinomial(devices, share_T / share_T.sum())


def peak(requests_T: Counts, bin_seconds: int = 1) -> float:
    """Requests/s in the busiest bin; a last bin that is not full counts as full."""
    starts = np.arange(0, len(requests_T), bin_seconds)
    return float(np.add.reduceat(requests_T, starts).max() / bin_seconds)
