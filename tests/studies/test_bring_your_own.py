"""A policy and a reward model from elsewhere: in one study, on the command line, and refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.studies.study import run_study

ROOT = Path(__file__).parents[2]
STUDY, SMALL = ROOT / "experiments" / "bring_your_own.py", ROOT / "tests" / "small_study.py"
FEW = ("posttraining.steps=4",)
REWARD = """
import numpy as np
import recsys_posttrain as rp
def reward(frame):
    return {}
REWARD_MODEL = rp.RewardFunction(reward)
"""
POLICY = """
import torch
import recsys_posttrain as rp
class GRU(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed({seed})
        self.table = torch.nn.Embedding(len(IDS) + 1, 8, padding_idx=0)
        self.gru = torch.nn.GRU(8, 8, batch_first=True)
    def forward(self, history):
        return self.gru(self.table(history.items_BT))[0]
IDS = {ids}
def gru():
    encoder = GRU()
    return rp.policy_of(encoder.table, encoder, IDS)
PRETRAINED = gru
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory, small_ratings_csv):
    """The study of experiments/bring_your_own.py, after its outside library."""
    with pytest.MonkeyPatch.context() as patch:
        work = tmp_path_factory.mktemp("work")
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(work / "cache"))
        patch.setenv("OUTSIDE", str(work / "outside"))
        patch.setattr(sys, "path", [*sys.path])
        patch.chdir(work)
        experiment_module(STUDY).main(str(small_ratings_csv), 3)
        options = Options(FEW, dataset=str(small_ratings_csv), workers=1)
        yield run_study(STUDY, options), work / "outside"


def test_an_outside_sasrec_and_boosting_run_in_one_study(done):
    folder, _ = done
    rows = pd.read_parquet(folder / "rows.parquet")
    trained = {"BC", "ASFT(model)", "DPO", "WBC"}
    assert trained | {"Popularity", "Pretrained"} <= set(rows["method"])
    assert (rows.groupby("method").size() == 60).all()
    assert rows.loc[rows["method"] == "ASFT(model)", "kl"].mean() > 0
    quality = (folder / "reward_models.md").read_text()
    for model in ("RewardRegressor", "item mean", "user + item bias", "gradient boosting"):
        assert model in quality


def test_its_ranks_are_those_of_the_outside_module(done, small_ratings_csv):
    """Computed from its own files: its module, its numbers, the log's ids."""
    folder, outside = done
    ids = json.loads((outside / "item_ids.json").read_text())
    assert ids != sorted(ids), "another order than the log's"
    net = experiment_module(STUDY).OutsideSASRec(len(ids)).eval()
    net.load_state_dict(load_file(outside / "sasrec.safetensors"))
    number = {each: place for place, each in enumerate(ids, start=1)}
    rows = pd.read_parquet(folder / "rows.parquet")
    found = rows[rows["method"] == "Pretrained"].set_index("user_id")["rank"]
    log = pd.read_csv(small_ratings_csv)
    for user, events in log.groupby("user_id"):
        *past, target = events.sort_values("timestamp", kind="stable")["item_id"].map(number)
        with torch.no_grad():
            state = net(torch.tensor([past]))[0, -1]
            logits = net.item_model.weight[1:] @ state
        logits[torch.tensor(past) - 1] = -torch.inf
        assert found[user] == 1 + int((logits > logits[target - 1]).sum())


def test_one_that_was_asked_for_is_refused_before_pretraining(here, small_ratings_csv, end, capsys):
    (here / "mine.py").write_text(REWARD.format("3 + frame['item_id'] % 3"))
    words = ["--dataset", small_ratings_csv, "--reward-model", "mine.py", "--methods", "OfflinePPO"]
    assert end("run", SMALL, *words) == 2
    said = capsys.readouterr()
    assert "OfflinePPO (RewardFunction scores given items only, and this needs" in said.err
    assert "GRPO()" in said.err
    assert not list(here.glob("runs/stages/*"))


def test_files_on_the_command_line_are_a_study_of_its_own(here, small_ratings_csv, end, capsys):
    log = pd.read_csv(small_ratings_csv)
    pairs = pd.MultiIndex.from_product([log["user_id"].unique(), log["item_id"].unique()])
    table = pairs.to_frame(index=False, name=["user_id", "item_id"])
    value = 1 + (table["user_id"] * 7 + table["item_id"] * 3) % 40 / 10
    table.assign(prediction=value).to_parquet("preds.parquet")
    ids = [str(each) for each in sorted(log["item_id"].unique(), key=lambda each: each * 7 % 41)]
    (here / "gru.py").write_text(POLICY.format(seed=0, ids=ids))
    words = ["run", SMALL, "--dataset", small_ratings_csv, "--workers", 1, "--seeds", 1]
    own = ["--reward-model", "preds.parquet", "--pretrained", "gru.py"]
    assert end(*words, *own, "--methods", "OfflinePPO") == 0
    (folder,) = here.glob("runs/small_study-*")
    record = json.loads((folder / "run.json").read_text())
    assert " ".join(own) in record["command"]
    rows = pd.read_parquet(folder / "rows.parquet")
    shown = rows[rows["method"] == "OfflinePPO"].iloc[0]
    of_user = table.assign(value=value).set_index(["user_id", "item_id"])["value"][shown["user_id"]]
    wanted = np.mean([of_user[int(ids[number - 1])] for number in shown["top10"]])
    assert shown["reward/proxy@10"] == pytest.approx(wanted, abs=1e-4)
    capsys.readouterr()
    (here / "gru.py").write_text(POLICY.format(seed=1, ids=ids))
    assert end(*words, *own, "--methods", "OfflinePPO") == 0
    said = capsys.readouterr().out
    assert len(list(here.glob("runs/stages/pretrain-*"))) == 2, "other weights, another stage"
    assert len(list(here.glob("runs/stages/reward-[0-9a-f]*"))) == 1, "the same reward model"
    assert "pretrained policy" in said


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("frame['item_id'].where(frame['item_id'] != 7, np.nan)", "gave nan for .* item 7"),
        ("np.ones(3)", r"gave \(3,\) numbers for"),
        ("frame['no such title']", "reward raised KeyError .*no such title"),
    ],
)
def test_a_scorer_that_fails_ends_the_study_in_one_sentence(here, small_ratings_csv, body, says):
    (here / "mine.py").write_text(REWARD.format(body))
    options = Options(
        dataset=str(small_ratings_csv), workers=1, methods="BC", own=OwnFiles("mine.py")
    )
    with pytest.raises(UserError, match=says):
        run_study(SMALL, options)


@pytest.mark.parametrize(
    ("own", "text", "says"),
    [
        (OwnFiles("model.pkl"), "", "nothing pickled is loaded"),
        (OwnFiles("none.py"), "", "--reward-model none.py: there is no such file"),
        (OwnFiles("mine.py"), "A = 1", "mine.py does not define REWARD_MODEL"),
        (OwnFiles("mine.py"), "REWARD_MODEL = 3", "REWARD_MODEL=3 has no train and build"),
        (OwnFiles(None, "mine.py"), "PRETRAINED = 3", "PRETRAINED=3 must be a function"),
        (OwnFiles(None, "mine.py"), "def PRETRAINED():\n    return 3", "gave int; return what"),
        (OwnFiles(None, "mine.py"), "def PRETRAINED():\n    1 / 0", "raised ZeroDivisionError"),
        (OwnFiles(None, "mine.py"), POLICY.format(seed=0, ids=["a", "b"]), "none of its items"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(here, small_ratings_csv, own, text, says):
    (here / "mine.py").write_text(text)
    (here / "model.pkl").write_text("")
    with pytest.raises(UserError, match=says):
        run_study(SMALL, Options(dataset=str(small_ratings_csv), workers=1, own=own))
    assert not list(here.glob("runs/stages/*"))


def test_nothing_is_set_that_nothing_reads(here, small_ratings_csv):
    (here / "gru.py").write_text(POLICY.format(seed=0, ids=["1", "2"]))
    options = Options(("pretraining.epochs=1",), str(small_ratings_csv))
    with pytest.raises(UserError, match=r"--set pretraining\.epochs.*nothing is pretrained"):
        run_study(SMALL, options._replace(own=OwnFiles(None, "gru.py")))
