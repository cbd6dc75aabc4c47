"""What is said of a file when it is read is said again where its prepared data are reused."""

import multiprocessing
import sys

from recsys_posttrain.data import RatingsFile, prepare

TEXT = "user;item;ts\n1;b;1700000000500\n1;a;1700000000000\n1;a;1700000000000\n"
SAID = [
    "{} is read with semicolons between the columns",
    "{}: no rating column, so every event has the rating 1",
    "{}: ts is in milliseconds, from 2023-11-14 to 2023-11-14",
    "{}: 1 duplicate events left out, the first of each is kept",
]


def file_in(folder):
    folder.mkdir()
    (folder / "log.csv").write_text(TEXT)
    return RatingsFile(str(folder / "log.csv"), duplicates="first")


def lines_of(file, capsys):
    prepare(file, 1)
    return capsys.readouterr().err.splitlines()


def another_process(monkeypatch):
    monkeypatch.setattr(sys.modules["recsys_posttrain.data.prepare"], "_said", set())


def test_once_in_every_process_of_the_file_that_is_read_now(tmp_path, monkeypatch, capsys):
    file = file_in(tmp_path / "a")
    expected = [line.format(file.path) for line in SAID]
    assert lines_of(file, capsys) == expected
    assert lines_of(file, capsys) == []
    another_process(monkeypatch)
    assert lines_of(file, capsys) == expected
    assert lines_of(file, capsys) == []
    another_process(monkeypatch)
    other = file_in(tmp_path / "b")  # of the same name and content, so prepared already
    assert lines_of(other, capsys) == [line.format(other.path) for line in SAID]
    # A worker is silent.
    another_process(monkeypatch)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert lines_of(file, capsys) == []
