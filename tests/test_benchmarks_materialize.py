"""The benchmark of materialising, in a small form."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def test_it_writes_and_looks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("materialize", FOLDER / "materialize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.measure(30)
    assert result["users"] == 30
    assert result["seconds"] > 0
    assert result["look_ups_per_second"] > 0
