"""A table file as columns: what its bytes are (compressed, which encoding, which separator)."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyarrow import csv as arrow_csv

from recsys_posttrain.config import require
from recsys_posttrain.data.columns import SHOWN, Column
from recsys_posttrain.data.notes import note
from recsys_posttrain.data.table_paths import suffix_of
from recsys_posttrain.errors import UserError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DAMAGED_GZ = (gzip.BadGzipFile, EOFError, zlib.error)
HEADER_BYTES = 1 << 16
BLOCK_BYTES = 1 << 24
MOST_TIMES = 100  # a log packs to a tenth; what grows more is a mistake or an attack

# (the names in the header) -> which of them, by place, is each column that is wanted.
Choose = Callable[[list[str]], Mapping[str, int]]


def read_tables(label: str, paths: Sequence[Path], choose: Choose) -> dict[str, Column]:
    """The chosen columns of one file, or of several one below the other. label: what they are.

    Raises: UserError: as `read_table`; a file has other columns, or the same of another type.
    """
    tables = [read_table(path, suffix_of(path.name)[1:], choose) for path in paths]
    if len(tables) == 1:
        return tables[0]
    ends = np.cumsum([len(table["user_id"].values) for table in tables]).tolist()
    named = tuple(zip((path.name for path in paths), ends, strict=True))
    joined = {}
    for path, table in zip(paths, tables, strict=True):
        only = [each.name for name, each in table.items() if name not in tables[0]]
        lost = [each.name for name, each in tables[0].items() if name not in table]
        require(
            not (only or lost),
            f"{path} and {paths[0].name} must have the same columns; one of them alone has "
            f"{', '.join(only + lost)}: save both alike.",
        )
        for name, here in table.items():
            first = tables[0][name]
            require(
                here.values.type == first.values.type,
                f"{path} has {here.name} as {here.values.type} and {paths[0].name} as "
                f"{first.values.type}; save both alike.",
            )
    for name, first in tables[0].items():
        chunks = [chunk for table in tables for chunk in table[name].values.chunks]
        values = pa.chunked_array(chunks, type=first.values.type)
        joined[name] = Column(label, first.name, values, named)
    return joined


def read_table(path: Path, kind: str, choose: Choose) -> dict[str, Column]:
    """The chosen columns; those of a text file as text. kind: csv, csv.gz, parquet, ...

    Raises: UserError: the file is missing, unreadable or empty, or a row has another number of
    fields than the header; and what `choose` raises.
    """
    try:
        if kind == "parquet":
            return _parquet(path, choose)
        return _text(path, _content(path), "\t" if "tsv" in kind else ",", choose)
    except (pa.ArrowException, csv.Error, UnicodeError, *_DAMAGED_GZ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a readable {kind} file: {reason.rstrip('.')}.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def _parquet(path: Path, choose: Choose) -> dict[str, Column]:
    # Without the metadata of pandas, so that an index is a column like the others.
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        chosen = choose(names)
        table = file.read(columns=[names[place] for place in chosen.values()])
    return {
        wanted: Column(str(path), names[place].strip(), table.column(names[place]))
        for wanted, place in chosen.items()
    }


def _content(path: Path) -> bytes:
    """The text of the file as UTF-8 without a mark in front."""
    content = _unpacked(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            note(f"{path} is read as {encoding.upper()}")
            content = content.decode(encoding).encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    nothing = content.find(b"\0")
    if nothing >= 0:
        raise UserError(
            f"{path} is not a text file: line {_line(content, nothing)} holds a NUL byte; save it "
            "as UTF-8 text."
        )
    content = content.lstrip(b"\r\n")
    return content if content.endswith((b"\n", b"\r")) else content + b"\n"


def _unpacked(path: Path) -> bytes:
    most = MOST_TIMES * path.stat().st_size
    with gzip.open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(
            f"{path} unpacks to more than {MOST_TIMES} times its size; if that is right, unpack it "
            "and give the file inside."
        )
    return content


def _text(path: Path, content: bytes, usual: str, choose: Choose) -> dict[str, Column]:
    """usual: what separates columns, by the file's name."""
    if content.isspace():
        raise UserError(f"{path} is empty; give a file with a header and rows.")
    separator, names, chosen = _header(path, content, choose)
    if separator != usual:
        note(f"{path} is read with {SEPARATORS[separator]} between the columns")
    fields = [str(place) for place in range(len(names))]
    wrong: list[Any] = []

    def keep(row: Any) -> str:
        wrong.append(row)
        return "skip" if len(wrong) == 1 else "error"

    wanted = [fields[place] for place in chosen.values()]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            arrow_csv.ReadOptions(
                use_threads=False,  # with several, a wrong row does not know its number
                column_names=fields,
                skip_rows_after_names=1,
                block_size=BLOCK_BYTES,
            ),
            arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=keep
            ),
            # As text, so that ids keep leading zeros and a bad value can be named as it is written;
            # only an empty field is missing: an item may be called "None" or "NA".
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if not wrong:
            try:
                content.decode()
            except UnicodeDecodeError as reason:
                raise _not_utf8(path, content, reason) from error
            raise
    if wrong:
        text = wrong[0].text
        text = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        raise UserError(
            f"{path}: row {wrong[0].number - 1} has {wrong[0].actual_columns} fields and the "
            f"header {wrong[0].expected_columns}: {text!r}; correct or remove that row (a field "
            "with the separator in it needs quotes)."
        )
    return {
        name: Column(str(path), names[place].strip(), table.column(field))
        for (name, place), field in zip(chosen.items(), wanted, strict=True)
    }


def _header(path: Path, content: bytes, choose: Choose) -> tuple[str, list[str], Mapping[str, int]]:
    """The separator under which the wanted columns are found, all names, and the wanted ones."""
    try:  # incremental, because the piece may end within a character
        start = codecs.getincrementaldecoder("utf-8")().decode(content[:HEADER_BYTES])
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content, error) from error
    headers = {
        separator: next(csv.reader(io.StringIO(start, newline=""), delimiter=separator))
        for separator in SEPARATORS
    }
    for separator, names in headers.items():
        with suppress(UserError):
            return separator, names, choose(names)
    choose(max(headers.values(), key=len))  # raises, and names the columns that there are
    raise AssertionError("unreachable")


def _not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> UserError:
    return UserError(
        f"{path} is not UTF-8 text: line {_line(content, error.start)} holds the byte "
        f"0x{content[error.start]:02x}; save it as UTF-8."
    )


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1
