"""The dataset or world that a word on the command line means."""

from recsys_posttrain.data import MovieLens1M, MovieLens100K, dataset_named
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens


def source_named(text: str, data_root: str | None = None) -> Dataset:
    """What `dataset_named` knows, or semi-ml-100k or semi-ml-1m. data_root: of the real ratings.

    Raises: as `dataset_named`.
    """
    sources = (MovieLens100K(data_root), MovieLens1M(data_root))
    return dataset_named(text, data_root, [SemiSyntheticMovieLens(source) for source in sources])
