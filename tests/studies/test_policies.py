"""Policies of a study by the labels of its table, from a run.json written by hand."""

import json

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.models import checkpoint
from recsys_posttrain.studies import policies
from recsys_posttrain.studies.policies import policy_folder

STAGES = {
    "pretrained": "pretrain-00",
    "reward": "reward-00",
    "ASFT (beta=0.1)/3": "posttrain-a3",
    "BC/3": "posttrain-b3",
    "BC/4": "posttrain-b4",
}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "runs" / "a_study-log"
    folder.mkdir(parents=True)
    stages = {name: {"folder": stage, "seconds": 1.0} for name, stage in STAGES.items()}
    (folder / "run.json").write_text(json.dumps({"stages": stages}))
    for stage in STAGES.values():
        (path := tmp_path / "runs" / "stages" / stage).mkdir(parents=True)
        (path / "policy.json").write_text("{}")
    return folder


def test_the_folder_of_a_method_and_of_several_seeds_the_first(study, capsys):
    stages = study.parent / "stages"
    assert policy_folder(study, "ASFT (beta=0.1)") == stages / "posttrain-a3"
    assert policy_folder(study, "Pretrained") == stages / "pretrain-00"
    assert capsys.readouterr().err == ""
    assert policy_folder(study, "BC") == stages / "posttrain-b3"
    assert capsys.readouterr().err == "BC: the policy of seed 3, the first of 2\n"


def test_full_seeds_have_a_pretrained_policy_each(study, capsys):
    record = json.loads((study / "run.json").read_text())
    stages = {f"pretrained/{seed}": {"folder": f"pretrain-0{seed}"} for seed in (0, 1)}
    (study / "run.json").write_text(json.dumps(record | {"stages": stages}))
    assert policy_folder(study, "Pretrained").name == "pretrain-00"
    assert "seed 0, the first of 2" in capsys.readouterr().err


def test_a_policy_of_its_own_is_itself(study):
    policy = study.parent / "stages" / "posttrain-a3"
    assert policy_folder(policy, None) == policy
    with pytest.raises(UserError, match=r"--method BC: .*posttrain-a3 is no study; leave --meth"):
        policy_folder(policy, "BC")


def test_mistakes_name_the_methods_that_there_are(study):
    with pytest.raises(UserError, match=r"say which policy with --method, one of Pretrained, ASFT"):
        policy_folder(study, None)
    with pytest.raises(UserError, match=r"no policy of that name; did you mean 'BC'\?"):
        policy_folder(study, "BCC")
    with pytest.raises(UserError, match=r"--method reward: .* \(it has those of Pretrained, ASFT"):
        policy_folder(study, "reward")
    (study.parent / "stages" / "posttrain-b3" / "policy.json").unlink()
    with pytest.raises(UserError, match=r"posttrain-b3, the policy of BC, is not there any more"):
        policy_folder(study, "BC")


def test_the_card_of_a_policy_has_one_name():
    assert policies.CARD == checkpoint.CARD
