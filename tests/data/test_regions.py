"""Windows by region, against a loop over a log that is written down here."""

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.data.available import windows_in, windows_rows, with_windows
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.excluded import is_excluded
from recsys_posttrain.data.prepare import corpus_of
from recsys_posttrain.data.repeats import removed_for, rule_of
from recsys_posttrain.data.split import LeaveOneOut
from recsys_posttrain.data.table_file import interactions_of
from recsys_posttrain.eligibility import Excluded, leave_out
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.expectation import mean_where_shown
from recsys_posttrain.losses.negatives import excluded_draws

# A user's items at 10, 20, 30, 40, 50, and where the user then was; "" is not said.
ITEMS = [[1, 2, 3, 4, 5], [2, 3, 4, 1, 6], [5, 6, 1, 2, 3], [6, 4, 2, 5, 1]]
TIMES = [10, 20, 30, 40, 50]
PLACES = [["US"] * 5, ["DE"] * 5, ["US", "DE", "DE", "US", "US"], ["", "DE", "", "", "DE"]]
# item: rows of (from, until, region). 5 and 6 have none; only some regions show 2, one of them two
# times, and all show 3 late; 4 is closed to whoever is in no region that it names.
ROWS = {
    1: [(5, 45, ""), (48, 99, "DE")],
    2: [(0, 15, "US"), (35, 99, "US"), (0, 99, "FR")],
    3: [(25, 99, "")],
    4: [("", "", "DE"), ("", 41, "US")],
}


def is_open(item, time, place):
    if item not in ROWS:
        return True
    return any(
        ((start == "") or time >= start) and (end == "" or time < end) and where in ("", place)
        for start, end, where in ROWS[item]
    )


def log(**changes):
    rows = [
        (f"u{user}", item, time, place)
        for user, (items, places) in enumerate(zip(ITEMS, PLACES, strict=True))
        for item, time, place in zip(items, TIMES, places, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "region"])
    return frame.assign(**changes).sort_values(["item_id", "timestamp"], kind="stable")


def windows_csv(tmp_path, rows=None, header="item_id,from,until,region"):
    rows = [(item, *row) for item, each in ROWS.items() for row in each] if rows is None else rows
    path = tmp_path / "windows.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    """Items are numbered as they are called: the log is sorted by them."""
    found = corpus_of(interactions_of(log(), {}), repeats="never")
    assert found.item_ids.tolist() == [1, 2, 3, 4, 5, 6]
    return with_windows(found, windows_csv(tmp_path))


def row_of(corpus, user):
    """Users are numbered by their first row, which is not their order here."""
    return int(corpus.user_ids[user].removeprefix("u"))


def not_shown(excluded, items=6):
    rows = leave_out(torch.ones(len(excluded.offsets_N1) - 1, items), excluded, 0.0)
    return [[v + 1 for v in range(items) if not row[v]] for row in rows.tolist()]


@pytest.mark.parametrize("repeats", ["never", "allowed"])
def test_targets_and_what_competes_with_them_are_those_open_in_their_region(corpus, repeats):
    data = LeaveOneOut().split(replace(corpus, repeats=repeats))
    for place, targets in ((3, data.validation), (4, data.test)):
        wanted, time = {}, TIMES[place]
        for user, (items, places) in enumerate(zip(ITEMS, PLACES, strict=True)):
            had = items[:place] if repeats == "never" else []
            out = [v for v in range(1, 7) if v in had or not is_open(v, time, places[place])]
            if items[place] not in out and len(out) < 5:
                wanted[user] = out
        found = not_shown(removed_for(targets))
        users = [row_of(corpus, each) for each in targets.users_N.tolist()]
        assert dict(zip(users, found, strict=True)) == wanted
        assert targets.masked == 4 - len(wanted)
        # The same by a mask of given items, and in parts of the catalogue.
        items_NK = torch.arange(1, 7).expand(len(users), 6)
        is_out_NK = is_excluded(removed_for(targets), items_NK)
        assert [row.nonzero().flatten().add(1).tolist() for row in is_out_NK] == found
        parts = [
            leave_out(torch.ones(len(users), width), removed_for(targets), 0.0, first)
            for first, width in ((0, 1), (1, 3), (4, 2))
        ]
        assert torch.equal(torch.cat(parts, 1) == 0, is_out_NK)


def test_in_training_the_region_of_the_event_itself_decides(corpus):
    for rule in (rule_of(corpus), rule_of(replace(corpus, repeats="allowed"))):
        batch = batch_of(corpus.sequences, torch.arange(4), 9, rule=rule)
        wanted = []
        asked = batch.user_N.tolist(), batch.position_N.tolist()
        for user, place in zip(*asked, strict=True):
            items, places = (each[row_of(corpus, user)] for each in (ITEMS, PLACES))
            had = items[: place + 1] if rule.history else []
            time, where = TIMES[place + 1], places[place + 1]
            out = {v for v in range(1, 7) if v in had or not is_open(v, time, where)}
            wanted.append(sorted(out - {items[place + 1]}))
        assert not_shown(batch.excluded) == wanted
        rows = slice(3, 9)
        assert not_shown(batch.excluded.rows(rows)) == wanted[rows]
        assert not_shown(batch.excluded.every(4)) == wanted[::4]
        assert batch.excluded.windows is corpus.windows, "no copy for a batch"
        items_K = torch.tensor([1, 1, 2, 4, 4, 5])
        by_item = leave_out(torch.ones(16, 6), batch.excluded._replace(but_N=None), 0.0)
        by_draw = leave_out(torch.ones(16, 6), excluded_draws(batch.excluded, items_K, 7), 0.0)
        assert torch.equal(by_draw, by_item[:, items_K - 1])


def test_a_mean_over_targets_counts_only_those_at_which_the_item_is_open(corpus):
    targets = LeaveOneOut().split(corpus).test
    count = len(targets.items_N)
    generator = torch.Generator().manual_seed(0)
    state_NR = torch.randn(count, 2, generator=generator)
    factor_VR = torch.randn(6, 2, generator=generator)
    found_V = mean_where_shown(state_NR, factor_VR, targets)
    reward_NV = (state_NR @ factor_VR.T).double()
    out = not_shown(removed_for(targets))
    for item in range(1, 7):
        shown = [n for n in range(count) if item not in out[n]]
        if shown:
            torch.testing.assert_close(found_V[item - 1], reward_NV[shown, item - 1].mean())


def test_another_numbering_and_a_saved_list_have_the_same_windows(corpus):
    number_V1 = torch.tensor([0, 2, 0, 0, 1, 3, 0])
    found = Encoder(np.array([4, 1, 5]), number_V1).corpus(corpus)
    assert windows_rows(found) == [
        ["1", 5, 45, None],
        ["4", None, None, "DE"],
        ["1", 48, 99, "DE"],
        ["4", None, 41, "US"],
    ]
    rows = windows_rows(corpus)
    again = windows_in(rows, int)
    assert windows_rows(replace(corpus, windows=again)) == rows
    for a, b in zip(again.regions, corpus.windows.regions, strict=True):
        assert a[:2] == b[:2]
        assert all(map(torch.equal, a.windows[:3], b.windows[:3]))
    with pytest.raises(ValueError, match="one region"):
        windows_in([["1", 1, 2, "US", "DE"]], int)
    with pytest.raises(ValueError, match="one region"):
        windows_in([["1", 1, 2, 3]], int)


def test_many_windows_of_many_regions_against_a_loop(monkeypatch):
    """Three columns at a time, so that a region's items lie in several parts."""
    monkeypatch.setattr("recsys_posttrain.windows.COLUMNS", 3)
    draw = random.Random(0)
    names = [None, *(f"r{n}" for n in range(7))]
    rows = [
        [str(draw.randrange(1, 40)), start := draw.randrange(100), start + 20, draw.choice(names)]
        for _ in range(150)
    ]
    windows = windows_in(rows, int)
    assert sum(each.windows.from_LU.numel() for each in windows.regions) < 3 * len(rows)
    codes = {each.name: each.code for each in windows.regions}
    asked = [(time, f"r{n}") for n in range(8) for time in range(0, 140, 7)]  # r7 has no row
    times_N = torch.tensor([time for time, _ in asked])
    regions_N = torch.tensor([codes.get(name, 0) for _, name in asked])
    nothing = torch.empty(0, dtype=torch.int64), torch.zeros(len(asked) + 1, dtype=torch.int64)
    excluded = Excluded(*nothing, windows=windows, times_N=times_N, regions_N=regions_N)
    named = {int(item) for item, *_ in rows}
    for (time, name), out in zip(asked, not_shown(excluded, 50), strict=True):
        open_now = {int(item) for item, a, b, r in rows if a <= time < b and r in (None, name)}
        assert out == sorted(named - open_now)
    with pytest.raises(ValueError, match="the region of each row"):
        leave_out(torch.ones(len(asked), 50), excluded._replace(regions_N=None))


def test_what_no_event_has_and_events_without_a_region_are_counted(tmp_path, capsys):
    with_windows(corpus_of(interactions_of(log(), {})), windows_csv(tmp_path))
    said = capsys.readouterr().err
    assert "1 region of 3 that no event of the data frame has ('FR')" in said
    assert "3 events of 20 without a region, to which the windows without one alone apply" in said
    rows = [(1, 0, 9, "us")]
    with_windows(corpus_of(interactions_of(log(), {})), windows_csv(tmp_path, rows))
    assert "1 region of 1 that no event of the data frame has ('us')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, 0, 9, "nan")], "a region must have a name, or be left empty .*; row 1 has 'nan'"),
        ([(1, 0, 9, "US"), (2, 0, 9, "NaN")], "row 2 has 'NaN'"),
    ],
)
def test_a_region_that_is_no_name_is_one_sentence(tmp_path, rows, says):
    with pytest.raises(UserError, match=says):
        with_windows(corpus_of(interactions_of(log(), {})), windows_csv(tmp_path, rows))


def test_windows_by_region_of_a_log_without_are_one_sentence(tmp_path):
    plain = corpus_of(interactions_of(log().drop(columns="region"), {}))
    with pytest.raises(
        UserError, match="does not say in which region an event is: name its column"
    ):
        with_windows(plain, windows_csv(tmp_path))
    empty = windows_csv(tmp_path, [(1, 0, 9, "")])
    assert windows_rows(with_windows(plain, empty)) == [["1", 0, 9]], "it names no region"
    only_regions = windows_csv(tmp_path, [(1, "US")], "item_id,region")
    found = with_windows(corpus_of(interactions_of(log(), {})), only_regions)
    assert windows_rows(found) == [["1", None, None, "US"]]


def test_windows_without_regions_give_the_same_on_a_log_with_and_without(tmp_path):
    path = windows_csv(tmp_path, [(1, 0, 45), (3, 25, 99)], "item_id,from,until")
    load = partial(rp.load, split=LeaveOneOut(minimum_item_ratings=1), available=path)
    with_regions, plain = load(log()), load(log().drop(columns="region"))
    assert windows_rows(with_regions.corpus) == windows_rows(plain.corpus)
    assert all(len(row) == 3 for row in windows_rows(plain.corpus))
    for name in ("validation", "test"):
        one, other = with_regions.targets(name), plain.targets(name)
        assert torch.equal(one.items_N, other.items_N)
        assert not_shown(removed_for(one)) == not_shown(removed_for(other))
        assert removed_for(one).regions_N is None
