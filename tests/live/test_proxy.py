"""The proxy of the docs: a device over TLS, through nginx, to a prefetch server and a gateway."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from live.attacks import crowd, is_open

from recsys_posttrain.live.door import Limits
from recsys_posttrain.live.gateway import GatewaySettings
from recsys_posttrain.live.prefetch import PrefetchSettings
from recsys_posttrain.live.state import EventState

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "recsys_posttrain" / "live" / "nginx.conf"
DEVICE = str(ROOT / "benchmarks" / "live_device.py")
PARTS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
LOCAL = "http {\n" + "".join(f"    {part}_temp_path {part};\n" for part in PARTS)


@pytest.fixture(scope="module", autouse=True)
def needs_nginx():
    for name in ("nginx", "openssl"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")


@pytest.fixture
def certificate(tmp_path):
    """A self-made one for this machine, and its key."""
    paths = tmp_path / "live.pem", tmp_path / "live.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [*command.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", str(paths[0]), "-keyout", str(paths[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Proxy:
    """nginx with the configuration of the docs; ports, paths and one time are the test's."""

    def __init__(self, folder, certificate, ports):
        self.port = _free_port()
        text = CONFIGURATION.read_text()
        changes = {
            "http {\n": LOCAL, "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/certs/live.pem": str(certificate[0]),
            "/etc/ssl/private/live.key": str(certificate[1]),
            "client_header_timeout 10s": "client_header_timeout 1s",
            "processes auto": "processes 1",
            **{f"127.0.0.1:{old}": f"127.0.0.1:{new}" for old, new in ports.items()},
        }  # fmt: skip
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "nginx.conf").write_text(text)
        settings = f"daemon off; pid {folder}/pid; error_log stderr;"
        self.process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", settings]
        )

    async def listens(self):
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self.process.poll() is None, "nginx ended"
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return


@pytest.fixture
def started():
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.terminate()
        process.wait(20)


async def test_a_device_through_tls(
    serving, until, tmp_path, certificate, started, secret_file, monkeypatch
):
    """The device is the command; it believes the certificate because it is told to."""
    trusted = ("127.0.0.1",)
    prefetch = {"settings": PrefetchSettings(limits=Limits(per_address=1, proxies=trusted))}
    settings = GatewaySettings(per_address=2, proxies=trusted, drain=0.05)
    log = tmp_path / "log"

    def shown():
        """What the command printed, without the version."""
        return re.findall("^user (.*), version [0-9]+, (.*)$", log.read_text(), re.MULTILINE)

    async with serving(gateways=2, settings=settings, prefetch=prefetch) as service:
        http = int(service.http.rpartition(":")[2])
        ports = {"8000;": f"{http};", "8001;": f"{service.ports[0]};"}
        ports |= {"8002;": f"{service.ports[1]};"}
        proxy = Proxy(tmp_path, certificate, ports)
        started.append(proxy.process)
        await proxy.listens()
        place = f"127.0.0.1:{proxy.port}"
        words = ["final", "--users", "u1,u2", "--secret-file", str(secret_file)]
        words += ["--prefetch", f"https://{place}", "--gateway", f"wss://{place}"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with log.open("w") as printed:
            command = [sys.executable, "-u", DEVICE, *words]
            device = subprocess.Popen(command, stdout=printed)
        started.append(device)
        await until(lambda: sum(len(each._open) for each in service.gateways) == 2, 30)
        for version, stage in enumerate(("live", "break"), start=1):
            await service.broker.append(EventState("final", version, stage, 1.0))
            both = [(user, f"{stage}: {user} {stage} 1 {user} {stage} 2") for user in ("u1", "u2")]
            await until(lambda both=both, n=version: sorted(shown()[2 * n - 2 :]) == both)
        # A request that does not come whole ends at the proxy; metrics are not to be had there.
        async with crowd(proxy.port, 20, source="127.0.0.1") as silent:
            await until(lambda: not any(map(is_open, silent)))
        context = ssl.create_default_context(cafile=str(certificate[0]))
        for path in ("/metrics", "/health", "/"):
            assert b" 404 " in await _first_line(proxy.port, path, context)
        assert device.poll() is None
        device.terminate()


async def _first_line(port, path, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return line


def test_the_docs_name_it():
    root = CONFIGURATION.parents[2]
    page = (root / "docs" / "live.md").read_text(encoding="utf-8")
    assert f"(../{CONFIGURATION.relative_to(root)})" in page
    for option in re.findall(r"--[a-z-]+", CONFIGURATION.read_text()):
        assert option in ("--port", "--trusted-proxy", "--metrics")
