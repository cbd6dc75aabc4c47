"""The fault bench in its small form, the same code with a dozen devices; and its parts by hand."""

import asyncio
import json
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from live import run as module
from live.device import Shown
from live.fleet_log import FleetLog, counts
from live.hostile import garbled
from live.processes import Process, free_ports, memory_bytes, processor_seconds
from live.report import line, table
from live.rows import PROMISES, broken_promises, measured
from live.run import run_bench
from live.service import DEVICE, Bench, NotRecovered

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import EventState

SMALL = Bench(devices=12, seconds=2.0)
FAULTS = [
    *("no fault", "gateway killed", "all connections cut", "redis killed", "redis emptied"),
    *("producer killed", "devices asleep", "hostile messages", "schedule moved", "clocks off"),
    *("prefetch killed", "overloaded", "silent crowds", "floods with one token"),
    *("false numbers", "all forgotten"),
]


@pytest.fixture(scope="module")
def played(own_cache, tmp_path_factory, needs_redis):
    """(rows by fault, their folder, what was said)."""
    folder, said = tmp_path_factory.mktemp("bench"), []
    rows = run_bench(SMALL, folder, said.append)
    return {row["fault"]: row for row in rows}, folder, said


def test_every_promise_is_kept_under_every_fault(played):
    rows, _, said = played
    assert list(rows) == FAULTS
    for row in rows.values():
        assert {row[name] for name in PROMISES} == {0}, row
        assert row["sockets"] == 12
        assert row["updates"] >= 1
        assert row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert len(said) == 1 + len(FAULTS)


def test_the_faults_did_happen(played):
    rows = played[0]
    assert rows["no fault"]["updates"] == 5
    assert rows["no fault"]["reconnects"] == rows["no fault"]["skipped"] == 0
    assert rows["gateway killed"]["reconnects"] > 0
    for fault in ("all connections cut", "clocks off"):
        assert rows[fault]["reconnects"] >= 12
    for fault in ("redis killed", "redis emptied"):
        before, after = rows[fault]["note"].removeprefix("versions ").split(" to ")
        assert int(after) == int(before) + 1
    # The first of three updates came a quarter of two seconds after the devices fell asleep.
    assert 1000 < rows["devices asleep"]["max_ms"] < 60_000
    assert 0 <= rows["devices asleep"]["last_right_s"] < 1.5
    assert "Redis refused 2 of 2 stale entries" in rows["hostile messages"]["note"]
    ignored = rows["hostile messages"]["note"].partition("devices ignored ")[2].split(" ")[0]
    assert int(ignored) > 0
    assert rows["schedule moved"]["updates"] >= 3
    # Times by clocks that are a minute off would be a minute off.
    assert abs(rows["clocks off"]["p50_ms"]) < 30_000
    refused, asked = rows["overloaded"]["note"].partition("; ")[2].split(" ")[0:3:2]
    assert refused == asked != "0"


def test_what_it_leaves(played):
    rows, folder, _ = played
    written = pd.read_csv(folder / "faults.csv")
    assert written["fault"].tolist() == FAULTS
    assert written["p99_ms"].tolist() == [row["p99_ms"] for row in rows.values()]
    record = json.loads((folder / "run.json").read_text())
    assert record["rows"] == list(rows.values())
    assert record["bench"]["devices"] == 12
    assert "--appendfsync always" in record["machine"]["redis_options"]
    text = (folder / "table.md").read_text()
    assert text == table(SMALL, record["machine"], record["rows"])
    firsts = [line.split(" | ")[0][2:] for line in text.splitlines() if line[:2] == "| "]
    assert firsts[2:] == FAULTS
    assert (folder / "time_to_update.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "reconnects.pdf").read_bytes()[:4] == b"%PDF"


@pytest.fixture
def bench_script(script):
    return script("benchmarks/live_bench.py")


@pytest.mark.parametrize(("wrong", "code"), [(0, 0), (3, 1)])
def test_a_broken_promise_is_one_sentence_that_names_the_fault(
    monkeypatch, bench_script, end, tmp_path, wrong, code
):
    asked = []
    row = {"fault": "redis killed", **dict.fromkeys(PROMISES, 0), "wrong_final_state": wrong}
    run = lambda bench, output, say: asked.append(bench) or [row]  # noqa: E731
    monkeypatch.setattr(bench_script, "run_bench", run)
    words = "--devices", "30", "--seconds", "3", "--output", tmp_path
    found, out, error = end(bench_script, *words)
    assert found == code
    assert asked == [Bench(30, 3.0)]
    sentence = "broken under 'redis killed': 3 devices with a wrong final state; 0 were promised\n"
    assert error == (sentence if code else "")
    assert ("every promise" in out) == (not code)
    assert broken_promises([row]) == sentence.splitlines() * code

    def stuck(bench, output, say):
        raise NotRecovered("broken under 'redis killed': no update to live came")

    monkeypatch.setattr(bench_script, "run_bench", stuck)
    code, _, error = end(bench_script, "--output", tmp_path)
    assert code == 1
    assert error == "broken under 'redis killed': no update to live came\n"


def test_devices_that_nothing_reaches_are_a_broken_promise(tmp_path):
    """No device shows anything: figures that are not there do not hide it."""

    class Silent:
        bench, hit_at, processes = Bench(2, 1.0), 5.0, {}
        states: ClassVar = [EventState("final", 1, "live", 1.0)]
        logs: ClassVar = [FleetLog(tmp_path / "none", ["0", "1"], 0.0)]
        shown: ClassVar = {"0": [], "1": []}

        async def until(self, holds):
            return False

        async def look(self):
            pass

        async def bytes_per_connection(self):
            return 0.0

        is_right = is_connected = None
        processor_seconds = connections = count = lambda self, *names: 0

    async def no_update(service):
        """Nothing comes."""
        service.states.append(EventState("final", 2, "live", 6.0))
        return ""

    async def lost(service):
        raise NotRecovered("no update to live came")

    lists = {user: {"live": ["1"]} for user in "01"}
    row = asyncio.run(measured(Silent(), no_update, lists)).row
    assert (row["wrong_final_state"], row["disconnected"], row["skipped"]) == (2, 2, 2)
    assert (row["p99_ms"], row["last_right_s"]) == (None, None)
    assert "no update" in line(row)
    assert [text.partition(": ")[2] for text in broken_promises([row])] == [
        "2 devices with a wrong final state; 0 were promised",
        "2 devices without a connection in the end; 0 were promised",
    ]
    with pytest.raises(NotRecovered, match="broken under 'lost': no update to live came"):
        asyncio.run(measured(Silent(), lost, lists))


def test_without_redis_it_says_how_to_install_it(monkeypatch, bench_script, end, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, error = end(bench_script, "--output", tmp_path / "out")
    assert code == 2
    assert error.startswith("error: live bench needs redis-server, which is not installed: apt-get")
    assert not (tmp_path / "out").exists()


def test_more_devices_than_open_files_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (64, 256))
    with pytest.raises(UserError, match=r"may have 256 open files here.*ulimit -Hn"):
        run_bench(Bench(devices=200), tmp_path, print)


def test_a_fleets_log_is_read_while_it_is_written(tmp_path):
    """Half a line waits for its other half; times are those of a right clock."""
    path = tmp_path / "fleet.jsonl"
    log = FleetLog(path, ["7"], clock=-60.0)
    log.read()
    lines = (
        '{"at": 40.0, "counters": {"connections": 1}}\n'
        '{"user": "7", "shown": [41.5, 3, "live", ["a", "b"]]}\n'
        '{"at": 42.0, "counters": {"connections": 3, "pulls": 2}}\n'
    )
    for end in (10, 70, len(lines)):
        path.write_text(lines[:end])
        log.read()
    assert log.shown == {"7": [Shown(101.5, 3, "live", ("a", "b"))]}
    assert log.at == [100.0, 102.0]
    assert log.count("connections", "pulls") == 5
    assert log.count("none") == 0
    other = FleetLog(tmp_path / "none", [], 0.0)
    at, grown = counts([log, other], 100.0, 102.01, "connections")
    np.testing.assert_allclose(at[[0, 10, 20]], [100, 101, 102])
    np.testing.assert_allclose(grown[[0, 10, 20]], [0, 1, 2])


def test_a_hostile_gateway_says_the_newest_between_what_is_wrong():
    states = [EventState("final", version, "live", 1.0) for version in range(1, 9)]
    messages = garbled(states)
    read = []
    for message in messages:
        try:
            read.append(EventState.from_json(message))
        except UserError:
            read.append(None)
    versions = [state.version for state in read if state and state.event == "final"]
    assert versions == [4, 5, 6, 7, 8, 8, 8, 7, 6, 5, 4]
    assert read.count(None) == 5
    assert any(state and state.event != "final" for state in read)
    assert garbled([]) != []


def test_a_process_that_ends_at_its_start_says_why(tmp_path):
    words = "live", "gateway", "final", "--secret-file", str(tmp_path / "none")
    process = Process("gateway-0", words, tmp_path)
    with pytest.raises(UserError, match=r"gateway-0 ended at its start: error: the secret's file"):
        process.listens()
    assert memory_bytes(process.pid) == 0 or not process.is_running()
    process.kill()


def test_a_clock_may_be_off_and_torch_be_seen(tmp_path, secret_file):
    """The clock of the whole process: the fleet's log is an hour behind."""
    log = tmp_path / "log"
    words = "final", "--users", "7", "--secret-file", str(secret_file), "--log", str(log)
    process = Process("device", words, tmp_path, -3600.0, DEVICE)
    read = FleetLog(log, ["7"], clock=0.0)
    _wait(lambda: read.read() or read.at)
    assert 3500 < time.time() - read.at[0] < 3700
    assert processor_seconds(process.pid) > 0
    assert not process.has_loaded("libtorch")
    assert process.has_loaded("libc.so")
    process.stop()
    _wait(lambda: _state(process.pid) == "T")
    process.go_on()
    process.kill()
    assert memory_bytes(process.pid) == processor_seconds(process.pid) == 0


def _wait(holds):
    deadline = time.time() + 30
    while not holds():
        assert time.time() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_ports_are_free_and_not_those_of_clients():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < first
