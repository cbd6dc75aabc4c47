"""The rows of methods without training, and of FilteredBC, in studies of a log and of a world."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sealed_world import Made, pipeline_in, run_in

from recsys_posttrain.algorithms import BC, FilteredBC
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.subsets import liked
from recsys_posttrain.rewards.control import TrueRewards
from recsys_posttrain.rewards.noise import Flips, Independent, ItemBias, RewardNoise
from recsys_posttrain.studies.baselines import TEMPERATURES, alone, baselines
from recsys_posttrain.studies.left_out import refused
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.study import study_table
from recsys_posttrain.untrained import (
    BestFixedList,
    ItemMean,
    Pretrained,
    RewardArgmax,
    Tilt,
    Uniform,
)

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")
DEFAULT = STUDY + "del BASELINES\nRUNS = [BASE]\n"
METHODS = ["Popularity", "Pretrained", "ItemMean", "RewardArgmax", "Tilt", "FilteredBC", "BC"]


@pytest.fixture(scope="module")
def with_rows(run):
    """The folder of a study of BC alone, with the default rows and two seeds."""
    Path("rows.py").write_text(DEFAULT)
    return run("rows", file="rows.py", seeds=2)


def test_every_study_has_them_unless_it_says_otherwise(with_rows):
    rows = pd.read_parquet(with_rows / "rows.parquet")
    assert rows["method"].drop_duplicates().tolist() == METHODS
    seeds = rows.groupby("method", sort=False)["seed"].unique().map(sorted).tolist()
    assert seeds == [[0]] * 5 + [[0, 1]] * 2, "a seed of post-training changes none of them"
    assert rows["kl"].notna().all()
    assert (rows.loc[rows["method"] == "Pretrained", "kl"].abs() < 1e-5).all()
    table = (with_rows / "table.md").read_text()
    for method in METHODS:
        assert f"| {method} |" in table.replace("**", "")
    assert "minus BC" in table
    record = json.loads((with_rows / "run.json").read_text())
    assert [each["title"] for each in record["runs"] if not each["trained"]] == METHODS[:5]
    assert record["policies"] == 4
    assert not {name.split("/")[0] for name in record["stages"]} & set(METHODS[:5])


def test_the_tilt_is_the_one_that_validation_chooses(with_rows, small_ratings_csv, capsys):
    study = load_study(Path("rows.py"), [], str(small_ratings_csv), 2, None)
    pipeline = Pipeline(study.runs[0].setup, Path("rows"))
    scale, means = pipeline.data.corpus.reward_scale, {}
    candidates = {f"temperature {each:g}": Tilt(each) for each in TEMPERATURES}
    candidates = {"do nothing": Pretrained()} | candidates
    for strength, method in candidates.items():
        rows = pipeline.evaluate(replace(study.runs[0], algorithm=method), "validation")
        means[strength] = rows.loc[liked(rows, scale) > 0, "ndcg@10"].mean()
    best = max(means, key=means.get)
    assert len(set(means.values())) > 1, "there is something to choose"
    record = json.loads((with_rows / "run.json").read_text())
    (tilt,) = (each for each in record["runs"] if each["title"] == "Tilt")
    assert tilt["strength"] == best
    chosen = f"Tilt: {best}, by NDCG@10 of liked validation targets"
    assert chosen in (with_rows / "table.md").read_text()
    rows = pd.read_parquet(with_rows / "rows.parquet").query("method == 'Tilt'")
    alone = pipeline.evaluate(replace(study.runs[0], algorithm=candidates[best]))
    assert rows["rank"].tolist() == alone["rank"].tolist()
    study_table(with_rows, None, None)
    assert "Difference to BC" in capsys.readouterr().out, "read from disk too"


def test_a_study_names_its_own(run, tmp_path):
    own = "BASELINES = [Tilt(0.5), ItemMean(3.0)]"
    imports = "from recsys_posttrain.untrained import ItemMean, Tilt\n"
    Path("own.py").write_text(STUDY + imports + "RUNS = [BASE]\n" + own)
    rows = pd.read_parquet(run(tmp_path, file="own.py") / "rows.parquet")
    methods = ["Popularity", "Pretrained", "Tilt", "ItemMean", "BC"]
    assert rows["method"].drop_duplicates().tolist() == methods
    for wrong, reason in (("BC()", "must be a list"), ("[Tilt]", "algorithm=.* its brackets")):
        Path("own.py").write_text(STUDY + imports + f"BASELINES = {wrong}")
        with pytest.raises(UserError, match=rf"own.py: .*{reason}"):
            run(tmp_path, file="own.py")


def test_one_can_be_the_method_of_a_study(run, tmp_path):
    runs = "RUNS = [BASE, *(replace(BASE, algorithm=Tilt(t), strength=f'{t}') for t in (0.1, 9.0))]"
    Path("grid.py").write_text(STUDY + f"from recsys_posttrain.untrained import Tilt\n{runs}")
    folder = run(tmp_path, file="grid.py")
    validation = pd.read_csv(folder / "validation.csv", keep_default_na=False)
    tilts = validation[validation["method"] == "Tilt"]
    assert set(tilts["strength"]) == {"do nothing", "0.1", "9.0"}
    best = tilts["strength"].iloc[int(np.argmax(tilts["NDCG@10 liked"].astype(float)))]
    table = pd.read_csv(folder / "table.csv", dtype=str)
    assert table.loc[table["method"] == "Tilt", "strength"].iloc[0] == best


def test_what_a_log_without_rewards_cannot_serve_is_left_out(tmp_path, monkeypatch, own_cache):
    frame = pd.DataFrame({"user_id": np.repeat(np.arange(20), 6), "rating": 1.0})
    frame["item_id"] = np.concatenate(
        [np.random.default_rng(u).permutation(9)[:6] for u in range(20)]
    )
    frame.assign(timestamp=np.arange(120)).to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "rows.py").write_text(DEFAULT)
    study = load_study(tmp_path / "rows.py", [], str(tmp_path / "log.csv"), 1, None)
    reasons = refused(study, Pipeline(study.runs[0].setup, tmp_path))
    assert set(reasons) == {"ItemMean", "RewardArgmax", "Tilt", "FilteredBC"}
    assert all(why.startswith("no rewards to read: ") for why in reasons.values())


def test_in_a_grid_they_have_the_noises_that_can_change_them():
    base = run_in(Made(1))
    model, log = RewardNoise(model=ItemBias(0.5)), RewardNoise(log=Flips(0.2))
    drawn_anew = RewardNoise(model=Independent(0.5, resampled=True))
    lengths = [replace(base, algorithm=BC(), strength=each) for each in ("short", "long")]
    noisy = [replace(base, noise=noise, strength="1") for noise in (model, log, drawn_anew)]
    noisy.append(replace(lengths[1], noise=log))
    found = baselines([*lengths, *noisy])
    methods = {
        noise: [type(run.algorithm).__name__ for run in found if run.noise == noise]
        for noise in (RewardNoise(), model, log, drawn_anew)
    }
    assert methods[model] == ["RewardArgmax", *["Tilt"] * 5]
    assert methods[log] == ["FilteredBC", "ItemMean"]
    assert methods[drawn_anew] == []
    clean = [*METHODS[:4], *["Tilt"] * 5, "FilteredBC", "FilteredBC"]
    assert methods[RewardNoise()] == [*clean, "Uniform", "BestFixedList", "RewardArgmax"]
    filtered = [run for run in found if run.algorithm == FilteredBC()]
    assert [run.strength for run in filtered] == ["short", "long", "long"]


def test_each_setup_has_its_own():
    base = run_in(Made(1))
    other = replace(base, setup=replace(base.setup, name="wide"))
    labels = [run.label for run in alone(baselines([base, other]))]
    assert labels[:3] == ["Popularity", "Pretrained SASRec", "Pretrained wide"]
    assert labels.count("Tilt wide") == labels.count("Tilt SASRec") == 5
    assert labels.count("ItemMean") == labels.count("FilteredBC") == 1


@pytest.fixture(scope="module")
def true_world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield pipeline_in(Made(1), tmp_path_factory.mktemp("true"))


def gold(true_world, method, control=None):
    run = Run(method, true_world.setup, control=control)
    return true_world.evaluate(run)["reward/gold@5"].to_numpy()


def test_the_bounds_of_a_world(true_world):
    """The oracle shows each user's five best unseen items, the fixed list the five unseen ones that
    are best on average over the users who have not seen them."""
    truth, targets = true_world.load_truth(), true_world.data.test
    oracle_N = gold(true_world, RewardArgmax(), TrueRewards())
    reward_NV = truth.rewards(targets.users_N).double()
    for n in range(len(targets.items_N)):
        start, stop = targets.history.offsets_N1[n : n + 2].tolist()
        unseen_V = torch.ones(reward_NV.shape[1], dtype=torch.bool)
        unseen_V[targets.history.items_E[start:stop] - 1] = False
        best = reward_NV[n][unseen_V].topk(5).values.mean()
        assert oracle_N[n] == pytest.approx(float(best), rel=1e-6)
    fixed = gold(true_world, BestFixedList(), TrueRewards()).mean()
    seen_NV = torch.zeros(reward_NV.shape, dtype=torch.bool)
    for n in range(len(targets.items_N)):
        start, stop = targets.history.offsets_N1[n : n + 2].tolist()
        seen_NV[n, targets.history.items_E[start:stop] - 1] = True
    mean_V = torch.where(seen_NV, torch.nan, reward_NV).nanmean(dim=0)
    order = mean_V.argsort(descending=True).tolist()
    lists = ([item for item in order if not seen_NV[n, item]][:5] for n in range(len(seen_NV)))
    by_hand = [float(reward_NV[n][shown].mean()) for n, shown in enumerate(lists)]
    assert fixed == pytest.approx(np.mean(by_hand), rel=1e-6)
    uniform = gold(true_world, Uniform()).mean()
    assert uniform < fixed < oracle_N.mean()


def test_the_reward_of_the_log_and_its_noise_are_those_of_the_run(true_world):
    """Errors of the log change the item mean, those of the model the argmax, and not the other."""
    model, log = RewardNoise(model=ItemBias(3.0)), RewardNoise(log=ItemBias(3.0))

    def ranks(method, noise):
        run = Run(method, true_world.setup, noise=noise)
        return true_world.evaluate(run, noise=noise)["rank"].tolist()

    for method, noise, other in (
        (ItemMean(), log, model),
        (RewardArgmax(), model, log),
        (Tilt(0.1), model, log),
    ):
        clean = ranks(method, RewardNoise())
        assert ranks(method, noise) != clean
        assert ranks(method, other) == clean


def test_no_two_rows_of_a_committed_study_are_the_same_run():
    """By what its rows say of it: two would be counted as one method with twice the targets."""
    files = [
        (file, dataset)
        for file in sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))
        for dataset in ("jester", "ml-100k")
        if "\nRUNS" in file.read_text(encoding="utf-8")
        # The others are refused: they are for worlds.
        if dataset == "jester" or file.name not in ("whole_field.py", "log_quality.py")
    ]
    assert len(files) >= 8
    for file, dataset in files:
        study = load_study(file, (), dataset, None, None)
        rows = [tuple(run.row.values()) for run in (*study.baselines, *study.runs)]
        twice = [row for row in rows if rows.count(row) > 1]
        assert not twice, (file.name, dataset)
