"""experiments/noise_vs_quality.py: its numbers by hand, and all of it in a reduced form."""

import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from recsys_posttrain.algorithms import BC
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.report.render import markdown_table
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.ensemble import RewardEnsemble
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.worlds.jester import Jester

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
CLEAN, BIASED = ("", "", 0.0), ("model", "ItemBias", 1.0)


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def results(experiments: None) -> ModuleType:
    return importlib.import_module("quality.results")


@pytest.fixture
def study(experiments: None, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = FOLDER / "noise_vs_quality.py"
    specification = importlib.util.spec_from_file_location("noise_vs_quality", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "noise_vs_quality", module)
    specification.loader.exec_module(module)
    return module


def test_rewards_that_say_nothing_are_compared_with_imitation_given_the_same(
    results: ModuleType,
) -> None:
    """BC is worth 2, with shuffled rewards 4, where A-SFT is worth 3: a loss of 1."""
    worth = {"BC": 2.0, "BC, shuffled reward": 4.0, "A-SFT, shuffled reward": 3.0}
    rows = [
        [*CLEAN, seed, method, "", user, value + 0.1 * user]
        for method, value in worth.items()
        for seed in (0, 1)
        for user in (0, 1)
    ]
    names = ["place", "kind", "level", "seed", "method", "strength", "user_id", "reward/gold@5"]
    test = pd.DataFrame(rows, columns=names).assign(item_id=1, reward=4.0, total_reward=8.0)
    selected = pd.DataFrame(
        [[*CLEAN, method, ""] for method in worth],
        columns=["place", "kind", "level", "method", "strength"],
    )
    pretrained = test[(test["method"] == "BC") & (test["seed"] == 0)].assign(method="Pretrained")
    compared = list(
        results.comparisons(test, selected, pretrained, num_items=5, scale=RewardScale())
    )
    found = pd.concat(comparison.cells for _, comparison in compared).set_index("method")
    assert found.index.is_unique, "none is also compared with the BC of other rewards"
    assert found["difference"].round(6).fillna(0).to_dict() == {
        "Pretrained": 0,
        "BC": 0,
        "BC, shuffled reward": 0,
        "A-SFT, shuffled reward": -1,
    }
    assert found["difference"].isna().to_dict() == {
        "Pretrained": False,
        "BC": True,
        "BC, shuffled reward": True,
        "A-SFT, shuffled reward": False,
    }


def test_the_strength_with_the_best_mean_over_seeds_is_chosen(results: ModuleType) -> None:
    """Timid: mean .25; bold: .30, although it has the worst seed. Under noise it is the reverse."""
    rows = [
        [*condition, seed, "PPO", strength, value]
        for condition, values in ((CLEAN, (0.2, 0.3, 0.1, 0.5)), (BIASED, (0.2, 0.3, 0.1, 0.2)))
        for (seed, strength), value in zip(
            [(0, "timid"), (1, "timid"), (0, "bold"), (1, "bold")], values, strict=True
        )
    ]
    names = ["place", "kind", "level", "seed", "method", "strength", "liked_ndcg@10"]
    found = results.chosen(pd.DataFrame(rows, columns=names))
    assert found.to_numpy().tolist() == [[*CLEAN, "PPO", "bold"], [*BIASED, "PPO", "timid"]]


def test_methods_are_compared_under_each_noise_and_others_keep_their_value(
    results: ModuleType,
) -> None:
    """BC is worth 2; PPO 3 without noise and 1 with it; the bold strength is not chosen."""
    rows = []
    for condition, method, strength, value in (
        (CLEAN, "BC", "", 2.0),
        (CLEAN, "PPO", "timid", 3.0),
        (CLEAN, "PPO", "bold", 9.0),
        (BIASED, "PPO", "timid", 1.0),
    ):
        for seed in (0, 1):
            for user in (0, 1):
                rows.append([*condition, seed, method, strength, user, value + 0.1 * user])
    names = ["place", "kind", "level", "seed", "method", "strength", "user_id", "reward/gold@5"]
    test = pd.DataFrame(rows, columns=names).assign(item_id=1, reward=4.0, total_reward=8.0)
    selected = pd.DataFrame(
        [[*CLEAN, "BC", ""], [*CLEAN, "PPO", "timid"], [*BIASED, "PPO", "timid"]],
        columns=["place", "kind", "level", "method", "strength"],
    )
    pretrained = test[(test["method"] == "BC") & (test["seed"] == 0)].assign(method="Pretrained")
    compared = dict(
        results.comparisons(test, selected, pretrained, num_items=5, scale=RewardScale())
    )
    means = {
        tuple(condition): dict(
            zip(found.cells["method"], found.cells["mean"].round(6), strict=True)
        )
        for condition, found in compared.items()
    }
    assert means == {
        CLEAN: {"Pretrained": 2.05, "BC": 2.05, "PPO": 3.05},
        BIASED: {"Pretrained": 2.05, "BC": 2.05, "PPO": 1.05},
    }


def test_what_each_rule_would_have_got(experiments: None) -> None:
    """NDCG takes the timid strength, the proxy the wild one, the judge the bold one, which is the
    best. BC has no strength to choose. Users differ by .5, the same for all strengths."""
    selection = importlib.import_module("quality.selection")
    worth = {"timid": 3.0, "bold": 3.4, "wild": 2.8}
    trials = [
        [*CLEAN, seed, "PPO", strength, *means]
        for seed in (0, 1)
        for strength, means in (
            ("timid", (0.3, 3.0, 3.0)),
            ("bold", (0.2, 3.5, 3.3)),
            ("wild", (0.1, 4.0, 2.9)),
        )
    ] + [[*CLEAN, 0, "BC", "", 0.3, 3.0, 3.0]]
    names = ["place", "kind", "level", "seed", "method", "strength"]
    validation = pd.DataFrame(trials, columns=[*names, *selection.RULES.values()])
    rows = [
        [*CLEAN, seed, "PPO", strength, user, value + 0.5 * user]
        for strength, value in worth.items()
        for seed in (0, 1)
        for user in (0, 1)
    ]
    test = pd.DataFrame(rows, columns=[*names, "user_id", "reward/gold@5"])
    test = test.assign(item_id=1, reward=4.0, total_reward=8.0)
    found = (
        selection.selections(test, validation, num_items=5, scale=RewardScale())
        .set_index("rule")
        .round(6)
    )
    assert set(found["method"]) == {"PPO"}
    assert found["strength"].to_dict() == {
        "NDCG@10 liked": "timid",
        "proxy": "wild",
        "judge": "bold",
        "hindsight": "bold",
    }
    assert found["mean"].tolist() == [3.25, 3.05, 3.65, 3.65]
    assert found["difference"].tolist()[1:] == [-0.2, 0.4, 0.4]
    table = selection.block(found.reset_index())
    text = markdown_table(table.columns, table.rows)
    assert "| none | PPO | 3.250 (timid) | 3.050, -0.200 ± 0.000 (wild) |" in text


def test_what_noise_achieved_is_a_mean_over_seeds_beside_the_clean_model(
    results: ModuleType,
) -> None:
    model = {"clean_pairwise_accuracy": 0.7, "clean_rmse": 1.0}
    reports = {
        (*CLEAN, 0): {},
        (*BIASED, 0): {
            "model": model | {"pairwise_accuracy": 0.5, "rmse": 1.2, "exploitable_share": 1.0}
        },
        (*BIASED, 1): {
            "model": model | {"pairwise_accuracy": 0.6, "rmse": 1.4, "exploitable_share": 0.8}
        },
        ("log", "Flips", 0.4, 0): {"log": {"pairwise_accuracy": 0.65, "rmse": 2.0}},
    }
    found = results.achieved(reports).set_index(["place", "kind", "level"]).round(6)
    assert found.loc[CLEAN].tolist() == [0.7, 1.0, 0.0]
    assert found.loc[BIASED].tolist() == [0.55, 1.3, 0.9]
    assert found.loc[("log", "Flips", 0.4)].tolist()[:2] == [0.65, 2.0]


def test_the_whole_study_in_a_reduced_form(
    study: ModuleType, small_jester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two methods under one kind of noise; the second call reads what the first one made."""
    grid = importlib.import_module("quality.grid")
    methods = tuple(each for each in grid.METHODS if each.name in ("BC", "A-SFT, model reward"))
    monkeypatch.setattr(grid, "METHODS", methods)
    monkeypatch.setitem(grid.MODEL_NOISE, grid.ItemBias, (1.0,))
    plan = Training(epochs=1, batch_size=8)
    sizes = dict(dim=8, blocks=1, feed_forward=16, max_length=12)
    setup = Setup(
        dataset=Jester(users=60, length=12, data_root=str(small_jester.path)),
        split=UserHoldout(minimum_item_ratings=1),
        backbone=SASRec(**sizes),
        pretraining=plan,
        reward=RewardEnsemble(
            SASRec(**sizes, history_rewards=True), members=2, rank=4, training=plan
        ),
    )
    base = Run(BC(), setup, posttraining=replace(plan, epochs=None, steps=2))
    kinds = {"", "ItemBias"}
    monkeypatch.setattr(grid, "LOG_NOISE", {})
    constant = tuple(each for each in grid.CONTROLS if each.name.endswith("constant reward"))
    monkeypatch.setattr(grid, "CONTROLS", constant)
    monkeypatch.setattr(grid, "BOUNDS", grid.BOUNDS[-1:])
    made = []
    (tmp_path / "out").mkdir()
    for _ in range(2):
        study.study(base, 1, kinds, 1, tmp_path / "stages", tmp_path / "out")
        folders = (tmp_path / "stages" / "stages").iterdir()
        made.append({(folder, (folder / "stage.json").stat().st_mtime_ns) for folder in folders})
    assert made[0] == made[1]
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    everywhere = {"Popularity", "Pretrained", "BC", "A-SFT, model reward"}
    without_noise = set(table[table["level"] == 0]["method"])
    assert without_noise == everywhere | {each.name for each in constant} | {"OnlineRL"}
    assert set(table[table["level"] == 1]["method"]) == everywhere
    bc = table[table["method"] == "BC"]["mean"]
    assert bc.nunique() == 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["policies"] == (3 + 3 + 3 + 3) + 3
    keys = [
        json.loads(path.read_text())["key"]
        for path in (tmp_path / "stages" / "stages").glob("posttrain-*/stage.json")
    ]
    steps = {key["training"]["steps"] for key in keys if key["algorithm"]["class"] == "BC"}
    assert steps == {1, 2}, "imitation for a quarter, half and all of two steps"
    for name in ("table.md", "selection.md", "frontier.csv", "quality.png", "frontier.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    text = (tmp_path / "out" / "table.md").read_text()
    assert "one seed gives none over seeds" in text
