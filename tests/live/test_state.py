"""A state: what it accepts, what replaces what, and that the core does without all of this."""

import ast
import json
from configparser import ConfigParser
from pathlib import Path

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.running import prometheus
from recsys_posttrain.live.state import MESSAGE_BYTES, EventState

GOOD = {"event": "final", "version": 3, "stage": "live", "published": 17.5}


def test_a_message_is_the_state_the_longest_too():
    state = EventState(**GOOD)
    assert json.loads(state.to_json()) == GOOD
    assert EventState.from_json(state.to_json()) == state
    assert EventState.from_json(state.to_json().encode()) == state
    longest = EventState("e" * 64, 2**53 - 1, "s" * 64, 99_999_999_999.123456)
    assert EventState.from_json(longest.to_json()) == longest


def test_only_a_larger_version_is_newer():
    state = EventState(**GOOD)
    other_stage = EventState("final", 3, "after", 99.0)
    later = EventState("final", 4, "before", 0.0)
    assert state.is_newer(None)
    assert not other_stage.is_newer(state)
    assert later.is_newer(state)
    assert not state.is_newer(later)


@pytest.mark.parametrize(
    "message",
    [
        *("", "x", "[]", "null", "{}", b"\xff\xfe\x00", "[" * 1000, "{" + '"a":' * 100),
        json.dumps(GOOD | {"more": 1}),
        json.dumps({name: GOOD[name] for name in ("event", "version", "stage")}),
        json.dumps(GOOD) + " " * MESSAGE_BYTES,
        *(
            json.dumps(GOOD | {name: value})
            for name, values in {
                "version": (0, -1, 2**53, 3.0, True, "3", None),
                "published": (float("nan"), float("inf"), -1, 10**500, False),
                "event": ("", "a b", "a\n"),
                "stage": ("e" * 65, 7, ["live"], "\ud800"),
            }.items()
            for value in values
        ),
    ],
    ids=range(30),
)
def test_anything_else_is_one_clear_sentence(message):
    with pytest.raises(UserError) as refusal:
        EventState.from_json(message)
    assert len(str(refusal.value)) < 250
    assert "\n" not in str(refusal.value)


def test_counters_as_prometheus_reads_them():
    text = prometheus({'requests{status="200"}': 12_345_678, "connections": 2})
    assert text == b'live_connections 2\nlive_requests{status="200"} 12345678\n'


def test_the_core_neither_imports_nor_installs_the_extra():
    root = Path(__file__).resolve().parents[2]
    extra = {"redis", "starlette", "uvicorn", "websockets"}
    package = root / "recsys_posttrain"
    for path in sorted(set(package.rglob("*.py")) - set(package.glob("live/**/*.py"))):
        imported = []
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported.append(node.module or "")
        assert not extra & {name.partition(".")[0] for name in imported}, path
        # The command line registers the commands of this package, which import it when called.
        if path.name != "cli.py":
            assert not any(name.startswith("recsys_posttrain.live") for name in imported), path
    setup = ConfigParser()
    setup.read(root / "setup.cfg")
    for name in extra:
        assert name in setup["options.extras_require"]["live"]
        assert name not in setup["options"]["install_requires"]
