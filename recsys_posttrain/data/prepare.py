"""From raw ratings to time-ordered sequences, once: kept as Arrow, used as flat tensors."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from recsys_posttrain.data.notes import heard, note
from recsys_posttrain.data.numbered import Numbered, numbered
from recsys_posttrain.data.propensity import PROPENSITY
from recsys_posttrain.data.signals import is_signal, signals_of
from recsys_posttrain.data.sources import CACHE, cache_folder
from recsys_posttrain.errors import UserError
from recsys_posttrain.files import new_folder, sha256_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa  # type: ignore[import-untyped]

    from recsys_posttrain.reward_scale import Thresholds
    from recsys_posttrain.types import Corpus, Interactions, Repeats

FORMAT_VERSION = 7  # raise it when the same source would be prepared differently
FACTS = "facts.json"  # about the whole; checked by hash as the tables are, unlike provenance.json


class Dataset(Protocol):
    """A source of ratings: a frozen dataclass with these three."""

    @property
    def name(self) -> str: ...

    def content_hash(self) -> str:
        """SHA-256 of the bytes that `load` would read, without parsing them."""
        ...

    def load(self) -> Interactions: ...


def prepare(
    dataset: Dataset,
    minimum_item_ratings: int = 5,
    cache: Path | None = None,
    repeats: Repeats | None = None,
    thresholds: Thresholds | None = None,
) -> Corpus:
    """Filter, order and encode a dataset; reused from the cache when it was done before.

    Items with fewer than minimum_item_ratings are dropped in one pass. Events are sorted by
    (user, exact time), ties in file order. Users and items are numbered by first appearance in
    the file, so sources that only name them differently give equal tensors.

    cache: the folder for prepared data (default: `cache_folder()`). repeats: whether users choose
    items again; None: measured in what is left after filtering (data/repeats.py). thresholds: of
    the rewards, in place of those of the log's scale (reward_scale.py).

    Raises: UserError: no item has enough ratings; the source or the cache folder fails; the
    thresholds do not fit the rewards.
    """
    if minimum_item_ratings < 1:
        raise UserError(
            f"minimum_item_ratings is {minimum_item_ratings}; give 1 (keep every item) or more."
        )
    content_hash = dataset.content_hash()
    key = f"{content_hash} {minimum_item_ratings} {FORMAT_VERSION}"
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = (cache or cache_folder()) / "prepared" / f"{dataset.name}-{fingerprint}"
    if folder.exists() and not _is_intact(folder):
        note(f"{dataset.name}: the prepared data in {folder} is damaged; preparing it again")
        shutil.rmtree(folder, ignore_errors=True)
    path = str(getattr(dataset, "path", ""))
    if not folder.exists():
        with heard() as said:
            interactions = dataset.load()
        log = numbered(interactions, minimum_item_ratings)
        del interactions  # a large log is held once at a time
        _give_back()
        tables = _tables(log)
        del log
        tables.facts["said"] = _about_the_file(path, said)
        provenance = {
            "dataset": dataset.name,
            "content_hash": content_hash,
            "minimum_item_ratings": minimum_item_ratings,
            "format_version": FORMAT_VERSION,
        }
        _save(folder, tables, fingerprint, provenance)
        del tables
        _said.add((content_hash, path))
    elif multiprocessing.parent_process() is None:  # workers would say it once each
        _say_again(folder, content_hash, path)
    # What a world knows of every choice is in the unit of its log, which is read as it is.
    as_is = hasattr(dataset, "truth")
    return _corpus(_read(folder), dataset.name, content_hash, repeats, thresholds, as_is)


def _give_back() -> None:
    """To the system, the memory of tables that are no more."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _about_the_file(path: str, said: list[str]) -> list[str]:
    """How a file was read, without its path: another file of this content is read so too."""
    paths = (path, str(Path(path).expanduser())) if path else ()
    return [
        next(text.removeprefix(each) for each in paths if text.startswith(each))
        for text in said
        if text.startswith(paths)
    ]


_said: set[tuple[str, str]] = set()  # the content hashes and paths of files that notes were about


def _say_again(folder: Path, content_hash: str, path: str) -> None:
    """Once in a process: what was converted or left out when the file was read."""
    if (content_hash, path) not in _said:
        _said.add((content_hash, path))
        for text in _facts(folder).get("said", ()):
            note(f"{path}{text}")


def corpus_of(
    interactions: Interactions, minimum_item_ratings: int = 1, repeats: Repeats | None = None
) -> Corpus:
    """What `prepare` gives of the same ratings, without a cache; rewards as they are."""
    tables = _tables(numbered(interactions, minimum_item_ratings))
    return _corpus(tables, interactions.name, interactions.content_hash, repeats, as_is=True)


class _Tables(NamedTuple):
    """users: a row each, with user_id, items, rewards, times. items: a row each, with item_id.
    facts: about the whole, among them who has none of these items."""

    users: pa.Table
    items: pa.Table
    facts: dict[str, Any]


def _tables(log: Numbered) -> _Tables:
    import numpy as np
    import pyarrow as pa

    from recsys_posttrain.data.impressions import shown_columns
    from recsys_posttrain.data.regions import REGION, codes_of

    interactions, user_E, user_ids, item_E, item_ids, left_out = log
    frame = interactions.frame
    timestamp_E = frame["timestamp"].to_numpy()
    order_E = np.lexsort((timestamp_E, user_E))  # stable: ties keep the file's order
    offsets = pa.array(np.concatenate([[0], np.bincount(user_E).cumsum()]), type=pa.int32())

    def per_user(values_E: np.ndarray, dtype: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(values_E[order_E], type=dtype))

    columns = {
        "user_id": pa.array(user_ids),
        "items": per_user(item_E + 1, pa.int64()),
        "rewards": per_user(frame["rating"].to_numpy(dtype=np.float32), pa.float32()),
        "times": per_user(timestamp_E, pa.int64()),
    }
    if PROPENSITY in frame:
        columns["propensities"] = per_user(frame[PROPENSITY].to_numpy(np.float64), pa.float64())
    region_names: list[str] = []
    if REGION in frame:
        region_E, region_names = codes_of(frame[REGION])
        columns["regions"] = per_user(region_E, pa.int64())
    for name in filter(is_signal, map(str, frame)):
        columns[name] = per_user(frame[name].to_numpy(np.float32), pa.float32())
    columns |= shown_columns(interactions, frame, order_E, item_ids, offsets)
    facts = {
        "has_ratings": interactions.has_ratings,
        "ticks_per_second": interactions.ticks_per_second,
        "left_out_user_ids": left_out,
        "region_names": region_names,
    }
    return _Tables(pa.table(columns), pa.table({"item_id": pa.array(item_ids)}), facts)


def _save(folder: Path, tables: _Tables, fingerprint: str, provenance: dict[str, Any]) -> None:
    datasets = _quiet_datasets()
    with new_folder(folder, CACHE) as temporary:
        for name, table in (("users", tables.users), ("items", tables.items)):
            # A fingerprint given by hand: it names the content of the source, not our code.
            datasets.Dataset(
                datasets.table.InMemoryTable(table), fingerprint=f"{fingerprint}-{name}"
            ).save_to_disk(temporary / name)
        (temporary / FACTS).write_text(json.dumps(tables.facts), encoding="utf-8")
        record = json.dumps(provenance | {"files": _hashes(temporary)}, indent=2, sort_keys=True)
        (temporary / "provenance.json").write_text(record + "\n", encoding="utf-8")


def _read(folder: Path) -> _Tables:
    datasets = _quiet_datasets()
    users, items = (
        datasets.load_from_disk(folder / name).data.table.combine_chunks()
        for name in ("users", "items")
    )
    return _Tables(users, items, _facts(folder))


def _facts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))


def _corpus(
    tables: _Tables,
    name: str,
    content_hash: str,
    repeats: Repeats | None = None,
    thresholds: Thresholds | None = None,
    as_is: bool = False,
) -> Corpus:
    import numpy as np
    import torch

    from recsys_posttrain.data.impressions import SHOWN_COLUMNS, shown_of
    from recsys_posttrain.data.repeats import measured_repeats
    from recsys_posttrain.reward_scale import RewardScale, Thresholds, scale_of
    from recsys_posttrain.types import Corpus, Sequences

    users, items, facts = tables

    def events(column: str) -> np.ndarray:
        # A view of the mapped file first, then one copy, so that the file can be replaced.
        values = users.column(column).combine_chunks().flatten()
        return np.array(values.to_numpy(zero_copy_only=True))

    reward_E = events("rewards")
    scale = scale_of(
        reward_E,
        thresholds or Thresholds(),
        declared=RewardScale() if as_is else None,
        has_ratings=facts["has_ratings"],
    )
    signal_scales, signals = signals_of(
        {each: events(each) for each in users.column_names if is_signal(each)}
    )
    lengths_N = np.diff(users.column("items").combine_chunks().offsets.to_numpy())
    offsets_N1 = np.concatenate([[0], lengths_N.cumsum(dtype=np.int64)])
    times_E, ticks_per_second = events("times"), facts["ticks_per_second"]
    sequences = Sequences(
        torch.from_numpy(events("items")),
        torch.from_numpy(scale.to_stars(reward_E)),
        torch.from_numpy(times_E // ticks_per_second),
        torch.from_numpy(offsets_N1),
        torch.from_numpy(events("propensities")) if "propensities" in users.column_names else None,
        signals,
        shown_of({name: events(name) for name in SHOWN_COLUMNS if name in users.column_names}),
        torch.from_numpy(events("regions")) if "regions" in users.column_names else None,
    )
    return Corpus(
        name=name,
        sequences=sequences,
        user_ids=users.column("user_id").to_numpy(),
        item_ids=items.column("item_id").to_numpy(),
        content_hash=content_hash,
        repeats=repeats or measured_repeats(sequences),
        ticks_E=None if ticks_per_second == 1 else torch.from_numpy(times_E),
        ticks_per_second=ticks_per_second,
        left_out_user_ids=np.array(facts["left_out_user_ids"], dtype=object),
        reward_scale=scale,
        signal_scales=signal_scales,
        region_names=tuple(facts["region_names"]),
    )


def _is_intact(folder: Path) -> bool:
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        return bool(provenance["files"] == _hashes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, except the provenance that records them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in files
        if path.name != "provenance.json"
    }


def _quiet_datasets() -> Any:
    """Hugging Face datasets, which only reads and writes local files here, without its bars."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets  # type: ignore[import-untyped]

    datasets.disable_progress_bars()
    return datasets
