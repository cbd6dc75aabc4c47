"""The user's own table file: its bytes, columns and rows, and the sentence for each mistake."""

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.catalog import dataset_named

HEADER = "user_id,item_id,rating,timestamp\n"
BODY = "1,10,4,100\n1,20,3.5,200\n2,10,1,150\n"
GOOD = HEADER + BODY
ROWS = [[1, 10, 4.0, 100], [1, 20, 3.5, 200], [2, 10, 1.0, 150]]


def loaded(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = dataset_named(str(path))
    assert source.name == "mine"
    return source.load().frame.to_numpy().tolist()


READ = {
    "commas": ("mine.csv", GOOD, None),
    "names of MovieLens": ("mine.csv", "userId,movieId,rating,timestamp\n" + BODY, None),
    "names in capitals": ("mine.csv", "USER,Item,Score,ts\n" + BODY, None),
    "other usual names": ("mine.csv", "uid,itemid,stars,time\n" + BODY, None),
    "other columns in another order": (
        "mine.csv",
        "\ufefftimestamp,note,rating,user,user_id,item_id\n"
        "100,a,4,x,1,10\n200,,3.5,x,1,20\n150,,1,x,2,10\n",
        None,
    ),
    "tabs of a tsv": ("mine.tsv", GOOD.replace(",", "\t"), None),
    "tabs": ("mine.csv", GOOD.replace(",", "\t"), "with tabs between the columns"),
    "semicolons": ("mine.csv", GOOD.replace(",", ";"), "with semicolons between"),
    "bars": ("mine.csv", GOOD.replace(",", "|"), "with bars between"),
    "commas in a tsv": ("mine.tsv", GOOD, "with commas between"),
    "gz": ("mine.csv.gz", gzip.compress(GOOD.encode(), mtime=0), None),
    "gz of a tsv": ("mine.tsv.gz", gzip.compress(GOOD.replace(",", "\t").encode()), None),
    "capitals": ("mine.CSV", GOOD, None),
    "decimal commas": (
        "mine.csv",
        GOOD.replace(",", ";").replace("3.5", "3,5"),
        "rating is written with decimal commas",
    ),
    "UTF-8 with a mark": ("mine.csv", "\ufeff" + GOOD, None),
    "UTF-16": ("mine.csv", GOOD.encode("utf-16"), "is read as UTF-16"),
    "UTF-32": ("mine.csv", GOOD.encode("utf-32"), "is read as UTF-32"),
    "lines of Windows": ("mine.csv", GOOD.replace("\n", "\r\n"), None),
    "lines of an old Mac": ("mine.csv", GOOD.replace("\n", "\r"), None),
    "no last line end": ("mine.csv", GOOD.rstrip(), None),
    "blank lines": ("mine.csv", "\n" + GOOD.replace("\n", "\n\n"), None),
    "quotes": ("mine.csv", GOOD.replace("10", '"10"').replace("rating", '"rating"'), None),
    "blanks in the header": ("mine.csv", GOOD.replace(",", ", ", 3), None),
    "a column twice that is not ours": (
        "mine.csv",
        HEADER.replace("\n", ",x,x\n") + "1,10,4,100,,\n1,20,3.5,200,a,b\n2,10,1,150,a,\n",
        None,
    ),
    "a line end in a column that is not ours": (
        "mine.csv",
        HEADER.replace("\n", ',"te\nxt"\n') + '1,10,4,100,"a\nb"\n1,20,3.5,200,\n2,10,1,150,c\n',
        None,
    ),
}


@pytest.mark.parametrize("case", READ)
def test_files_that_are_read(case, tmp_path, capsys):
    name, content, said = READ[case]
    assert loaded(tmp_path / name, content) == ROWS
    lines = [line for line in capsys.readouterr().err.splitlines() if "blanks" not in line]
    assert any(said in line for line in lines) if said else not lines


def test_what_a_file_gives(tmp_path, small_ratings_csv):
    (tmp_path / "mine.csv").write_text(GOOD)
    interactions = RatingsFile(str(tmp_path / "mine.csv")).load()
    assert interactions.name == "mine"
    assert interactions.content_hash == hashlib.sha256(GOOD.encode()).hexdigest()
    assert list(interactions.frame) == ["user_id", "item_id", "rating", "timestamp"]
    assert interactions.frame["rating"].dtype == "float64"
    assert interactions.frame["timestamp"].dtype == "int64"
    corpus = prepare(RatingsFile(str(small_ratings_csv)))
    assert len(corpus.sequences) == 60
    times = corpus.sequences.timestamps_E
    assert int((times.diff() == 0).sum()) > 50  # the ties that the tests rely on


NUMBER = "the rating must be a finite number"
TIME = (
    "the timestamp must be a number of seconds, milliseconds, microseconds or nanoseconds before "
    "the year 2100, or a date like 2024-01-31T12:00:00"
)
SURPLUS = "title,user_id,item_id,rating,timestamp\nGood, Bad and Ugly,7,12,4,1700000200\n"
REFUSED = {
    "surplus field in the first row": (
        SURPLUS + "Heat,1,10,5,1700000000\n",
        "row 1 has 6 fields and the header 5: 'Good, Bad and Ugly,7,12,4,1700000200'",
    ),
    "surplus field later": (GOOD + "1,30,3,200,9\n", "row 4 has 5 fields and the header 4: '1,30"),
    "surplus field in every row": (HEADER + "1,10,4,100,\n1,20,3,200,\n", "row 1 has 5 fields"),
    "missing field": (HEADER + "1,10,4,100\n1,20,3\n", "row 2 has 3 fields and the header 4"),
    "open quote": (HEADER + '1,10,4,100\n1,"20,3,200\n1,30,3,300\n', "row 2 has 2 fields"),
    "one number as two": (HEADER + "1,10,3,5,100\n", "row 1 has 5 fields and the header 4"),
    "thousands": (GOOD.replace(",", ";").replace("3.5", "3,500"), "which could have a decimal"),
    "Latin-1": (GOOD.encode() + b"\xe9,30,3,200\n", "not UTF-8 text: line 5 holds the byte 0xe9"),
    "Latin-1 header": (b"\xe9," + GOOD.encode(), "not UTF-8 text: line 1 holds the byte 0xe9"),
    "Latin-1 far below": (
        HEADER.encode() + b"1,10,4,1\n" * 9000 + b"\xe9,30,3,200\n",
        "not UTF-8 text: line 9002 holds the byte 0xe9",
    ),
    "NUL byte": (GOOD.encode() + b"1,a\0b,3,200\n", "not a text file: line 5 holds a NUL byte"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "line 1 holds a NUL byte; save it as UTF"),
    "UTF-16 cut": (GOOD.encode("utf-16")[:-1], "is not a readable csv file"),
    "header alone": (HEADER.strip(), "has no rows"),
    "blank": (" \n \n", "is empty"),
    "a column of ours twice": (
        HEADER.replace("\n", ",rating\n") + "1,10,4,100,5\n",
        "several columns for rating: rating, rating",
    ),
    "one long line": ("x" * 1_000_000, "has no column user_id"),
    "a line end in a name": ('"user\nid",item_id,time\n1,2,3\n', "the columns found are user id,"),
    "no column": (
        "user_id,rating,time\n1,2,3\n",
        "no column item_id; the columns found are user_id, rating, time",
    ),
    "two columns": ("uid,user,item,rating,ts\n1,2,3,4,5\n", "columns for user_id: uid, user"),
    "no column under semicolons": (
        "user_id;item_id\n1;2\n",
        "no column timestamp; the columns found are user_id, item_id",
    ),
    "text rating": (GOOD + "1,30,good,200\n", f"{NUMBER}; row 4 has 'good'"),
    "no rating": (HEADER + "1,10,,100\n1,20,3,200\n", f"{NUMBER}; row 1 has nothing"),
    "NaN rating": (GOOD + "1,30,NaN,200\n", f"{NUMBER}; row 4 has 'NaN'"),
    "infinite rating": (HEADER + "1,10,inf,100\n1,20,3,200\n", f"{NUMBER}; row 1 has 'inf'"),
    "no user": (GOOD + ",20,3,200\n", "value in user_id; row 4 has nothing"),
    "no item": (HEADER + "1,,4,100\n1,20,3,200\n", "value in item_id; row 1 has nothing"),
    "no timestamp": (GOOD + "1,20,3,\n", f"{TIME}; row 4 has nothing"),
    "text timestamp": (GOOD + "1,20,3,noon\n", f"{TIME}; row 4 has 'noon'"),
    "infinite timestamp": (GOOD + "1,20,3,inf\n", f"{TIME}; row 4 has 'inf'"),
    "duplicates": (
        GOOD + "1,20,1,200\n1,20,2,200\n",
        "row 4 repeats an earlier event (user 1, item 20, timestamp 200); "
        "remove the 2 duplicate rows, or keep one of each with --duplicates first or last",
    ),
    "one event each": (HEADER + "1,10,4,100\n2,10,3,200\n", "has one event per user"),
    "empty": ("", "is empty"),
    "too large for models": (GOOD + "1,30,1e39,5\n2,30,1e38,5\n", "row 4 has '1e39'"),
    "too large": (GOOD + "1,3,-2e39,5\n1,4,3e40,5\n", "largest is 3e+40; row 4 has '-2e39'"),
    "a square too large for models": (GOOD + "1,30,1e16,5\n", "row 4 has '1e16'"),
    "too small for models": (GOOD + "1,30,1e-60,5\n", "row 4 has '1e-60'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(case, tmp_path):
    content, sentence = REFUSED[case]
    with pytest.raises(UserError) as raised:
        loaded(tmp_path / "mine.csv", content)
    assert sentence in str(raised.value)
    assert str(tmp_path / "mine.csv") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_accepted_ratings_have_a_finite_sum_of_squares_over_a_batch_in_float32(tmp_path):
    rows = loaded(tmp_path / "mine.csv", GOOD + "1,30,1e15,5\n")
    largest = np.float32(rows[-1][2])
    assert np.isfinite(np.float32(10_000_000) * largest * largest)


PACKED = gzip.compress(GOOD.encode(), mtime=0)  # the same in every process: it names tests
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
GZ = r"mine\.csv\.gz is not a readable csv\.gz file: "


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mine.csv", PICTURE, r"mine\.csv is not a text file: line 3 holds a NUL byte"),
        ("mine.parquet", PICTURE, r"mine\.parquet is not a readable parquet file"),
        ("mine.csv.gz", PICTURE, GZ),
        ("mine.csv.gz", GOOD, GZ),
        ("mine.csv.gz", PACKED[:-5], GZ),
        ("mine.csv.gz", PACKED[:15] + bytes([PACKED[15] ^ 0xFF]) + PACKED[16:], GZ),
    ],
)
def test_a_file_that_is_not_what_its_name_says(name, content, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        loaded(tmp_path / name, content)


def test_a_folder_and_nothing_are_no_file(tmp_path):
    (tmp_path / "mine.csv").mkdir()
    for ask in (RatingsFile.load, RatingsFile.content_hash):
        with pytest.raises(UserError, match=r"mine\.csv is a folder without a file of"):
            ask(RatingsFile(str(tmp_path / "mine.csv")))
        with pytest.raises(UserError, match=r"There is no file .*gone\.csv"):
            ask(RatingsFile(str(tmp_path / "gone.csv")))
        with pytest.raises(UserError, match=r"x\.xlsx is none of \.csv, .*\.parquet; convert"):
            ask(RatingsFile(str(tmp_path / "x.xlsx")))


def test_the_same_pair_at_another_time_is_no_duplicate(tmp_path):
    assert len(loaded(tmp_path / "mine.csv", GOOD + "1,20,1,201\n")) == 4


@pytest.mark.parametrize("index", [["user_id"], ["user_id", "item_id"]])
def test_ids_in_the_index_of_a_parquet_are_found(index, tmp_path):
    frame = pd.DataFrame(ROWS, columns=HEADER.strip().split(","))
    frame.set_index(index).to_parquet(tmp_path / "mine.parquet")
    assert dataset_named(str(tmp_path / "mine.parquet")).load().frame.to_numpy().tolist() == ROWS
    # A nameless one is not taken for a user.
    frame.drop(columns="user_id").set_axis(["a", "a", "b"]).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(UserError, match="no column user_id; the columns found are item_id"):
        RatingsFile(str(tmp_path / "mine.parquet")).load()


def test_parquet_with_dates_and_nullable_columns(tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame(
        {
            "user": ["a", "a"],
            "item": pd.array([1, 2], dtype="Int64"),
            "rating": pd.array([1, 2], dtype="Int32"),
            "time": pd.to_datetime([60.0, 120.0], unit="s"),
        }
    ).to_parquet(path)
    frame = RatingsFile(str(path)).load().frame
    assert frame.to_numpy().tolist() == [["a", 1, 1.0, 60], ["a", 2, 2.0, 120]]


def test_parquet_with_missing_values_names_the_row(tmp_path):
    columns = {"user_id": [1, 1], "item_id": [1, 2], "rating": [1.0, 2.0]}
    for name in ("rating", "timestamp", "item_id"):
        data = {**columns, "timestamp": [1, 2], name: pd.array([1, None], dtype="Int64")}
        pd.DataFrame(data).to_parquet(tmp_path / "mine.parquet")
        with pytest.raises(UserError, match=f"{name}.*; row 2 has nothing"):
            RatingsFile(str(tmp_path / "mine.parquet")).load()


def test_without_ratings_every_event_has_the_rating_one(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("user_id,item_id,timestamp\n1,10,100\n1,20,200\n")
    interactions = RatingsFile(str(path)).load()
    assert not interactions.has_ratings
    assert interactions.frame["rating"].tolist() == [1.0, 1.0]
    assert "no rating column" in capsys.readouterr().err
    path.write_text("user_id,item_id,timestamp,value\n1,10,100,7\n1,20,200,8\n")
    interactions = RatingsFile(str(path)).load()
    assert interactions.has_ratings
    assert interactions.frame["rating"].tolist() == [7.0, 8.0]


def test_a_duplicate_rule_that_is_none_is_refused():
    with pytest.raises(UserError, match="duplicates is 'newest'; give refuse, first or last"):
        RatingsFile("mine.csv", duplicates="newest")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--duplicates first is for table files"):
        dataset_named("ml-100k", rules=FileRules(duplicates="first"))


def test_users_with_rare_items_alone_are_known(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "u1,a,3,1\nu2,a,3,2\nu1,b,3,3\nu3,c,3,4\nu3,d,3,5\n")
    assert prepare(RatingsFile(str(path)), 2).left_out_user_ids.tolist() == ["u3"]
    assert prepare(RatingsFile(str(path)), 1).left_out_user_ids.tolist() == []


MISSPELLED = ("ratin", "ratimg", "rating2", "star", "sc0re")


@pytest.mark.parametrize("name", [*MISSPELLED, "Ratings_", "title", "duration", "country"])
def test_a_misspelled_rating_is_refused_and_no_other_column(tmp_path, name):
    """It would be read as a log without ratings. Letters and signs may vary: Ratings_."""
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,{name},timestamp\n1,a,5,1\n1,b,4,2\n")
    if name not in MISSPELLED:
        ratings = [5, 4] if name == "Ratings_" else [1, 1]
        assert RatingsFile(str(path)).load().frame["rating"].tolist() == ratings
        return
    with pytest.raises(UserError, match=r"looks like (rating|stars|score).*rename it to rating"):
        RatingsFile(str(path)).load()
