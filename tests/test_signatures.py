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


def test_help_shows_a_signature_that_can_be_read():
    """Short names of types, and of a default plan only what is set."""
    functions = [name for name in rp.__all__ if inspect.isfunction(getattr(rp, name))]
    assert {"load", "pretrain", "posttrain", "evaluate", "recommend", "encode"} < {*functions}
    for name in functions:
        shown = str(inspect.signature(getattr(rp, name)))
        assert "recsys_posttrain." not in shown, name
        assert len(shown) <= 650, name
    training = inspect.signature(rp.posttrain).parameters["training"]
    assert str(training).endswith(
        "= Training(batch_size=64, learning_rate=0.0003, steps=100, decay=True)"
    )


if __name__ == "__main__":
    print("\n".join(signatures(rp.__all__)))
