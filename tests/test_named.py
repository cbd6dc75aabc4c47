import pytest

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
from recsys_posttrain.named import dataset_named, split_named
from recsys_posttrain.worlds.jester import Jester
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ml-100k", MovieLens100K),
        ("ml-1m", MovieLens1M),
        ("ml-latest-small", MovieLensSmall),
        ("jester", Jester),
    ],
)
def test_names(text: str, kind: type) -> None:
    dataset = dataset_named(text, "somewhere")
    assert type(dataset) is kind
    assert dataset.name == text
    assert dataset.data_root == "somewhere"


@pytest.mark.parametrize("text", ["a/b.csv", "b.parquet", "B.CSV"])
def test_paths(text: str) -> None:
    assert dataset_named(text) == RatingsFile(text)


@pytest.mark.parametrize(
    ("text", "nearest"), [("ml-10k", "ml-100k"), ("ML1M", "ml-1m"), ("Jest", "jester")]
)
def test_nearest_name_is_suggested(text: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"no dataset '{text}'; did you mean {nearest}?"):
        dataset_named(text)


def test_a_word_like_no_name() -> None:
    with pytest.raises(UserError, match=r"no dataset 'xyz'; give ml-100k, .*\.csv, \.tsv, .*"):
        dataset_named("xyz")


def test_splits() -> None:
    named = [split_named(name) for name in ("leave-one-out", "global-time", "user-holdout")]
    assert named == [LeaveOneOut(), GlobalTime(), UserHoldout()]
    message = (
        "There is no split 'global_time'; did you mean global-time\\? Otherwise give "
        "leave-one-out, global-time, user-holdout."
    )
    with pytest.raises(UserError, match=message):
        split_named("global_time")
    with pytest.raises(UserError, match=r"no split '!'; give leave-one-out"):
        split_named("!")


@pytest.mark.parametrize(("text", "kind"), [("ml-100k", MovieLens100K), ("ml-1m", MovieLens1M)])
def test_datasets_and_the_worlds_made_of_them(text: str, kind: type) -> None:
    assert dataset_named(text, "somewhere") == kind("somewhere")
    world = dataset_named(f"semi-{text}", "somewhere")
    assert isinstance(world, SemiSyntheticMovieLens)
    assert world.name == f"semi-{text}"
    assert type(world.source) is kind
    assert world.source.data_root == "somewhere"


def test_the_nearest_world_is_suggested() -> None:
    with pytest.raises(UserError, match="no dataset 'semi-ml1m'; did you mean semi-ml-1m"):
        dataset_named("semi-ml1m")
