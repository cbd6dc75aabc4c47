"""Metrics have an address of their own, which a stranger's public port does not lead to."""

import socket
import time

import pytest
from live.attacks import crowd, is_open
from live.http_get import get

from recsys_posttrain.errors import UserError
from recsys_posttrain.live import running as metrics
from recsys_posttrain.live.running import listening_for_metrics, reporting


async def test_they_are_at_their_own_port_and_nowhere_else(serving, until, monkeypatch):
    async with serving() as service:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        service.prefetch.counters["sent_bytes"] = 7
        both = lambda: service.prefetch.values() | service.gateways[0].values()  # noqa: E731
        async with reporting(listening, both):
            url = f"http://127.0.0.1:{port}"
            answer = await get(f"{url}/metrics", {}, 5)
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            lines = answer.body.decode().splitlines()
            assert "live_prefetch_sent_bytes 7" in lines
            assert "live_gateway_connections 0" in lines
            for path in ("/", "/v1/events/final/prefetch", "/metricsx"):
                assert (await get(url + path, {}, 5)).status == 404
            monkeypatch.setattr(metrics, "_SECONDS", 60.0)
            async with crowd(port, 100) as silent:
                await until(lambda: 0 < sum(map(is_open, silent)) <= 20)
            monkeypatch.setattr(metrics, "_SECONDS", 0.5)
            async with crowd(port, 20) as silent:
                began = time.monotonic()
                await until(lambda: not any(map(is_open, silent)))
                assert time.monotonic() - began < 5
            assert (await get(f"{url}/metrics", {}, 5)).status == 200
        for public in (service.http, f"http://127.0.0.1:{service.ports[0]}"):
            assert (await get(f"{public}/metrics", {}, 5)).status == 404
        async with reporting(None, both):
            pass


@pytest.mark.parametrize(
    "address", ["9100", ":9100", "host:", "host:x", "host:70000", "host:²", ""]
)
def test_an_address_that_is_none_is_one_sentence(address):
    with pytest.raises(
        UserError, match=r"--metrics takes HOST:PORT such as 127\.0\.0\.1:9100, not"
    ):
        listening_for_metrics(address)


def test_no_address_is_no_port(capsys):
    assert listening_for_metrics(None) is None
    opened = listening_for_metrics("127.0.0.1:0")
    assert capsys.readouterr().out == f"serving http://127.0.0.1:{opened.getsockname()[1]}\n"
    opened.close()
