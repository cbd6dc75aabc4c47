"""What chosen strengths are worth beside each other, and what each rule would have got."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.report.grid import selection_block
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.studies.choose import (
    NOTHING,
    TRIAL,
    chosen,
    selections,
    with_nothing,
)
from recsys_posttrain.studies.rules import OWN, RULES, validation_means
from recsys_posttrain.studies.select import Methods, comparisons, with_unjudged

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


def test_where_doing_nothing_wins_the_row_is_the_pretrained_policys() -> None:
    """PPO would be worth 3, BC is worth 2, the pretrained policy 2.5; of another setup 9."""
    given: list[Row] = [
        (CLEAN, "Pretrained", "", 2.5),
        (CLEAN, "Pretrained HSTU", "", 9.0),
        (CLEAN, "PPO", "weak", 3.0),
        (CLEAN, "BC", "", 2.0),
    ]
    rows = _rows(*given).assign(setup="SASRec")
    rows.loc[rows["method"] == "Pretrained HSTU", "setup"] = "HSTU"
    validation = pd.DataFrame(
        [[*CLEAN, "PPO", NOTHING, "SASRec"], [*CLEAN, "PPO", "weak", "SASRec"]],
        columns=[*TRIAL, "setup"],
    )
    selected = pd.DataFrame([[*CLEAN, "PPO", NOTHING], [*CLEAN, "BC", ""]], columns=TRIAL)
    together = with_nothing(rows, validation)
    assert list(together["method"].unique()) == ["Pretrained", "Pretrained HSTU", "PPO", "BC"]
    ((_, found),) = comparisons(together, selected, Methods("BC"), 5, RewardScale())
    cells = found.cells.set_index("method")
    assert cells["mean"].round(6).to_dict() == pytest.approx(
        {"Pretrained": 2.55, "Pretrained HSTU": 9.05, "PPO": 2.55, "BC": 2.05}
    )


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


def test_a_method_without_validation_under_a_noise_has_its_own_value_there() -> None:
    """Nothing is chosen by a truth that is mixed into the model, so the tilt has the strength that
    was chosen without noise, and the argmax the only one it has. Neither keeps its clean value."""
    better = ("model", "TruthShare", 0.5)
    chosen_clean: list[Row] = [
        (CLEAN, "BC", "", 2.0),
        (CLEAN, "RewardArgmax", "", 3.0),
        (CLEAN, "Tilt", "temperature 1", 3.5),
        (CLEAN, "ASFT", "temperature 2", 2.5),
    ]
    under: list[Row] = [
        (better, "RewardArgmax", "", 4.0),
        (better, "Tilt", "temperature 1", 4.5),
        (better, "Tilt", "temperature 3", 9.0),
        (better, "ASFT", "temperature 1", 9.0),
        (better, "ASFT", "temperature 3", 9.0),
    ]
    rows = _rows(*chosen_clean, *under)
    selected = with_unjudged(_selected(*chosen_clean).assign(at_edge=True), rows)
    assert selected["at_edge"].tolist() == [True] * 4 + [False] * 2
    compared = {
        noise.kind: found.cells for noise, found in _compared(rows, selected, Methods("BC"))
    }
    means = compared["TruthShare"].set_index("method")["mean"].round(6).to_dict()
    assert means == {"Pretrained": 2.05, "BC": 2.05, "RewardArgmax": 4.05, "Tilt": 4.55}
    same = with_unjudged(selected, rows)
    pd.testing.assert_frame_equal(same, selected)


def _validation(trials: dict[str, dict[str, list[float]]], liked: list[int]) -> pd.DataFrame:
    """Of one noise, method and seed: by strength and column the values of users 0, 1, ..., whose
    rewards are 4 where they are liked and otherwise 3."""
    frames = [
        pd.DataFrame(columns).assign(
            **dict(zip(TRIAL, [*CLEAN, "PPO", strength], strict=True)),
            seed=0,
            user_id=range(len(liked)),
            item_id=1,
            reward=[3.0 + each for each in liked],
            total_reward=8.0,
        )
        for strength, columns in trials.items()
    ]
    return pd.concat(frames)


RULED = {
    "weak": {"ndcg@10": [0.3, 0.3], "reward/proxy@10": [3.0, 3.0], "reward/judge@10": [3.0, 3.0]},
    "strong": {"ndcg@10": [0.2, 0.2], "reward/proxy@10": [3.5, 3.5], "reward/judge@10": [3.3, 3.3]},
    "wild": {"ndcg@10": [0.1, 0.1], "reward/proxy@10": [4.0, 4.0], "reward/judge@10": [2.9, 2.9]},
}


def test_what_each_rule_would_have_got() -> None:
    """NDCG takes the weak strength, the proxy the wild one, the judge the strong one, which is the
    best. Users differ by .1, the same for all strengths, so that every draw chooses the same."""
    worth = {"weak": 3.0, "strong": 3.4, "wild": 2.8}
    rows = _rows(*((CLEAN, "PPO", strength, value) for strength, value in worth.items()))
    rows = rows[rows["seed"] == 0]
    selection = selections(rows, _validation(RULED, [1, 1]), RewardScale())
    found = selection.set_index("rule").round(6)
    assert set(found["method"]) == {"PPO"}
    assert set(found["chosen_share"]) == {1.0}
    assert found["strength"].to_dict() == {
        "NDCG@10 liked": "weak",
        "proxy": "wild",
        "judge": "strong",
        "hindsight": "strong",
    }
    assert found["mean"].tolist() == [3.05, 2.85, 3.45, 3.45]
    assert found["difference"].tolist()[1:] == [-0.2, 0.4, 0.4]
    block = selection_block(selection)
    text = markdown_table(block.columns, block.rows)
    row = "| none | PPO | 3.050 ± 0.050 (weak, 100%) | 2.850, -0.200 ± 0.000 (wild, 100%) |"
    assert row in text


def test_the_choice_itself_is_drawn_again() -> None:
    """Two users, who are those of the test too. NDCG is .5 and .1 for the weak strength (mean .3),
    .1 and .4 for the strong one (.25), so only draws of the second user alone, a quarter, choose
    the strong one. It is worth 5 to that user; the weak one 3 and 2. So the rule is worth 3 (both
    draws are the first user), 2.5 (one of each) or 5, and the weak strength 3, 2.5 or 2.

    A target that is not liked says nothing, however good."""
    trials = {
        "weak": {"ndcg@10": [0.5, 0.1, 0.0]},
        "strong": {"ndcg@10": [0.1, 0.4, 1.0]},
    }
    values = {"weak": [3.0, 2.0], "strong": [1.0, 5.0]}
    frames = [
        _rows((CLEAN, "PPO", strength, 0.0)).query("seed == 0").assign(**{"reward/gold@5": value})
        for strength, value in values.items()
    ]
    validation = _validation(trials, [1, 1, 0])
    validation.loc[validation["user_id"] == 2, "user_id"] = 0
    found = selections(pd.concat(frames), validation, RewardScale(), resamples=20_000)
    own, hindsight = (found.set_index("rule").loc[name] for name in (OWN, "hindsight"))
    assert (own["strength"], own["mean"]) == ("weak", 2.5)
    assert own["chosen_share"] == pytest.approx(0.75, abs=0.01)
    assert (own["low"], own["high"]) == (2.5, 5.0)
    assert (hindsight["strength"], hindsight["mean"]) == ("strong", 3.0)
    # 3, 3 or 5, the weak one's 3 being the best for the first user alone
    assert (hindsight["low"], hindsight["high"]) == (3.0, 5.0)


@pytest.mark.parametrize("is_noise", [True, False])
def test_rewards_of_pure_noise_choose_to_do_nothing(is_noise: bool) -> None:
    """400 users choose among 30 items with probabilities softmax(base + taste), and a policy knows
    the base. It is tilted by rewards at three temperatures: by the tastes every tilt of these
    helps, by numbers of the same spread that say nothing every one harms."""
    rng = np.random.default_rng(3)
    base_UV, taste_UV = rng.normal(size=(400, 30)), rng.normal(size=(400, 30))
    gumbel_UV = rng.gumbel(size=(400, 30))
    target_U = (base_UV + taste_UV + gumbel_UV).argmax(axis=1)
    reward_UV = rng.normal(size=(400, 30)) if is_noise else taste_UV

    def ndcg(scores_UV: np.ndarray) -> list[float]:
        of_target_U1 = np.take_along_axis(scores_UV, target_U[:, None], axis=1)
        rank_U = 1 + (scores_UV > of_target_U1).sum(axis=1)
        return list(np.where(rank_U <= 10, 1 / np.log2(rank_U + 1), 0))

    tilts = {f"temperature {t:g}": ndcg(base_UV + reward_UV / t) for t in (4.0, 2.0, 1.0)}
    trials = {name: {"ndcg@10": each} for name, each in ({NOTHING: ndcg(base_UV)} | tilts).items()}
    validation = _validation(trials, [1] * 400)
    means = [
        {**names, **validation_means(rows, RewardScale())}
        for names, rows in (
            (dict(zip([*TRIAL, "seed"], key, strict=True)), rows)
            for key, rows in validation.groupby([*TRIAL, "seed"], sort=False)
        )
    ]
    best = chosen(pd.DataFrame(means))["strength"].item()
    rule = (
        selections(validation, validation, RewardScale(), value=RULES[OWN])
        .set_index("rule")
        .loc[OWN]
    )
    assert best == rule["strength"] == (NOTHING if is_noise else "temperature 1")
    assert rule["chosen_share"] > 0.9


def test_where_the_judge_decides_what_a_policy_is_worth_it_is_no_rule() -> None:
    rows = _rows((CLEAN, "PPO", "weak", 1.0), (CLEAN, "PPO", "strong", 2.0))
    rows = rows.rename(columns={"reward/gold@5": "reward/judge-rollout@5"}).assign(**{"ndcg@10": 1})
    trials = {name: RULED[name] for name in ("weak", "strong")}
    found = selections(rows[rows["seed"] == 0], _validation(trials, [1, 1]), RewardScale())
    assert found["rule"].tolist() == ["NDCG@10 liked", "proxy", "hindsight"]


def test_the_rules_read_liked_targets_and_means_of_the_lists() -> None:
    """Four stars are liked, three are not."""
    rows = pd.DataFrame(
        {"reward": [4.0, 3.0, 5.0], "ndcg@10": [0.5, 1.0, 0.1], "reward/proxy@10": [1.0, 2.0, 6.0]}
    )
    found = validation_means(rows, RewardScale())
    assert found == pytest.approx({OWN: 0.3, "proxy": 3.0})
