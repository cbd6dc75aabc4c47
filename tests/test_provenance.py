"""What made a result: the commit."""

import subprocess
from pathlib import Path

import pytest

from recsys_posttrain.provenance import git_commit


@pytest.fixture
def git(tmp_path, monkeypatch):
    """git in a new folder that no other repository surrounds."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def run(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture(autouse=True)
def asked_anew():
    yield git_commit.cache_clear
    git_commit.cache_clear()


def _commit(file):
    git_commit.cache_clear()
    return git_commit(file)


def test_the_commit_of_a_clean_a_dirty_and_no_checkout(git, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("1")
    assert _commit(file) == "unknown"
    git("init", "-q")
    git("add", "file")
    assert _commit(file) == "unknown"  # no commit yet
    git("commit", "-q", "-m", "one")
    commit = _commit(file)
    assert len(commit) >= 7
    assert git("rev-parse", "HEAD").startswith(commit)
    file.write_text("2")
    assert _commit(file) == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert _commit(file) == "unknown"


def test_a_repository_around_an_installed_package_is_not_its_commit(git, tmp_path, monkeypatch):
    """As in a user's project with its environment inside: .venv is there and not tracked."""
    git("init", "-q")
    (tmp_path / "theirs").write_text("1")
    git("add", "theirs")
    git("commit", "-q", "-m", "one")
    installed = tmp_path / ".venv" / "module.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert _commit(installed) == "unknown"
    monkeypatch.chdir(tmp_path)
    own = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    git_commit.cache_clear()
    commit = git_commit().removesuffix("-dirty")
    assert commit == "unknown" if not own else own.startswith(commit)
    assert not git("rev-parse", "HEAD").startswith(commit)
