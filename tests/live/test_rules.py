"""The rules of an event: what they may say, and the sentence for what they may not."""

import json

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.live.materialize import EventRules

GOOD = {"event": "final", "live_title": "1193", "stages": {"before": None, "live": 1}}


def write(tmp_path, value):
    path = tmp_path / "final.json"
    path.write_text(json.dumps(value))
    return path


def test_a_file_is_read_as_it_is_written(tmp_path):
    rules = EventRules.read(write(tmp_path, GOOD))
    assert rules == EventRules("final", "1193", {"before": None, "live": 1})
    assert list(rules.stages) == ["before", "live"]


def test_the_example_in_the_sentences_is_good(tmp_path):
    """What an error tells the user to write is accepted."""
    with pytest.raises(UserError, match="does not exist: give a file such as") as caught:
        EventRules.read(tmp_path / "none.json")
    example = str(caught.value).partition("such as ")[2]
    EventRules.read(write(tmp_path, json.loads(example)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"event": "a b"}, r"the event must be 1 to 64 of .*, not 'a b'"),
        ({"event": ""}, r"the event must be 1 to 64 of .*, not ''"),
        ({"event": None}, r"the event must be 1 to 64 of .*, not None"),
        ({"event": "x" * 65}, r"the event must be 1 to 64 of A-Z a-z 0-9"),
        ({"stages": {"on/off": 1}}, r"a stage must be 1 to 64 of .*, not 'on/off'"),
        ({"stages": {}}, r"stages is \{\}: give one stage or more"),
        ({"stages": [1, 2]}, r"stages is \[1, 2\]: give one stage or more"),
        ({"stages": {"live": 0}}, r"stage 'live' places the live title at 0: give 1 or more"),
        ({"stages": {"live": True}}, r"at True: give 1 or more, or null"),
        ({"stages": {"live": 1.0}}, r"at 1.0: give 1 or more, or null"),
        ({"live_title": 1193}, r"live_title is 1193: give the item's id as text"),
        ({"live_title": ""}, r"live_title is '': give the item's id as text"),
        ({"title": "1193"}, r"does not hold exactly event, live_title, stages: write it as"),
    ],
)
def test_what_cannot_be_is_one_sentence_that_names_the_file(tmp_path, change, sentence):
    path = write(tmp_path, GOOD | change)
    with pytest.raises(UserError, match=sentence) as caught:
        EventRules.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"event": "final"'])
def test_another_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "final.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"write it as|cut short or not JSON"):
        EventRules.read(path)


def test_a_place_beyond_the_list_is_refused():
    rules = EventRules("final", "1", {"before": None, "live": 5})
    rules.check_places(5)
    with pytest.raises(UserError, match="stage 'live' places the live title at 5, beyond the 4"):
        rules.check_places(4)
