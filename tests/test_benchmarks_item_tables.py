"""benchmarks/item_tables.py on a policy that is drawn."""

import pytest
from benchmark_runs import FOLDER, record_in

from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.models.checkpoint import save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.sasrec import SASRec


@pytest.fixture
def item_tables(script):
    return script("benchmarks/item_tables.py")


def test_rounding_hardly_moves_what_is_shown(item_tables, small_ratings_csv, tmp_path):
    corpus = prepare(RatingsFile(str(small_ratings_csv)), cache=tmp_path / "cache")
    backbone = SASRec(dim=8, blocks=1, max_length=10)
    policy = new_policy(backbone, corpus.num_items, seed=0)
    save_policy(tmp_path, policy, backbone, corpus, None)
    found = item_tables.quality(tmp_path, LeaveOneOut().split(corpus))
    assert found["ndcg@10"]["float32"] > 0
    assert found["ndcg@10"]["bfloat16"] == pytest.approx(found["ndcg@10"]["float32"], abs=0.05)
    assert 0.9 <= found["items_that_stay"] <= 1


def test_the_committed_figures_are_those_of_the_page():
    record = record_in(FOLDER / "results", "item_tables")
    worst = max(
        abs(each["ndcg@10"]["bfloat16"] - each["ndcg@10"]["float32"]) for each in record["policies"]
    )
    stay = min(each["items_that_stay"] for each in record["policies"])
    saved = record["process_mib"]["float32"] - record["process_mib"]["bfloat16"]
    page = (FOLDER.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    said = f"NDCG@10 moves by {worst:.4f} at most".replace("0.", ".", 1)
    assert f"{said}, and {stay:.1%} of the items shown stay" in page
    assert f"{saved:.0f} MiB less for a million items" in page
