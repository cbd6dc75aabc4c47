"""tests/mutants.py itself: what it would break is there, before hours are spent on it."""

import mutants
from mutant_lists import ALGORITHMS

ROOT = mutants.ROOT / "recsys_posttrain"
NO_FORMULA = {"__init__", "actors", "base"}


def test_every_algorithm_is_broken():
    there = {path.stem for path in (ROOT / "algorithms").glob("*.py")}
    assert there - NO_FORMULA == set(ALGORITHMS)


def test_every_text_to_swap_is_found_once():
    for file, texts in mutants.SWAPPED.items():
        assert file in mutants.FILES
        for old, new in texts:
            assert mutants.swapped(file, old, new).was == old.replace("\n", " ")


def test_every_exception_is_a_line_that_would_be_broken(monkeypatch):
    """One that nothing matches any more would hide a mutant of a line to come."""
    excepted = mutants.SAME
    monkeypatch.setattr(mutants, "SAME", {})
    made = {file: list(mutants.mutants_of(file)) for file, _ in excepted}
    for file, line in excepted:
        assert any(mutant.was.startswith(line) for mutant in made[file]), (file, line)


def test_every_mutant_is_python():
    made = [mutant for file in mutants.FILES for mutant in mutants.mutants_of(file)]
    for mutant in made:
        assert mutants.mutated(mutant) != (ROOT / mutant.file).read_text()
    assert len(made) > 400
