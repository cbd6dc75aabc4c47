"""A table on terminals of several widths, in a pipe, and where nothing fits. Widths by hand: names
have 20 characters, a column's widest line, such as +1.0034†, has 8, and 2 are between."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from recsys_posttrain.report.cells import Block, Cell, Heading, Sheet, write_sheet

NAMES = ["RobustDPO(unbiased)", "ASFT(model, two seed", "BC"]
COLUMNS = 12
SHEET = Sheet(
    "The caption.",
    [
        Block(
            "Difference to BC",
            [Heading("method", is_text=True)]
            + [Heading(f"NDCG {n}", f"c{n}", "of all", "↑") for n in range(COLUMNS)],
            [
                [Cell(name)]
                + [
                    Cell(f"+{row}.{n:02}34", "±.0567", bold=row == n == 0, dagger=True)
                    for n in range(COLUMNS)
                ]
                for row, name in enumerate(NAMES)
            ],
            ("w", "w", "imitation of choices"),
        )
    ],
)
SHOW = """
import sys
from pathlib import Path
from recsys_posttrain.progress import console
from recsys_posttrain.report.cells import read_sheet
from recsys_posttrain.report.terminal import OnTerminal
console.print(OnTerminal(read_sheet(Path(sys.argv[1]))))
"""


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "table.json"
    write_sheet(path, SHEET)
    return [sys.executable, "-c", SHOW, str(path)]


def in_a_terminal(command, width, **changes):
    """What a command writes to a terminal of this width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    given = {"COLUMNS", "LINES", "NO_COLOR"}
    plain = {name: value for name, value in os.environ.items() if name not in given}
    environment = plain | {"TERM": "xterm-256color"} | changes
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # how the end of a terminal looks on Linux
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode()


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


def check(text, width, side_by_side):
    """Every line fits, every name stands whole in every part, every figure once."""
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    parts = -(-COLUMNS // side_by_side)
    for name in NAMES:
        lines = [line for line in text.splitlines() if line.startswith(name)]
        assert len(lines) == parts
    for row in range(len(NAMES)):
        for n in range(COLUMNS):
            assert text.count(f"+{row}.{n:02}34") == 1
    shown = [len(re.findall(r"\+1\.", line)) for line in text.splitlines() if NAMES[1] in line]
    assert shown == [side_by_side] * (COLUMNS // side_by_side) + (
        [COLUMNS % side_by_side] if COLUMNS % side_by_side else []
    )


@pytest.mark.parametrize(("width", "side_by_side"), [(60, 4), (80, 6), (90, 7), (120, 10)])
def test_blocks_split_at_the_width_of_the_terminal(command, width, side_by_side):
    text = in_a_terminal(command, width)
    assert "\x1b[1m+0.0034" in text, "the best is bold"
    assert "*" not in text
    check(without_codes(text), width, side_by_side)


def test_a_pipe_is_as_wide_as_a_wide_terminal(command):
    """Where nothing can be bold, the best has a star, which makes the first column wider: 8 fit."""
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in text
    assert "+0.0034*†" in text
    assert "\n* stands for bold.\n" in text
    check(text, 110, 8)


def test_a_terminal_without_bold_has_the_star(command):
    text = in_a_terminal(command, 80, TERM="dumb")
    assert "+0.0034*†" in text
    assert "\x1b[1m" not in text


def test_a_terminal_of_20_columns_lists_the_values(command):
    """Nothing fits beside the names: a line of its own for each value, none of them lost."""
    text = without_codes(in_a_terminal(command, 20))
    assert max(map(len, text.splitlines())) <= 20
    words = text.split()
    for row in range(len(NAMES)):
        for n in range(COLUMNS):
            assert f"+{row}.{n:02}34†" in words
    for name in NAMES:
        assert f"\n{name}\n" in text
