"""Stage folders: complete or not there, whatever happens while they are made."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys_posttrain import stages
from recsys_posttrain.errors import UserError

KEY = {"seed": 1, "code": "abc"}


def _writes(folder: Path) -> dict[str, Any]:
    (folder / "weights").write_text("1 2 3")
    return {"ndcg@10": 0.25, "shape": (2, 3)}


def _never(folder: Path) -> dict[str, Any]:
    raise AssertionError("a complete stage was made again")


def test_a_stage_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)
    assert folder.parent == tmp_path / "stages"
    assert folder.name.startswith("pretrain-")
    assert folder != stages.stage_folder(tmp_path, "pretrain", {**KEY, "seed": 2})
    assert stages.build(folder, KEY, _writes) == {"ndcg@10": 0.25, "shape": [2, 3]}
    assert stages.build(folder, KEY, _never) == {"ndcg@10": 0.25, "shape": [2, 3]}
    assert (folder / "weights").read_text() == "1 2 3"
    assert not (tmp_path / f".partial-{folder.name}").exists()
    stage = json.loads((folder / "stage.json").read_text())
    assert stage["key"] == KEY
    assert stage["files"] == {"weights": 5}
    assert stage["versions"]["torch"] == torch.__version__
    assert {"commit", "seconds"} <= stage.keys()
    assert stage["was_interrupted"] is False


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_stage_keeps_its_partial_folder(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)

    def stops(partial: Path) -> dict[str, Any]:
        (partial / "epoch").write_text("3")
        raise interruption

    with pytest.raises(interruption):
        stages.build(folder, KEY, stops)
    assert not folder.exists()

    def resumes(partial: Path) -> dict[str, Any]:
        return {"from": int((partial / "epoch").read_text())}

    assert stages.build(folder, KEY, resumes) == {"from": 3}
    assert stages.read_stage(folder)["was_interrupted"] is True


def test_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from recsys_posttrain import stages
        def make(folder):
            (folder / "epoch").write_text("1")
            time.sleep(60)
        stages.build(Path(sys.argv[1]), {"seed": 1, "code": "abc"}, make)
    """)
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)
    partial = tmp_path / f".partial-{folder.name}"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    try:
        deadline = time.monotonic() + 60
        while not (partial / "epoch").exists():
            assert time.monotonic() < deadline, "the other process never started"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not folder.exists()
    assert (partial / "epoch").exists()
    assert stages.build(folder, KEY, _writes)["ndcg@10"] == 0.25


def _counts(folder: Path, log: Path) -> None:
    def make(partial: Path) -> dict[str, Any]:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return {"pid": os.getpid()}

    record = stages.build(folder, KEY, make)
    with log.open("a") as file:
        file.write(f"read {record['pid']}\n")


def test_two_processes_make_a_stage_once(tmp_path: Path) -> None:
    folder, log = stages.stage_folder(tmp_path, "reward", KEY), tmp_path / "log"
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_counts, args=(folder, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    lines = log.read_text().splitlines()
    assert lines.count("made") == 1
    assert len([line for line in lines if line.startswith("read")]) == 2
    assert len(set(lines)) == 2  # both read the record of one process


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("write failed: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_final(
    tmp_path: Path, error: Exception
) -> None:
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)

    def fills(partial: Path) -> dict[str, Any]:
        (partial / "half").write_text("")
        raise error

    with pytest.raises(
        UserError, match=r"the disk is full: \d+ MiB are free in .*--output"
    ) as told:
        stages.build(folder, KEY, fills)
    assert str(tmp_path) in str(told.value)
    assert not folder.exists()
    assert (tmp_path / f".partial-{folder.name}" / "half").exists()


def test_a_disk_that_fills_while_the_record_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *args: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    folder = stages.stage_folder(tmp_path, "pretrain", KEY)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(UserError, match="the disk is full"):
            stages.build(folder, KEY, lambda partial: {"value": 1})
    assert not folder.exists()
    assert stages.build(folder, KEY, lambda partial: {"value": 2}) == {"value": 2}


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    def fails(partial: Path) -> dict[str, Any]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        stages.build(stages.stage_folder(tmp_path, "pretrain", KEY), KEY, fails)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("stage.json", '{"key": {"se', "stage.json is cut short or not JSON"),
        ("stage.json", "[]", "stage.json is not a stage's record"),
        ("stage.json", None, "stage.json does not exist"),
        ("weights", "1 2", "weights should have 5 bytes, found 3 bytes"),
        ("weights", None, "weights should have 5 bytes, found nothing"),
    ],
)
def test_a_damaged_stage_is_named_with_the_folder_to_delete(
    tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)
    stages.build(folder, KEY, _writes)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(UserError) as told:
        stages.build(folder, KEY, _never)
    assert sentence in str(told.value)
    assert f"delete the folder {folder}" in str(told.value)


def test_a_folder_of_another_key_is_refused(tmp_path: Path) -> None:
    folder = stages.stage_folder(tmp_path, "pretrain", KEY)
    stages.build(folder, KEY, _writes)
    with pytest.raises(UserError, match="was made from another key"):
        stages.build(folder, {**KEY, "seed": 2}, _never)


def test_tensors_come_back_bit_for_bit_and_shared_memory_is_allowed(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    tensors = {"weight": weight, "tied": weight, "view": weight.T, "count": torch.tensor(3)}
    path = tmp_path / "policy.safetensors"
    stages.save_tensors(path, tensors)
    first_bytes = path.read_bytes()
    loaded = stages.load_tensors(
        path, {"weight": (4, 3), "tied": [4, 3], "view": (3, 4), "count": ()}
    )
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert loaded["count"].dtype == torch.int64
    stages.save_tensors(path, dict(reversed(tensors.items())))
    assert path.read_bytes() == first_bytes
    assert os.listdir(tmp_path) == ["policy.safetensors"]


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"w": (3, 2)}, "tensor 'w' is (2, 3) in the file and (3, 2) in the model"),
        ({"w": (2, 3), "b": (2,)}, "tensor 'b' is missing in the file and (2,) in the model"),
        ({}, "tensor 'w' is (2, 3) in the file and none in the model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    tmp_path: Path, expected: dict[str, tuple[int, ...]], sentence: str
) -> None:
    path = tmp_path / "policy.safetensors"
    stages.save_tensors(path, {"w": torch.zeros(2, 3)})
    with pytest.raises(UserError) as told:
        stages.load_tensors(path, expected)
    assert str(told.value) == f"{path}: {sentence}: is it a checkpoint of another model?"


def test_missing_and_truncated_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(UserError, match=r"policy.safetensors does not exist"):
        stages.load_tensors(path)
    stages.save_tensors(path, {"w": torch.zeros(200)})
    for length in (700, 20, 0):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(UserError, match=r"policy.safetensors is cut short or not a safetens"):
            stages.load_tensors(path)


def _write_half(path: Path) -> None:
    with stages.replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("stop")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    stages.write_json(path, {"a": 1})
    with pytest.raises(OSError, match="stop"):
        _write_half(path)
    with pytest.raises(TypeError):
        stages.write_json(path, {"a": {1, 2}})
    assert stages.read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["run.json"]


def _module(path: Path, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = str(path)
    return module


def test_a_change_of_code_changes_its_digest_wherever_it_lies(tmp_path: Path) -> None:
    digests = []
    for root, source in [("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")]:
        package = tmp_path / root / "package"
        (package / "inner").mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "inner" / "part.py").write_text(source)
        (package / "notes.md").write_text(root)
        digests.append(stages.code_digest(_module(package / "__init__.py", "package")))
    assert digests[0] == digests[1] != digests[2]
    inner = _module(tmp_path / "a" / "package" / "inner" / "part.py", "package.inner.part")
    before = stages.code_digest(inner)
    (tmp_path / "a" / "package" / "__init__.py").write_text("y = 1\n")
    assert stages.code_digest(inner) == before  # a plain module is its own file only


def test_the_commit_of_a_clean_a_dirty_and_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert stages.git_commit(tmp_path) == "unknown"
    git("init", "-q")
    assert stages.git_commit(tmp_path) == "unknown"  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = stages.git_commit(tmp_path)
    assert len(commit) >= 7
    assert git("rev-parse", "HEAD").startswith(commit)
    (tmp_path / "file").write_text("2")
    assert stages.git_commit(tmp_path) == f"{commit}-dirty"
    monkeypatch.chdir(tmp_path)
    assert stages.git_commit() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert stages.git_commit(tmp_path) == "unknown"
