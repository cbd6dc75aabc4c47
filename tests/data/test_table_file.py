import hashlib
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.errors import UserError

HEADER = "user_id,item_id,rating,timestamp\n"
GOOD = HEADER + "1,10,4,100\n1,20,3.5,200\n2,10,1,150\n"


def written(tmp_path: Path, text: str, name: str = "mine.csv") -> RatingsFile:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return RatingsFile(str(path))


def test_good_csv(tmp_path: Path) -> None:
    interactions = written(tmp_path, GOOD).load()
    assert interactions.name == "mine"
    assert interactions.content_hash == hashlib.sha256(GOOD.encode()).hexdigest()
    assert interactions.frame.to_dict("list") == {
        "user_id": [1, 1, 2],
        "item_id": [10, 20, 10],
        "rating": [4.0, 3.5, 1.0],
        "timestamp": [100, 200, 150],
    }
    assert interactions.frame["rating"].dtype == "float64"
    assert interactions.frame["timestamp"].dtype == "int64"


@pytest.mark.parametrize(
    "header",
    ["userId,movieId,rating,timestamp", "USER,Item,Score,ts", "uid,itemid,stars,time"],
)
def test_usual_other_names(header: str, tmp_path: Path) -> None:
    text = GOOD.replace(HEADER.strip(), header)
    assert written(tmp_path, text).load().frame["item_id"].tolist() == [10, 20, 10]


def test_other_columns_and_order_do_not_matter(tmp_path: Path) -> None:
    text = "\ufefftimestamp,note,rating,user,user_id,item_id\n5,a,1,x,7,8\n6,,2,x,7,9\n"
    frame = written(tmp_path, text).load().frame
    assert frame.to_numpy().tolist() == [[7, 8, 1.0, 5], [7, 9, 2.0, 6]]


def test_ids_keep_leading_zeros_and_words_that_look_missing(tmp_path: Path) -> None:
    frame = written(tmp_path, HEADER + "007,None,1,1\n007,NA,2,2\n7,null,3,3\n").load().frame
    assert frame["user_id"].tolist() == ["007", "007", "7"]
    assert frame["item_id"].tolist() == ["None", "NA", "null"]


def test_ids_beyond_64_bits_stay_text(tmp_path: Path) -> None:
    large = "18446744073709551615"
    frame = written(tmp_path, HEADER + f"{large},1,1,1\n{large},2,2,2\n").load().frame
    assert frame["user_id"].tolist() == [large, large]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1.0", "2.0"], [1, 2]),
        (["-5", "1e9"], [-5, 1_000_000_000]),
        (["1970-01-02", "1970-01-02T00:00:01"], [86_400, 86_401]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:07Z"], [0, 7]),
    ],
)
def test_timestamps_become_seconds(times: list[str], seconds: list[int], tmp_path: Path) -> None:
    rows = "".join(f"1,{item},1,{time}\n" for item, time in enumerate(times))
    assert written(tmp_path, HEADER + rows).load().frame["timestamp"].tolist() == seconds


def test_parquet_with_dates_and_nullable_columns(tmp_path: Path) -> None:
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


def test_parquet_with_missing_values_names_the_row(tmp_path: Path) -> None:
    columns = {"user_id": [1, 1], "item_id": [1, 2], "rating": [1.0, 2.0]}
    for name in ("rating", "timestamp", "item_id"):
        data = {**columns, "timestamp": [1, 2], name: pd.array([1, None], dtype="Int64")}
        pd.DataFrame(data).to_parquet(tmp_path / "mine.parquet")
        with pytest.raises(UserError, match=f"{name}.*; row 2 has nothing"):
            RatingsFile(str(tmp_path / "mine.parquet")).load()


NUMBER, TIME = "the rating must be a finite number", "the timestamp must be a number of seconds.*"
FOUND = "the columns found are"
BAD = {
    "no column": (
        "user_id,rating,time\n1,2,3\n",
        f"no column item_id; {FOUND} user_id, rating, time",
    ),
    "two columns": (
        "uid,user,item,rating,ts\n1,2,3,4,5\n",
        "several columns for user_id: uid, user",
    ),
    "semicolons": ("user_id;item_id\n1;2\n", f"no column timestamp; {FOUND} user_id, item_id"),
    "text rating": (HEADER + "1,10,4,100\n1,20,good,200\n", f"{NUMBER}; row 2 has 'good'"),
    "no rating": (HEADER + "1,10,,100\n1,20,3,200\n", f"{NUMBER}; row 1 has nothing"),
    "NaN rating": (HEADER + "1,10,4,100\n1,20,NaN,200\n", f"{NUMBER}; row 2 has 'NaN'"),
    "infinite rating": (HEADER + "1,10,inf,100\n1,20,3,200\n", f"{NUMBER}; row 1 has 'inf'"),
    "no user": (HEADER + "1,10,4,100\n,20,3,200\n", "value in user_id; row 2 has nothing"),
    "no item": (HEADER + "1,,4,100\n1,20,3,200\n", "value in item_id; row 1 has nothing"),
    "no timestamp": (HEADER + "1,10,4,100\n1,20,3,\n", f"{TIME}; row 2 has nothing"),
    "text timestamp": (HEADER + "1,10,4,100\n1,20,3,noon\n", f"{TIME}; row 2 has 'noon'"),
    "no date": (HEADER + "1,1,4,2024-01-31\n1,2,3,2024-02-31\n", f"{TIME}; row 2 has '2024-02-31'"),
    "infinite timestamp": (HEADER + "1,10,4,100\n1,20,3,inf\n", f"{TIME}; row 2 has 'inf'"),
    "duplicates": (
        GOOD + "1,20,1,200\n1,20,2,200\n",
        r"row 4 repeats an earlier event \(user 1, item 20, timestamp 200\); "
        "remove the 2 duplicate rows, or keep one of each with --duplicates first or last",
    ),
    "one event each": (HEADER + "1,10,4,100\n2,10,3,200\n", "has one event per user"),
    "header only": (HEADER, "has no rows"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_clear_sentence(case: str, tmp_path: Path) -> None:
    text, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence) as raised:
        written(tmp_path, text).load()
    assert str(tmp_path / "mine.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_same_pair_at_another_time_is_no_duplicate(tmp_path: Path) -> None:
    assert len(written(tmp_path, GOOD + "1,20,1,201\n").load().frame) == 4


def test_missing_file(tmp_path: Path) -> None:
    dataset = RatingsFile(str(tmp_path / "gone.csv"))
    for ask in (dataset.load, dataset.content_hash):
        with pytest.raises(UserError, match=r"There is no file .*gone\.csv"):
            ask()


def test_other_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.xlsx is none of \.csv, .*\.parquet; convert"):
        written(tmp_path, GOOD, "mine.xlsx").load()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine.csv", "mine.csv is not a text file: line 3 holds a NUL byte"),
        ("mine.csv.gz", "mine.csv.gz is not a readable csv.gz file"),
        ("mine.parquet", "mine.parquet is not a readable parquet file"),
    ],
)
def test_file_that_is_not_what_its_name_says(name: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    with pytest.raises(UserError, match=sentence):
        RatingsFile(str(path)).load()


def test_generated_file_goes_all_the_way(small_ratings_csv: Path) -> None:
    corpus = prepare(RatingsFile(str(small_ratings_csv)))
    assert len(corpus.sequences) == 60
    times = corpus.sequences.timestamps_E
    assert int((times.diff() == 0).sum()) > 50  # the ties that the tests rely on
