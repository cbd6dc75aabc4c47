import pytest

from recsys_posttrain.data import MovieLens1M, MovieLens100K
from recsys_posttrain.errors import UserError
from recsys_posttrain.named import source_named
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens


@pytest.mark.parametrize(("text", "kind"), [("ml-100k", MovieLens100K), ("ml-1m", MovieLens1M)])
def test_datasets_and_the_worlds_made_of_them(text: str, kind: type) -> None:
    assert source_named(text, "somewhere") == kind("somewhere")
    world = source_named(f"semi-{text}", "somewhere")
    assert isinstance(world, SemiSyntheticMovieLens)
    assert world.name == f"semi-{text}"
    assert type(world.source) is kind
    assert world.source.data_root == "somewhere"


def test_the_nearest_world_is_suggested() -> None:
    with pytest.raises(UserError, match="no dataset 'semi-ml1m'; did you mean semi-ml-1m"):
        source_named("semi-ml1m")
