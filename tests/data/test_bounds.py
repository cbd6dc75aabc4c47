"""Nothing that claims or turns out to be far larger than the ratings fills the memory."""

import gzip
import http.server
import subprocess
import sys
import threading
import zipfile

import pytest

from recsys_posttrain.data import archives, downloads
from recsys_posttrain.data.archives import MOST_BYTES, NotHere, read_root, read_zip
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds import jester_file

REAL_RUN = subprocess.run  # the folder's conftest refuses it to the code under test
MEMBER = "tiny/ratings.dat"


def bomb(path, size, kind=zipfile.ZIP_DEFLATED):
    """A zip of some thousandth of what is in it."""
    with zipfile.ZipFile(path, "w", kind) as archive, archive.open(MEMBER, "w") as member:
        piece = bytes(1 << 20)
        for _ in range(size >> 20):
            member.write(piece)
    return path


MEASURED = """
import resource, sys
from pathlib import Path
from recsys_posttrain.data.archives import read_zip
from recsys_posttrain.data.read_table import _content
from recsys_posttrain.errors import UserError
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    _content(path) if path.suffix == ".gz" else read_zip(path, ["ratings.dat"])
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def sentence_and_mebibytes(path):
    """What refuses the file, and what the process grew by meanwhile."""
    done = REAL_RUN(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    sentence, kibibytes = done.stdout.splitlines()
    return sentence, int(kibibytes) / 1024


def test_a_zip_bomb_is_refused_in_little_memory(tmp_path):
    path = bomb(tmp_path / "bomb.zip", 1536 << 20)
    assert path.stat().st_size < 2 << 20
    sentence, mebibytes = sentence_and_mebibytes(path)
    assert f"({MEMBER}) was refused: it holds more than {MOST_BYTES:,} bytes" in sentence
    assert mebibytes < 16


def test_a_gz_bomb_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "mine.csv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(256):
            file.write(bytes(1 << 20))
    sentence, mebibytes = sentence_and_mebibytes(path)
    assert "unpacks to more than 100 times its size" in sentence
    assert mebibytes < 100  # of 256: a hundred times 256 KiB, twice while it is collected


def test_a_zip_that_lies_about_its_size_is_read_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    path = bomb(tmp_path / "bomb.zip", 4 << 20)
    content = path.read_bytes()
    true, false = (4 << 20).to_bytes(4, "little"), (1 << 19).to_bytes(4, "little")
    assert content.count(true) == 2  # the local and the central header
    path.write_bytes(content.replace(true, false))
    with pytest.raises(UserError, match=r"bomb\.zip is not a complete zip file"):
        read_zip(path, ["ratings.dat"])


def test_a_plain_file_is_bounded_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    (tmp_path / "ratings.dat").write_bytes(bytes(1001))
    for root in (tmp_path, tmp_path / "ratings.dat"):
        with pytest.raises(UserError, match=r"ratings\.dat was refused: it holds more than 1,000"):
            read_root(root, "tiny", ["ratings.dat"])
    (tmp_path / "ratings.dat").write_bytes(bytes(1000))
    assert len(read_root(tmp_path, "tiny", ["ratings.dat"])[2]) == 1000
    # So is a compressed one.
    with pytest.raises(NotHere, match="it holds more than 1,000 bytes"):
        jester_file._table("jester-data-1.csv.gz", gzip.compress(bytes(1001)))


@pytest.mark.parametrize(
    ("kind", "name"), [(zipfile.ZIP_LZMA, "LZMA"), (zipfile.ZIP_BZIP2, "bzip2")]
)
def test_other_ways_of_packing_are_named(kind, name, tmp_path):
    path = bomb(tmp_path / "tiny.zip", 1 << 20, kind)
    with pytest.raises(UserError, match=rf"was refused: it is packed by {name}, and only stored"):
        read_zip(path, ["ratings.dat"])


def test_an_encrypted_member_is_named(tmp_path):
    path = bomb(tmp_path / "tiny.zip", 1 << 20)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the central one
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="was refused: it is encrypted; download"):
        read_zip(path, ["ratings.dat"])


class Endless(http.server.BaseHTTPRequestHandler):
    """/declared says how much it would send; /silent just sends."""

    sent = 0

    def do_GET(self):
        self.send_response(200)
        if self.path == "/declared":
            self.send_header("Content-Length", str(10**12))
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(bytes(1 << 18))
                Endless.sent += 1 << 18
        except OSError:
            return

    def log_message(self, *_):
        return


@pytest.fixture
def endless(monkeypatch):
    monkeypatch.undo()  # the folder's conftest refuses every connection
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["declared", "silent"])
def test_a_download_is_bounded_while_it_comes(path, endless, monkeypatch):
    for module in (archives, downloads):
        monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    if path == "declared":
        monkeypatch.setattr(downloads, "read_bounded", None)  # nothing is read then
    Endless.sent = 0
    with pytest.raises(NotHere, match="it holds more than"):
        downloads.download(f"{endless}/{path}")
    assert Endless.sent < 64 << 20  # of 250 MiB; the rest is what sockets hold
