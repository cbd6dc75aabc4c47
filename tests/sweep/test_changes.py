"""What changed between two definitions, in words."""

import pytest

from recsys_posttrain.sweep.changes import changes


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c: 2 before, 3 now"]),
        ({"a": [1]}, {"a": [1, 2], "b": 0}, ["a: [1] before, [1, 2] now", "b: only now"]),
        ({"a": [1, {"x": 0}]}, {"a": [1, {"y": 0}]}, ["a.1.x: only before", "a.1.y: only now"]),
        ({"a": [1, {"x": 2}]}, {"a": [1, {"x": 2}]}, []),
    ],
)
def test_every_leaf_that_differs_is_named(before, now, said):
    assert list(changes(before, now)) == said
