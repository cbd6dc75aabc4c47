"""A small sweep: its files, one that ended undisturbed, and a PostgreSQL server."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from recsys_posttrain.sweep.run import Options, run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"


@pytest.fixture(scope="module")
def options(in_a_folder, small_ratings_csv):
    return Options(dataset=str(small_ratings_csv))


@pytest.fixture(scope="module")
def finished(options):
    """The folder `runs` of an undisturbed sweep, in the working directory; do not change it."""
    run_sweep(SMALL_SWEEP, options)
    return Path("runs").resolve()


class Server:
    """A PostgreSQL server that a test may stop and start again. authentication: of PostgreSQL, for
    the user "me"; `password` is that user's."""

    def __init__(self, folder, user, postgres, initdb, authentication="trust", password="s3cret"):
        self.folder, self.user, self.postgres = folder, user, postgres
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://me@127.0.0.1:{self.port}/postgres"
        (folder / "password").write_text(password)
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        words = ["--pgdata", self.data, "--username", "me", "--auth", authentication, "--no-sync"]
        words += ["--pwfile", folder / "password"]
        subprocess.run(
            [initdb, *words], check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL
        )
        self.start()

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off".split()
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.postgres, "-D", self.data, "-k", self.folder, *options],
                cwd=self.folder,
                user=self.user,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        while b"ready to accept connections" not in self.log.read_bytes():
            assert self.process.poll() is None, self.log.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # fast: does not wait for clients
        self.process.wait()


@pytest.fixture(scope="session")
def start_postgresql():
    """Starts servers; skips where there is none. Debian keeps its programs out of the path."""

    def program(name):
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
        return shutil.which(name) or next(map(str, places), None)

    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("the PostgreSQL server is not installed (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed ([postgresql])")
    servers = []

    def start(**options):
        # The server refuses root; another user must be able to reach its folder.
        user = "nobody" if os.getuid() == 0 else None
        folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        servers.append(Server(folder, user, postgres, initdb, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgresql(start_postgresql):
    return start_postgresql()
