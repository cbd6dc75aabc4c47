"""The herd in one PNG: what is asked in the minute of an event, before it, and when all is late."""

from pathlib import Path
from typing import Any

import numpy as np
from herd.model import Herd, fetch_on_push, latecomers, refreshes, requests
from herd.overload import Retry, overload

from recsys_posttrain.report.figures import LINES, panels, save

RATE = "requests/s"


def draw(
    herd: Herd,
    windows: dict[float, dict[int, float]],
    fetching: dict[int, float],
    retries: dict[str, Retry],
    generator: np.random.Generator,
    path: Path,
) -> None:
    """windows: hours -> devices -> median peak of prefetching. fetching: devices -> median peak of
    fetching on the push with jitter."""
    figure, (event, window, echo, retry) = panels(2, 2, width=5.6, height=4.0)
    draw_event(event, herd, windows[herd.window_hours][herd.devices], generator)
    draw_windows(window, windows, fetching)
    draw_refreshes(echo, herd, generator)
    draw_retries(retry, herd, retries, generator)
    for axis in (event, window, echo, retry):
        axis.set_ylabel(RATE)
        axis.grid(True, which="major", color="#e6e3dc", lw=0.8)
        axis.set_axisbelow(True)
    save(figure, path)


def draw_event(axis: Any, herd: Herd, prefetching: float, generator: np.random.Generator) -> None:
    habits = {
        "fetch on push": (herd.devices, fetch_on_push(herd, is_jittered=False)),
        f"fetch on push, after up to {herd.jitter_seconds} s": (
            herd.devices,
            fetch_on_push(herd, is_jittered=True),
        ),
        f"prefetched; {herd.missed:.0%} late, after up to {herd.late_seconds} s": (
            herd.late_devices,
            latecomers(herd),
        ),
    }
    for (name, (devices, share_T)), line in zip(habits.items(), LINES, strict=False):
        asked_T = requests(devices, share_T, generator)[:120]
        axis.step(np.arange(len(asked_T)), asked_T, where="post", label=name, **plain(line))
    axis.axhline(prefetching, color="#5f9e6e", lw=1.5, ls=(0, (1, 1)))
    note = f"peak of the {herd.window_hours:g} h before: {prefetching:.0f}"
    axis.annotate(note, (118, prefetching), xytext=(0, 4), textcoords="offset points", ha="right")
    axis.set(yscale="log", ylim=(3, 2e6), xlim=(-3, 120), xlabel="seconds after the broadcast")
    axis.set_title(f"At the event, {herd.devices:,} devices", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="upper right")


def draw_windows(
    axis: Any, windows: dict[float, dict[int, float]], fetching: dict[int, float]
) -> None:
    hours = list(windows)
    for (devices, peak), line in zip(fetching.items(), LINES, strict=False):
        peaks = [windows[each][devices] for each in hours]
        axis.plot(hours, peaks, label=f"{devices:,} devices", ms=5, **line)
        axis.axhline(peak, color=line["color"], lw=1, ls=line["linestyle"], alpha=0.6)
        note = f"fetch on push, after up to 60 s: {peak:,.0f}"
        axis.annotate(note, (24, peak), xytext=(0, 3), textcoords="offset points", ha="right")
    axis.set(xscale="log", yscale="log", xlabel="prefetch window (hours)", ylim=(1, 1e7))
    axis.set_xticks(hours, [f"{each:g}" for each in hours])
    axis.minorticks_off()
    axis.set_title("Peak of prefetching", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="lower left")


def draw_refreshes(axis: Any, herd: Herd, generator: np.random.Generator) -> None:
    jittered = f"±{herd.lifetime_jitter:.0%}"
    for (name, jitter), line in zip(
        (("fixed", 0.0), (jittered, herd.lifetime_jitter)), LINES, strict=False
    ):
        cycles = refreshes(herd, jitter)
        asked_T = np.zeros(len(cycles[-1]), dtype=np.int64)
        for share_T in cycles:
            asked_T[: len(share_T)] += requests(herd.devices, share_T, generator)
        asked_B = asked_T[: len(asked_T) // 10 * 10].reshape(-1, 10).mean(axis=1)
        hours_B = (np.arange(len(asked_B)) * 10 - 4 * herd.burst_seconds) / 3600
        is_shown_B = hours_B < herd.cycles * herd.lifetime_seconds / 3600 + 0.6
        style = plain(line) | {"lw": 1.3}
        axis.plot(hours_B[is_shown_B], asked_B[is_shown_B], label=f"{name} lifetime", **style)
    axis.set(xlabel="hours after a burst of app starts", ylim=(0, 2.9e-3 * herd.devices))
    title = f"Caches of {herd.lifetime_seconds / 3600:g} h expire together (bins of 10 s)"
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)


def draw_retries(
    axis: Any, herd: Herd, retries: dict[str, Retry], generator: np.random.Generator
) -> None:
    first_T = np.zeros(900, dtype=np.int64)
    share_T = fetch_on_push(herd, is_jittered=False)
    first_T[: len(share_T)] = requests(herd.devices, share_T, generator)
    for (name, retry), line in zip(retries.items(), LINES, strict=False):
        asked_T = overload(first_T, herd.capacity, retry, generator).asked_T
        # Zero lies below every axis of powers of ten; 1 lies below this one.
        axis.plot(np.maximum(asked_T, 1), label=name, lw=1.2, **plain(line))
    axis.axhline(herd.capacity, color="#888888", lw=1)
    note = f"answered: {herd.capacity:,}/s"
    axis.annotate(note, (845, herd.capacity), xytext=(0, 4), textcoords="offset points", ha="right")
    axis.set(yscale="log", xlim=(-10, 850), ylim=(100, 3e7), xlabel="seconds after the broadcast")
    axis.set_title("Fetch on push with too few servers: retries after 503", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="upper right")


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """The line's look without its marker, which would hide a series of many points."""
    return {name: value for name, value in line.items() if name != "marker"}
