"""The promises under faults: after each, no device has a wrong state, none applied one twice or
backwards, and one that is back is right within one connection and one message.
"""

import asyncio

import pytest
from websockets.asyncio.server import broadcast

from recsys_posttrain.live.broker import BrokerDown, EmbeddedBroker
from recsys_posttrain.live.producer import Producer
from recsys_posttrain.live.schedule import Schedule, ScheduleFile
from recsys_posttrain.live.state import EventState

DEVICES = 25
STAGES = ("before", "live", "break", "after")


class Fleet:
    """Devices of a service, and what must be true of all of them whatever happened."""

    def __init__(self, service, until):
        self.service, self.until = service, until
        self.devices = [service.device(f"u{number}") for number in range(DEVICES)]
        self.running = [service.start(device) for device in self.devices]
        self.published: list[EventState] = []

    async def publish(self, version, stage):
        self.published.append(EventState("final", version, stage, 1.0))
        await self.service.broker.append(self.published[-1])

    async def reaches(self, version, stage):
        await self.publish(version, stage)
        await self.all_have_the_newest()

    async def all_have_the_newest(self):
        newest = await self.service.broker.newest("final")
        await self.until(lambda: all(device.state == newest for device in self.devices))
        await self.until(lambda: all(_is_shown(device, newest) for device in self.devices))
        for device in self.devices:
            versions = [shown.version for shown in device.shown]
            assert versions == sorted(set(versions)), "applied twice or backwards"
            for shown in device.shown:
                assert shown.items == tuple(f"{device._user} {shown.stage} {n}" for n in (1, 2))


def _is_shown(device, state):
    return bool(device.shown) and device.shown[-1].version == state.version


async def test_a_gateway_is_killed_and_its_devices_find_another(serving, until):
    async with serving(gateways=2) as service:
        fleet = Fleet(service, until)
        await fleet.reaches(1, "before")
        assert all(gateway._open for gateway in service.gateways)
        killing = asyncio.create_task(service.kill_gateway(0))
        await fleet.reaches(2, "live")
        await killing
        await until(lambda: len(service.gateways[1]._open) == DEVICES)
        await fleet.reaches(3, "break")


async def test_without_any_gateway_devices_pull_and_then_return(serving, until):
    async with serving() as service:
        fleet = Fleet(service, until)
        await fleet.reaches(1, "before")
        await service.kill_gateway(0)
        await fleet.reaches(2, "live")
        assert all(device.counters["pulls"] for device in fleet.devices)
        service.start_gateway(service.ports[0])
        await until(lambda: len(service.gateways[1]._open) == DEVICES)
        await fleet.reaches(3, "break")


async def test_a_device_that_slept_is_right_after_one_connection_and_one_message(serving, until):
    async with serving() as service:
        fleet = Fleet(service, until)
        await fleet.reaches(1, "before")
        sleeper, others = fleet.devices[0], fleet.devices[1:]
        fleet.running[0].cancel()
        await until(lambda: len(service.gateways[0]._open) == len(others))
        for version in range(2, 30):
            await fleet.publish(version, STAGES[version % 3])
        await until(lambda: all(device.state == fleet.published[-1] for device in others))
        heard: list[str] = []
        receive = sleeper.receive
        sleeper.receive = lambda message: heard.append(message) or receive(message)  # type: ignore
        before = sleeper.counters["connections"]
        service.start(sleeper)
        await until(lambda: bool(heard))
        assert sleeper.state == fleet.published[-1]
        assert len(heard) == 1
        assert sleeper.counters["connections"] == before + 1
        await fleet.all_have_the_newest()


async def test_messages_that_are_repeated_reordered_stale_foreign_or_broken(serving, until):
    async with serving() as service:
        fleet = Fleet(service, until)
        for version in range(1, 6):
            await fleet.reaches(version, STAGES[version % 3])
        connections = service.gateways[0]._open
        for state in [*reversed(fleet.published), *fleet.published]:
            broadcast(connections, state.to_json())
        broadcast(connections, EventState("other", 99, "live", 1.0).to_json())
        for broken in ("", "{", "null", "\ufffd" * 300, b"\x00\xff"):
            broadcast(connections, broken)
        await until(lambda: all(d.counters["bad_messages"] == 5 for d in fleet.devices))
        await fleet.reaches(6, "live")
        assert {device.counters["messages_ignored"] for device in fleet.devices} == {11}
        assert {device.counters["connections"] for device in fleet.devices} == {1}


async def test_a_message_that_is_too_long_costs_one_connection(serving, until):
    async with serving() as service:
        fleet = Fleet(service, until)
        await fleet.reaches(1, "live")
        broadcast(service.gateways[0]._open, "x" * 5000)
        await until(lambda: all(d.counters["connections"] == 2 for d in fleet.devices))
        await fleet.reaches(2, "break")


async def test_a_flash_crowd_of_reconnections(serving, until):
    async with serving() as service:
        fleet = Fleet(service, until)
        await fleet.reaches(1, "before")
        for version in range(2, 6):
            for connection in list(service.gateways[0]._open):
                connection.transport.abort()
            await fleet.reaches(version, STAGES[version % 3])


@pytest.mark.parametrize("is_data_lost", [False, True])
async def test_the_broker_is_down_and_comes_back(
    serving, until, tmp_path, is_data_lost, monkeypatch
):
    monkeypatch.setattr("recsys_posttrain.live.broker._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("recsys_posttrain.live.broker._WAIT_SECONDS", 0.05)

    class Restarting(EmbeddedBroker):
        is_down = False

        async def append(self, state):
            self.check()
            return await super().append(state)

        async def newest(self, event):
            self.check()
            return await super().newest(event)

        async def after(self, event, version, wait):
            self.check()
            states = await super().after(event, version, wait)
            self.check()
            return states

        def check(self):
            if self.is_down:
                raise BrokerDown("down")

    broker, now, path = Restarting(), 10.0, tmp_path / "schedule.json"
    Schedule("final", STAGES, {"live": 100.0, "break": 200.0}).write(path)
    async with serving(broker=broker, gateways=2) as service:
        fleet = Fleet(service, until)
        producer = Producer(ScheduleFile(path), broker, lambda: now)
        producing = asyncio.create_task(producer.run(interval=0.01))
        await until(lambda: bool(broker._newer("final", 0)))
        await fleet.all_have_the_newest()
        broker.is_down, now = True, 100.0
        await asyncio.sleep(0.1)
        if is_data_lost:
            broker._states.clear()
        broker.is_down = False
        await until(lambda: bool(broker._newer("final", 10)))
        await fleet.all_have_the_newest()
        assert {device.shown[-1].stage for device in fleet.devices} == {"live"}
        # Producer and broker both lose everything.
        producing.cancel()
        broker._states.clear()
        now = 200.0
        await Producer(ScheduleFile(path), broker, lambda: now).step()
        await fleet.all_have_the_newest()
        assert {device.shown[-1].stage for device in fleet.devices} == {"break"}


async def test_the_schedule_moves_forward_and_back_and_clocks_are_a_minute_off(
    serving, until, tmp_path
):
    now, path = 10.0, tmp_path / "schedule.json"
    plan = Schedule("final", STAGES, {"live": 100.0, "break": 200.0})
    plan.write(path)
    async with serving() as service:
        fleet = Fleet(service, until)
        for number, device in enumerate(fleet.devices):
            device._clock = lambda number=number: now + (-60 if number % 2 else 60)
        stages = []
        producer = Producer(ScheduleFile(path), service.broker, lambda: now)
        for now, changed in (  # noqa: B007
            (10, plan), (40, plan.advanced("live", 40)), (41, plan), (160, plan), (99, plan),
            (101, plan), (260, plan), (261, plan.delayed(-999, 0)), (262, plan.finished()),
        ):  # fmt: skip
            changed.write(path)
            await producer.step()
            await fleet.all_have_the_newest()
            stages.append(fleet.devices[0].shown[-1].stage)
        assert stages == [*("before", "live") * 3, "break", "break", "after"]


async def test_a_service_that_starts_after_its_devices(serving, until):
    """Devices find nothing, ask at growing random times, and are right when it is there."""
    async with serving() as service:
        await service.kill_gateway(0)
        fleet = Fleet(service, until)
        await asyncio.sleep(0.2)
        service.start_gateway(service.ports[0])
        await fleet.reaches(1, "live")


async def test_nothing_of_a_user_goes_to_another_users_token(serving, until):
    """A device that has another user's token keeps nothing and shows nothing."""
    async with serving() as service:
        fleet = Fleet(service, until)
        thief = service.device("u1")
        thief._user = "u2"
        service.start(thief)
        await fleet.reaches(1, "live")
        await until(lambda: thief.counters["bad_answers"] > 0)
        assert not thief.shown
        assert not thief.stages
