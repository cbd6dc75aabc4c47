"""`run` on a log in the forms that practitioners have: a table, or one sentence and exit code 2."""

from pathlib import Path

import eleven_logs
import numpy as np
import pandas as pd
import pytest

STUDY = Path(__file__).with_name("eleven_study.py")
METHODS = {"Popularity", "Pretrained", "ItemMean", "BC", "ASFT"}
WITHOUT_REWARDS = {"Popularity", "Pretrained", "BC"}


@pytest.fixture
def table_of(end, tmp_path, own_cache, monkeypatch, capfd):
    """The code, the rows of the table of `run` on a form, its caption, and what stderr has."""
    monkeypatch.chdir(tmp_path)

    def run(form, *options):
        path = eleven_logs.write(form, tmp_path)
        words = ("run", STUDY, "--dataset", path, "--seeds", 1, "--workers", 1)
        code = end(*words, "--output", tmp_path / "runs", *options)
        printed, said = capfd.readouterr()
        tables = list(tmp_path.glob(f"runs/eleven_study-{form}*/table.csv"))
        frame = pd.read_csv(tables[0]) if tables else None
        return code, frame, " ".join(printed.split()), said

    return run


def values(frame):
    return frame.sort_values(["method", "column"])[["method", "column", "mean"]].reset_index(
        drop=True
    )


def test_forms_of_one_log_give_one_table(table_of):
    """Other units and names of time, separators and columns are the same events."""
    code, stars, printed, said = table_of("stars")
    assert (code, said) == (0, "")
    assert set(stars["method"]) == METHODS
    assert "liked: reward ≥ 4; top: ≥ 5; disliked: ≤ 2" in printed
    for form, options, why in (
        ("milliseconds", (), "timestamp is in milliseconds, from 2023-11-14 to 2023-11-25"),
        ("iso_dates", (), ""),
        ("semicolons", (), "is read with semicolons between the columns"),
        ("duplicates", ("--duplicates", "first"), "3 duplicate events left out, the first of each"),
        ("other_names", ("--columns", "user=viewer,item=title,rating=grade,time=when"), ""),
    ):
        code, frame, _, said = table_of(form, *options)
        assert code == 0
        assert why in said
        assert (said == "") == (why == "")
        pd.testing.assert_frame_equal(values(frame), values(stars))


@pytest.mark.parametrize(
    ("form", "levels"),
    [("binary", (1, 1, 0)), ("plus_minus_1", (1, 1, -1)), ("seconds", None)],
)
def test_rewards_of_other_units(table_of, form, levels):
    """What is liked is neither all nor nothing."""
    code, frame, printed, said = table_of(form)
    assert (code, said) == (0, "")
    assert set(frame["method"]) == METHODS
    if levels is None:  # the median, and the quantiles that are 5 and 2 stars in MovieLens 1M
        watched = eleven_logs.seconds_watched()["rating"]
        levels = np.quantile(watched, (0.5, 0.8, 0.15), method="inverted_cdf")
    liked, top, disliked = (f"{level:g}" for level in levels)
    assert f"liked: reward ≥ {liked}; top: ≥ {top}; disliked: ≤ {disliked}" in printed
    shown = frame.dropna(subset=["mean"])
    assert {"NDCG@10 liked", "NDCG@10 disliked"} <= set(shown["column"])


@pytest.mark.parametrize(
    ("form", "why", "note"),
    [
        ("constant", "every reward is 1", ""),
        ("no_rating", "the log has no ratings", "no rating column, so every event has the rating"),
    ],
)
def test_without_rewards_the_methods_that_need_none_are_compared(table_of, form, why, note):
    code, frame, printed, said = table_of(form)
    assert code == 0
    assert note in said
    assert set(frame["method"]) == WITHOUT_REWARDS
    assert f"left out: ItemMean, ASFT (no rewards to read: {why}; BC needs none)" in printed


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (
            "other_names",
            "has no column user_id, item_id, timestamp; the columns found are viewer, title, "
            "grade, when; rename them, or say which is which with "
            "--columns user_id=NAME,item_id=NAME,timestamp=NAME.",
        ),
        (
            "duplicates",
            "row 601 repeats an earlier event (user user-05, item film ",
        ),
    ],
)
def test_what_is_no_log_is_refused_in_a_sentence(table_of, form, sentence):
    code, frame, _, said = table_of(form)
    assert (code, frame) == (2, None)
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
