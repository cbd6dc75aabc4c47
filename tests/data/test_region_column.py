"""The column of a log that says in which region each event was."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_posttrain.data.joined import joined, lost_columns
from recsys_posttrain.data.prepare import corpus_of, prepare
from recsys_posttrain.data.table_file import RatingsFile, interactions_of
from recsys_posttrain.errors import UserError

TIMES = [10, 20, 30, 40, 50]


def log(**changes):
    """Four users and five items; three events are in no region."""
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(4), 5),
            "item_id": np.tile(np.arange(5), 4),
            "timestamp": TIMES * 4,
            "region": ["US"] * 9 + ["DE"] * 8 + [""] * 3,
        }
    )
    return frame.assign(**changes)


@pytest.mark.parametrize(
    ("regions", "written"),
    [
        ([7, 7, 8, 7, 7], ["7", "8"]),
        ([7.0, np.nan, 8.0, 7.0, 7.0], ["7", "8"]),
        (["7.0", "", "8.0", "7.0", "7.0"], ["7", "8"]),
        ([" NA ", None, "nan", "NaN", "NA"], ["NA"]),
        ([None] * 5, []),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_log_names_its_regions_in_any_kind_of_column(tmp_path, regions, written, kind):
    frame = pd.DataFrame({"user": [1] * 5, "item": range(5), "time": TIMES, "country": regions})
    mapping = {"region": "country"}
    if kind == "frame":
        found = interactions_of(frame, mapping)
    else:
        path = tmp_path / f"log.{kind}"
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
        found = RatingsFile(str(path), columns="region=country").load()
    corpus = corpus_of(found)
    assert corpus.region_names == tuple(written)
    missing = [str(each).strip().lower() in ("", "nan", "none") for each in regions]
    assert (corpus.sequences.regions_E == 0).tolist() == missing
    assert len(corpus.sequences.regions_E.unique()) == len(written) + any(missing)


def test_a_region_of_another_type_is_one_sentence():
    regions = [1.0, 1.5, *[2.0] * 18]
    with pytest.raises(UserError, match=r"decimal point, and a region is text .* has '1.5'"):
        interactions_of(log(region=regions), {})
    with pytest.raises(UserError, match="not text or a whole number"):
        interactions_of(log(region=pd.Timestamp("2024-01-01")), {})


def test_logs_of_two_days_agree_on_their_regions(tmp_path):
    """Codes are of names, so logs need no common list; with one that has none they are lost."""
    today = log(timestamp=range(100, 120), region=["FR", *["US"] * 19])
    both = corpus_of(joined(interactions_of(log(), {}), interactions_of(today, {})))
    assert both.region_names == ("DE", "FR", "US")
    codes, of_one = (
        set(each.sequences.regions_E.tolist())
        for each in (both, corpus_of(interactions_of(log(), {})))
    )
    assert of_one < codes
    assert len(codes) == 4  # and nowhere
    bare = interactions_of(today.drop(columns="region"), {})
    assert lost_columns(interactions_of(log(), {}), bare) == ["region"]
    assert corpus_of(joined(interactions_of(log(), {}), bare)).sequences.regions_E is None


def test_prepared_data_keeps_the_regions_and_a_mapping_is_part_of_its_identity(tmp_path):
    path = tmp_path / "log.csv"
    log().rename(columns={"region": "country"}).to_csv(path, index=False)
    plain, named = (RatingsFile(str(path), columns=each) for each in ("", "region=country"))
    assert plain.content_hash() != named.content_hash()
    for _ in range(2):
        corpus = prepare(named, 1, cache=tmp_path / "cache")
        assert corpus.region_names == ("DE", "US")
        assert prepare(plain, 1, cache=tmp_path / "cache").sequences.regions_E is None
    whole = corpus_of(named.load())
    assert torch.equal(corpus.sequences.regions_E, whole.sequences.regions_E)
