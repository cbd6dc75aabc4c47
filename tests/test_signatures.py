"""The public names and their signatures, frozen in signatures.txt: a change is seen in review.

To change them on purpose: python tests/test_signatures.py > tests/signatures.txt
A new method needs no line there.
"""

import difflib
import inspect
import re
from pathlib import Path

import recsys_posttrain as rp

FROZEN = Path(__file__).with_name("signatures.txt")


def signatures(names):
    """A line for each parameter, so that a difference is short."""
    lines = []
    for name in names:
        lines.append(name)
        if name == "UserError":  # an exception as any
            continue
        for parameter in inspect.signature(getattr(rp, name)).parameters.values():
            text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(parameter))
            lines.append(f"    {text}")
    return lines


def test_signatures_are_those_that_were_frozen():
    frozen = FROZEN.read_text().splitlines()
    names = [line for line in frozen if not line.startswith(" ")]
    assert set(rp._HOME) < set(names)
    assert not list(difflib.unified_diff(frozen, signatures(names), lineterm=""))


if __name__ == "__main__":
    print("\n".join(signatures(rp.__all__)))
