"""What a demo's devices say afterwards, by their own logs: a summary, its promises, a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from live import measure
from live.device import Device
from recsys_posttrain.live.prefetch import Recommendations
from recsys_posttrain.live.state import EventState
from recsys_posttrain.report.figures import LINES, panels, save

PROMISES = {**measure.PROMISES, "model_calls_at_event": "model calls at event time"}


class Sample(NamedTuple):
    """Counts since the start, `at` seconds after it; requests are those at the prefetch server."""

    at: float
    reconnects: int
    prefetch_requests: int
    state_requests: int


@dataclass(frozen=True)
class Recording:
    """All that happened. start: seconds since 1970. moments: name -> seconds after the start."""

    start: float
    seconds: float
    states: list[EventState]
    devices: dict[str, Device]
    lists: Recommendations
    samples: list[Sample]
    moments: dict[str, float]
    messages: int
    model_calls_before: int
    model_calls_at_event: int

    @property
    def logs(self) -> measure.Logs:
        return {user: device.shown for user, device in self.devices.items()}

    def delays_ms(self, state: EventState) -> measure.Floats:
        return measure.delays_ms(self.logs, state)

    def rate(self, name: str) -> tuple[measure.Floats, measure.Floats]:
        """(seconds after the start, count of a Sample's field in the second that ends there)."""
        at = np.array([sample.at for sample in self.samples])
        count = np.array([getattr(sample, name) for sample in self.samples], dtype=np.float64)
        return at, measure.per_second(at, count)

    def since(self, name: str, at: float) -> int:
        """How much a Sample's field grew from `at` to the end."""
        before = [sample for sample in self.samples if sample.at <= at]
        return int(getattr(self.samples[-1], name) - getattr(before[-1], name))


def summary(recording: Recording) -> dict[str, Any]:
    """The figures, as summary.json has them; PROMISES names those that must be 0."""
    devices, newest = recording.devices, recording.states[-1]
    announced, killed = recording.moments["announced"], recording.moments["gateway killed"]
    at, reconnects = recording.rate("reconnects")
    lists = {user: recording.lists.of(user) or {} for user in devices}
    applied = sum(device.counters["states_applied"] for device in devices.values())
    return {
        "devices": len(devices),
        "seconds": recording.seconds,
        "prefetches": sum(device.counters["prefetch_200"] for device in devices.values()),
        "prefetch_requests_at_event": recording.since("prefetch_requests", announced),
        "state_requests_at_event": recording.since("state_requests", announced),
        "model_calls_before": recording.model_calls_before,
        "model_calls_at_event": recording.model_calls_at_event,
        "updates_published": len(recording.states),
        "messages_sent": recording.messages,
        "versions": [_version(recording, state) for state in recording.states],
        "reconnects_after_kill": recording.since("reconnects", killed),
        "peak_reconnects_per_second": round(float(reconnects[at >= killed].max()), 1),
        "longest_pause_ms": round(1000 * float(np.diff(at).max())),
        **measure.promises(recording.logs, newest, lists, applied),
    }


def _version(recording: Recording, state: EventState) -> dict[str, Any]:
    delays = recording.delays_ms(state)
    return {
        "version": state.version,
        "stage": state.stage,
        "published_second": round(state.published - recording.start, 2),
        "devices": len(delays),
        **measure.quantiles(delays),
    }


def text(figures: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"{figures['devices']} devices, {figures['seconds']:g} s, one process",
        f"{figures['prefetches']} prefetches before the event; during it "
        f"{figures['prefetch_requests_at_event']} prefetch requests, and "
        f"{figures['state_requests_at_event']} for the state, of devices that reached no gateway",
        f"{figures['model_calls_before']} model calls before the event, "
        f"{figures['model_calls_at_event']} during it",
        f"{figures['updates_published']} updates published, {figures['messages_sent']} messages "
        "sent by gateways",
        "",
        f"{'update':<10}{'at, s':>8}{'devices':>10}{'p50, ms':>10}{'p99, ms':>10}{'max, ms':>10}",
        *(
            f"{each['stage']:<10}{each['published_second']:>8.1f}{each['devices']:>10}"
            + "".join(_cell(each[name]) for name in ("p50_ms", "p99_ms", "max_ms"))
            for each in figures["versions"]
        ),
        "(milliseconds from publish to shown, by the devices' logs; the gateway is killed just "
        "before the break)",
        "",
        f"{figures['reconnects_after_kill']} reconnects after the kill, at most "
        f"{figures['peak_reconnects_per_second']:.0f} in a second",
        f"a timer of 100 ms in this process took at most {figures['longest_pause_ms']:,} ms",
    ]
    promises = [
        f"{'kept  ' if figures[name] == 0 else 'BROKEN'}  {what}: {figures[name]}"
        for name, what in PROMISES.items()
    ]
    return "\n".join([*lines, "", *promises])


def _cell(milliseconds: float | None) -> str:
    return f"{'-' if milliseconds is None else f'{milliseconds:,.1f}':>10}"


def draw(recording: Recording, path: Path) -> None:
    """The event in four panels. Errors: UserError where matplotlib is missing."""
    figure, (showing, delay, reconnects, requests) = panels(2, 2, width=5.8, height=3.8)
    count = len(recording.devices)
    for state, line in zip(recording.states, LINES, strict=False):
        look = {**measure.look(line), "lw": 1.8}
        seconds, shown = _showing(recording, state.version)
        showing.step(seconds, shown, where="post", label=state.stage, **look)
        delays = np.maximum(recording.delays_ms(state), 0.1)
        done = np.arange(1, len(delays) + 1)
        delay.step(delays, done, where="post", label=state.stage, **look)
    showing.set(title="What devices show", ylabel="devices")
    delay.set(title="Devices that have applied an update", ylabel="devices",
              xlabel="milliseconds after its publication", ylim=(0, 1.05 * count))  # fmt: skip
    measure.plain_ticks(delay)
    at, rate = recording.rate("reconnects")
    reconnects.plot(at, rate, color=LINES[0]["color"], lw=1.3)
    reconnects.set(title="Reconnects", ylabel="reconnects/s")
    for name, label, line in (
        ("prefetch_requests", "prefetch", LINES[0]),
        ("state_requests", "state, of devices without a gateway", LINES[1]),
    ):
        at, rate = recording.rate(name)
        requests.plot(at, rate, label=label, lw=1.3, **measure.look(line))
    requests.set(title="Requests to the prefetch server", ylabel="requests/s")
    for axis in (showing, reconnects, requests):
        axis.set(xlabel="seconds after the start", xlim=(0, recording.seconds))
        axis.set_ylim(0, 1.15 * max(1, axis.dataLim.y1))
        for moment in recording.moments.values():
            axis.axvline(moment, color="#777777", lw=0.8, ls=":")
    for axis in (showing, reconnects):  # the third has its legend there
        _name(axis, recording.moments)
    for axis in (showing, delay, requests):
        axis.legend(frameon=False, fontsize=8.5)
    save(figure, path)


def _name(axis: Any, moments: dict[str, float]) -> None:
    """Names each moment in room of its own above the curves."""
    top = 1.45 * max(1, axis.dataLim.y1)
    axis.set_ylim(0, top)
    for name, moment in moments.items():
        axis.annotate(
            name, (moment, top), rotation=90, fontsize=7.5, color="#333333", ha="right", va="top",
            xytext=(-2, -2), textcoords="offset points",
        )  # fmt: skip


def _showing(recording: Recording, version: int) -> tuple[list[float], list[int]]:
    """(seconds, devices that show `version` from then on)."""
    steps: list[tuple[float, int]] = []
    for device in recording.devices.values():
        log = list(device.shown)
        for entry, following in zip(log, [*log[1:], None], strict=True):
            if entry.version == version:
                steps.append((entry.at - recording.start, 1))
                if following is not None:
                    steps.append((following.at - recording.start, -1))
    steps.sort()
    at = [0.0, *(second for second, _ in steps), recording.seconds]
    return at, np.cumsum([0, *(change for _, change in steps), 0]).tolist()
