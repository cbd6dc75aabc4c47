"""A folder of tables, or a pattern, is one log: rows below one another, each named by its file."""

import pandas as pd
import pytest

from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.catalog import dataset_named

HEADER = "user,item,rating,ts\n"
DAYS = ["1,10,4,100\n1,20,3,200\n", "2,10,1,150\n2,30,5,160\n", "1,30,2,300\n"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "logs"
    (made / "_temporary").mkdir(parents=True)
    for day, rows in enumerate(DAYS, start=1):
        (made / f"day{day}.csv").write_text(HEADER + rows)
    (made / "notes.txt").write_text("no table")
    (made / ".hidden.csv").write_text("no table")
    (made / "_temporary" / "part.csv").write_text("no table")
    return made


def one_file(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text(HEADER + "".join(DAYS))
    return RatingsFile(str(path)).load().frame


@pytest.mark.parametrize("name", ["logs", "logs/", "logs/day*.csv", "logs/day[1-3].csv"])
def test_they_are_one_below_the_other(folder, tmp_path, name):
    log = dataset_named(f"{tmp_path}/{name}")
    pd.testing.assert_frame_equal(log.load().frame, one_file(tmp_path))
    assert len(prepare(log, 1).sequences.items_E) == 5


def test_names_have_no_signs_of_a_pattern(folder):
    assert RatingsFile(str(folder)).name == "logs"
    assert RatingsFile(f"{folder}/day*.csv").name == "day"
    assert RatingsFile(f"{folder}/*.csv").name == "files"


def test_a_file_below_a_folder_and_its_content_count(folder):
    whole = RatingsFile(str(folder))
    before = whole.content_hash()
    assert before == RatingsFile(f"{folder}/*.csv").content_hash()
    (folder / "more").mkdir()
    (folder / "more" / "day4.csv").write_text(HEADER + "2,40,5,400\n")
    assert whole.content_hash() != before
    assert len(whole.load().frame) == 6


def test_parquet_files_of_a_folder(folder, tmp_path):
    made = tmp_path / "tables.parquet"  # what Spark leaves
    made.mkdir()
    for day in (1, 2, 3):
        frame = pd.read_csv(folder / f"day{day}.csv")
        frame.to_parquet(made / f"part-{day}.parquet")
    log = dataset_named(str(made))
    assert log.name == "tables"
    pd.testing.assert_frame_equal(log.load().frame, one_file(tmp_path))
    frame.astype({"item": str}).to_parquet(made / "part-3.parquet")
    with pytest.raises(UserError, match=r"part-3.parquet has item as .*string and part-1.parquet"):
        log.load()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("day2.csv", HEADER + "2,10,x,150\n", "row 1 of day2.csv has 'x': correct"),
        (
            "day3.csv",
            HEADER + "2,5,1,1\n1,10,4,100\n",
            "row 2 of day3.csv repeats an earlier event",
        ),
        ("day3.csv", HEADER + "2,5,1,1\n3,5\n", r"day3.csv: row 2 has 2 fields and the header 4"),
        ("day2.csv", "user,item,ts\n2,10,1\n", "one of them alone has rating: save both"),
        ("day1.csv", "user,item,ts\n2,10,1\n", "day2.csv and day1.csv must have the .*has rating"),
        (
            "day2.csv",
            HEADER + "2,10,1,150000000000000\n",
            "row 1 of day1.csv has '100' .* row 1 of",
        ),
        ("day4.parquet", "", r"holds .csv and .parquet files; give those of one kind"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(folder, name, content, sentence):
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=sentence):
        RatingsFile(str(folder)).load()


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty is a folder without a file of .csv"):
        RatingsFile(str(tmp_path / "empty")).load()
    with pytest.raises(UserError, match=r"There is no file that .*day\*.csv fits"):
        RatingsFile(f"{tmp_path}/day*.csv").load()
    with pytest.raises(UserError, match=r"There is no dataset '.*nowhere'"):
        dataset_named(f"{tmp_path}/nowhere")
