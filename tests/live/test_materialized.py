"""Reading what was materialised: look-ups, and every way in which the files can be wrong."""

import json
import shutil

import pyarrow as pa
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.materialize import EventRules, materialize
from recsys_posttrain.live.materialized import Materialized


@pytest.fixture(scope="module")
def written(policy_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    stages = {"user_id": 2, "live": 1}  # a stage may be called as the first column is
    materialize(policy_folder, EventRules("final", "7", stages), 4, folder)
    return folder


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def lists_file(folder):
    (path,) = folder.glob("lists-*.arrow")
    return path


def test_what_it_says_of_itself(written):
    lists = Materialized.open(written)
    assert lists.event == "final"
    assert lists.stages == ("user_id", "live")
    assert lists.version == json.loads((written / "manifest.json").read_text())["version"]
    assert int(lists.version, 16) >= 0


def test_every_user_is_found_and_nobody_else(written):
    """Ids are compared as text: '10' is before '2'."""
    lists = Materialized.open(written)
    users = [str(number) for number in range(1, 61)]
    assert lists.lists.column(0).to_pylist() == sorted(users)
    for user in users:
        found = lists.of(user)
        assert found is not None
        assert found["live"][0] == "7"
        assert found["user_id"][1] == "7"
        assert [len(each) for each in found.values()] == [4, 4]
    for user in ("", "0", "61", "1 ", "01", "zz", "7\x00", "\ud800", "é"):
        assert lists.of(user) is None


def test_nothing_is_loaded(written):
    """Look-ups read the mapped file: Arrow holds less of its own than the file is long."""
    before = pa.total_allocated_bytes()
    lists = Materialized.open(written)
    assert lists.of("8") is not None
    assert pa.total_allocated_bytes() - before < lists_file(written).stat().st_size / 2


def refused(folder, match):
    with pytest.raises(UserError, match=match) as caught:
        Materialized.open(folder)
    assert "\n" not in str(caught.value)
    assert "run `recsys-posttrain live materialize` again" in str(caught.value)


def test_any_changed_byte_of_the_lists_is_noticed(copy):
    path = lists_file(copy)
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 20):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        refused(copy, "lists-.* is cut short or damaged")
    path.write_bytes(content)
    Materialized.open(copy)


def test_a_half_written_file_is_noticed(copy):
    path = lists_file(copy)
    content = path.read_bytes()
    for length in (0, 1, 8, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(copy, "lists-.* (is cut short or damaged|cannot be read)")
    path.unlink()
    refused(copy, r"lists-.*cannot be read \(.*No such file")


def test_a_changed_manifest_is_noticed(copy):
    path = copy / "manifest.json"
    text = path.read_text()
    good = json.loads(text)
    for name, value in (("event", "other"), ("k", 5), ("lists_sha256", "0"), ("users", None)):
        path.write_text(json.dumps(good | {name: value}))
        refused(copy, "manifest.json was changed or damaged")
    for other in ("[]", "{}", "null", '{"version": NaN}', '{"event": NaN, "version": "0"}'):
        path.write_text(other)
        refused(copy, "manifest.json was changed or damaged")
    for length in (0, 1, len(text) // 2):
        path.write_text(text[:length])
        refused(copy, "manifest.json is cut short or not JSON")
    path.unlink()
    refused(copy, "manifest.json does not exist")
    path.mkdir()
    refused(copy, "manifest.json cannot be read")
