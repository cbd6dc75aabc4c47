"""experiments/new_titles.py on a small log: titles with events gain from vectors of their own."""

from dataclasses import replace


def test_new_titles_gain_and_what_stays_is_measured_beside_it(script):
    study = script("experiments/new_titles.py")
    plan = replace(study.Sizes().training, epochs=16)
    sizes = study.Sizes(users=300, titles=80, clusters=6, first_day=8, training=plan)
    long = replace(study.PLANS[0], learning_rate=3e-3, steps=60)
    rows = study.measured(sizes, 0, (long,))
    assert [row["vectors"] for row in rows] == ["features", "features", "own"]
    saved, features, own = (row["new titles"] for row in rows)
    assert own > features
    assert saved > 0
    assert "| 60 steps, rate 0.003 | own |" in study.summary(rows)
