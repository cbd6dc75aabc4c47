"""A small file in Jester's form: 40 people who rated all 100 jokes and 25 who rated some."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from recsys_posttrain.worlds import jester_file


@dataclass(frozen=True)
class SmallJester:
    """path: the CSV. rating_UV: as written, 99 where there is none; users of the file in order."""

    path: Path
    rating_UV: np.ndarray

    @property
    def complete_rows(self):
        return [row for row, ratings in enumerate(self.rating_UV) if 99 not in ratings]


def csv_of(rating_UV):
    lines = [[(row != 99).sum(), *row] for row in rating_UV]
    return "\n".join(",".join(f"{value:g}" for value in line) for line in lines) + "\n"


@pytest.fixture
def small_jester(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    rating_UV = generator.integers(-1000, 1001, size=(65, 100)) / 100
    first, *others = generator.permutation(65)[:25]
    rating_UV[first, :30] = 99
    for row in others:
        # Joke v is missing for more people the larger v is: popularity differs.
        missing = generator.random(100) < 0.1 + 0.8 * np.arange(100) / 100
        missing[99] = True
        rating_UV[row, missing] = 99
    path = tmp_path / "jester-data-1.csv"
    path.write_text(csv_of(rating_UV))
    table = np.column_stack([(rating_UV != 99).sum(1), rating_UV])
    form = b"".join(round(100 * value).to_bytes(2, "little", signed=True) for value in table.flat)
    hashes = dict.fromkeys(jester_file.JESTER.sha256_by_file, hashlib.sha256(form).hexdigest())
    monkeypatch.setattr(jester_file, "JESTER", replace(jester_file.JESTER, sha256_by_file=hashes))
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    return SmallJester(path, rating_UV)
