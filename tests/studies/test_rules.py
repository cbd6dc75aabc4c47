"""The doubly robust rule by hand, and rules that the data cannot serve."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from data_factory import made_corpus

from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.off_policy import estimates
from recsys_posttrain.evaluation.subsets import all_targets, liked
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.choose import TRIAL, chosen, selections
from recsys_posttrain.studies.rules import DR, OWN, check_rule, rule_of, validation_means
from recsys_posttrain.sweep.objective import Objective

# Ten users saw one of two items: eight the first, two the second, as the log's policy (.8, .2) has
# it. They are worth 2 and 4; the reward model says 1.2 and 1.
LOGGED = np.array([0] * 8 + [1] * 2)
LOGGING, WORTH, MODEL = np.array([0.8, 0.2]), np.array([2.0, 4.0]), np.array([1.2, 1.0])
NAMED = [OWN, "proxy", "judge", DR]
POLICIES = {"to the first": np.array([0.95, 0.05]), "to the second": np.array([0.1, 0.9])}
TRUE = {"to the first": 2.1, "to the second": 3.8}  # .95 2 + .05 4 and .1 2 + .9 4


def world() -> pd.DataFrame:
    """Of each policy a row per user: its estimate, its list, its rank of what was logged."""
    frames = []
    for strength, pi in POLICIES.items():
        weight_N, expected = (pi / LOGGING)[LOGGED], float(pi @ MODEL)
        found = estimates(weight_N, WORTH[LOGGED], MODEL[LOGGED], np.full(10, expected))
        names = dict(zip(TRIAL, ["", "", 0.0, "PPO", strength], strict=True))
        frames.append(
            pd.DataFrame(
                {
                    "user_id": range(10),
                    "item_id": LOGGED,
                    "reward": 4.0,
                    "total_reward": 8.0,
                    "ndcg@10": np.where(pi.argmax() == LOGGED, 1.0, 0.6),
                    "reward/proxy@10": expected,
                    "reward/dr": found["reward/dr"],
                    "reward/gold@5": TRUE[strength],
                }
            ).assign(**names, seed=0)
        )
    return pd.concat(frames)


def test_the_doubly_robust_rule_is_right_where_imitation_and_the_model_are_not() -> None:
    rows = world()
    by_strength = {
        strength: validation_means(part, RewardScale())
        for strength, part in rows.groupby("strength", sort=False)
    }
    assert {each: means[DR] for each, means in by_strength.items()} == pytest.approx(TRUE)
    validation = pd.DataFrame(
        [dict(zip(TRIAL, ["", "", 0.0, "PPO", each], strict=True)) | means
         for each, means in by_strength.items()]
    )  # fmt: skip
    assert chosen(validation)["strength"].item() == "to the first"
    assert chosen(validation, DR)["strength"].item() == "to the second"

    found = selections(rows, rows, RewardScale(), resamples=20_000).set_index("rule")
    assert found["strength"].to_dict() == {
        OWN: "to the first",
        "proxy": "to the first",
        "dr": "to the second",
        "hindsight": "to the second",
    }
    assert found.loc["dr", "difference"] == pytest.approx(1.7)
    # A user of the second item speaks for the second policy by 14.52 - 1.94, one of the first
    # against it by 2.14 - 1.12. So it is chosen unless none of the two is drawn: 1 - .8^10.
    assert found.loc["dr", "chosen_share"] == pytest.approx(1 - 0.8**10, abs=0.01)
    assert (found.loc["dr", "low"], found.loc["dr", "high"]) == pytest.approx((2.1, 3.8))
    own = selections(rows, rows, RewardScale(), resamples=100, own=DR)
    assert own["rule"].tolist() == ["dr", OWN, "proxy", "hindsight"]
    assert own.set_index("rule").loc[OWN, "difference"] == pytest.approx(-1.7)


def test_rules_that_the_data_cannot_serve_are_refused() -> None:
    data = LeaveOneOut().split(made_corpus([4, 4], items=[[1, 2, 3, 4]] * 2))
    check_rule(OWN, data)
    check_rule("proxy", data)
    with pytest.raises(UserError, match="'dr' weighs by propensities, and made states none; choos"):
        check_rule(DR, data)
    with pytest.raises(UserError, match="'judge': this split of made keeps no users for a judge"):
        check_rule("judge", data)
    known = replace(data.validation, propensities_N=data.validation.rewards_N.double())
    check_rule(DR, replace(data, validation=known))
    silent = replace(data.corpus, reward_scale=RewardScale(missing="all are 1"))
    check_rule(OWN, replace(data, corpus=silent))
    with pytest.raises(UserError, match=r"made has no rewards to learn from \(all are 1\)"):
        check_rule(DR, replace(data, corpus=silent, validation=known))
    assert [rule_of(SimpleNamespace(CHOSEN_BY=name), "x.py") for name in NAMED] == NAMED
    assert rule_of(SimpleNamespace(), "x.py") == OWN
    with pytest.raises(UserError, match=r"CHOSEN_BY='jugde' is no rule; did you mean 'judge'"):
        rule_of(SimpleNamespace(CHOSEN_BY="jugde"), "x.py")


@pytest.mark.parametrize(
    ("over", "known", "sentence"),
    [
        (all_targets, False, "metric='reward/dr' weighs by propensities, and made states none"),
        (liked, True, "over=liked picks targets by the reward that 'reward/dr' estimates"),
    ],
)
def test_a_sweep_by_dr_is_refused_before_its_first_trial(over, known, sentence) -> None:
    data = LeaveOneOut().split(made_corpus([4, 4], items=[[1, 2, 3, 4]] * 2))
    if known:
        p_N = data.validation.rewards_N.double()
        data = replace(data, validation=replace(data.validation, propensities_N=p_N))
    sweep = SimpleNamespace(
        cells=[SimpleNamespace(label="BC", run=lambda *_: None)], metric="reward/dr"
    )
    sweep.over = over
    pipeline = SimpleNamespace(data=data, refusal=lambda _: "")
    with pytest.raises(UserError, match=sentence):
        Objective(sweep, pipeline).check()
