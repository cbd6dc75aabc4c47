"""Lists against a sort per user, from the ratings file itself."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from data_factory import unseen_by_sorting

import recsys_posttrain as rp
from recsys_posttrain.data import RatingsFile
from recsys_posttrain.errors import UserError
from recsys_posttrain.live import materialize as module
from recsys_posttrain.live.materialize import EventRules, materialize, placed
from recsys_posttrain.live.materialized import Materialized
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.recommendation import recommend


@pytest.fixture
def rules():
    """Item 19, which is often among the policy's best: not in the list, first and fourth."""
    return EventRules("final", "19", {"before": None, "live": 1, "after": 4})


def others_of(policy_folder, ratings, live_title):
    """user -> all unseen items but the live one, best first."""
    return {
        str(user): [str(item) for item, _ in best if str(item) != live_title]
        for user, best in unseen_by_sorting(policy_folder, pd.read_csv(ratings)).items()
    }


@pytest.mark.parametrize("chunk", [7, 4096])
def test_each_stage_has_the_live_title_at_its_place_and_the_policys_best_around_it(
    policy_folder, rules, small_ratings_csv, tmp_path, monkeypatch, chunk
):
    """Whatever the size of a chunk, and whether the policy would show the live title or not."""
    monkeypatch.setattr(module, "USERS_PER_CHUNK", chunk)
    materialize(policy_folder, rules, 5, tmp_path)
    lists = Materialized.open(tmp_path)
    without = recommend(policy_folder, None, None, 5, None)
    assert 0 < (without["item_id"] == 19).sum() < 60
    others = others_of(policy_folder, small_ratings_csv, "19")
    assert len(others) == 60
    for user, best in others.items():
        assert lists.of(user) == {
            "before": best[:5],
            "live": ["19", *best[:4]],
            "after": [*best[:3], "19", best[3]],
        }


def test_who_has_seen_almost_everything_gets_fewer_and_the_live_title_last(
    policy_folder, small_ratings_csv, tmp_path
):
    """Of 40 items: 39 asked for. The live title goes behind the last of the others."""
    rules = EventRules("final", "7", {"before": None, "live": 39})
    materialize(policy_folder, rules, 39, tmp_path)
    lists = Materialized.open(tmp_path)
    for user, best in others_of(policy_folder, small_ratings_csv, "7").items():
        assert 19 <= len(best) <= 34
        assert lists.of(user) == {"before": best, "live": [*best, "7"]}


def test_placed_by_hand():
    others_NK = torch.tensor([[5, 6, 8], [4, 3, 0]])
    assert placed(others_NK, 9, None).tolist() == [[5, 6, 8], [4, 3, 0]]
    assert placed(others_NK, 9, 1).tolist() == [[9, 5, 6], [9, 4, 3]]
    assert placed(others_NK, 9, 2).tolist() == [[5, 9, 6], [4, 9, 3]]
    assert placed(others_NK, 9, 3).tolist() == [[5, 6, 9], [4, 3, 9]]
    assert placed(others_NK[:, :1], 9, 1).tolist() == [[9], [9]]


def test_the_manifest_says_what_was_made(policy_folder, rules, small_ratings_csv, tmp_path):
    written = materialize(policy_folder, rules, 5, tmp_path, ["9", "10", "9"])
    assert written == json.loads((tmp_path / "manifest.json").read_text())
    assert len(written.pop("policy_sha256")) == len(written.pop("version")) == 64
    assert written == {
        "event": "final",
        "live_title": "19",
        "stages": {"before": None, "live": 1, "after": 4},
        "k": 5,
        "users": 2,
        "dataset": "small",
        "lists_sha256": written["lists_sha256"],
    }
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"manifest.json", f"lists-{written['lists_sha256'][:16]}.arrow"}


def test_the_same_again_has_the_same_version_and_another_has_another(
    policy_folder, rules, tmp_path
):
    """And a second call replaces the lists of the first, which stay whole while mapped."""
    first = materialize(policy_folder, rules, 5, tmp_path / "first")
    assert materialize(policy_folder, rules, 5, tmp_path / "again") == first
    mapped = Materialized.open(tmp_path / "first")
    before = mapped.of("8")
    other = replace(rules, live_title="8")
    assert materialize(policy_folder, other, 5, tmp_path / "first")["version"] != first["version"]
    assert len(list((tmp_path / "first").iterdir())) == 2
    assert mapped.of("8") == before
    assert Materialized.open(tmp_path / "first").of("8")["live"][0] == "8"


def test_a_run_that_fails_leaves_what_was_there(policy_folder, rules, tmp_path, monkeypatch):
    version = materialize(policy_folder, rules, 5, tmp_path)["version"]
    original, calls = module.best_others, []

    def fails_later(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(module, "best_others", fails_later)
    monkeypatch.setattr(module, "USERS_PER_CHUNK", 10)
    with pytest.raises(UserError, match=r"the disk is full: .* another folder with --output"):
        materialize(policy_folder, EventRules("final", "8", {"live": 1}), 5, tmp_path)
    assert Materialized.open(tmp_path).version == version
    assert len(list(tmp_path.iterdir())) == 2


def test_mistakes_are_one_sentence_each(policy_folder, rules, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: give a folder"):
        materialize(policy_folder, rules, 5, tmp_path / "file")

    def refused(match, folder=policy_folder, rules=rules, k=5, users=None):
        with pytest.raises(UserError, match=match) as caught:
            materialize(folder, rules, k, tmp_path / "out", users)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    unknown = replace(rules, live_title="99")
    refused(r"live_title '99' is not among the 40 items .* such as '", rules=unknown)
    refused(r"stage 'after' places the live title at 4, beyond the 3 items of a list", k=3)
    refused(r"--k 40: give at most 39, the policy's items but the live title", k=40)
    refused(r"small has no user '61' \(it has 60", users=["1", "61"])
    refused(r"--users names nobody", users=[])
    refused(r"policy.json does not exist: give the folder of a pre", folder=tmp_path)


def test_a_progress_bar_on_a_terminal_only(policy_folder, rules, tmp_path, monkeypatch, capsys):
    materialize(policy_folder, rules, 5, tmp_path)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    materialize(policy_folder, rules, 5, tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "users" in err
    assert "100%" in err


GOOD = {"event": "final", "live_title": "1193", "stages": {"before": None, "live": 1}}


def write(tmp_path, value):
    path = tmp_path / "final.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_file_is_read_as_it_is_written_and_as_errors_tell_users_to_write_it(tmp_path):
    rules = EventRules.read(write(tmp_path, GOOD))
    assert rules == EventRules("final", "1193", {"before": None, "live": 1})
    assert list(rules.stages) == ["before", "live"]
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
    with pytest.raises(UserError, match=r"write it as|cut short or not JSON"):
        EventRules.read(write(tmp_path, text))


def test_a_place_beyond_the_list_is_refused():
    rules = EventRules("final", "1", {"before": None, "live": 5})
    rules.check_places(5)
    with pytest.raises(UserError, match="stage 'live' places the live title at 5, beyond the 4"):
        rules.check_places(4)


def test_a_policy_of_save_policy_with_a_log_of_other_names(
    policy_folder, rules, small_ratings_csv, tmp_path
):
    """It does not say where its log is; the lists are those of a stage."""
    saved = load_policy(policy_folder)
    frame = pd.read_csv(small_ratings_csv)
    data = rp.load(frame)
    saved.policy.backbone.config = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)
    rp.save_policy(saved.policy, tmp_path / "own", data)
    with pytest.raises(UserError, match=r"does not say where its log is .*--log FILE"):
        materialize(tmp_path / "own", rules, 5, tmp_path / "final")
    names = {"user_id": "uid", "item_id": "vid"}
    frame.rename(columns=names).to_csv(tmp_path / "log.csv", index=False)
    source, columns = RatingsFile(str(tmp_path / "log.csv")), "user=uid,item=vid"
    materialize(tmp_path / "own", rules, 5, tmp_path / "final", source=source, columns=columns)
    materialize(policy_folder, rules, 5, tmp_path / "stage")
    ours, theirs = (Materialized.open(tmp_path / name) for name in ("final", "stage"))
    users = [str(user) for user in frame["user_id"].unique()]
    assert len(users) == 60
    assert all(ours.of(user) == theirs.of(user) is not None for user in users)
