"""The lock file: every release at one version, each of its files by hash, and pip agrees."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recsys_posttrain.doctor import LOCK

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_has_a_version_and_hashes():
    text = LOCK.read_text(encoding="utf-8")
    body = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", body.strip())
    for entry in entries:
        assert re.fullmatch(
            r"[\w.-]+==[\w.]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry
        ), entry[:200]
    assert len({entry.partition("==")[0] for entry in entries}) == len(entries) > 100
    assert not re.search(r"https?://|index-url|find-links", text)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_without_an_index_torch_too_is_checked():
    """It is downloaded first and taken from there, where pip has no other build to prefer."""
    later = ["-W", "requirements.lock"]
    command = ["make", "-n", *later, "setup", "PIP_ARGS="]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-d .venv/torch" in printed
    assert "--require-hashes --no-deps --no-index --find-links .venv/torch" in printed
    installs = [
        line for line in printed.splitlines() if "pip install" in line and "-e ." not in line
    ]
    checked = [line for line in installs if "--require-hashes" in line]
    assert [re.sub(r".*check +", "", line) for line in installs if line not in checked] == [
        re.search(r"^torch==\S+", LOCK.read_text(), re.MULTILINE).group().join(2 * ['"'])
    ]
