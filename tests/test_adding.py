"""ADDING.md is true: its code blocks, copied into a copy of the package, are one more algorithm and
one more method without training."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ADDING = (ROOT / "recsys_posttrain" / "ADDING.md").read_text(encoding="utf-8")
COPIED = ("recsys_posttrain", "tests", "setup.cfg", "pyproject.toml")


SECTIONS = {"An algorithm": "algorithms", "A method without training": "untrained"}
each_section = pytest.mark.parametrize("section", SECTIONS)


def _blocks(section):
    """Every Python block of a section, under the first file that its step names."""
    text = ADDING.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = {}
    for step in re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"^   ```python\n(.*?)^   ```", step, re.MULTILINE | re.DOTALL):
            path = re.search(r"`(\S+\.py)`", step)
            assert path is not None, f"the step names no file: {step}"
            home = "" if path[1].startswith("tests/") else "recsys_posttrain/"
            found[home + path[1]] = re.sub(r"^   ", "", block, flags=re.MULTILINE)
    return found


def _python(folder, *arguments):
    """What it printed; it must end with 0, which pytest does not where it finds no test."""
    environment = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-B", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package and its tests in which these sections were followed to the letter."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in COPIED:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    for path, block in (each for section in SECTIONS for each in _blocks(section).items()):
        file = folder / path
        if not file.exists():
            file.write_text(block, encoding="utf-8")
        else:
            assert block.count("\n") == 1, f"{path} is changed by more than a line"
            docstring, _, lines = file.read_text(encoding="utf-8").partition("\n\n")
            sorted_lines = "".join(sorted([*lines.splitlines(keepends=True), block]))
            file.write_text(f"{docstring}\n\n{sorted_lines}", encoding="utf-8")
    return folder


@each_section
def test_it_is_one_file_one_import_line_and_one_test(checkout, section):
    changed, new = [], []
    for path in _blocks(section):
        (changed if (ROOT / path).exists() else new).append(path)
    assert changed == [f"recsys_posttrain/{SECTIONS[section]}/__init__.py"]
    assert [path.partition("/")[0] for path in new] == ["recsys_posttrain", "tests"]
    _python(checkout, "-m", "ruff", "check", "--no-cache", *_blocks(section))
    _python(checkout, "-m", "ruff", "format", "--no-cache", "--check", *new)


@each_section
def test_it_passes_its_test(checkout, section):
    where = _python(checkout, "-c", "import recsys_posttrain; print(recsys_posttrain.__file__)")
    assert Path(where.strip()).is_relative_to(checkout)
    (own,) = (path for path in _blocks(section) if path.startswith("tests/"))
    _python(checkout, "-m", "pytest", "-p", "no:cacheprovider", own)


def test_an_algorithm_passes_the_contract_and_the_toy_world(checkout):
    blocks = "".join(_blocks("An algorithm").values())
    (name,) = re.findall(r"^class (\w+)", blocks, re.MULTILINE)
    for suite in (
        "tests/contract/test_algorithm_contract.py",
        "tests/algorithms/test_toy_world.py",
    ):
        _python(checkout, "-m", "pytest", "-p", "no:cacheprovider", suite, "-k", name)
