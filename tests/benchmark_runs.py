"""Scripts of benchmarks/ in small, and their results: each names its command, and no folder."""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def printed(name, *words):
    command = [sys.executable, FOLDER / f"{name}.py", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record_in(folder, name):
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    assert not any(part in text for part in ("/home/", "/root/", "/work/", "/tmp/"))
    record = json.loads(text)
    assert record["command"].startswith(f"python benchmarks/{name}.py")
    return record


def tiny_run(name, folder, *words, picture=None):
    """Its record; there is a picture too."""
    printed(name, *words, "--output", folder)
    assert (folder / f"{picture or name}.png").read_bytes()[:4] == b"\x89PNG"
    record = record_in(folder, name)
    assert record["command"] == " ".join([f"python benchmarks/{name}.py", *words])
    return record
