"""The file behind the Jester world: one content in many forms, and nothing else."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.jester_file import jester_ratings

OLE = bytes.fromhex("D0CF11E0A1B11AE1")  # how an .xls starts


def expected(small_jester):
    return np.where(small_jester.rating_UV == 99, np.nan, small_jester.rating_UV)


@pytest.mark.parametrize("form", ["csv", "windows", "two decimals", "csv.gz", "zip"])
def test_every_form_of_the_sheet_gives_the_same_ratings(form, small_jester, tmp_path):
    text = small_jester.path.read_text()
    folder = tmp_path / form
    folder.mkdir()
    if form == "csv.gz":
        (folder / "jester-data-1.csv.gz").write_bytes(gzip.compress(text.encode()))
    elif form == "zip":
        with zipfile.ZipFile(folder / "jester.zip", "w") as archive:
            archive.writestr("jester-data-1.csv", text)
    else:
        if form == "windows":
            text = text.replace("\n", "\r\n")
        if form == "two decimals":
            table = np.genfromtxt(small_jester.path, delimiter=",")
            text = "\n".join(",".join(f"{value:.2f}" for value in row) for row in table)
        (folder / "jester-data-1.csv").write_text(text, newline="")
    np.testing.assert_array_equal(jester_ratings(str(folder)), expected(small_jester))


def test_another_rating_is_refused(small_jester):
    lines = small_jester.path.read_text().splitlines()
    first = lines[0].split(",")
    first[5] = f"{float(first[5]) + 0.01:.2f}"
    small_jester.path.write_text("\n".join([",".join(first), *lines[1:]]))
    with pytest.raises(UserError, match=r"is not the jester ratings file: SHA-256 is .* expected"):
        jester_ratings(str(small_jester.path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("joke,rating\n1,2\n", "cannot be read as a table of numbers"),
        ("1,2\n1,2,3,4\n", "cannot be read as a table of numbers"),
        ("", "cannot be read as a table of numbers"),
        ("1,\n2,3\n", "holds values other than ratings, counts and 99"),
        ("1,400\n", "holds values other than ratings, counts and 99"),
    ],
)
def test_a_file_of_another_form_is_refused(text, reason, small_jester):
    small_jester.path.write_text(text)
    with pytest.raises(UserError, match=f"is not the jester ratings file: .*{reason}"):
        jester_ratings(str(small_jester.path))


def test_a_damaged_gzip_is_refused(small_jester, tmp_path):
    path = tmp_path / "jester-data-1.csv.gz"
    path.write_bytes(gzip.compress(small_jester.path.read_bytes())[:-20])
    with pytest.raises(UserError, match=r"jester-data-1\.csv\.gz cannot be read as a table"):
        jester_ratings(str(path))


def test_the_publishers_excel_sheet_and_what_to_do_without_its_reader(
    small_jester, tmp_path, monkeypatch
):
    table = pd.DataFrame(np.genfromtxt(small_jester.path, delimiter=","))
    monkeypatch.setattr(pd, "read_excel", lambda content, header: table)
    path = tmp_path / "jester-data-1.xls"
    path.write_bytes(OLE)
    np.testing.assert_array_equal(jester_ratings(str(path)), expected(small_jester))

    def missing(*_, **__):
        raise ImportError("Missing optional dependency 'xlrd'.")

    monkeypatch.setattr(pd, "read_excel", missing)
    with pytest.raises(UserError, match=r"needs the package xlrd .*pip install xlrd.*--data-root"):
        jester_ratings(str(path))


def test_the_real_file(shared_data):
    """24,983 people, 1,810,455 ratings, 7,200 complete rows: counted with awk."""
    rating_UV = jester_ratings(str(shared_data))
    assert rating_UV.shape == (24_983, 100)
    assert int((~np.isnan(rating_UV)).sum()) == 1_810_455
    assert int((~np.isnan(rating_UV).any(axis=1)).sum()) == 7_200
    assert rating_UV[0, :3].tolist() == [-7.82, 8.79, -9.66]
