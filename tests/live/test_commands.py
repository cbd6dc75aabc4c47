"""The commands as processes: a whole service in one, and one each with Redis between them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from live.device import Device, DeviceSettings

from recsys_posttrain.errors import UserError
from recsys_posttrain.live import cli as commands
from recsys_posttrain.live.schedule import Schedule, ScheduleFile

QUICK = DeviceSettings(retry=0.1, longest_retry=0.5, timeout=5.0)
STAGES = ("before", "live", "break", "after")
DEVICE = str(Path(__file__).parents[2] / "benchmarks" / "live_device.py")
# Stands in for what live materialize wrote; the command line is not needed to run a command.
PROCESS = """
import sys, types, typer
class Lists:
    event, stages, version = "final", ("before", "live", "break", "after"), "5ca1ab1e"
    @classmethod
    def open(cls, folder): return cls()
    def of(self, user): return {stage: [user + " " + stage] for stage in self.stages}
fake = types.ModuleType("recsys_posttrain.live.materialized")
fake.Materialized = Lists
sys.modules[fake.__name__] = fake
from recsys_posttrain.live import cli as commands
typer.run(getattr(commands, sys.argv.pop(1)))
"""


@contextmanager
def _process(*words, lines=1, program=""):
    """A running command and the addresses that it printed; it must end well when told to."""
    start = ["-u", program] if program else ["-c", PROCESS]
    process = subprocess.Popen([sys.executable, *start, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    addresses = [process.stdout.readline().split()[-1].rpartition("/")[2] for _ in range(lines)]
    try:
        yield process, addresses
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def files(tmp_path, secret_file):
    """A secret and a schedule whose stages start in a day."""
    secret, schedule = secret_file, tmp_path / "schedule.json"
    start = time.time() + 86_400
    Schedule("final", STAGES, {"live": start, "break": start + 60}).write(schedule)
    return secret, schedule


async def _all_show(devices, stage, until):
    await until(lambda: all(d.shown and d.shown[-1].stage == stage for d in devices), 30)
    for device in devices:
        versions = [shown.version for shown in device.shown]
        assert versions == sorted(set(versions))
        assert all(shown.items == (f"{device._user} {shown.stage}",) for shown in device.shown)


def _serve(secret, schedule):
    words = ("--secret-file", str(secret), "--schedule", str(schedule), "--port", "0")
    return _process("serve", "folder", *words, "--gateway-port", "0", lines=2)


def test_a_service_in_one_process(files, until, token_of):
    secret, schedule = files

    async def story(http, sockets):
        urls = f"http://{http}", (f"ws://{sockets}",)
        devices = [Device(u, "final", partial(token_of, u), *urls, QUICK) for u in ("u1", "u2")]
        running = [asyncio.create_task(device.run()) for device in devices]
        await _all_show(devices, "before", until)
        commands.produce(schedule, advance="live")
        await _all_show(devices, "live", until)
        commands.produce(schedule, delay=-90_000)
        await _all_show(devices, "break", until)
        commands.produce(schedule, end=True)
        await _all_show(devices, "after", until)
        for each in running:
            each.cancel()

    with _serve(secret, schedule) as (_, (http, sockets)):
        asyncio.run(story(http, sockets))


def test_processes_are_killed_and_no_device_is_wrong(files, until, token_of, redis_server):
    """A gateway, then Redis, then the producer end without a word, in the middle of an event."""
    secret, schedule = files
    common = "--secret-file", str(secret), "--redis", redis_server.url, "--port", "0"
    produce = "produce", str(schedule), *common[:4]

    async def story(http, gateways, kill, producer):
        devices = [
            Device(f"u{n}", "final", partial(token_of, f"u{n}"), f"http://{http}", gateways, QUICK)
            for n in range(12)
        ]
        running = [asyncio.create_task(device.run()) for device in devices]
        await _all_show(devices, "before", until)
        kill()
        commands.produce(schedule, advance="live")
        await _all_show(devices, "live", until)
        redis_server.kill()
        commands.produce(schedule, advance="break")
        await asyncio.sleep(0.3)
        redis_server.start()
        await _all_show(devices, "break", until)
        producer.kill()
        commands.produce(schedule, end=True)
        with _process(*produce, lines=0):
            await _all_show(devices, "after", until)
        assert {device.shown[-1].version for device in devices} == {devices[0].shown[-1].version}
        for each in running:
            each.cancel()

    with (
        _process("serve", "folder", *common) as (_, (http,)),
        _process("gateway", "final", *common) as (first, (one,)),
        _process("gateway", "final", *common) as (_, (two,)),
        _process(*produce, lines=0) as (producer, _),
    ):
        gateways = f"ws://{one}", f"ws://{two}"
        asyncio.run(story(http, gateways, first.kill, producer))


def test_devices_print_what_they_show(files):
    secret, schedule = files
    with _serve(secret, schedule) as (_, (http, sockets)):
        device = ["final", "--users", "u7, u8", "--secret-file", str(secret)]
        device += ["--prefetch", f"http://{http}", "--gateway", f"ws://{sockets}"]
        with _process(*device, lines=2, program=DEVICE) as (process, printed):
            assert printed == ["before", "before"]
            commands.produce(schedule, advance="live")
            said = sorted(process.stdout.readline().split() for _ in range(2))
            version = said[0][3]
            assert said == [
                ["user", f"{user},", "version", version, "live:", user, "live"]
                for user in ("u7", "u8")
            ]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """What live materialize wrote, of an event whose last stage it does not have."""
    lists = SimpleNamespace(event="final", stages=STAGES[:-1], version="5ca1ab1e")
    fake = SimpleNamespace(Materialized=SimpleNamespace(open=lambda folder: lists))
    monkeypatch.setitem(sys.modules, "recsys_posttrain.live.materialized", fake)
    return tmp_path


def test_wrong_input_is_one_sentence(files, folder):
    secret, schedule = files
    with pytest.raises(UserError, match=r"secret's file .* cannot be read"):
        commands.serve(folder, folder / "none")
    with pytest.raises(UserError, match=r"needs --schedule FILE, or --redis URL"):
        commands.serve(folder, secret)
    with pytest.raises(UserError, match="has nothing for the stages after"):
        commands.serve(folder, secret, schedule)
    with pytest.raises(UserError, match=r"signs what it writes: give --secret-file"):
        commands.produce(schedule)
    with pytest.raises(UserError, match="--reader takes a URL such as"):
        commands.produce(schedule, secret, readers=["http://x:y"])
    Schedule("other", ("a", "b"), {}).write(schedule)
    with pytest.raises(UserError, match=r"is of event other, .* of final"):
        commands.serve(folder, secret, schedule)
    with pytest.raises(UserError, match="one of --advance, --delay and --end"):
        commands.produce(schedule, advance="a", end=True)
    with pytest.raises(UserError, match=r"stage 'x' cannot be started"):
        commands.produce(schedule, advance="x")
    schedule.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        commands.produce(schedule, end=True)
    assert schedule.read_text() == "{"
    with pytest.raises(UserError, match="the event must be"):
        commands.gateway("a b", secret)


def test_redis_that_is_not_there_is_one_sentence(files, folder, redis_server):
    secret, schedule = files
    redis_server.kill()
    for call in (
        lambda: commands.gateway("final", secret, redis_server.url),
        lambda: commands.produce(schedule, secret, redis_server.url),
        lambda: commands.serve(folder, secret, redis=redis_server.url),
    ):
        with pytest.raises(UserError, match=r"Redis at .* leave out --redis"):
            call()
    with pytest.raises(UserError, match="takes a URL"):
        commands.gateway("final", secret, "redis-without-scheme")


def test_a_port_that_is_taken(files, redis_server):
    with pytest.raises(UserError, match=r"cannot listen at 127.0.0.1:\d+ \(Address already in use"):
        commands.gateway("final", files[0], redis_server.url, port=redis_server.port)


def _printed(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def test_services_do_not_import_torch():
    services = "cli, gateway, prefetch, producer, redis_broker"
    printed = _printed(
        f"from recsys_posttrain.live import {services}; import sys\n"
        f"sys.path.append({str(Path(DEVICE).parent)!r}); from live import device, fleet\n"
        "print(sorted({'torch', 'pandas', 'pyarrow', 'pytorch_lightning'} & sys.modules.keys()))"
    )
    assert printed == "[]"


def test_end_is_kept_in_the_file(files):
    schedule = files[1]
    commands.produce(schedule, end=True)
    assert ScheduleFile(schedule).current().stage_at(0) == "after"
    assert os.listdir(schedule.parent).count("schedule.json") == 1


def test_a_service_may_open_as_many_files_as_the_system_allows():
    printed = _printed(
        "import resource\n"
        "from recsys_posttrain.live.running import run_to_the_end\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "async def nothing(): pass\n"
        "run_to_the_end(nothing())\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert printed == "(512, 512)"
