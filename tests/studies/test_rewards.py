"""Studies of logs whose rewards are not 1..5 stars: the same study in every unit, and what is left
of one where rewards say little or nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import recsys_posttrain as rp
from recsys_posttrain.cli import app
from recsys_posttrain.data import RatingsFile, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.checkpoint import save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.report.page import write_report
from recsys_posttrain.reward_scale import RewardScale, Thresholds
from recsys_posttrain.studies import execute as study_runs
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.study import run_study, study_table

BACKBONE = SASRec(dim=8, blocks=1, max_length=10)
STUDY = Path(__file__).parents[1] / "rewards_study.py"
REWARD_BASELINES = ["ItemMean", "RewardArgmax", "Tilt", "FilteredBC"]
READERS = [*REWARD_BASELINES, "RWR", "ExpRSFT", "ASFT", "OfflinePPO"]
METHODS = ["Popularity", "Pretrained", *REWARD_BASELINES, "BC", *READERS[4:]]
UNITS = {"stars": (1, 0), "quarters": (0.25, -0.25), "percent": (20, 0), "signed": (1, -3)}
IN_REWARD_UNITS = ["reward", "total_reward", "reward/proxy@10"]
# Outside any repository, so that no commit enters the tables.
pytestmark = pytest.mark.usefixtures("in_a_folder")


def write_log(path, reward_of):
    """24 users and 20 items, of which lists of ten hold a part of what a user has not had.
    reward_of: drawn stars -> what the file says."""
    generator = np.random.default_rng(10)  # each item has five events or more
    user_E = np.repeat(np.arange(24), 7)
    frame = pd.DataFrame(
        {
            "user_id": user_E,
            "item_id": np.concatenate([generator.permutation(20)[:7] for _ in range(24)]),
            "rating": reward_of(generator.choice([1, 2, 3, 4, 5], len(user_E))),
            "timestamp": 1_700_000_000 + 60 * np.arange(len(user_E)),
        }
    )
    frame.to_csv(path, index=False)
    return str(path)


def run(dataset, output="runs", thresholds=Thresholds(), workers=1, file=STUDY):
    options = Options(
        dataset=dataset, workers=workers, output=Path(output), thresholds=thresholds, seeds=1
    )
    return run_study(Path(file), options)


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def units(in_a_folder):
    """The folder of the same study of the same log in each unit."""
    return {
        name: run(write_log(f"{name}.csv", lambda stars, a=a, b=b: a * stars + b))
        for name, (a, b) in UNITS.items()
    }


@pytest.mark.parametrize("name", ["quarters", "percent", "signed"])
def test_the_unit_of_rewards_changes_nothing_but_rewards(units, name):
    """Ranks, lists, KL and the order of methods to the last bit; rewards come in the log's unit."""
    unit, shift = UNITS[name]
    stars, rows = (pd.read_parquet(units[each] / "rows.parquet") for each in ("stars", name))
    assert rows["method"].unique().tolist() == METHODS
    np.testing.assert_array_equal(np.stack(stars["top10"]), np.stack(rows["top10"]))
    others = [each for each in stars.columns if each not in (*IN_REWARD_UNITS, "top10", "top50")]
    pd.testing.assert_frame_equal(stars[others], rows[others], check_exact=True)
    np.testing.assert_allclose(rows["reward"], unit * stars["reward"] + shift, atol=1e-12)
    np.testing.assert_allclose(
        rows["total_reward"], unit * stars["total_reward"] + 5 * shift, atol=1e-9
    )
    proxy = unit * stars["reward/proxy@10"] + shift
    np.testing.assert_allclose(rows["reward/proxy@10"], proxy, rtol=1e-6, atol=1e-6)
    stars, table = (pd.read_csv(units[each] / "table.csv") for each in ("stars", name))
    of_ranks = ~table["column"].str.startswith("reward")
    assert table["column"].nunique() == 9
    pd.testing.assert_frame_equal(stars[of_ranks], table[of_ranks], rtol=1e-9)
    stars, models = (
        pd.read_parquet(units[each] / "reward_models.parquet") for each in ("stars", name)
    )
    np.testing.assert_allclose(models["rmse"], unit * stars["rmse"], rtol=1e-6)
    np.testing.assert_allclose(models["calibration_error"], stars["calibration_error"], rtol=1e-6)


def test_methods_differ_in_this_study(units):
    """Otherwise the test above would hold of methods that read no rewards at all."""
    rows = pd.read_parquet(units["stars"] / "rows.parquet")
    assert rows.groupby("method")["kl"].mean().dropna().round(8).nunique() == len(METHODS)


def test_a_record_says_the_scale_and_the_table_is_made_by_it_again(units):
    folder = units["signed"]
    assert RewardScale(**record_of(folder)["reward_scale"]) == RewardScale(
        liked=1, top=2, disliked=-1, zero=-3, lowest=-2, step=1
    )
    caption = (folder / "table.md").read_text().partition("\n")[0]
    assert "liked: reward ≥ 1; top: ≥ 2; disliked: ≤ -1; weighted: by reward above -3." in caption
    assert "temperatures count in stars of 1." in caption
    before = (folder / "table.csv").read_bytes()
    study_table(folder, None, None, folder)
    assert (folder / "table.csv").read_bytes() == before


def test_a_log_of_one_reward_is_studied_by_what_reads_none(capsys):
    folder = run(write_log("ones.csv", lambda stars: np.ones(len(stars))))
    assert check_unrewarded(folder, "every reward is 1") == ["Popularity", "Pretrained", "BC"]
    printed = capsys.readouterr().out
    assert "\nrewards: none to learn from, every reward is 1\n" in printed
    reason = "(no rewards to read: every reward is 1; BC needs none)\n"
    assert f"\nleft out: {', '.join(READERS)} {reason}" in printed


def test_a_log_without_ratings_is_studied_by_what_reads_none():
    path = write_log("rated.csv", lambda stars: stars)
    Path("unrated.py").write_text(
        "from rewards_study import *\n"
        f"UNRATED = replace(RUNS[0].setup, dataset=Unrated({path!r}))\n"
        "RUNS = [replace(run, setup=UNRATED) for run in RUNS]"
    )
    folder = run(None, file="unrated.py")
    assert check_unrewarded(folder, "the log has no ratings") == ["Popularity", "Pretrained", "BC"]


def check_unrewarded(folder, missing):
    """The methods; what needs rewards is absent, and says why."""
    cells = pd.read_csv(folder / "table.csv").set_index("column")["mean"]
    empty = ["NDCG@10 liked", "NDCG@10 top", "NDCG@10 disliked", "NDCG@10 weighted"]
    empty.append("reward proxy@10")
    assert cells[empty].isna().all()
    assert cells.drop(empty).notna().all()
    caption = (folder / "table.md").read_text().partition("\n")[0]
    assert f"Nothing to show in {', '.join(empty)}: {missing}." in caption
    assert (
        f"left out: {', '.join(READERS)} (no rewards to read: {missing}; BC needs none)" in caption
    )
    write_report(folder)
    assert "Nothing to show in" in (folder / "report.html").read_text()
    record = record_of(folder)
    assert list(record["left_out"]) == READERS
    assert not list(folder.glob("reward_models*"))
    assert "reward" not in record["stages"]
    return list(pd.read_parquet(folder / "rows.parquet")["method"].unique())


def test_methods_that_all_read_rewards_are_refused_before_anything_is_trained(tmp_path):
    Path("readers.py").write_text("from rewards_study import *\nRUNS = RUNS[1:]")
    ones = write_log("ones.csv", lambda stars: np.ones(len(stars)))
    reason = r"^readers.py: none of its methods can be run on ones: .*\(no rewards to read: every"
    with pytest.raises(UserError, match=reason):
        run(ones, tmp_path, file="readers.py")
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_method_that_these_rewards_do_not_fit_costs_the_others_nothing(
    units, tmp_path, capsys, workers
):
    """With a zero of 1 on -2..2 the mean is below it, and RWR has no weights."""
    folder = run("signed.csv", tmp_path, Thresholds(zero=1), workers)
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows["method"].unique().tolist() == [name for name in METHODS if name != "RWR"]
    reason = record_of(folder)["left_out"]["RWR"]
    assert reason.startswith("seed 0: RWR: the mean logged reward is -")
    caption = (folder / "table.md").read_text().partition("\n")[0].replace("\\", "")
    assert f"left out: RWR ({reason})" in caption
    assert "Nothing to show in NDCG@10 weighted: some rewards are below zero (1)." in caption
    assert capsys.readouterr().out.count("left out: RWR (seed 0: RWR: the mean") == 2
    bc, before = (
        each[each["method"] == "BC"]["ndcg@10"].to_numpy()
        for each in (rows, pd.read_parquet(units["signed"] / "rows.parquet"))
    )
    np.testing.assert_array_equal(bc, before)


def test_where_every_method_fails_there_is_a_sentence_and_no_table(units, tmp_path):
    Path("failing.py").write_text("from rewards_study import *\nRUNS = RUNS[1:2]")
    with pytest.raises(UserError, match=r"^failing.py: no method could be trained: RWR \(seed 0: "):
        run("signed.csv", tmp_path, Thresholds(zero=1), file="failing.py")
    assert not list(tmp_path.glob("*/table.md"))


@pytest.mark.parametrize(
    "reward_of",
    [
        lambda stars: np.exp(stars + np.arange(len(stars)) % 7 / 10),  # seconds, say
        lambda stars: (stars >= 4).astype(int),
        lambda stars: (stars > 1).astype(int),  # more than 80% are 1
        lambda stars: np.sin(7 * stars * np.arange(1, len(stars) + 1)) * 1e-3,
        lambda stars: stars.clip(4),
    ],
    ids=["seconds", "clicks", "mostly", "signed", "satisfied"],
)
def test_rewards_of_any_kind_end_in_a_table(tmp_path, reward_of):
    path = write_log(tmp_path / "any.csv", reward_of)
    folder = run(path, tmp_path)
    cells = pd.read_csv(folder / "table.csv")
    assert cells["method"].unique().tolist() == METHODS
    empty = cells.groupby("column")["mean"].apply(lambda mean: mean.isna().all())
    caption = (folder / "table.md").read_text().partition("\n")[0]
    assert all(name in caption.partition("Nothing to show in ")[2] for name in empty.index[empty])
    assert not empty[["NDCG@10 all", "reward proxy@10"]].any()
    assert empty["NDCG@10 liked"] == (pd.read_csv(path)["rating"].min() >= 4)  # all are


def test_a_policy_reads_the_rewards_of_a_file_as_those_that_it_was_trained_on(units, tmp_path):
    """With a backbone that reads them; rewards in another unit are then other rewards."""
    backbone = replace(BACKBONE, history_rewards=True)
    corpus = prepare(RatingsFile("signed.csv"))
    policy = new_policy(backbone, corpus.num_items, seed=1)
    save_policy(tmp_path, policy, backbone, corpus, RatingsFile("signed.csv"))

    def scores(users, file):
        return recommend(tmp_path, users, file, 3, None)["score"].to_numpy()

    of_dataset = scores(sorted(map(str, corpus.user_ids), key=int), None)
    np.testing.assert_allclose(scores(None, Path("signed.csv")), of_dataset, rtol=1e-6)
    assert np.abs(scores(None, Path("stars.csv")) - of_dataset).max() > 0.01


def test_thresholds_train_again_only_what_reads_them(units, tmp_path):
    """liked: what validations are told of. zero: everything, because it is in every reward."""

    def folders(**chosen):
        (bc, *_), *_ = [
            load_study(STUDY, [], "signed.csv", 1, None, thresholds=Thresholds(**chosen)).runs
        ]
        keys = Pipeline(bc.setup, tmp_path).keys
        stages = keys.pretrain, keys.reward(), keys.posttrain(bc)
        return [stage.folder.name for stage in stages]

    before, liked, zero = folders(), folders(liked=2.0), folders(zero=-2.0)
    assert before[:2] == liked[:2]
    assert before[2] != liked[2]
    assert all(a != b for a, b in zip(before, zero, strict=True))
    assert folders(top="70%", disliked="20%") == before


def test_python_has_the_scale_and_the_thresholds_too(units):
    """The median of the drawn rewards is 0, and nothing here is said twice by hand."""
    data = rp.load("signed.csv", thresholds=Thresholds(liked="50%"))
    assert data.corpus.reward_scale.liked == 0
    policy = new_policy(BACKBONE, data.corpus.num_items, seed=1)
    results = {name: rp.evaluate(policy, data) for name in ("A", "B")}
    table = rp.compare(results, control="A")
    assert "liked: reward ≥ 0; top: ≥ 2; disliked: ≤ -1" in table.caption
    assert "Nothing to show in reward proxy@10: it was not measured." in table.caption
    liked = results["A"].per_user["reward"] >= 0
    by_hand = results["A"].per_user.loc[liked, "ndcg@10"].mean()
    cells = table.frame().set_index(["method", "column"])["mean"]
    assert cells["A", "NDCG@10 liked"] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("signed.csv", "rewards: -2 to 2 in steps of 1, counted as 1 to 5 stars; liked: 1 or more"),
        ("ones.csv", "rewards: none to learn from, every reward is 1"),
    ],
)
def test_an_audit_says_how_rewards_are_read(units, name, line):
    if name == "ones.csv":
        write_log(name, lambda stars: np.ones(len(stars)))
    result = CliRunner().invoke(app, ["data", "audit", name])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[-1].startswith(line)
    last = [each for each in lines if "of users' last events are rated 1 or more" in each]
    assert len(last) == (name == "signed.csv")


def test_thresholds_name_the_folder_and_the_command(units):
    study = load_study(STUDY, [], "signed.csv", 1, None, thresholds=Thresholds(liked="80%"))
    plain = load_study(STUDY, [], "signed.csv", 1, None)
    assert study.name != plain.name
    assert study.runs[0].setup.thresholds == Thresholds(liked="80%")
    assert study_runs.by_reason({"A": "x", "B": "y", "C": "x"}) == "A, C (x); B (y)"
