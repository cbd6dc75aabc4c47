"""Which strength is chosen, and what it is worth, by hand."""

import pandas as pd
import pytest

from recsys_posttrain.report.grid import selection_block
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.select import (
    RULES,
    TRIAL,
    Methods,
    chosen,
    comparisons,
    selections,
    validation_means,
)

CLEAN, BIASED = ("", "", 0.0), ("model", "ItemBias", 1.0)
Row = tuple[tuple[str, str, float], str, str, float]


def _rows(*given: Row) -> pd.DataFrame:
    """Of two users and two seeds: noise, method, strength and value; the second user adds .1."""
    found = [
        [*noise, method, strength, seed, user, value + 0.1 * user]
        for noise, method, strength, value in given
        for seed in (0, 1)
        for user in (0, 1)
    ]
    frame = pd.DataFrame(found, columns=[*TRIAL, "seed", "user_id", "reward/gold@5"])
    return frame.assign(item_id=1, reward=4.0, total_reward=8.0)


def _selected(*given: Row) -> pd.DataFrame:
    return pd.DataFrame([[*each[0], *each[1:3]] for each in given], columns=TRIAL)


def _compared(rows: pd.DataFrame, selected: pd.DataFrame, methods: Methods) -> list:
    untrained = rows[(rows["method"] == "BC") & (rows["seed"] == 0)].assign(method="Pretrained")
    together = pd.concat([untrained, rows])
    return list(comparisons(together, selected, methods, num_items=5, scale=RewardScale()))


def test_rewards_that_say_nothing_are_compared_with_imitation_given_the_same() -> None:
    """BC is worth 2, with shuffled rewards 4, where ASFT is worth 3: a loss of 1."""
    given: list[Row] = [
        (CLEAN, "BC", "", 2.0),
        (CLEAN, "BC, shuffled", "", 4.0),
        (CLEAN, "ASFT, shuffled", "", 3.0),
    ]
    methods = Methods(
        "BC",
        frozenset({"BC, shuffled", "ASFT, shuffled"}),
        dict.fromkeys(("BC, shuffled", "ASFT, shuffled"), "BC, shuffled"),
    )
    compared = _compared(_rows(*given), _selected(*given), methods)
    found = pd.concat(comparison.cells for _, comparison in compared).set_index("method")
    assert found.index.is_unique, "none is also compared with the BC of other rewards"
    assert found["difference"].round(6).to_dict() == pytest.approx(
        {"Pretrained": 0, "BC": float("nan"), "BC, shuffled": float("nan"), "ASFT, shuffled": -1},
        nan_ok=True,
    )


def test_who_is_given_the_same_follows_from_what_was_run() -> None:
    """Of shuffled rewards there is a BC, of true ones there is none."""
    shuffled, true = {"class": "ShuffledRewards", "seed": 0}, {"class": "TrueRewards"}
    runs = [
        {"algorithm": {"class": algorithm}, "name": name, "control": control}
        for name, algorithm, control in (
            ("BC", "BC", None),
            ("PPO", "OfflinePPO", None),
            ("mute PPO", "OfflinePPO", shuffled),
            ("mute BC", "BC", shuffled),
            ("bound", "OfflinePPO", true),
        )
    ]
    found = Methods.of({"runs": runs}, "BC")
    assert found.controlled == {"mute PPO", "mute BC", "bound"}
    assert found.against == {"mute PPO": "mute BC", "mute BC": "mute BC"}


def test_the_strength_with_the_best_mean_over_seeds_is_chosen() -> None:
    """Weak: mean .25; strong: .30, although it has the worst seed. Under noise the reverse."""
    rows = [
        [*noise, "PPO", strength, seed, value]
        for noise, values in ((CLEAN, (0.2, 0.3, 0.1, 0.5)), (BIASED, (0.2, 0.3, 0.1, 0.2)))
        for (seed, strength), value in zip(
            [(0, "weak"), (1, "weak"), (0, "strong"), (1, "strong")], values, strict=True
        )
    ]
    found = chosen(pd.DataFrame(rows, columns=[*TRIAL, "seed", "liked_ndcg@10"]))
    assert found.to_numpy().tolist() == [[*CLEAN, "PPO", "strong"], [*BIASED, "PPO", "weak"]]


def test_methods_are_compared_under_each_noise_and_others_keep_their_value() -> None:
    """BC is worth 2; PPO 3 without noise and 1 with it; the other strength is not chosen. A method
    that is given something in place of the rewards stands beside those without noise alone."""
    given: list[Row] = [
        (CLEAN, "BC", "", 2.0),
        (CLEAN, "PPO", "weak", 3.0),
        (CLEAN, "PPO", "strong", 9.0),
        (CLEAN, "bound", "", 4.0),
        (BIASED, "PPO", "weak", 1.0),
    ]
    selected = _selected(*(each for each in given if each[2] != "strong"))
    compared = _compared(_rows(*given), selected, Methods("BC", frozenset({"bound"})))
    means = {
        tuple(noise): found.cells.set_index("method")["mean"].round(6).to_dict()
        for noise, found in compared
    }
    assert means == {
        CLEAN: {"Pretrained": 2.05, "BC": 2.05, "PPO": 3.05, "bound": 4.05},
        BIASED: {"Pretrained": 2.05, "BC": 2.05, "PPO": 1.05},
    }


def test_what_each_rule_would_have_got() -> None:
    """NDCG takes the weak strength, the proxy the wild one, the judge the strong one, which is the
    best. BC has no strength to choose. Users differ by .1, the same for all strengths."""
    worth = {"weak": 3.0, "strong": 3.4, "wild": 2.8}
    trials = [
        [*CLEAN, "PPO", strength, seed, *means]
        for seed in (0, 1)
        for strength, means in (
            ("weak", (0.3, 3.0, 3.0)),
            ("strong", (0.2, 3.5, 3.3)),
            ("wild", (0.1, 4.0, 2.9)),
        )
    ] + [[*CLEAN, "BC", "", 0, 0.3, 3.0, 3.0]]
    validation = pd.DataFrame(trials, columns=[*TRIAL, "seed", *RULES.values()])
    rows = _rows(*((CLEAN, "PPO", strength, value) for strength, value in worth.items()))
    selection = selections(rows, validation, num_items=5, scale=RewardScale())
    found = selection.set_index("rule").round(6)
    assert set(found["method"]) == {"PPO"}
    assert found["strength"].to_dict() == {
        "NDCG@10 liked": "weak",
        "proxy": "wild",
        "judge": "strong",
        "hindsight": "strong",
    }
    assert found["mean"].tolist() == [3.05, 2.85, 3.45, 3.45]
    assert found["difference"].tolist()[1:] == [-0.2, 0.4, 0.4]
    block = selection_block(selection, "NDCG@10 liked")
    text = markdown_table(block.columns, block.rows)
    assert "| none | PPO | 3.050 (weak) | 2.850, -0.200 ± 0.000 (wild) |" in text


def test_where_the_judge_decides_what_a_policy_is_worth_it_is_no_rule() -> None:
    rows = _rows((CLEAN, "PPO", "weak", 1.0), (CLEAN, "PPO", "strong", 2.0))
    rows = rows.rename(columns={"reward/gold@5": "reward/judge-rollout@5"}).assign(**{"ndcg@10": 1})
    trials = [[*CLEAN, "PPO", s, 0, 0.1, 0.2, 0.3] for s in ("weak", "strong")]
    validation = pd.DataFrame(trials, columns=[*TRIAL, "seed", *RULES.values()])
    found = selections(rows, validation, num_items=5, scale=RewardScale())
    assert found["rule"].tolist() == ["NDCG@10 liked", "proxy", "hindsight"]


def test_the_rules_read_liked_targets_and_means_of_the_lists() -> None:
    """Four stars are liked, three are not."""
    rows = pd.DataFrame(
        {"reward": [4.0, 3.0, 5.0], "ndcg@10": [0.5, 1.0, 0.1], "reward/proxy@10": [1.0, 2.0, 6.0]}
    )
    found = validation_means(rows, RewardScale())
    assert found == pytest.approx({"liked_ndcg@10": 0.3, "reward/proxy@10": 3.0})
