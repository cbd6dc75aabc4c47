"""experiments/cold_titles.py on a small log: titles that pretraining never saw are found."""

from dataclasses import replace


def test_held_out_titles_are_found_and_warm_ones_lose_nothing(script):
    study = script("experiments/cold_titles.py")
    plan = replace(study.Sizes().training, epochs=12, patience=3)
    sizes = study.Sizes(users=300, titles=80, clusters=6, events=14, training=plan)
    rows = study.measured(sizes, seed=0)
    found = {row["method"]: row for row in rows}
    held = {name: row[study.HELD_OUT] for name, row in found.items()}
    assert held["Popularity"] == held[study.WITHOUT] == 0
    assert held["content neighbours"] > 0.3
    alone = found[study.WITHOUT][study.NDCG]
    for name in (study.WITH, study.ADDED):
        assert held[name] > held["content neighbours"] + 0.1
        assert found[name][study.NDCG] > alone - 0.02
    assert f"{study.WITH} minus {study.WITHOUT}" in study.summary(rows)
