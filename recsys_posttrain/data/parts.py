"""A large parquet log part by part, where the rows of each user stand together: memory is that of a
part. Each part is read and checked as a file of its own would be."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from recsys_posttrain.data.columns import Column
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.table_file import RatingsFile
from recsys_posttrain.data.table_paths import suffix_of, table_paths
from recsys_posttrain.files import reading
from recsys_posttrain.types import Interactions

PART_ROWS = 1 << 19
_NUMBER = re.compile(r"(?:(?<=^)|(?<= ))(\d[\d,]*)(?= )")
_COUNTS = re.compile(r"(.*?: |)\d[\d,]* ")
_SPAN = re.compile(r"(.*), from (.*) to (.*)")


def parts_of(file: RatingsFile) -> tuple[int, Iterator[Interactions]] | None:
    """How many users the file has, and their events part by part, in its order.

    None: it is to be read whole, being no parquet or no larger than a part, or because a formula
    needs all of its rows or the rows of a user stand apart, which is said.
    """
    paths = table_paths(file.path)
    if suffix_of(paths[0].name) != ".parquet" or file.reward or file.signals:
        return None
    with reading(paths[0], "parquet", "give a parquet file"):
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        if rows <= PART_ROWS:
            return None
        users = _users_together(file, paths)
    if users is None:
        note(
            f"{file.path}: the rows of a user stand apart, so all {rows:,} are held in memory; "
            "sort them by user to have them read in parts"
        )
        return None
    return users, _parts(file, paths)


def _chosen(file: RatingsFile, path: Path) -> dict[str, str]:
    names = pq.read_schema(path).names
    return {ours: names[place] for ours, place in file._chosen(names).items()}


def _users_together(file: RatingsFile, paths: list[Path]) -> int | None:
    """How many users there are; None where one comes again after another."""
    runs: list[pa.Array] = []
    for path in paths:
        column = _chosen(file, path)["user_id"]
        for batch in pq.ParquetFile(path).iter_batches(PART_ROWS, columns=[column]):
            values = _decoded(batch.column(0))
            starts = _starts(values)
            if runs and len(starts) and values[0].equals(runs[-1][-1]):
                starts = starts[1:]
            runs.append(values.take(pa.array(starts)))
            runs = runs[:-1] if not len(runs[-1]) else runs
    all_runs = pa.chunked_array(runs)
    return (
        len(all_runs) if pc.count_distinct(all_runs, mode="all").as_py() == len(all_runs) else None
    )


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _starts(values: pa.Array) -> np.ndarray:
    """Where another value begins."""
    is_new = pc.fill_null(pc.not_equal(values[1:], values[:-1]), True)
    return np.flatnonzero(np.concatenate([[True], is_new.to_numpy(zero_copy_only=False)]))


def _parts(file: RatingsFile, paths: list[Path]) -> Iterator[Interactions]:
    """Whole users, about PART_ROWS rows at a time."""
    ends, end = [], 0
    for path in paths:
        end += pq.read_metadata(path).num_rows
        ends.append((path.name, end))
    rest, first = None, 0
    for path in paths:
        chosen = _chosen(file, path)
        for batch in pq.ParquetFile(path).iter_batches(PART_ROWS, columns=list(chosen.values())):
            table = pa.Table.from_batches([batch]).select(list(chosen.values()))
            table = table.rename_columns(list(chosen))
            table = table if rest is None else pa.concat_tables([rest, table])
            users = _decoded(table.column("user_id").combine_chunks())
            cut = int(_starts(users)[-1])
            rest = table.slice(cut)
            if cut:
                yield _checked(file, chosen, table.slice(0, cut), first, ends)
                first += cut
    assert rest is not None
    yield _checked(file, chosen, rest, first, ends)


def _checked(
    file: RatingsFile,
    names: dict[str, str],
    table: pa.Table,
    first: int,
    ends: list[tuple[str, int]],
) -> Interactions:
    several = tuple(ends) if len(ends) > 1 else ()
    columns = {
        ours: Column(file.path, name.strip(), table.column(ours), several, first)
        for ours, name in names.items()
    }
    found = file._interactions(columns, "")
    # Ids of one part may all be whole numbers; those of another need not be.
    if columns["user_id"].plain().is_text:
        found.frame["user_id"] = found.frame["user_id"].astype("str")
    return found


def note_of_all(said: list[str]) -> None:
    """What was said of the parts, once of the whole: counts are added, spans of times joined."""
    counts: dict[tuple[str, ...], list[int]] = {}
    spans: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for text in said:
        if _COUNTS.match(text):
            found = _NUMBER.split(text)
            numbers = [int(each.replace(",", "")) for each in found[1::2]]
            known = counts.setdefault(tuple(found[::2]), [0] * len(numbers))
            counts[tuple(found[::2])] = [a + b for a, b in zip(known, numbers, strict=True)]
        elif span := _SPAN.fullmatch(text):
            spans.setdefault(span[1], []).extend((span[2], span[3]))
        else:
            others.setdefault(re.sub("[0-9]", "", text), text)
    for text in others.values():
        note(text)
    for text, times in spans.items():
        note(f"{text}, from {min(times)} to {max(times)}")
    for words, totals in counts.items():
        pairs = zip(words, [*(f"{total:,}" for total in totals), ""], strict=True)
        note("".join(each for pair in pairs for each in pair))
