"""Stage folders: complete or not there, whatever happens while they are made."""

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recsys_posttrain import store as stages
from recsys_posttrain.errors import UserError

KEY = {"seed": 1, "code": "abc"}
RECORD = {"ndcg@10": 0.25, "shape": [2, 3]}


def _writes(folder):
    (folder / "weights").write_text("1 2 3")
    return {"ndcg@10": 0.25, "shape": (2, 3)}


@pytest.fixture
def folder(tmp_path):
    return stages.stage_folder(tmp_path, "pretrain", KEY)


@pytest.fixture
def finished(folder):
    return stages.build(folder, KEY, _writes, ["weights"]).folder


def _never(folder):
    raise AssertionError("a complete stage was built again")


def test_a_stage_is_made_once_and_read_afterwards(tmp_path, folder):
    assert folder.parent == tmp_path / "stages"
    assert folder.name.startswith("pretrain-")
    assert folder != stages.stage_folder(tmp_path, "pretrain", {**KEY, "seed": 2})
    built = stages.build(folder, KEY, _writes, ["weights"])
    assert (built.folder, built.record, built.reused) == (folder, RECORD, False)
    assert stages.build(folder, KEY, _never) == (folder, RECORD, None)
    assert stages.build(folder, KEY, _never).reused
    assert (folder / "weights").read_text() == "1 2 3"
    assert not (tmp_path / f".partial-{folder.name}").exists()
    stage = json.loads((folder / "stage.json").read_text())
    assert stage["key"] == KEY
    assert stage["files"] == {"weights": hashlib.sha256(b"1 2 3").hexdigest()}
    assert stage["versions"]["torch"] == torch.__version__
    assert {"commit", "seconds"} <= stage.keys()
    assert stage["was_interrupted"] is False


def test_the_seconds_of_a_stage_are_without_those_that_it_builds(tmp_path, monkeypatch):
    """One of 4 s inside one of 2 s inside one of 1 s, which builds one that fails, too."""
    clock = [0.0]
    monkeypatch.setattr(stages, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    first, second, third = (stages.stage_folder(tmp_path, name, KEY) for name in "abc")

    def inner(partial):
        clock[0] += 4
        return {}

    def middle(partial):
        clock[0] += 2
        return {"inner": stages.build(third, KEY, inner).seconds}

    def outer(partial):
        with pytest.raises(ZeroDivisionError):
            stages.build(third, {}, lambda _: {"never": 1 / 0})
        clock[0] += 1
        return {"middle": stages.build(second, KEY, middle).seconds}

    built = stages.build(first, KEY, outer)
    assert stages.read_stage(second)["record"]["inner"] == 4
    assert built.record["middle"] == 2
    assert built.seconds == stages.read_stage(first)["seconds"] == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_stage_keeps_its_partial_folder(interruption, folder):

    def stops(partial):
        (partial / "epoch").write_text("3")
        raise interruption

    with pytest.raises(interruption):
        stages.build(folder, KEY, stops)
    assert not folder.exists()

    def resumes(partial):
        return {"from": int((partial / "epoch").read_text())}

    assert stages.build(folder, KEY, resumes).record == {"from": 3}
    assert stages.read_stage(folder)["was_interrupted"] is True


def test_a_killed_holder_does_not_keep_the_lock(tmp_path, folder):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from recsys_posttrain import store as stages
        def make(folder):
            (folder / "epoch").write_text("1")
            time.sleep(60)
        stages.build(Path(sys.argv[1]), {"seed": 1, "code": "abc"}, make)
    """)
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
    assert stages.build(folder, KEY, _writes, ["weights"]).record == RECORD


def _counts(folder, log):
    def make(partial):
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return {"pid": os.getpid()}

    record = stages.build(folder, KEY, make).record
    with log.open("a") as file:
        file.write(f"read {record['pid']}\n")


def test_two_processes_make_a_stage_once(tmp_path):
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
def test_a_full_disk_is_one_sentence_and_leaves_nothing_final(tmp_path, error, folder):

    def fills(partial):
        (partial / "half").write_text("")
        raise error

    with pytest.raises(
        UserError, match=r"the disk is full: \d+ MiB are free in .*--output"
    ) as told:
        stages.build(folder, KEY, fills)
    assert str(tmp_path) in str(told.value)
    assert not folder.exists()
    assert (tmp_path / f".partial-{folder.name}" / "half").exists()


def test_a_disk_that_fills_while_the_record_is_written(monkeypatch, folder):
    def full(self, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(UserError, match="the disk is full"):
            stages.build(folder, KEY, lambda partial: {"value": 1})
    assert not folder.exists()
    assert stages.build(folder, KEY, lambda partial: {"value": 2}).record == {"value": 2}


def test_other_errors_are_not_called_a_full_disk(tmp_path):
    def fails(partial):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        stages.build(stages.stage_folder(tmp_path, "pretrain", KEY), KEY, fails)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("stage.json", '{"key": {"se', "stage.json is cut short or not JSON"),
        ("stage.json", "[]", "stage.json holds list, not an object"),
        ("stage.json", '{"key": {}}', "stage.json has no 'record'"),
        ("stage.json", None, "stage.json does not exist"),
        ("weights", "1 2", "weights is damaged: its SHA-256 is not the one it was finished with"),
        ("weights", "1 2 4", "weights is damaged: its SHA-256 is not the one"),
        ("weights", None, "weights does not exist"),
    ],
)
def test_a_damaged_stage_is_named_with_the_folder_to_delete(name, content, sentence, finished):
    if content is None:
        (finished / name).unlink()
    else:
        (finished / name).write_text(content)
    with pytest.raises(UserError) as told:
        stages.build(finished, KEY, _never)
    assert sentence in str(told.value)
    assert f"delete the folder {finished}" in str(told.value)


def test_a_folder_of_another_key_is_refused(finished):
    with pytest.raises(UserError, match="belongs to another key"):
        stages.build(finished, {**KEY, "seed": 2}, _never)


def test_a_changed_record_is_found_too(finished):
    """For a report of noise the record is the result."""
    record = finished / "stage.json"
    record.write_text(record.read_text().replace("0.25", "0.35"))
    with pytest.raises(UserError, match=r"stage.json was changed after it was written: delete the"):
        stages.build(finished, KEY, _never)


def test_digests_are_read_once_per_process_while_files_stay_as_they_are(monkeypatch, finished):
    read = []
    whole = stages.sha256_of
    monkeypatch.setattr(stages, "sha256_of", lambda path: read.append(path) or whole(path))
    stages.read_stage(finished)
    assert read == []
    os.utime(finished / "weights")
    stages.read_stage(finished)
    assert read == [finished / "weights"]


def test_a_stage_holds_what_it_declares_and_no_leftovers(tmp_path, folder):
    """A kill while a checkpoint is written leaves a temporary; the checkpoint may be left too."""
    partial = tmp_path / f".partial-{folder.name}"

    def killed(partial):
        (partial / ".tmp-host-12-0123abcd.safetensors").write_text("half")
        (partial / "checkpoint.safetensors").write_text("whole")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.build(folder, KEY, killed, ["weights", "step-*.safetensors"])
    assert len(list(partial.iterdir())) == 2

    def resumes(partial):
        assert [path.name for path in partial.iterdir()] == ["checkpoint.safetensors"]
        (partial / "step-000010.safetensors").write_text("10")
        return _writes(partial)

    stages.build(folder, KEY, resumes, ["weights", "step-*.safetensors"])
    there = ["stage.json", "step-000010.safetensors", "weights"]
    assert sorted(os.listdir(folder)) == there
    assert sorted(stages.read_stage(folder)["files"]) == there[1:]


def test_a_declared_file_that_is_not_written_is_our_mistake(folder):
    with pytest.raises(RuntimeError, match=r"the stage did not write .'weights'"):
        stages.build(folder, KEY, lambda partial: {}, ["weights"])
    assert not folder.exists()
