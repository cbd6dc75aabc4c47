"""The dataset, world or split that a word on the command line means."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from recsys_posttrain import data
from recsys_posttrain.config import described_value, require
from recsys_posttrain.data.kuairand import Version
from recsys_posttrain.data.prepare import Dataset
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.data.table_paths import SUFFIXES, is_table, suffix_of
from recsys_posttrain.data.yambda import Size
from recsys_posttrain.errors import UserError, did_you_mean, nearest

Known = TypeVar("Known")


def dataset_named(
    text: str, data_root: str | None = None, rules: FileRules = FileRules()
) -> Dataset:
    """ml-100k, ml-1m, ml-latest-small, a world (jester, semi-ml-100k, semi-ml-1m), a log that lies
    in data_root (kuairec, ...), or the path of a table file (`SUFFIXES`), of a folder of such
    files, or a pattern that they fit.

    rules: of `RatingsFile`, which nothing else has.

    Raises: UserError: none of these; the nearest name is suggested.
    """
    if rules != FileRules():
        return by_rules(dataset_named(text, data_root), rules)
    if suffix_of(text):
        check_data_root(data_root, text)
        return data.RatingsFile(text)
    kinds = (data.MovieLens100K, data.MovieLens1M, data.MovieLensSmall)
    known: dict[str, Dataset] = {kind(data_root).name: kind(data_root) for kind in kinds}
    if text not in known:
        known |= {each.name: each for each in (*_worlds(data_root), *_published(data_root))}
    if text not in known and is_table(text):  # a folder
        check_data_root(data_root, text)
        return data.RatingsFile(text)
    return _named("dataset", text, known, f", or the path of a file: {', '.join(SUFFIXES)}")


def _named(kind: str, text: str, known: Mapping[str, Known], other: str = "") -> Known:
    if text not in known:
        hint = did_you_mean(nearest(text.lower(), known, cutoff=0.4))
        raise UserError(
            f"There is no {kind} {text!r}{hint} (give one of {', '.join(known)}{other})."
        )
    return known[text]


def check_data_root(data_root: str | None, path: str) -> None:
    """Refused beside a file, which is its own source."""
    if data_root is not None:
        raise UserError(
            f"--data-root {data_root} is for named datasets; {path} is read from where it lies, so "
            "leave --data-root out."
        )


def log_or_dataset(log: Path | None, dataset: str | None, data_root: str | None) -> Dataset | None:
    """Where the command line says that the data are now; None: where they were.

    A log may hold single events: whoever recommends needs no more.
    """
    require(log is None or dataset is None, "give --dataset NAME or --log FILE, and not both")
    if log is not None:
        return data.RatingsFile(str(log), minimum_events=1)
    return None if dataset is None else dataset_named(dataset, data_root)


def dataset_described(described: dict[str, Any], data_root: str | None) -> Dataset:
    """The dataset that `config.describe` described so, with its settings.

    Raises: UserError: it is none of this package's.
    """
    from recsys_posttrain.worlds import full_matrix, jester, semi_synthetic, tabular

    names = vars(semi_synthetic) | vars(full_matrix) | vars(jester) | vars(tabular) | vars(data)
    found: Dataset = _rooted(described_value(described, names), data_root)
    return found


def _rooted(dataset: Any, data_root: str | None) -> Any:
    """The dataset, or the ratings that a world is fitted to, read from data_root."""
    if data_root is None:
        return dataset
    if hasattr(dataset, "logs"):
        return replace(dataset, logs=tuple(_rooted(each, data_root) for each in dataset.logs))
    if hasattr(dataset, "source"):
        return replace(dataset, source=_rooted(dataset.source, data_root))
    return replace(dataset, data_root=data_root) if hasattr(dataset, "data_root") else dataset


def by_rules(dataset: Any, rules: FileRules) -> Dataset:
    """The table file, or another log with formulas of its own, read by other rules.

    Raises: UserError: the dataset has no such rules.
    """
    if not rules.given.keys() <= {field.name for field in fields(dataset)}:
        raise UserError(
            f"{' '.join(rules.options)} is for table files ({', '.join(SUFFIXES)}), and the "
            f"dataset is {dataset.name}; leave it out."
        )
    found: Dataset = replace(dataset, **rules.given)
    return found


def _worlds(data_root: str | None) -> tuple[Dataset, ...]:
    # Imported where they are asked for: what fits a world takes a second to load.
    from recsys_posttrain.worlds.full_matrix import KuaiRecWorld
    from recsys_posttrain.worlds.jester import Jester
    from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens

    sources = (data.MovieLens100K(data_root), data.MovieLens1M(data_root))
    semi_synthetic = (SemiSyntheticMovieLens(source) for source in sources)
    return Jester(data_root=data_root), KuaiRecWorld(data_root=data_root), *semi_synthetic


def _published(data_root: str | None) -> tuple[Dataset, ...]:
    """Those that are too large to be fetched, with their defaults."""
    rand = [
        kind(version, data_root=data_root)
        for kind in (data.KuaiRand, data.KuaiRandUniform)
        for version in get_args(Version)
    ]
    listens = [data.Yambda(size, data_root=data_root) for size in get_args(Size)]
    beliefs = data.MovieLensBeliefs(data_root)
    return data.KuaiRec(data_root=data_root), *rand, *listens, beliefs


def split_named(text: str) -> data.SplitConfig:
    """leave-one-out, global-time or user-holdout, each with its defaults.

    Raises: UserError: none of these; the nearest name is suggested.
    """
    known: dict[str, data.SplitConfig] = {
        "leave-one-out": data.LeaveOneOut(),
        "global-time": data.GlobalTime(),
        "user-holdout": data.UserHoldout(),
    }
    return _named("split", text, known)
