"""The short demo: its promises by the devices' own logs, and what it writes and prints."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from live import demo as module
from live.demo import Demo, run
from live.demo_report import PROMISES, summary, text
from live.device import Shown

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import EventState

STAGES = ["before", "live", "break", "after"]
DEVICES, SECONDS = 20, 8.0


@pytest.fixture(scope="module")
def played(own_cache, tmp_path_factory):
    """(recording, its folder, what was said)."""
    folder, said = tmp_path_factory.mktemp("demo"), []
    recording = run(Demo(DEVICES, SECONDS), folder, lambda second, words: said.append(words))
    return recording, folder, said


def test_every_device_ends_right_by_its_own_log(played):
    recording, _, said = played
    assert [state.stage for state in recording.states] == STAGES
    versions = [state.version for state in recording.states]
    assert versions == list(range(versions[0], versions[0] + 4))
    assert len(recording.devices) == DEVICES
    for user, device in recording.devices.items():
        shown = [entry.version for entry in device.shown]
        assert shown == sorted(set(shown))
        assert shown[-1] == versions[-1]
        assert device.counters["states_applied"] == len(shown)
        own = recording.lists.of(user)
        assert all(list(entry.items) == own[entry.stage] for entry in device.shown)
    lists = {tuple(recording.lists.of(user)["after"]) for user in recording.devices}
    assert len(lists) == DEVICES, "another user's list would not be seen to be one"
    assert any("killed" in words for words in said)


def test_the_summary_counts_what_the_logs_say(played):
    recording, _, _ = played
    figures = summary(recording)
    assert {figures[name] for name in PROMISES} == {0}
    assert figures["prefetches"] == DEVICES
    assert figures["prefetch_requests_at_event"] == 0
    assert figures["model_calls_before"] > 0
    assert [each["stage"] for each in figures["versions"]] == STAGES
    by_version = Counter(e.version for device in recording.devices.values() for e in device.shown)
    for each, state in zip(figures["versions"], recording.states, strict=True):
        assert each["devices"] == by_version[state.version]
        delays = [
            1000 * (entry.at - state.published)
            for device in recording.devices.values()
            for entry in device.shown
            if entry.version == state.version
        ]
        assert each["max_ms"] == round(max(delays), 1)
        assert each["p50_ms"] <= each["p99_ms"] <= each["max_ms"]
    reconnects = sum(device.counters["connections"] - 1 for device in recording.devices.values())
    assert figures["reconnects_after_kill"] == reconnects > 0
    assert 0 < figures["peak_reconnects_per_second"] <= reconnects


def test_the_live_starts_as_moved_and_the_end_is_by_hand(played):
    recording, folder, _ = played
    schedule = json.loads((folder / "schedule.json").read_text())
    assert schedule["ended"] is True
    live, ended = recording.states[1], recording.states[3]
    moved = recording.start + (0.40 + 0.05) * SECONDS
    assert moved - 1e-6 <= live.published, "the file keeps microseconds"
    assert ended.published >= recording.start + recording.moments["ended by hand"]


class Told:
    """A device that says what it is told to."""

    def __init__(self, state, shown, applied):
        self.state, self.shown = state, shown
        self.counters = Counter(states_applied=applied, connections=1, prefetch_200=1)


def _entry(lists, user, version, stage):
    return Shown(0.0, version, stage, tuple(lists.of(user)[stage]))


BROKEN = {
    **dict.fromkeys(("old", "blank"), "wrong_final_state"),
    **dict.fromkeys(("backwards", "twice"), "twice_or_backwards"),
    "foreign": "not_their_own",
}


@pytest.mark.parametrize(("broken", "promise"), BROKEN.items())
def test_a_broken_promise_is_counted(played, broken, promise):
    recording, _, _ = played
    lists, states = recording.lists, recording.states
    shown = [_entry(lists, "3", state.version, state.stage) for state in states]
    another = _entry(lists, "4", states[0].version, "before")
    device = {
        "old": Told(states[-2], shown[:-1], 3),
        "blank": Told(states[-1], [], 0),
        "backwards": Told(states[-1], [shown[1], shown[0], *shown[2:]], 4),
        "twice": Told(states[-1], shown, 5),
        "foreign": Told(states[-1], [another, *shown[1:]], 4),
    }[broken]
    figures = summary(replace(recording, devices={**recording.devices, "3": device}))
    assert {name for name in PROMISES if figures[name]} == {promise}
    assert figures[promise] == 1
    assert f"BROKEN  {PROMISES[promise]}: 1" in text(figures)


@pytest.mark.parametrize(("is_broken", "code"), [(False, 0), (True, 1)])
def test_the_script_writes_prints_and_exits(
    played, tmp_path, monkeypatch, script, end, is_broken, code
):
    recording = played[0]
    if is_broken:
        recording = replace(recording, model_calls_at_event=2)
    demo, asked = script("benchmarks/live_demo.py"), []
    run = lambda demo, output, say: asked.append((demo, say(1.0, "x"))) or recording  # noqa: E731
    monkeypatch.setattr(demo, "run", run)
    found, out, error = end(demo, "--devices", "20", "--seconds", "8", "--output", tmp_path)
    assert found == code
    assert asked[0][0] == Demo(20, 8.0)
    assert error == "", "it is quiet where there is no terminal"
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert figures == json.loads(json.dumps(summary(recording)))
    assert text(figures) in out
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"


def test_devices_that_are_not_ready_are_the_users_mistake(played, monkeypatch, tmp_path):
    """More than the machine can do: the event does not start without them."""
    monkeypatch.setattr(module, "_MOVED", 0.0)
    monkeypatch.setattr(module, "_PREPARED", 0.0)
    with pytest.raises(UserError, match="give fewer --devices or more --seconds"):
        run(Demo(3, 4.0), tmp_path, lambda second, words: None)


def test_a_state_that_nobody_showed_has_no_times(played):
    recording = played[0]
    unseen = EventState("final", recording.states[-1].version + 1, "after", recording.start)
    figures = summary(replace(recording, states=[*recording.states, unseen]))
    last = figures["versions"][-1]
    assert (last["devices"], last["max_ms"]) == (0, None)
    assert text(figures)
    assert figures["wrong_final_state"] == DEVICES
