import numpy as np
import pytest
from data_factory import made_corpus

from recsys_posttrain.data import MovieLens1M, MovieLens100K, audit, audit_lines, prepare


def corpus_of(timestamps, rewards, items):
    """Every event is on item 1 of so many."""
    lengths, ids = [len(user) for user in timestamps], np.arange(items)
    ones = [1] * sum(lengths)
    return made_corpus(lengths, items=ones, rewards=rewards, times=timestamps, item_ids=ids)


def test_by_hand():
    corpus = corpus_of(
        timestamps=[[0, 0, 0, 3600], [3600, 5000, 9000, 9000], [9000, 9000]],
        rewards=[[5.0, 1.0, 1.0, 3.5], [2.0, 5.0, 5.0, 4.0], [5.0, 1.0]],
        items=5,
    )
    figures = audit(corpus)
    assert [figures[name] for name in ("rows", "users", "items")] == [10, 3, 5]
    # Every event is on item 1: 3 pairs of 15, and all but a user's first event are repeats.
    assert figures["density"] == pytest.approx(3 / 15)
    assert figures["repeated"] == pytest.approx(7 / 10)
    # Events 2 and 3 of the first user, the last of the second, the last of the third; equal
    # seconds of neighbouring users (3600, 9000) are no ties.
    assert figures["tied_with_previous"] == pytest.approx(0.4)
    assert figures["shares_time"] == pytest.approx(0.7)
    assert figures["users_within_an_hour"] == pytest.approx(2 / 3)  # 3600 s counts, 5400 does not
    assert figures["last_event_liked"] == pytest.approx(1 / 3)  # 3.5, 4, 1
    # Training: 0 0 | 3600 5000 | 9000 9000 (a user of two events trains with both).
    # Targets at 3600 and 9000: later are {5000, 9000, 9000} and nothing, so 3 of 12 pairs.
    assert figures["train_after_test"] == pytest.approx(3 / 12)
    ratings = {key: value for key, value in figures.items() if key.startswith("rating/")}
    assert ratings == {"rating/1": 3, "rating/2": 1, "rating/3.5": 1, "rating/4": 1, "rating/5": 4}
    assert [figures[f"length/{share}"] for share in ("0", "0.5", "1")] == [2, 4, 4]


def test_nobody_to_test_is_not_a_number():
    figures = audit(corpus_of([[1, 2]], [[1.0, 2.0]], items=2))
    assert np.isnan(figures["train_after_test"])
    assert any("nan%" in line for line in audit_lines("made", figures))


def test_lines_carry_the_figures():
    figures = audit(corpus_of([[0, 0, 7200], [1, 2, 3]], [[5.0] * 3, [1.0] * 3], items=4))
    text = "\n".join(audit_lines("made", figures))
    assert "made: 6 events, 2 users, 4 items, density 25.00%" in text
    for part in ("3 of 1, 3 of 5", "16.7%", "66.7% of choices repeat an item that the user had be"):
        assert part in text


def test_continuous_rewards_do_not_fill_the_screen():
    rewards = [[float(value) for value in np.linspace(-10, 10, 300)]]
    lines = audit_lines("made", audit(corpus_of([list(range(300))], rewards, items=300)))
    assert max(map(len, lines)) < 400
    assert "281 of other values" in lines[1]


def test_movielens_100k_facts(shared_data):
    figures = audit(prepare(MovieLens100K(str(shared_data)), 1))
    assert figures["train_after_test"] == pytest.approx(0.41, abs=0.005)
    assert figures["tied_with_previous"] == pytest.approx(0.5, abs=0.01)
    counts = [figures[f"rating/{stars}"] for stars in (1, 2, 3, 4, 5)]
    assert counts == [6110, 11370, 27145, 34174, 21201]


def test_movielens_1m_facts(shared_data):
    figures = audit(prepare(MovieLens1M(str(shared_data)), 1))
    assert figures["users_within_an_hour"] == pytest.approx(0.48, abs=0.005)
    assert figures["last_event_liked"] == pytest.approx(0.59, abs=0.005)
    assert figures["tied_with_previous"] == pytest.approx(0.53, abs=0.005)
