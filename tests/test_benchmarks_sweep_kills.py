"""Kill -9 of a sweep: twice here, twenty times in the benchmark itself."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "sweep_kills.py"


@pytest.mark.timeout(900)  # five processes one after the other, and a machine may be busy
def test_two_kills_lose_nothing(tmp_path: Path, small_ratings_csv: Path) -> None:
    spec = importlib.util.spec_from_file_location("sweep_kills", FILE)
    assert spec is not None
    assert spec.loader is not None
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    said = kills.report(tmp_path, small_ratings_csv, kills=2, workers=1, seed=0)
    assert said.startswith("2 kills with 1 worker, ")
