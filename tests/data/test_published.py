"""Logs in the layouts in which they are published, written small here; nothing is downloaded."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_posttrain.data import KuaiRand, KuaiRandUniform, KuaiRec, MovieLensBeliefs, Yambda
from recsys_posttrain.data.prepare import prepare
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.catalog import dataset_described, dataset_named

START = 1_650_000_000_000  # ms
KUAIREC = (
    "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    "14,148,4381,6067,2020-07-05 05:27:48.378,20200705,1593898068.378,0.722\n"
    "14,183,11635,6100,2020-07-05 05:28:00.057,20200705,1593898080.057,1.907\n"
    "14,183,11635,6100,2020-07-05 05:28:00.057,20200705,1593898080.057,1.907\n"
    "19,148,60670,6067,2020-07-05 05:28:00,20200705,1593898080.0,10.0\n"
    "19,183,0,6100,2020-07-05 05:29:00,20200705,1593898140.0,0.0\n"
)
RAND = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,"
RAND += "is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,"
RAND += "is_profile_enter,is_rand,tab\n"


def impression(user, video, second, click=0, like=0, hate=0, long=0, played=0):
    return (
        f"{user},{video},20220421,400,{START + 1000 * second},{click},{like},0,0,0,{hate},{long},"
        f"{played},104400,0,0,0,0,1\n"
    )


def written(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(folder)


def rows(log, *columns):
    return log.frame[list(columns)].to_numpy().tolist()


def test_kuairec(tmp_path, capsys):
    root = written(tmp_path, {"KuaiRec 2.0/data/big_matrix.csv": KUAIREC})
    log = dataset_named("kuairec", root).load()
    assert log.name == "kuairec"
    found = rows(log, "user_id", "item_id", "rating", "signal/seconds")
    # At most twice, in the order of the file; the row that stands twice counts once.
    assert found == [
        [14, 148, 0.722, 4.381],
        [14, 183, 1.907, 11.635],
        [19, 148, 2.0, 60.67],
        [19, 183, 0.0, 0.0],
    ]
    assert log.ticks_per_second == 10**9
    assert log.frame["timestamp"].iloc[0] == 1593898068378 * 10**6
    assert "1 duplicate events left out" in capsys.readouterr().err
    assert KuaiRec(reward="watch_ratio", data_root=root).load().frame["rating"].max() == 10


def test_kuairand_passed_over_before_a_click(tmp_path, capsys):
    """User 1 sees 10 and 11 and clicks 12 in the same minute; 13 comes after the last click, 14
    an hour before. User 2 clicks at once. The later file is read second."""
    first = RAND + impression(1, 14, -3600) + impression(1, 10, 0) + impression(1, 11, 7)
    first += impression(1, 12, 20, click=1, like=1, long=1, played=30_500)
    second = RAND + impression(2, 10, 500, click=1, hate=1) + impression(1, 13, 600)
    second += impression(2, 11, 700, click=1, long=1)
    root = written(
        tmp_path,
        {
            "KuaiRand-Pure/data/log_standard_4_22_to_5_08_pure.csv": second,
            "KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv": first,
            "KuaiRand-Pure/data/log_random_4_22_to_5_08_pure.csv": RAND,
        },
    )
    log = dataset_named("kuairand-pure", root).load()
    assert rows(log, "user_id", "item_id", "rating", "signal/seconds") == [
        [1, 12, 1.0, 30.5],
        [2, 10, 0.0, 0.0],
        [2, 11, 1.0, 0.0],
    ]
    assert "signal/clicked" not in log.frame
    assert log.frame["timestamp"].iloc[0] == START // 1000 + 20
    assert sorted(log.shown.to_numpy().tolist()) == [
        [1, 10, START // 1000 + 20],
        [1, 11, START // 1000 + 20],
    ]
    said = capsys.readouterr().err
    assert "2 impressions passed over before a click: negatives; 2 left out, without" in said
    short = KuaiRand(patience=15, data_root=root).load()
    assert short.shown["item_id"].tolist() == [11]


def test_a_command_line_may_give_another_reward(tmp_path):
    content = RAND + impression(1, 10, 0, click=1, like=1) + impression(1, 11, 9, click=1, hate=1)
    root = written(tmp_path, {"log_standard_x_pure.csv": content})
    signed = FileRules(reward="is_like - is_hate", signals="tab")
    log = dataset_named("kuairand-pure", root, signed).load()
    assert rows(log, "rating", "signal/tab") == [[1, 1], [-1, 1]]
    with pytest.raises(UserError, match=r"--columns user=x is for table files .*kuairand-pure"):
        dataset_named("kuairand-pure", root, FileRules(columns="user=x"))


def test_what_was_passed_over_stands_beside_its_click_in_the_corpus(tmp_path, own_cache):
    """User u clicks u, u + 1 and u + 2 of five videos, and passes over the next one each time."""
    lines = [
        impression(user, (user + place + 1 - click) % 5, 1000 * place + 30 * click, click, click)
        for user in range(5)
        for place in range(3)
        for click in (0, 1)
    ]
    root = written(tmp_path, {"log_standard_a_1k.csv": RAND + "".join(lines)})
    corpus = prepare(KuaiRand("1k", reward="is_click + is_like", data_root=root), 1)
    shown, log = corpus.sequences.shown, corpus.sequences
    assert shown.offsets_E1.diff().tolist() == [1] * 15
    item, passed = (corpus.item_ids[each.numpy() - 1] for each in (log.items_E, shown.items_S))
    assert ((item + 1) % 5 == passed).all()
    other = KuaiRand("1k", reward="is_click + is_like", data_root=root, patience=1)
    assert other.content_hash() != corpus.content_hash  # it reads another log of the same file
    assert prepare(other, 1).sequences.shown is None or not len(
        prepare(other, 1).sequences.shown.items_S
    )


def test_kuairand_uniform_has_a_known_propensity(tmp_path):
    content = RAND + impression(1, 10, 0) + impression(1, 11, 5, click=1, long=1)
    root = written(
        tmp_path,
        {"log_random_4_22_to_5_08_27k.csv": content + impression(2, 10, 9, click=1)},
    )
    log = dataset_named("kuairand-27k-uniform", root).load()
    # Every impression is a choice of the log's policy, whether it was clicked or not.
    assert rows(log, "user_id", "item_id", "rating") == [[1, 10, 0], [1, 11, 2], [2, 10, 1]]
    assert log.frame["propensity"].tolist() == [1 / 7583] * 3
    assert log.shown is None


def test_kuairand_in_parts(tmp_path):
    part = {
        f"log_standard_4_08_to_4_21_27k_part{n}.csv": RAND
        + impression(n, 10, n, click=1)
        + impression(n, 11, n + 5, click=1)
        for n in (1, 2)
    }
    log = KuaiRand("27k", data_root=written(tmp_path, part)).load()
    assert log.frame["user_id"].tolist() == [1, 1, 2, 2]


def yambda(folder, **columns):
    folder.mkdir(parents=True)
    types = {"uid": pa.uint32(), "item_id": pa.uint32(), "timestamp": pa.uint32()}
    types |= {"is_organic": pa.uint8(), "played_ratio_pct": pa.uint16()}
    types |= {"track_length_seconds": pa.uint32()}
    table = pa.table({name: pa.array(columns[name], types[name]) for name in types})
    pq.write_table(table, folder / "listens.parquet")


def test_yambda(tmp_path, monkeypatch):
    """Of the size that was asked for; only what is named is read."""
    listens = {
        "uid": [100, 100, 100, 200],
        "item_id": [8, 9, 8, 8],
        "timestamp": [0, 5, 1000, 5],
        "is_organic": [1, 0, 1, 1],
        "played_ratio_pct": [100, 42, 159, 0],
        "track_length_seconds": [200, 190, 200, 200],
    }
    yambda(tmp_path / "flat" / "50m", **listens)
    yambda(tmp_path / "flat" / "500m", **(listens | {"uid": [1, 1, 2, 2]}))
    read = []
    original = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile,
        "read",
        lambda self, columns=None, **k: (read.extend(columns), original(self, columns, **k))[1],
    )
    log = dataset_named("yambda-50m", str(tmp_path)).load()
    assert rows(log, "user_id", "item_id", "timestamp", "rating", "signal/organic") == [
        [100, 8, 0, 1.0, 1],
        [100, 9, 5, 0.42, 0],
        [100, 8, 1000, 1.0, 1],
        [200, 8, 5, 0.0, 1],
    ]
    assert "track_length_seconds" not in read
    assert {"uid", "played_ratio_pct", "is_organic"} <= set(read)
    other = Yambda("500m", data_root=str(tmp_path)).load()
    assert other.frame["user_id"].tolist() == [1, 1, 2, 2]


BELIEFS = (
    "userId,movieId,isSeen,watchDate,userElicitRating,userPredictRating,userCertainty,tstamp,"
    "month_idx,source,systemPredictRating\n"
    "7,1,-1,,,,,1700000000,3,1,3.5\n"  # no answer
    "7,2,0,,,4.5,2,1700000010,3,1,3.5\n"
    "7,3,1,2020-01-01,5.0,,,1700000020,3,1,3.5\n"  # seen
    "7,4,0,,,1.5,5,1700000030,3,2,3.5\n"
    "8,2,0,,,,,1700000040,3,2,3.5\n"  # not seen, and no expectation
    "7,2,0,,,3.0,4,1700000050,4,1,3.5\n"  # asked again
)


def test_beliefs(tmp_path):
    ratings = "userId,movieId,rating,timestamp\n7,10,4.5,1600000000\n7,11,2.0,1600000100\n"
    files = {"ml_belief_2024/user_rating_history.csv": ratings}
    files |= {"ml_belief_2024/belief_data.csv": BELIEFS}
    dataset = dataset_named("ml-belief-2024", written(tmp_path, files))
    assert isinstance(dataset, MovieLensBeliefs)
    log = dataset.load()
    assert rows(log, "user_id", "item_id", "rating") == [[7, 10, 4.5], [7, 11, 2.0]]
    expected = dataset.expected()
    assert expected.to_numpy().tolist() == [[7, 4, 1.5, 1700000030], [7, 2, 3.0, 1700000050]]
    assert dataset.expected(certainty=5)["item_id"].tolist() == [4]


NAMES = [
    *("kuairec", "kuairec-world", "kuairand-pure", "kuairand-1k-uniform", "yambda-5b"),
    "ml-belief-2024",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_said(name, tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_POSTTRAIN_DATA", raising=False)
    with pytest.raises(UserError, match=rf"{name} is too large .*https://.*--data-root FOLDER"):
        dataset_named(name).load()
    with pytest.raises(UserError, match=r"holds no .*, in no folder below it: give the unpacked"):
        dataset_named(name, str(tmp_path)).load()
    monkeypatch.setenv("RECSYS_POSTTRAIN_DATA", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="missing holds no"):
        dataset_named(name).load()


def test_a_saved_description_finds_them_again():
    from recsys_posttrain.config import describe

    for dataset in (KuaiRand("1k", patience=5), KuaiRandUniform(), Yambda("500m"), KuaiRec()):
        again = dataset_described(describe(dataset), "somewhere")
        assert (again, again.data_root) == (dataset, "somewhere")
