"""Files are there whole or not at all, and a reader says what is wrong with one."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.files import (
    check_writable,
    read_csv,
    read_json,
    read_parquet,
    read_record,
    read_text,
    remove_temporaries,
    replacing,
    write_json,
    write_parquet,
    write_text,
)


def _write_half(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("stop")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(OSError, match="stop"):
        _write_half(path)
    with pytest.raises(TypeError):
        write_json(path, {"a": {1, 2}})
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_new_file_has_the_mode_that_the_umask_leaves_whatever_wrote_it(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o022)
    try:
        with replacing(path) as temporary:
            temporary.write_text("x")
            temporary.chmod(0o600)  # as safetensors and tempfile leave theirs
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_two_writers_of_one_process_number_have_names_of_their_own(tmp_path):
    """As in two containers that share a folder."""
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        assert first.parent == second.parent == tmp_path
        first.write_text("1")
        second.write_text("2")
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from recsys_posttrain.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary: os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run.json")])
    (dead,) = tmp_path.iterdir()
    elsewhere = tmp_path / ".tmp-another-host-1-0123abcd.json"
    elsewhere.touch()
    with replacing(tmp_path / "mine") as alive:
        remove_temporaries(tmp_path)
        assert not dead.exists()
        assert {path.name for path in tmp_path.iterdir()} == {alive.name, elsewhere.name}
    remove_temporaries(tmp_path, is_locked=True)
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_every_write_explains_the_disk(tmp_path, number):
    said = "the disk is full" if number == errno.ENOSPC else "give a folder that you may write"
    with pytest.raises(UserError, match=said), replacing(tmp_path / "file"):
        raise OSError(number, os.strerror(number), "file")
    assert os.listdir(tmp_path) == []


def test_a_folder_in_place_of_a_file_and_the_reverse_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder is a folder: give the name of a file"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(UserError, match=r"cannot be written: .*none is not a folder"):
        write_text(tmp_path / "none" / "file", "x")
    write_text(tmp_path / "file", "x")
    with pytest.raises(UserError, match=r"cannot be written: .*file is not a folder"):
        write_text(tmp_path / "file" / "inner", "x")
    with pytest.raises(UserError, match=r"--output .*inner: .*file is a file; give a folder"):
        check_writable(tmp_path / "file" / "inner")
    check_writable(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]  # nothing is left


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"--output .*cannot be written .Read-only file system."):
        check_writable(tmp_path / "runs")


def _frame():
    return pd.DataFrame({"user_id": range(400), "value": [n / 7 for n in range(400)]})


READERS = {
    "value.json": (lambda path: write_json(path, {"a": 1}), read_json),
    "text.md": (lambda path: write_text(path, "a\n"), read_text),
    "frame.parquet": (lambda path: write_parquet(_frame(), path), read_parquet),
    "frame.csv": (lambda path: write_text(path, _frame().to_csv(index=False)), read_csv),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_explains_what_is_wrong(name, tmp_path, monkeypatch):
    write, read = READERS[name]
    path = tmp_path / name
    with pytest.raises(UserError, match=f"{name} does not exist: "):
        read(path)
    write(path)
    read(path)
    path.write_bytes(b"\xff\xfe\x00\x81" * 3)
    with pytest.raises(UserError, match=f"{name} is cut short or not "):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=f"{name} cannot be read .Is a directory."):
        read(path)
    refused = PermissionError(13, "Permission denied", name)
    for method in ("open", "read_text"):
        monkeypatch.setattr(Path, method, lambda *_, **__: (_ for _ in ()).throw(refused))
    with pytest.raises(UserError, match=f"{name} is there and may not be read .Permission denied."):
        read(path)


def test_a_flipped_bit_in_a_parquet_is_found(tmp_path):
    path = tmp_path / "rows.parquet"
    write_parquet(_frame(), path)
    whole = path.read_bytes()
    for place in range(40, 1500, 97):  # the pages; what follows them are names and counts
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"rows.parquet is cut short or not parquet"):
            read_parquet(path)


def test_columns_and_keys_that_are_missing_are_named(tmp_path):
    write_parquet(_frame(), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet has no column 'method': run it again"):
        read_parquet(tmp_path / "a.parquet", {"value": float, "method": str}, "run it again")
    with pytest.raises(UserError, match=r"a.parquet: the column 'value' should hold text"):
        read_parquet(tmp_path / "a.parquet", {"value": str})
    write_text(tmp_path / "a.csv", "a,b\n,1\n")
    with pytest.raises(UserError, match=r"a.csv has no column 'method'"):
        read_csv(tmp_path / "a.csv", {"method": str})
    assert read_csv(tmp_path / "a.csv", texts=["a"])["a"].tolist() == [""]
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_record(tmp_path / "a.json", ["a"]) == {"a": 1}
    with pytest.raises(UserError, match=r"a.json has no 'b'"):
        read_record(tmp_path / "a.json", ["b"])
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(UserError, match=r"a.json holds list, not an object"):
        read_record(tmp_path / "a.json", ["b"])
