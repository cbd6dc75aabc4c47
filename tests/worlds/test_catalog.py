import json
from pathlib import Path

import pytest

from recsys_posttrain.config import describe
from recsys_posttrain.data import (
    GlobalTime,
    LeaveOneOut,
    MovieLens1M,
    MovieLens100K,
    MovieLensSmall,
    RatingsFile,
    UserHoldout,
)
from recsys_posttrain.errors import UserError
from recsys_posttrain.worlds.catalog import (
    dataset_described,
    dataset_named,
    log_or_dataset,
    split_named,
)
from recsys_posttrain.worlds.jester import Jester
from recsys_posttrain.worlds.logging_policy import LoggingPolicy
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens
from recsys_posttrain.worlds.tabular import Tabular

NAMED = {
    "ml-100k": MovieLens100K,
    "ml-1m": MovieLens1M,
    "ml-latest-small": MovieLensSmall,
    "jester": Jester,
}


@pytest.mark.parametrize("text", NAMED)
def test_names_and_the_worlds_made_of_them(text):
    dataset, kind = dataset_named(text, "somewhere"), NAMED[text]
    assert type(dataset) is kind
    assert (dataset.name, dataset.data_root) == (text, "somewhere")
    if text in ("ml-100k", "ml-1m"):
        world = dataset_named(f"semi-{text}", "somewhere")
        assert isinstance(world, SemiSyntheticMovieLens)
        assert type(world.source) is kind
        assert (world.name, world.source.data_root) == (f"semi-{text}", "somewhere")


@pytest.mark.parametrize("text", ["a/b.csv", "b.parquet", "B.CSV"])
def test_paths(text):
    assert dataset_named(text) == RatingsFile(text)


def test_the_nearest_name_is_suggested():
    near = {"ml-10k": "ml-100k", "ML1M": "ml-1m", "Jest": "jester", "semi-ml1m": "semi-ml-1m"}
    for text, nearest in near.items():
        with pytest.raises(UserError, match=f"no dataset '{text}'; did you mean '{nearest}'"):
            dataset_named(text)
    with pytest.raises(UserError, match=r"no dataset 'xyz' \(give one of ml-100k, .*\.csv, \.tsv"):
        dataset_named("xyz")


def test_splits():
    named = [split_named(name) for name in ("leave-one-out", "global-time", "user-holdout")]
    assert named == [LeaveOneOut(), GlobalTime(), UserHoldout()]
    with pytest.raises(UserError) as raised:
        split_named("global_time")
    assert str(raised.value) == (
        "There is no split 'global_time'; did you mean 'global-time'? (give one of "
        "leave-one-out, global-time, user-holdout)."
    )
    with pytest.raises(UserError, match=r"no split '!' \(give one of leave-one-out"):
        split_named("!")


@pytest.mark.parametrize(
    "dataset",
    [
        Jester(users=60, popularity=1.5),
        SemiSyntheticMovieLens(MovieLens1M(), users=20, logging=LoggingPolicy(taste=0.5)),
        Tabular(((1.0, 2.0),), ((0.5, 0.5),), (1.0,), users=7),
        RatingsFile("some/log.csv", minimum_events=1),
        MovieLens100K(),
    ],
)
def test_a_described_dataset_comes_back_with_its_settings(dataset):
    """Not as the one with the defaults that goes by the same name."""
    described = json.loads(json.dumps(describe(dataset)))
    assert dataset_described(described, None) == dataset
    rooted = dataset_described(described, "folder")
    source = getattr(rooted, "source", rooted)
    assert getattr(source, "data_root", "folder") == "folder"


@pytest.mark.parametrize(
    "described",
    [
        {"class": "Mine", "users": 3},
        {"class": "Jester", "people": 3},
        {"class": "dataset_named", "text": "ml-100k"},
        {"class": "Interactions"},
        {"users": 3},
    ],
)
def test_what_is_no_dataset_of_ours_is_refused(described):
    with pytest.raises(UserError, match="nothing that this version knows"):
        dataset_described(described, None)


def test_a_log_or_a_dataset_but_not_both():
    assert log_or_dataset(None, None, None) is None
    assert log_or_dataset(Path("a.csv"), None, "root") == RatingsFile("a.csv", 1)
    assert log_or_dataset(None, "ml-1m", "root") == MovieLens1M("root")
    with pytest.raises(UserError, match="--dataset NAME or --log FILE, and not both"):
        log_or_dataset(Path("a.csv"), "ml-1m", None)
