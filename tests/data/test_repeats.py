"""Whether users choose items again: measured, given, and what follows for the targets."""

import numpy as np
import pytest
import torch
from data_factory import made_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_posttrain.data import GlobalTime, LeaveOneOut, RatingsFile, UserHoldout, prepare
from recsys_posttrain.data.repeats import HABIT, had_before, measured_repeats, repeated_share
from recsys_posttrain.errors import UserError
from recsys_posttrain.types import Corpus, Sequences

LISTS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=8)


def corpus_of(lists, repeats="never"):
    ids = np.arange(1, 7)
    return made_corpus([len(each) for each in lists], items=lists, item_ids=ids, repeats=repeats)


@given(LISTS)
@settings(max_examples=60, deadline=None)
def test_the_share_is_that_of_a_loop(lists):
    repeated = sum(item in each[:n] for each in lists for n, item in enumerate(each))
    found = repeated_share(corpus_of(lists).sequences)
    assert found == pytest.approx(repeated / sum(map(len, lists)))
    rule = "allowed" if found >= HABIT else "never"
    assert measured_repeats(corpus_of(lists).sequences) == rule


@given(LISTS, st.lists(st.integers(1, 6), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_had_before_is_a_look_into_each_history(lists, items):
    wanted = [item in each for item, each in zip(items, lists, strict=False)]
    items_N = torch.tensor(items[: len(lists)])
    assert had_before(corpus_of(lists).sequences, items_N).tolist() == wanted


def test_a_habit_starts_at_one_event_in_a_hundred():
    """100 and 101 events of one user, one of which repeats an item."""
    for events, rule in ((100, "allowed"), (101, "never")):
        one = made_corpus([events], items=[*range(1, events), 1])
        assert measured_repeats(one.sequences) == rule


def test_a_prepared_log_is_measured_unless_the_rule_is_given(tmp_path):
    path = tmp_path / "log.csv"
    rows = [f"u{n % 4},{'AB'[n // 4 % 2]},3,{n}" for n in range(24)]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]))
    log, cache = RatingsFile(str(path)), tmp_path / "cache"
    assert prepare(log, cache=cache).repeats == "allowed"
    assert prepare(log, cache=cache, repeats="never").repeats == "never"
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows[:8]]))
    assert prepare(log, 1, cache).repeats == "never"
    assert prepare(log, 1, cache, "allowed").repeats == "allowed"


@pytest.mark.parametrize(
    "split",
    [LeaveOneOut(), GlobalTime(minimum_history=1, targets_per_user=None), UserHoldout(seed=1)],
)
def test_what_was_seen_is_a_target_where_repeats_are_allowed_alone(split):
    """The rest stays as it is; how many are gone is counted."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(1, 7, (40, 6), generator=generator)
    # In turn, so that every user has events in every part of time.
    order = torch.arange(240).view(6, 40).T.reshape(-1)
    events = Sequences(drawn.reshape(-1), torch.ones(240), order, torch.arange(41) * 6)
    users, items = np.arange(40), np.arange(1, 7)
    kept, everything = (
        split.split(Corpus("made", events, users, items, "0" * 64, rule))
        for rule in ("never", "allowed")
    )
    for few, all_ in ((kept.validation, everything.validation), (kept.test, everything.test)):
        assert (few.repeats, all_.repeats, all_.unshowable) == ("never", "allowed", 0)
        seen_N = had_before(all_.history, all_.items_N)
        assert 0 < few.unshowable == int(seen_N.sum()) < len(all_.items_N)
        for name in ("items_N", "users_N", "times_N"):
            assert torch.equal(getattr(few, name), getattr(all_, name)[~seen_N])
        assert few.history.lengths_N.tolist() == all_.history.lengths_N[~seen_N].tolist()
        assert not had_before(few.history, few.items_N).any()
    assert torch.equal(kept.train.items_E, everything.train.items_E)


def test_a_log_of_repeats_alone_has_no_target_under_never():
    corpus = corpus_of([[1, 2, 1, 2]] * 3, "never")
    with pytest.raises(UserError, match=r"made: all 3 targets are of items .*--repeats allowed"):
        LeaveOneOut().split(corpus)
    allowed = LeaveOneOut().split(corpus_of([[1, 2, 1, 2]] * 3, "allowed"))
    assert allowed.test.items_N.tolist() == [2, 2, 2]
