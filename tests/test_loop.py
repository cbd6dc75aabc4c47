"""docs/loop.py, one file of plain torch, does what the package does: the same weights and ranks."""

import ast
import importlib.util
import sys
from dataclasses import replace

import pytest
import torch
from doc_pages import ROOT, text_of

import recsys_posttrain as rp
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.training.pretrain import PRETRAINING

LOOP = ROOT / "docs" / "loop.py"
EPOCHS, STEPS = 60, 60  # 2 steps an epoch on the small log, so three validations


@pytest.fixture(scope="module")
def loop():
    spec = importlib.util.spec_from_file_location("loop", LOOP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Additive(RewardModel):
    """The reward model of the loop, written as the package wants one, event by event."""

    max_length = 200

    def __init__(self, data):
        super().__init__()
        rewards, items = data.train.rewards_E.tolist(), data.train.items_E.tolist()
        mean = sum(rewards) / len(rewards)
        self.means = []
        for item in range(1, data.corpus.num_items + 1):
            own = [
                reward - mean for reward, each in zip(rewards, items, strict=True) if each == item
            ]
            self.means.append(mean + sum(own) / (len(own) + 5))
        self.know(data.corpus)

    def member_factors(self, batch):
        off_BT = torch.zeros(batch.history_BT.shape)
        for row, history in enumerate(batch.history_BT.tolist()):
            total = 0.0
            for time, item in enumerate(history):
                if item:
                    total += float(batch.history_rewards_BT[row, time]) - self.means[item - 1]
                off_BT[row, time] = total / (time + 1 + 5)
        off_N = off_BT[batch.mask_BT]
        state_NR = torch.stack([torch.ones_like(off_N), off_N], dim=1)
        means_V = torch.tensor(self.means)
        return state_NR[None], torch.stack([means_V, torch.ones_like(means_V)], dim=1)[None]


@pytest.fixture(scope="module")
def trained(loop, small_ratings_csv, tmp_path_factory):
    """Both: data, pretrained policies and post-trained ones, without dropout."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    data, log = rp.load(small_ratings_csv), loop.load(small_ratings_csv)
    patch.undo()
    plan = replace(PRETRAINING, epochs=EPOCHS, bfloat16=False)
    theirs, fitted = rp.pretrain(data, rp.SASRec(dropout=0.0), plan)
    assert fitted.best_step, "a validation chose the weights"
    ours = loop.pretrain(log, epochs=EPOCHS, dropout=0.0)
    short = replace(POSTTRAINING, steps=STEPS, bfloat16=False)
    better, _ = rp.posttrain(theirs, data, rp.ASFT(temperature=0.5), Additive(data), short)
    start = loop.SASRec(log.num_items, dropout=0.0)
    start.load_state_dict(theirs.backbone.state_dict())
    mine = loop.posttrain(start.eval(), log, 0.5, steps=STEPS)
    return data, log, (ours, theirs), (mine, better)


def _apart(one, other):
    """The distance between the weights of two models, of all of them together."""
    mine, theirs = ({**getattr(m, "backbone", m).state_dict()} for m in (one, other))
    assert mine.keys() == theirs.keys()
    return sum(float((mine[name] - theirs[name]).square().sum()) for name in mine) ** 0.5


def test_it_reads_the_log_as_the_package_does(loop, trained):
    data, log, *_ = trained
    ends = data.corpus.sequences.offsets_N1[1:-1]
    assert log.num_items == data.corpus.num_items
    for mine, theirs in zip(
        log.items, data.corpus.sequences.items_E.tensor_split(ends), strict=True
    ):
        assert mine.tolist() == theirs.tolist()


def test_pretraining_ends_at_the_same_weights(loop, trained):
    """They start at the same ones, and end nearly so: where a gradient is rounding alone, as that
    of the attention's key bias, Adam takes whole steps all the same."""
    data, log, (ours, theirs), _ = trained
    start = loop.pretrain(log, epochs=0, dropout=0.0)
    assert _apart(start, new_policy(rp.SASRec(dropout=0.0), data.corpus.num_items, seed=0)) == 0
    assert _apart(ours, theirs) < 1e-3 * _apart(start, theirs)


def test_post_training_ends_at_the_same_weights(trained):
    _, _, (_, start), (ours, theirs) = trained
    assert _apart(ours, theirs) < 5e-3 * _apart(start, theirs)


def test_it_reaches_the_number_of_the_package(loop, trained):
    """NDCG@10 of every user, also where the policies come from the other side."""
    data, log, pretrained, better = trained
    for mine, theirs in (pretrained, better):
        rows = rp.evaluate(theirs, data).per_user
        torch.testing.assert_close(
            loop.ndcg(mine, log, left_out=1).double(),
            torch.tensor(rows["ndcg@10"].to_numpy()),
            atol=1e-4,
            rtol=0,
        )


def test_it_is_one_file_that_imports_nothing_of_the_package():
    text = text_of(LOOP)
    assert len(text.splitlines()) <= 250
    nodes = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in nodes
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {
        "numpy",
        "pandas",
        "torch",
    }
