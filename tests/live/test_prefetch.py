"""The prefetch server over HTTP: who gets what, what is kept, what is shed, what is refused."""

import asyncio
import gzip
import json

import numpy as np
import pytest
from live.http_get import get

from recsys_posttrain.live.prefetch import PrefetchSettings, Shedding, urgency
from recsys_posttrain.live.schedule import Schedule, ScheduleFile
from recsys_posttrain.live.state import EventState

PATH = "/v1/events/final/prefetch"


async def _raw(url, request):
    """All that comes back, up to the end of the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_user_gets_the_own_lists_and_nobody_elses(serving):
    async with serving() as service:
        tags = {}
        for user in ("u1", "u2", "u é/\n"):
            answer = await service.ask(user=user)
            value = json.loads(answer.body)
            assert (answer.status, value["user"], value["event"]) == (200, user, "final")
            assert value["stages"] == service.lists.of(user)
            tags[user] = answer.headers["etag"]
            assert answer.headers["cache-control"].startswith("private, ")
            assert "authorization" in answer.headers["vary"].lower()
        assert len(set(tags.values())) == 3
        # Another user's tag is not a reason to keep another user's lists.
        answer = await service.ask(headers={"If-None-Match": tags["u2"]})
        assert (answer.status, json.loads(answer.body)["user"]) == (200, "u1")


async def test_a_revalidation_reads_no_lists_and_lifetimes_differ(serving):
    async with serving() as service:
        first = await service.ask()
        known = {"If-None-Match": f'"x", {first.headers["etag"]}'}
        ages, reads = set(), service.lists.reads
        for _ in range(30):
            answer = await service.ask(headers=known)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["etag"] == first.headers["etag"]
            ages.add(int(answer.headers["cache-control"].partition("max-age=")[2]))
        assert service.lists.reads == reads
        assert len(ages) > 20
        assert 3600 * 0.7 <= min(ages) < 3400 < 3800 < max(ages) <= 3600 * 1.3
        service.lists.version = "0ther"
        assert (await service.ask(headers=known)).status == 200


async def test_gzip_where_it_is_accepted(serving, token_of):
    async with serving() as service:
        request = f"GET {PATH} HTTP/1.0\r\nAuthorization: Bearer {token_of('u1')}\r\n"
        plain = await _raw(service.http, f"{request}\r\n".encode())
        packed = await _raw(service.http, f"{request}Accept-Encoding: br, gzip\r\n\r\n".encode())
        head, _, body = packed.partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head
        assert gzip.decompress(body) == plain.partition(b"\r\n\r\n")[2]
        assert len(body) < len(gzip.decompress(body))
        answer = await service.ask(headers={"Accept-Encoding": "gzip"})
        assert json.loads(answer.body)["user"] == "u1"


async def test_tokens_that_do_not_fit_are_refused(serving, token_of):
    async with serving() as service:
        bad = ("x.y", token_of("u1", "other"), token_of("u1", seconds=-1), token_of("u1")[:-1])
        for value in ("", "Bearer", f"Basic {token_of('u1')}", *(f"Bearer {each}" for each in bad)):
            for path in (PATH, "/v1/events/final/state?since=0"):
                answer = await get(service.http + path, {"Authorization": value}, 5)
                assert answer.status == 401, value
                assert json.loads(answer.body)["error"]
        answer = await service.ask(user="stranger")
        assert answer.status == 404
        assert "stranger" in json.loads(answer.body)["error"]
        headers = {"Authorization": f"Bearer {token_of('u1', event='other')}"}
        answer = await get(service.http + "/v1/events/other/prefetch", headers, 5)
        assert answer.status == 404
        values = service.prefetch.values()
        assert values['prefetch_requests{route="prefetch",status="401"}'] == 7
        assert values['prefetch_requests{route="state",status="401"}'] == 7
        assert values['prefetch_requests{route="prefetch",status="404"}'] == 2
        assert (await get(service.http + "/metrics", {}, 5)).status == 404


async def test_the_state_by_pull(serving, until):
    async with serving() as service:
        path = "/v1/events/final/state"
        assert (await service.ask(path)).status == 204
        state = EventState("final", 7, "live", 5.0)
        await service.broker.append(state)
        await until(lambda: service.prefetch._newest is not None)
        for query, status in {
            "": 200, "?since=0": 200, "?since=6": 200, "?since=7": 204, "?since=8": 204,
            "?since=-1": 400, "?since=x": 400, "?since=%D9%A3": 400, "?since=" + "9" * 20: 400,
            "?since=%C2%B2": 400,
        }.items():  # fmt: skip
            answer = await service.ask(path + query)
            assert answer.status == status, query
            if status == 200:
                assert EventState.from_json(answer.body) == state
                assert answer.headers["cache-control"] == "no-store"
        service.prefetch.receive(EventState("final", 6, "before", 5.0))
        assert json.loads((await get(service.http + "/health", {}, 5)).body)["state"] == 7


async def test_near_the_event_what_can_wait_is_shed_for_different_times(serving, tmp_path, until):
    path, start = tmp_path / "schedule.json", 10_000.0
    plan = Schedule("final", ("before", "live", "after"), {"live": start})
    plan.write(path)
    now = 5000.0
    settings = PrefetchSettings(shedding=Shedding(window=60, keeps=3, spread=5))
    options = {"schedule": ScheduleFile(path), "settings": settings, "clock": lambda: now}
    async with serving(prefetch=options) as service:

        async def status(priority):
            answer = await service.ask(headers={"Priority": priority})
            return answer.status, answer.headers.get("retry-after", "")

        for now, shed in ((9939, 200), (9940, 503), (10_060, 503), (10_061, 200)):  # noqa: B007
            assert (await status("u=4"))[0] == shed
            assert (await status("u=3"))[0] == (await status(""))[0] == 200
        now = 10_000
        waits = {int((await status("i, u=7"))[1]) for _ in range(40)}
        assert len(waits) > 20
        assert 60 <= min(waits) <= max(waits) <= 300
        # A start that moves takes the window with it; a change that comes opens one.
        now = 20_000
        plan.delayed(10_000, 5000).write(path)
        await until(lambda: 20_000.0 in service.prefetch._starts)
        assert (await status("u=5"))[0] == 503
        now = 30_000
        assert (await status("u=5"))[0] == 200
        assert service.prefetch.values()["prefetch_schedule_changes"] == 1
        service.prefetch.receive(EventState("final", 1, "after", 1.0))
        assert (await status("u=5"))[0] == 503


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, 3), ("", 3), ("u=0", 0), ("u=7, i", 7), ("i,u=5", 5), ("u=2;x=1", 2), ("u=8", 3),
     ("u=-1", 3), ("u=55", 3), ("x", 3), ("au=1", 3), ("u=1, u=6", 6), ("u=?1", 3)],
)  # fmt: skip
def test_the_urgency_of_a_priority_header(header, expected):
    assert urgency(header) == expected


async def test_limits_on_body_and_head(serving, token_of):
    async with serving() as service:
        line = f"Authorization: Bearer {token_of('u1')}\r\n"
        start = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}"
        for extra in ("Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n"):
            answer = await _raw(service.http, (start + extra + "\r\n").encode())
            assert answer.startswith(b"HTTP/1.1 413 "), extra
        long = f"{start}X: {'x' * 20_000}\r\n"
        assert (await _raw(service.http, f"{long}\r\n".encode())).startswith(b"HTTP/1.1 431 ")
        assert (await _raw(service.http, long.encode())).startswith(b"HTTP/1.1 400 ")
        post = await _raw(service.http, start.replace("GET", "POST").encode() + b"\r\n")
        assert post.startswith(b"HTTP/1.1 405 ")
        assert (await _raw(service.http, b"\x00\xff\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_host_header_is_not_believed(serving):
    """It would make up labels of counters, which stay, or addresses that cannot be read."""
    async with serving() as service:
        for host in (b"a/b", b"a/made-up?", b"a#", b"[", b"\xff"):
            for end in (b"", b"/"):
                request = b"GET " + PATH.encode() + end + b" HTTP/1.1\r\nConnection: close\r\n"
                answer = await _raw(service.http, request + b"Host: " + host + b"\r\n\r\n")
                assert int(answer.split()[1]) in ((404,) if end else (401, 400))
        assert {name for name in service.prefetch.counters if "route" in name} == {
            'requests{route="prefetch",status="401"}'
        }


def test_shed_only_what_is_less_urgent_and_near():
    """Against the definition, on random cases."""
    random = np.random.default_rng(1)
    for _ in range(500):
        rules = Shedding(window=float(random.uniform(0, 50)), keeps=int(random.integers(0, 8)))
        moments = [float(at) for at in random.uniform(0, 500, random.integers(0, 4))]
        now, level = float(random.uniform(0, 500)), int(random.integers(0, 8))
        nearest = min((abs(at - now) for at in moments), default=float("inf"))
        wanted = level > rules.keeps and nearest <= rules.window
        assert rules.refuses(level, now, moments) == wanted
