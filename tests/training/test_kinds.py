"""An argument of a wrong kind is named with what to give, before anything is trained."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Timer

import recsys_posttrain as rp

PAIR = r" is of the type tuple \(rp.pretrain and others return a pair: take its first part\): give "


@pytest.fixture
def posttrain(tiny, monkeypatch):
    """With one argument changed; training itself would be a failure."""
    monkeypatch.setattr("recsys_posttrain.training.posttrain.fit", None)

    def call(**changes):
        given = {"policy": tiny.policy, "data": tiny.data, "algorithm": rp.BC()}
        return rp.posttrain(**given | {"reward": tiny.reward} | changes)

    return call


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": (1, 2)}, "policy" + PAIR + "what rp.pretrain returns first"),
        ({"data": "ml-100k"}, r"data is of the type str: give what rp.load\(...\) returns"),
        ({"algorithm": rp.ASFT}, "algorithm is the class ASFT, not one of its objects: give one"),
        ({"algorithm": rp.Tilt()}, "algorithm is of the type Tilt: give one such as rp.ASFT"),
        ({"reward": None}, "reward is of the type NoneType: give the model that rp.train_reward"),
        ({"training": 100}, r"training is of the type int: give a plan such as rp.Training\(st"),
        ({"seed": 0.5}, "seed is of the type float: give a whole number"),
        ({"folder": "runs"}, "folder is of the type str: give a path, as pathlib.Path"),
        ({"device": "gpu"}, "^device='gpu': give cpu, cuda, or one GPU by its number as cuda:1"),
        ({"logger": True}, "logger is of the type bool: give one of Lightning's, such as CSVLog"),
        ({"callbacks": Timer()}, "callbacks is of the type Timer: give a list of Lightning's"),
        ({"callbacks": [print]}, "one of the callbacks is of the type builtin_function_or_metho"),
    ],
)
def test_posttrain(posttrain, changes, said):
    with pytest.raises(rp.UserError, match=said):
        posttrain(**changes)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: rp.pretrain(t.data, training=3), "training is of the type int"),
        (lambda t: rp.pretrain(t.data, loss=rp.GBCE), "loss is the class GBCE, not one"),
        (lambda t: rp.pretrain(t.data, device="tpu"), "device='tpu': give cpu"),
        (lambda t: rp.train_reward(t.data, seed="1"), "seed is of the type str"),
        (lambda t: rp.evaluate(t.policy, t.data, (t.reward, 0)), f"reward{PAIR}the model"),
        (lambda t: rp.evaluate(t.policy, t.data, judge=0), "judge is of the type int"),
        (lambda t: rp.evaluate(t.policy, t.data, reference=t.reward), "reference is of the type"),
        (lambda t: rp.evaluate(t.policy, t.data, targets="test"), "targets is of the type str"),
        (lambda t: rp.evaluate(t.policy, t.data).mean("ndcg10"), "'ndcg10'; did you mean 'ndcg@1"),
        (lambda t: rp.load([t]), "dataset is of the type list: give a data frame, the name"),
        (lambda t: rp.load("ml-100k", split="user-holdout"), "split is of the type str"),
        (lambda t: rp.load("ml-100k", split=rp.LeaveOneOut), "split is the class LeaveOneOut"),
        (lambda t: rp.load("ml-100k", thresholds=4), "thresholds is of the type int"),
        (lambda t: rp.load("ml-100k", columns=["user_id"]), "columns is of the type list"),
        (lambda t: rp.save_policy((t.policy, 0), "x", t.data), f"policy{PAIR}what"),
    ],
)
def test_the_others(tiny, call, said):
    with pytest.raises(rp.UserError, match=said):
        call(SimpleNamespace(data=tiny.data, policy=tiny.policy, reward=tiny.reward))
