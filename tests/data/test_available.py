"""Windows of items: what a table says, and what is left out at each time, against loops."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.data.available import (
    windows_in,
    windows_rows,
    windows_sentence,
    with_windows,
)
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.never_shown import with_never_shown
from recsys_posttrain.data.repeats import removed_for, rule_of
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.expectation import mean_where_shown
from recsys_posttrain.losses.negatives import excluded_draws

ITEMS = [[1, 2, 3, 4, 5], [2, 3, 4, 1, 6], [5, 6, 1, 2, 3], [6, 4, 2, 5, 1]]
TIMES = [10, 20, 30, 40, 50]
# By id, windows: half open. 10 has two, 14 and 15 have none; x is no item.
ROWS = [(10, 5, 15), (11, "", 45), (12, 30, ""), (13, 0, 41), (10, 45, 60), ("x", 1, 2)]
OPEN = {1: [(5, 15), (45, 60)], 2: [(-99, 45)], 3: [(30, 99)], 4: [(0, 41)]}


def is_open(item, time):
    return item not in OPEN or any(start <= time < end for start, end in OPEN[item])


def corpus_of(tmp_path, rows=ROWS, repeats="never", header="item_id,from,until"):
    ids = torch.arange(10, 16).numpy()
    corpus = made_corpus([5] * 4, items=ITEMS, times=TIMES * 4, item_ids=ids, repeats=repeats)
    path = tmp_path / "windows.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return with_windows(corpus, str(path))


def not_shown(excluded, items=6):
    rows = leave_out(torch.ones(len(excluded.offsets_N1) - 1, items), excluded, 0.0)
    return [[v + 1 for v in range(items) if not row[v]] for row in rows.tolist()]


@pytest.mark.parametrize("repeats", ["never", "allowed"])
def test_a_target_needs_its_item_then_and_only_what_is_open_then_competes(
    tmp_path, repeats, capsys
):
    """At 50 (tests) items 1, 3, 5, 6 are open; at 40 (validation) 2, 3, 4, 5, 6. Where repeats are
    "never", user 2 has had all that are open at 50 but the target 3."""
    corpus = corpus_of(tmp_path, repeats=repeats)
    assert "5 windows of 4 items; left out: 1 item that made does not have ('x')" in (
        said := capsys.readouterr().err
    )
    assert "2 items without one may always be shown" in said
    data = LeaveOneOut().split(corpus)
    is_never = repeats == "never"
    assert data.test.items_N.tolist() == ([5, 6, 1] if is_never else [5, 6, 3, 1])
    assert data.validation.items_N.tolist() == [4, 2, 5]
    assert (data.test.masked, data.validation.masked) == (is_never, 1)
    for targets in (data.test, data.validation):
        wanted = []
        for user, time in zip(targets.users_N.tolist(), targets.times_N.tolist(), strict=True):
            had = ITEMS[user][: TIMES.index(time)] if is_never else []
            wanted.append([v for v in range(1, 7) if v in had or not is_open(v, time)])
        assert not_shown(removed_for(targets)) == wanted
    assert windows_sentence(data) == (
        "4 of 6 items may be shown at some times only; 1 of 4 validation targets and "
        f"{int(is_never)} of 4 test targets are left out: their item may not be shown then, or no "
        "other may"
    )


def test_in_training_an_action_stays_eligible_and_the_others_are_those_open_then(tmp_path):
    corpus = with_never_shown(corpus_of(tmp_path), (15,))
    for rule in (rule_of(corpus), rule_of(replace(corpus, repeats="allowed"))):
        batch = batch_of(corpus.sequences, torch.arange(4), 9, rule=rule)
        wanted = []
        for user, place, own in zip(
            batch.user_N.tolist(), batch.position_N.tolist(), batch.action_N.tolist(), strict=True
        ):
            had = ITEMS[user][: place + 1] if rule.history else []
            out = {v for v in range(1, 7) if v in had or v == 6 or not is_open(v, TIMES[place + 1])}
            wanted.append(sorted(out - {own}))
        assert not_shown(batch.excluded) == wanted
        rows = slice(3, 9)
        assert not_shown(batch.excluded.rows(rows)) == wanted[rows]
        assert not_shown(batch.excluded.every(4)) == wanted[::4]
        assert batch.excluded.windows is corpus.windows, "no copy for a batch"


def test_draws_of_closed_items_leave_as_the_items_do(tmp_path):
    corpus = corpus_of(tmp_path)
    excluded = batch_of(corpus.sequences, torch.arange(4), 9, rule=rule_of(corpus)).excluded
    items_K = torch.tensor([1, 1, 2, 4, 5, 6, 6])
    by_item = leave_out(torch.ones(16, 6), excluded._replace(but_N=None), 0.0)
    by_draw = leave_out(torch.ones(16, 7), excluded_draws(excluded, items_K, 7), 0.0)
    assert torch.equal(by_draw, by_item[:, items_K - 1])
    none_K = torch.tensor([5, 6])
    by_draw = leave_out(torch.ones(16, 2), excluded_draws(excluded, none_K, 7), 0.0)
    assert torch.equal(by_draw, by_item[:, none_K - 1])


def test_many_windows_against_a_loop():
    """More columns than are done at a time would be one call each."""
    draw = random.Random(0)
    rows = [
        (draw.randrange(1, 40), start := draw.randrange(100), start + draw.randrange(1, 30))
        for _ in range(90)
    ]
    windows = windows_in([(str(i), a, b) for i, a, b in rows], int)
    times_N = torch.arange(0, 140, 3)
    excluded = Excluded(
        torch.empty(0, dtype=torch.int64), torch.zeros(len(times_N) + 1, dtype=torch.int64)
    )._replace(windows=windows, times_N=times_N)
    named = {item for item, _, _ in rows}
    for time, out in zip(times_N.tolist(), not_shown(excluded, 50), strict=True):
        open_now = {item for item, a, b in rows if a <= time < b}
        assert out == sorted(named - open_now)
        items_N = torch.arange(1, 51)
        closed_N = windows.closed_items(items_N, torch.full_like(items_N, time))
        assert items_N[closed_N].tolist() == out


def test_a_mean_over_targets_counts_only_those_at_which_the_item_is_open(tmp_path):
    targets = LeaveOneOut().split(corpus_of(tmp_path)).validation
    generator = torch.Generator().manual_seed(0)
    state_NR = torch.randn(3, 2, generator=generator)
    factor_VR = torch.randn(6, 2, generator=generator)
    found_V = mean_where_shown(state_NR, factor_VR, targets)
    is_shown_NV = leave_out(torch.ones(3, 6), removed_for(targets), 0.0).bool()
    reward_NV = (state_NR @ factor_VR.T).double()
    for v in range(6):
        if is_shown_NV[:, v].any():
            torch.testing.assert_close(found_V[v], reward_NV[is_shown_NV[:, v], v].mean())


def test_another_numbering_has_the_same_windows(tmp_path):
    corpus = corpus_of(tmp_path)
    ids = np.array([12, 10, 14])
    found = Encoder(ids, torch.tensor([0, 2, 0, 1, 0, 3, 0])).split(LeaveOneOut().split(corpus))
    assert windows_rows(found.corpus) == [["12", 30, None], ["10", 5, 15], ["10", 45, 60]]
    assert found.test.windows.items_U.tolist() == [1, 2]
    rows = windows_rows(corpus)
    number_of = {str(each): n for n, each in enumerate(corpus.item_ids.tolist(), start=1)}
    again = windows_in(rows, number_of.__getitem__)
    assert windows_rows(replace(corpus, windows=again)) == rows
    none = Encoder(np.array([14]), torch.tensor([0, 0, 0, 0, 0, 1, 0]))
    assert none.corpus(corpus).windows is None


def test_where_only_the_target_is_open_it_is_left_out_and_counted(tmp_path):
    """At 50 only item 5 is open for user 0, who has had all others but 6."""
    rows = [(15, 0, 30), (10, 45, ""), (12, 45, "")]
    data = LeaveOneOut().split(corpus_of(tmp_path, rows))
    assert data.test.users_N.tolist() == [2, 3]  # 1 chose 6, which is closed
    assert data.test.masked == 2


def test_dates_are_read_in_any_form(tmp_path):
    rows = [(10, "1970-01-01T00:00:05Z", "1970-01-01T00:00:15Z")]
    assert windows_rows(corpus_of(tmp_path, rows)) == [["10", 5, 15]]
    rows = [(10, "2024-01-31", "")]
    assert windows_rows(corpus_of(tmp_path, rows)) == [["10", 1_706_659_200, None]]
    assert windows_rows(corpus_of(tmp_path, [(10, 7)], header="Item,To")) == [["10", None, 7]]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (ROWS, "item_id,a,b", r"must have one column item_id and from, until or both"),
        ([(10, 15, 5)], "item_id,from,until", "must end after it begins; row 1"),
        ([(10, 1, 5), (11, "soon", 9)], "item_id,from,until", "row 2"),
        ([("x", 1, 2), ("y", 1, 2)], "item_id,from,until", r"has only windows of 2 items .*'x'"),
        ([("", 1, 2)], "item_id,from,until", "needs a value in item_id"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, rows, header, says):
    with pytest.raises(UserError, match=says):
        corpus_of(tmp_path, rows, header=header)


def test_windows_of_another_time_are_said(tmp_path):
    rows = [(each, "2024-01-01", "") for each in range(10, 16)]
    with pytest.raises(UserError, match=r"none of 4 targets \(1970-01-01 to 1970-01-01\)"):
        LeaveOneOut().split(corpus_of(tmp_path, rows))
