"""Kill -9 of a sweep: twice here, twenty times in the benchmark itself."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.timeout(900)  # five processes one after the other, and a machine may be busy
def test_two_kills_lose_nothing(
    tmp_path: Path, small_ratings_csv: Path, script: Callable[[str], ModuleType]
) -> None:
    kills = script("benchmarks/sweep_kills.py")
    said = kills.report(tmp_path, small_ratings_csv, kills=2, workers=1, seed=0)
    assert said.startswith("2 kills with 1 worker, ")
