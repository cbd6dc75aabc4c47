"""The device: what it applies, shows, keeps and asks, and when it asks again."""

import asyncio
import gzip
import json

import numpy as np
import pytest
from live.device import Device, DeviceSettings
from live.http_get import Answer

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.state import EventState

BODY = {"event": "final", "user": "u1", "stages": {"before": ["a", "b"], "live": ["c"]}}


def _device(**settings):
    urls = "http://127.0.0.1:9", ("ws://127.0.0.1:9",)
    return Device("u1", "final", lambda: "t", *urls, DeviceSettings(**settings), clock=lambda: 5.0)


def _state(version, stage="live"):
    return EventState("final", version, stage, 1.0)


@pytest.fixture
def answering(monkeypatch):
    """Answers a device's requests in turn; returns the list of what was asked."""

    def prepare(*answers):
        asked: list[tuple[str, dict[str, str]]] = []
        remaining = list(answers)

        async def get(url, headers, timeout, most_bytes):
            asked.append((url, dict(headers)))
            return remaining.pop(0)

        monkeypatch.setattr("live.device.get", get)
        return asked

    return prepare


def _answer(status, value=None, **headers):
    body = b"" if value is None else json.dumps(value).encode()
    return Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


def test_any_order_of_messages_ends_with_the_newest_applied_once():
    """Lost, repeated, overtaken, stale and foreign messages, at random; 300 devices."""
    random = np.random.default_rng(3)
    for _ in range(300):
        device = _device()
        device.stages = {"live": ("x",), "before": ("y",)}
        versions = random.integers(1, 12, size=random.integers(1, 40))
        applied = []
        for version in map(int, versions):
            stage = ("before", "live")[version % 2]
            if random.random() < 0.2:
                assert not device.receive(EventState("other", 99, "live", 1.0).to_json())
            if device.receive(_state(version, stage).to_json()):
                applied.append(version)
        running_maximum = sorted(set(np.maximum.accumulate(versions).tolist()))
        assert applied == running_maximum
        assert [shown.version for shown in device.shown] == running_maximum
        assert device.state.version == max(versions)


def test_it_shows_from_its_cache_and_logs_what_and_when(answering):
    asked = answering(_answer(200, BODY, etag='W/"1"', cache_control="private, max-age=100"))

    async def story():
        device = _device(jitter=0.3)
        assert 70 <= await device.prefetch() <= 100
        for version, stage in ((1, "before"), (2, "live"), (3, "unheard-of")):
            assert device.receive(_state(version, stage).to_json())
        shown = [(each.at, each.version, each.stage, each.items) for each in device.shown]
        assert shown == [(5.0, 1, "before", ("a", "b")), (5.0, 2, "live", ("c",))]
        assert device.counters["stages_unknown"] == 1

    asyncio.run(story())
    assert len(asked) == 1
    assert asked[0][0] == "http://127.0.0.1:9/v1/events/final/prefetch"
    assert asked[0][1]["Authorization"] == "Bearer t"


def test_a_revalidation_asks_with_the_tag_and_less_urgently(answering):
    held = {"etag": 'W/"1"', "cache_control": "private, max-age=100"}
    answers = _answer(200, BODY, **held), _answer(304, **held), _answer(503, retry_after="77")
    asked = answering(*answers)

    async def story():
        device = _device()
        await device.prefetch()
        lives = await device.prefetch()
        assert 70 <= lives <= 100
        assert await device.prefetch() == 77
        assert device.stages == {"before": ("a", "b"), "live": ("c",)}
        assert device.counters["prefetch_shed"] == 1

    asyncio.run(story())
    headers = [headers for _, headers in asked]
    assert [each["Priority"] for each in headers] == ["u=3", "u=6", "u=6"]
    assert [each.get("If-None-Match") for each in headers] == [None, 'W/"1"', 'W/"1"']


def test_lifetimes_of_devices_differ(answering):
    answering(*[_answer(200, BODY, cache_control="max-age=100")] * 50)

    async def story():
        devices = [_device() for _ in range(50)]
        for number, device in enumerate(devices):
            device._random = np.random.default_rng(number)
        return [await device.prefetch() for device in devices]

    lives = asyncio.run(story())
    assert len(set(lives)) == 50
    assert 70 <= min(lives) <= max(lives) <= 100


def test_a_state_that_comes_before_the_cache_is_shown_when_it_comes(answering):
    asked = answering(_answer(200, BODY))

    async def story():
        device = _device()
        device.receive(_state(4).to_json())
        assert not device.shown
        await device.prefetch()
        assert [(each.version, each.items) for each in device.shown] == [(4, ("c",))]

    asyncio.run(story())
    assert asked[0][1]["Priority"] == "u=1"


@pytest.mark.parametrize("spread", [0.0, 1000.0], ids=["during a fetch", "long before one"])
def test_a_state_that_comes_before_the_cache_has_it_fetched_soon_and_once(monkeypatch, spread):
    asked = 0

    async def story():
        device = _device(spread=spread, retry=0.05)

        async def get(*_):
            nonlocal asked
            asked += 1
            device.receive(_state(4).to_json())
            return _answer(200, BODY, cache_control="max-age=1000")

        monkeypatch.setattr("live.device.get", get)
        running = asyncio.create_task(device._stay_fresh())
        if spread:
            device.receive(_state(4).to_json())
        await asyncio.sleep(0.3)
        running.cancel()
        assert [shown.version for shown in device.shown] == [4]

    asyncio.run(story())
    assert asked == 1


@pytest.mark.parametrize(
    "value",
    [
        *({}, [], BODY | {"user": "u2"}, BODY | {"event": "other"}),
        *(BODY | {"stages": stages} for stages in ([], None, {"live": "text"})),
    ],
    ids=range(7),
)
async def test_an_answer_that_is_not_for_it_is_not_kept(answering, value):
    answering(_answer(200, BODY, etag='"1"'), _answer(200, value, etag='"2"'))
    device = _device()
    await device.prefetch()
    held = device.stages
    with pytest.raises(OSError):
        await device.prefetch()
    assert device.stages is held
    assert device._etag == '"1"'
    assert device.counters["bad_answers"] == 1


def test_refused_tokens_end_it_and_other_answers_do_not(answering):
    for status in (401, 403, 404):
        answering(_answer(status, {"error": "why"}))
        with pytest.raises(UserError, match=r"refuses user 'u1': .*why"):
            asyncio.run(_device().prefetch())
    for status in (400, 413, 500, 502):
        answering(_answer(status))
        with pytest.raises(OSError, match=str(status)):
            asyncio.run(_device().prefetch())


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "nan", "9" * 30, "²"])
def test_a_time_that_is_none_is_replaced(answering, text):
    answering(*[_answer(503, retry_after=text)] * 30)

    async def story():
        device = _device(longest_retry=9.0)
        return [await device.prefetch() for _ in range(30)]

    waits = asyncio.run(story())
    assert len(set(waits)) == 30
    assert 0 <= min(waits) < 3 < 6 < max(waits) <= 9
    answering(_answer(503, retry_after="999999999"))
    assert asyncio.run(_device().prefetch()) == 86_400


@pytest.mark.parametrize(
    "answer",
    [_answer(200, BODY, cache_control="max-age=0"), _answer(503, retry_after="0")],
    ids=[200, 503],
)
def test_no_answer_makes_it_ask_without_a_pause(answering, answer):
    asked = answering(*[answer] * 1000)

    async def story():
        running = asyncio.create_task(_device(retry=0.05)._stay_fresh())
        await asyncio.sleep(0.3)
        running.cancel()

    asyncio.run(story())
    assert 2 <= len(asked) <= 7


def test_full_jitter():
    """Uniform from 0 to a bound that doubles up to the longest: means are half of the bounds."""
    device = _device(retry=1.0, longest_retry=6.0)
    for failures, bound in ((0, 1.0), (1, 2.0), (2, 4.0), (3, 6.0), (500, 6.0)):
        waits = [device._backoff(failures) for _ in range(4000)]
        assert 0 <= min(waits) < max(waits) <= bound
        # 5 standard errors of a uniform's mean
        assert abs(np.mean(waits) - bound / 2) < 5 * bound / np.sqrt(12 * 4000)


def test_the_log_is_bounded():
    device = _device(log_entries=10)
    device.stages = {"live": ("x",)}
    for version in range(1, 1000):
        device.receive(_state(version).to_json())
    assert [shown.version for shown in device.shown] == [*range(990, 1000)]


async def test_it_lives_through_servers_that_talk_nonsense(until):
    """Wrong protocols, cut answers, floods and silence: it goes on, and ends well at last."""
    random = np.random.default_rng(5)
    ok, upgraded = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"
    nonsense = [
        *(b"", ok, b"\0" * 5000, b"HTTP/1.1 101 x\r\n\r\n", gzip.compress(b"x", mtime=0)),
        b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
        upgraded + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 301 x\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
    ]
    asked = 0

    async def answer(reader, writer):
        nonlocal asked
        asked += 1
        raw = nonsense[asked % len(nonsense)] if asked < 60 else random.bytes(99)
        writer.write(raw)
        if asked % 3:
            writer.close()
        else:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = DeviceSettings(retry=0.01, longest_retry=0.02, timeout=0.2)
    device = Device("u1", "final", lambda: "t", f"http://{place}", (f"ws://{place}",), settings)
    running = asyncio.create_task(device.run())
    await until(lambda: asked > 100 or running.done())
    assert not running.done(), running.result()
    assert device.counters["prefetch_failures"] > 20
    assert device.counters["pull_failures"] > 10
    running.cancel()
    server.close()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--users=,", "--users ',': give one id or more"),
        ("--prefetch ws://x", "--prefetch takes a URL such as http://"),
        ("--prefetch http://x:y", "--prefetch takes a URL such as http://"),
        ("--gateway http://x", "--gateway takes a URL such as ws://"),
    ],
)
def test_wrong_options_are_one_sentence(script, end, secret_file, words, sentence):
    options = "final", "--users", "u1", "--secret-file", secret_file, *words.split()
    code, _, error = end(script("benchmarks/live_device.py"), *options)
    assert code == 2
    assert error.startswith(f"error: {sentence}")
