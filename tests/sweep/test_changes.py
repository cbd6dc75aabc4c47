"""What changed between two definitions, in words."""

from recsys_posttrain.sweep.changes import changes


def test_every_leaf_that_differs_is_named():
    assert list(changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})) == [
        "a.c: 2 before, 3 now"
    ]
    assert list(changes({"a": [1]}, {"a": [1, 2], "b": 0})) == [
        "a: [1] before, [1, 2] now",
        "b: only now",
    ]
    assert list(changes({"a": [1, {"x": None}]}, {"a": [1, {"y": "u"}]})) == [
        "a.1.x: only before",
        "a.1.y: only now",
    ]
    assert not list(changes({"a": [1, {"x": 2}]}, {"a": [1, {"x": 2}]}))
