"""What a producer knows after it, its broker and its clock have failed together."""

import asyncio
import json
import time

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.broker import EmbeddedBroker
from recsys_posttrain.live.producer import Producer, memory_beside, seen_by
from recsys_posttrain.live.schedule import Schedule, ScheduleFile
from recsys_posttrain.live.state import EventState

PLAN = Schedule("final", ("before", "live", "break", "after"), {"live": 100.0, "break": 200.0})


class World:
    """A reader that has seen all, and a producer whose broker, file and clock can be lost."""

    def __init__(self, tmp_path):
        self.path, self.now, self.broker = tmp_path / "schedule.json", 1000.0, EmbeddedBroker()
        PLAN.write(self.path)
        self.memory = memory_beside(self.path, "final")
        self.seen: EventState | None = None

    def producer(self, seen=0):
        memory = memory_beside(self.path, "final")
        return Producer(ScheduleFile(self.path), self.broker, lambda: self.now, memory, seen)

    async def steps(self, producer):
        for _ in range(3):
            await producer.step()
            newest = await self.broker.newest("final")
            if newest is not None and newest.is_newer(self.seen):
                self.seen = newest

    def plan(self, stage):
        starts = {"live": 100.0, "break": 200.0 if stage == "break" else 1e9}
        Schedule("final", PLAN.stages, starts).write(self.path)


@pytest.mark.parametrize("kept", ["file", "readers", "both"])
@pytest.mark.parametrize("behind", [0, 5, 600])
async def test_no_update_is_lost_to_readers(tmp_path, kept, behind):
    """Broker emptied and producer restarted on a clock that is behind, twice, an update each."""
    world = World(tmp_path)
    producer = world.producer()
    for stage in ("break", "live", "break"):
        world.plan(stage)
        await world.steps(producer)
    assert (world.seen.version, world.seen.stage) == (1002, "break")
    for stage in ("live", "break"):
        world.broker, world.now = EmbeddedBroker(), 1000.0 - behind
        if kept == "readers":
            world.memory.unlink()
        world.plan(stage)
        before = world.seen.version
        await world.steps(world.producer(0 if kept == "file" else before))
        assert world.seen.stage == stage
        assert world.seen.version == before + 1


async def test_a_state_that_readers_have_is_written_again_where_nothing_changed(tmp_path):
    world = World(tmp_path)
    await world.steps(world.producer())
    (written,) = await world.broker.after("final", 0, 0)
    world.broker, world.now = EmbeddedBroker(), 500.0
    await world.steps(world.producer(written.version))
    assert await world.broker.after("final", 0, 0) == [written]
    assert EventState.from_json(world.memory.read_bytes()) == written
    # Readers that saw more than it knows of get a newer state, though the stage is the same.
    await world.steps(world.producer(written.version + 7))
    newest = await world.broker.newest("final")
    assert (newest.version, newest.stage) == (written.version + 8, written.stage)


async def test_a_file_that_is_damaged_or_cannot_be_written(tmp_path, caplog):
    world = World(tmp_path)
    for text in ("", "{", '{"event": "final"}', "x" * 5000):
        world.memory.write_text(text)
        with pytest.raises(
            UserError, match=r"final\.newest\.json, where .* is damaged .*delete it"
        ):
            world.producer()
    world.memory.unlink()
    world.memory.mkdir()  # nobody can write a file of this name, root neither
    with pytest.raises(UserError, match=r"newest\.json cannot be read"):
        world.producer()
    world.memory.rmdir()
    producer = world.producer()
    world.memory.mkdir()
    await world.steps(producer)
    assert world.seen is not None  # the event goes on
    assert producer.counters["memory_errors"] == 1
    assert "newest.json cannot be written" in caplog.text


async def test_readers_are_asked_for_what_they_have_seen(serving, until):
    async with serving(gateways=2) as service:
        now = time.time()
        urls = [service.http, *(f"http://127.0.0.1:{port}" for port in service.ports)]
        assert await seen_by(urls, "final", now) == 0
        service.gateways[1].publish(EventState("final", 77, "live", 1.0))
        service.prefetch.receive(EventState("final", 70, "live", 1.0))
        assert await seen_by([*urls, "http://127.0.0.1:1/"], "final", now) == 77
        assert await seen_by(urls, "another", now) == 0
        service.gateways[0].publish(EventState("final", 10_000, "live", 1.0))
        with pytest.raises(UserError, match=r"has version 10000, an hour or more ahead of"):
            await seen_by(urls, "final", 6399.0)
        assert await seen_by(urls, "final", 6400.0) == 10_000


async def test_a_reader_that_says_something_else_is_passed_over():
    bodies = [b"", b"{", b"[]", b"{}", b"x" * 5000]
    bodies += [json.dumps({"event": "final", "state": v}).encode() for v in ("7", None, 1.5, True)]
    for body in bodies:

        async def answer(reader, writer, body=body):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await seen_by([f"http://127.0.0.1:{port}"], "final", 1e9) == 0, body
        server.close()
