"""Growth with the catalogue: every subject runs in small, and has a sample where it should."""

import pytest
from benchmark_runs import FOLDER


@pytest.fixture
def large(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import large_catalogue

    monkeypatch.setattr(large_catalogue, "USERS", 70)
    return large_catalogue


@pytest.mark.parametrize("subject", ["OfflinePPO", "evaluate", "curve_point", "recommend"])
def test_a_point_is_measured(large, subject):
    point = large.measure(subject, 200, steps=1)
    assert (point["subject"], point["size"]) == (subject, 200)
    assert point["seconds"] > 0
    assert point["wall_seconds"] > 0
    assert point["table_mib"] == round(200 * 64 * 4 / 2**20, 1)


def test_sums_are_sampled_above_the_size_of_the_plan_and_exact_where_asked(large, monkeypatch):
    drawn = []
    monkeypatch.setattr(large, "proposal_of", lambda *_: drawn.append(1))
    plan = large.POSTTRAINING
    monkeypatch.setattr(large, "POSTTRAINING", type(plan)(steps=9, batch_size=64, exact_items=100))
    for subject, size, count in (("BC", 100, 0), ("BC, exact", 200, 0), ("BC", 200, 1)):
        drawn.clear()
        large.measure(subject, size, steps=1)
        assert len(drawn) == count, (subject, size)


def test_every_family_of_post_training_is_there(large):
    families = {getattr(each, "family", "") for each in large.METHODS.values()}
    assert families >= {"weighted likelihood", "preferences", "policy gradient", "value based"}
