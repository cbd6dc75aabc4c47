"""Which events are new, old, replayed or held out, against lists written by hand."""

import itertools
from dataclasses import replace

import pytest
import torch
from data_factory import made_corpus

from recsys_posttrain.data.newest import NEITHER, NEW, OLD, PART, newest
from recsys_posttrain.errors import UserError

SINCE = 100


def log(**given):
    """Users 0 to 3 came back after second 100, users 4 to 7 did not: 10 new events, old ones 4 to 7
    of each user."""
    old = [4, 4, 4, 1, 5, 6, 7, 1]
    new = [4, 3, 2, 1, 0, 0, 0, 0]
    times = [
        [*range(count), *(SINCE + 1 + 4 * place + user for place in range(more))]
        for user, (count, more) in enumerate(zip(old, new, strict=True))
    ]
    lengths = [a + b for a, b in zip(old, new, strict=True)]
    return made_corpus(lengths, times=times, item_ids=list(range(sum(lengths))), **given)


def events(sequences):
    """By user, the items, which name each event."""
    ends = sequences.offsets_N1.tolist()
    items = sequences.items_E.tolist()
    return [items[a:b] for a, b in itertools.pairwise(ends)]


def test_every_event_has_its_part():
    corpus = log()
    found = newest(corpus, SINCE, replay=0.5)
    # By time: 4 first new events (101..104), 3 second ones (105..107), 2 third ones, 1 fourth one.
    whole = events(corpus.sequences)
    train = events(found.data.train)
    # 8 of 10 are trained on: all but the third of user 1 (110) and the fourth of user 0 (113).
    assert train[0] == whole[0][:7]
    assert train[1] == whole[1][:6]
    assert train[2] == whole[2]
    assert train[3] == whole[3]
    assert found.data.validation.items_N.tolist() == [whole[1][6]]
    assert found.data.test.items_N.tolist() == [whole[0][7]]
    assert events(found.data.test.history) == [whole[0][:7]]
    # Old targets: the last old event of whoever has one before it.
    assert found.old.items_N.tolist() == [whole[u][n] for u, n in ((0, 3), (1, 3), (2, 3))] + [
        whole[u][-1] for u in (4, 5, 6)
    ]
    # As many users without new events as with some, of three that can be replayed.
    replayed = [user for user in (4, 5, 6, 7) if train[user]]
    assert replayed == [4, 5, 6]
    assert all(train[user] == whole[user] for user in replayed)
    label = dict(
        zip(
            found.data.train.items_E.tolist(),
            found.data.train.signals.of(PART).tolist(),
            strict=True,
        )
    )
    held = set(found.old.items_N.tolist())
    for item, part in label.items():
        time = int(corpus.sequences.timestamps_E[item - 1])
        assert part == (NEITHER if item in held else NEW if time > SINCE else OLD)
    assert (found.new_events, found.old_events) == (10, 32)


def test_the_share_decides_how_many_others_are_there():
    counts = [
        sum(map(bool, events(newest(log(), SINCE, replay).data.train)[4:]))
        for replay in (0.0, 0.2, 0.34, 0.9)
    ]
    assert counts == [0, 1, 2, 3]


def test_whole_days_of_one_time_are_split_too():
    """A log of dates: the first events in the log's order are trained on."""
    corpus = log()
    times_E = torch.where(corpus.sequences.timestamps_E > SINCE, 200, 0)
    same = replace(corpus, sequences=replace(corpus.sequences, timestamps_E=times_E))
    found = newest(same, SINCE, replay=0)
    assert len(found.data.validation.items_N) == len(found.data.test.items_N) == 1
    train = events(found.data.train)
    whole = events(corpus.sequences)
    # New ones in the log's order: four of user 0, three of user 1, two of user 2, one of user 3.
    assert train[:4] == [*whole[:2], whole[2][:5], []]


def test_other_signals_stay():
    from recsys_posttrain.logged import Signals

    corpus = log()
    values_E1 = torch.arange(len(corpus.sequences.items_E)).float()[:, None]
    corpus = replace(
        corpus, sequences=replace(corpus.sequences, signals=Signals(("click",), values_E1))
    )
    found = newest(corpus, SINCE, replay=0.5)
    train = found.data.train
    assert train.signals.names == ("click", PART)
    assert (train.signals.of("click") == train.items_E - 1).all()
    assert found.data.test.signals.names == ("click",)


def test_no_more_than_so_many_targets(monkeypatch):
    monkeypatch.setattr("recsys_posttrain.data.newest._some.__defaults__", (2,))
    found = newest(log(), SINCE, replay=0.5)
    assert len(found.old.items_N) == 2


@pytest.mark.parametrize(
    ("since", "replay", "sentence"),
    [
        (112, 0.5, r"1 new event on known items are too few"),
        (-1, 0.5, r"nothing to replay; .* or --replay 0"),
    ],
)
def test_too_little_is_refused(since, replay, sentence):
    with pytest.raises(UserError, match=sentence):
        newest(log(), since, replay)


def test_without_a_past_there_are_no_old_targets():
    assert newest(log(), -1, replay=0).old is None
