"""A redis-server of one's own, which can be killed and started again."""

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

PERSISTENCE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
_START_SECONDS = 20.0


def require_installed() -> None:
    """UserError where there is no redis-server."""
    require(
        shutil.which("redis-server"),
        "live bench needs redis-server, which is not installed: apt-get install redis-server "
        "(Debian, Ubuntu)",
    )


@dataclass
class RedisServer:
    """Keeps its data in a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers. Errors: UserError where it does not."""
        self.folder.mkdir(exist_ok=True)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *PERSISTENCE]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise UserError(f"redis-server does not answer at port {self.port}: is it taken?")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL. Does nothing where it is not running."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def forget(self) -> None:
        """Deletes its data; it must not be running."""
        shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False
