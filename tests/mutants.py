"""Breaks one thing at a time in the files that carry formulas; each break must fail a test.

Mutants are made from the syntax tree (signs, comparisons, products, minima, detach, no_grad) and
from the list SWAPPED of mutant_lists.py (which model, which clamp). Each is tried in a temporary
copy, never in the working tree. Exit code 1 if one survives, or if a text listed there is no longer
found.

    python tests/mutants.py [part of a file name ...]
"""

import ast
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mutant_lists import FILES, SAME, SWAPPED, TESTS

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
OPTIONS = ["-x", "--assert=plain", "-pno:cacheprovider", "-ppytest_timeout", "--timeout=180"]

OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
COMPARISONS = {ast.Gt: (">", "<"), ast.Lt: ("<", ">"), ast.GtE: (">=", "<"), ast.LtE: ("<=", ">")}
COMPARISONS |= {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "==")}
COMPARISONS |= {ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is")}
NAMES = {"minimum": "maximum", "argmin": "argmax", "no_grad": "enable_grad", "amax": "amin"}
NAMES |= {value: key for key, value in NAMES.items()}


class Mutant(NamedTuple):
    file: str
    start: int  # characters [start, end) of the file become `new`
    end: int
    new: str
    line: int
    was: str


def tests_of(file: str) -> list[str]:
    return TESTS.get(file, [str(Path("tests") / Path(file).with_name(f"test_{Path(file).name}"))])


def mutants_of(file: str) -> Iterator[Mutant]:
    source = (ROOT / "recsys_posttrain" / file).read_text()
    lines = source.splitlines(keepends=True)
    assert source.isascii(), f"{file}: the offsets below count characters"

    def at(line: int, column: int) -> int:
        return sum(map(len, lines[: line - 1])) + column

    def replaced(node: ast.expr, start: int, end: int, new: str) -> Iterator[Mutant]:
        was = lines[node.lineno - 1].strip()
        if was.startswith("@"):
            was += " " + lines[node.lineno].strip()
        if not any(file == each and was.startswith(text) for each, text in SAME):
            yield Mutant(file, start, end, new, node.lineno, was)

    def span(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno and node.end_col_offset  # noqa: PT018
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            left, right = span(node.left), span(node.right)
            between = source[left[1] : right[0]]
            old = next(sign for sign in ("+", "-", "*", "/") if sign in between)
            new = between.replace(old, OPERATORS[type(node.op)], 1)
            yield from replaced(node, left[1], right[0], new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not (isinstance(node.operand, ast.Constant) and node.operand.value == 1):  # dim=-1
                yield from replaced(node, span(node)[0], span(node)[0] + 1, "")
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            start, end = span(node.left)[1], span(node.comparators[0])[0]
            new = source[start:end].replace(*COMPARISONS[type(node.ops[0])], 1)
            yield from replaced(node, start, end, new)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            end = span(node)[1]
            yield from replaced(node, end - len(node.attr), end, NAMES[node.attr])
        elif isinstance(node, ast.Call) and source[slice(*span(node.func))].endswith(".detach"):
            yield from replaced(node, span(node.func)[1] - len(".detach"), span(node)[1], "")


def swapped(file: str, old: str, new: str) -> Mutant:
    source = (ROOT / "recsys_posttrain" / file).read_text()
    if source.count(old) != 1:
        sys.exit(f"error: {file} holds {source.count(old)} times, not once: {old!r}")
    start = source.index(old)
    line = source.count("\n", 0, start) + 1
    return Mutant(file, start, start + len(old), new, line, old.replace("\n", " "))


def mutated(mutant: Mutant) -> str:
    """The file with the change. It must be Python, or the mutant's death would say nothing."""
    source = (ROOT / "recsys_posttrain" / mutant.file).read_text()
    source = source[: mutant.start] + mutant.new + source[mutant.end :]
    ast.parse(source)
    return source


def run(mutant: Mutant | str) -> tuple[Mutant | str, int]:
    """pytest's exit code on a copy: of one file with one change, or of a file as it is."""
    file = mutant if isinstance(mutant, str) else mutant.file
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("recsys_posttrain", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", copy)
        target = copy / "recsys_posttrain" / file
        if isinstance(mutant, Mutant):
            target.write_text(mutated(mutant))
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = True
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        package = importlib.import_module("recsys_posttrain")
        assert Path(str(package.__file__)).is_relative_to(copy), "the copy must be what is run"
        return mutant, int(pytest.main([*OPTIONS, *tests_of(file)]))


def main(patterns: list[str]) -> int:
    started = time.monotonic()
    files = [file for file in FILES if not patterns or any(part in file for part in patterns)]
    mutants: list[Mutant] = [mutant for file in files for mutant in mutants_of(file)]
    mutants += [swapped(file, *texts) for file in files for texts in SWAPPED.get(file, ())]
    # A forked process has the slow imports behind it; the package itself is imported in each.
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for slow in ("pandas", "pytest_timeout", "torch.distributed.tensor", "torch.utils.checkpoint"):
        importlib.import_module(slow)

    survived: list[Mutant] = []
    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1) as pool:
        for file, code in pool.imap_unordered(run, files):
            if code != 0:
                sys.exit(f"error: {' '.join(tests_of(str(file)))} fails without any mutation")
        for done, (mutant, code) in enumerate(pool.imap_unordered(run, mutants), start=1):
            assert isinstance(mutant, Mutant)
            if code not in (1, 2, 4):  # a test failed; it, or its conftest, could not be imported
                survived.append(mutant)
            seconds = time.monotonic() - started
            print(f"\r{done}/{len(mutants)} mutants, {seconds:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{'file':<28}{'mutants':>8}{'killed':>8}{'survived':>10}")
    for file in files:
        tried, alive = (sum(each.file == file for each in group) for group in (mutants, survived))
        print(f"{file:<28}{tried:>8}{tried - alive:>8}{alive:>10}")
    for mutant in sorted(survived):
        print(f"survived: {mutant.file}:{mutant.line}: {mutant.was}  ->  {mutant.new!r}")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
