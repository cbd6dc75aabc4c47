"""The gateway over real sockets: who may connect, what each gets, and how connections end."""

import asyncio
import socket

import pytest
from live.attacks import handshake
from live.http_get import get
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from recsys_posttrain.live.gateway import GatewaySettings
from recsys_posttrain.live.running import prometheus
from recsys_posttrain.live.state import EventState


def _state(version, stage="live"):
    return EventState("final", version, stage, 1.0)


def _joined(service, token, path="/v1/events/final/updates"):
    headers = {"Authorization": f"Bearer {token}"}
    return connect(service.urls()[0] + path, additional_headers=headers, proxy=None)


async def test_the_newest_state_first_and_then_each_newer_one(serving, token_of, until):
    async with serving() as service:
        async with _joined(service, token_of("u1")) as early:
            for version in (1, 2):
                await service.broker.append(_state(version))
                assert EventState.from_json(await early.recv()) == _state(version)
            async with _joined(service, token_of("u2")) as late:
                assert EventState.from_json(await late.recv()) == _state(2)
                service.gateways[0].publish(_state(2, "after"))
                service.gateways[0].publish(_state(1, "after"))
                service.gateways[0].publish(EventState("other", 9, "after", 1.0))
                await service.broker.append(_state(3))
                for each in (early, late):
                    assert EventState.from_json(await each.recv()) == _state(3)
        counters = service.gateways[0].counters
        assert (counters["states_ignored"], counters["messages"]) == (3, 5)
        await until(lambda: not service.gateways[0]._open)


async def test_a_state_at_any_moment_of_a_connection_is_not_missed(serving, token_of):
    """States come without a pause while devices connect: each ends with the last one."""
    async with serving(settings=GatewaySettings(per_user=30)) as service:
        last = 200

        async def publish():
            for version in range(1, last + 1):
                service.gateways[0].publish(_state(version))
                await asyncio.sleep(0.001)

        async def device():
            async with _joined(service, token_of("u1")) as connection:
                seen: list[int] = []
                while not seen or seen[-1] < last:
                    message = await asyncio.wait_for(connection.recv(), 5)
                    seen.append(EventState.from_json(message).version)
                return seen

        publishing = asyncio.create_task(publish())
        for seen in await asyncio.gather(*(device() for _ in range(30))):
            assert seen == list(range(seen[0], last + 1))
        await publishing


async def test_connections_that_are_refused(serving, token_of):
    async with serving(settings=GatewaySettings(connections=1, retry_after=10)) as service:

        async def status(path, token):
            with pytest.raises(InvalidStatus) as refusal:
                await _joined(service, token, path)
            answer = refusal.value.response
            return answer.status_code, answer.headers.get("Retry-After", "")

        good, path = token_of("u1"), "/v1/events/final/updates"
        assert await status("/v1/events/other/updates", good) == (404, "")
        assert await status(path, "x.y") == (401, "")
        assert await status(path, token_of("u1", event="other")) == (401, "")
        assert await status(path, token_of("u1", seconds=-1)) == (401, "")
        async with _joined(service, good):
            code, wait = await status(path, good)
            assert code == 503
            assert 10 <= int(wait) <= 20
        http = service.urls()[0].replace("ws", "http")
        assert (await get(f"{http}/health", {}, 5)).status == 200
        assert (await get(f"{http}/metrics", {}, 5)).status == 404
        text = prometheus(service.gateways[0].values()).decode()
        assert 'live_gateway_refused{status="401"} 3\n' in text
        assert 'live_gateway_refused{status="503"} 1\n' in text
        assert "live_gateway_accepted 1\n" in text


@pytest.mark.parametrize(("message", "code"), [("hello", 1008), ("x" * 2000, 1009), (b"", 1008)])
async def test_a_device_that_talks_is_let_go(serving, token_of, until, message, code):
    async with serving() as service:
        async with _joined(service, token_of("u1")) as connection:
            await connection.send(message)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(connection.recv(), 5)
            assert connection.close_code == code
        await until(lambda: service.gateways[0].counters["bad_messages"] == 1)


async def test_a_device_that_does_not_read_is_dropped_and_no_other(serving, token_of, until):
    async with serving() as service:
        gateway = service.gateways[0]
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", service.ports[0]))
        slow.sendall(handshake("final", token_of("u1")))
        await until(lambda: len(gateway._open) == 1)
        for connection in gateway._open:
            raw = connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with _joined(service, token_of("u2")) as quick:
            version, seen = 0, 0
            while gateway.counters['closed{why="slow"}'] == 0:
                version += 1
                assert version < 5000
                gateway.publish(_state(version))
                seen = EventState.from_json(await quick.recv()).version
            assert seen == version
            assert len(gateway._open) == 1
        slow.close()


async def test_lifetimes_end_at_different_times_and_a_drain_ends_all(serving, token_of):
    settings = GatewaySettings(lifetime=0.4, drain=0.05, per_user=20)
    async with serving(settings=settings) as service:
        clock = asyncio.get_running_loop().time

        async def lived():
            async with _joined(service, token_of("u1")) as connection:
                begun = clock()
                await connection.wait_closed()
                return clock() - begun, connection.close_code

        ends = await asyncio.gather(*(lived() for _ in range(20)))
        assert {code for _, code in ends} == {1012}
        seconds, _ = zip(*ends, strict=True)
        assert min(seconds) > 0.15
        assert max(seconds) - min(seconds) > 0.05
        assert service.gateways[0].counters["lifetimes_ended"] == 20
    async with serving(settings=GatewaySettings(drain=0.3, per_user=20)) as service:
        waiting = [asyncio.create_task(lived()) for _ in range(20)]
        while len(service.gateways[0]._open) < 20:
            await asyncio.sleep(0.01)
        service.stop.set()
        await asyncio.sleep(0.02)
        with pytest.raises((InvalidStatus, OSError)):
            await _joined(service, token_of("u1"))
        ends = await asyncio.gather(*waiting)
        assert {code for _, code in ends} <= {1001, 1012}
        seconds, _ = zip(*ends, strict=True)
        assert max(seconds) - min(seconds) > 0.1
