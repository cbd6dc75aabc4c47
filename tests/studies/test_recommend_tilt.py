"""`recommend --tilt` from the stages of a study, against one sort per user."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.histories import histories_of_dataset
from recsys_posttrain.models.checkpoint import load_policy
from recsys_posttrain.recommendation import recommend
from recsys_posttrain.studies.load import load_study
from recsys_posttrain.studies.pipeline import Pipeline

USERS = ["3", "7", "11"]


def stage(output, kind):
    return sorted((Path(output) / "stages").glob(f"{kind}-*"))[0]


def test_the_list_is_by_logit_plus_reward_over_temperature(finished, small_ratings_csv):
    """With the reward model that the policy was trained with; the coldest list is by that alone."""
    folder = stage(finished, "posttrain")
    saved = load_policy(folder)
    study = load_study(Path("study.py"), [], str(small_ratings_csv), 1, None)
    reward = Pipeline(study.runs[0].setup, finished).rewards.load()
    _, histories = histories_of_dataset(saved, USERS, None)
    logit_NV = (
        saved.policy.last_hidden_states(histories) @ saved.policy.item_embedding_VD.T
    ).double()
    state_NR, factor_VR = reward.last_factors(histories)
    reward_NV = state_NR.double() @ factor_VR.double().T
    tilts, lists = (0.05, 1e-5), []
    for tilt in tilts:
        found = recommend(folder, USERS, None, 5, None, tilt=tilt)
        for n, user in enumerate(USERS):
            score_V = (logit_NV[n] + reward_NV[n] / tilt).numpy().copy()
            start, stop = histories.offsets_N1[n : n + 2].tolist()
            score_V[histories.items_E[start:stop].numpy() - 1] = -np.inf
            best = np.argsort(-score_V, kind="stable")[:5]
            rows = found[found["user_id"] == int(user)]
            assert rows["item_id"].tolist() == saved.item_ids[best].tolist()
            np.testing.assert_allclose(rows["score"], score_V[best], rtol=1e-5)
        lists.append(found["item_id"].tolist())
    plain = recommend(folder, USERS, None, 5, None)["item_id"].tolist()
    assert len({tuple(each) for each in (*lists, plain)}) == 3
    flat = recommend(folder, USERS, None, 5, None, tilt=1e6)["item_id"].tolist()
    assert flat == plain


def test_a_pretrained_policy_needs_a_reward_model(finished):
    pretrained = stage(finished, "pretrain")
    with pytest.raises(UserError, match=r"does not say which reward model .* with --reward, such"):
        recommend(pretrained, USERS, None, 5, None, tilt=0.1)
    given = recommend(pretrained, USERS, None, 5, None, tilt=0.1, reward=stage(finished, "reward"))
    assert len(given) == 15


def test_what_is_no_reward_model_of_this_log_is_named(finished, tmp_path):
    policy, own = stage(finished, "posttrain"), stage(finished, "reward")
    with pytest.raises(UserError, match=r"holds no reward model \(reward.safetensors\): give"):
        recommend(policy, USERS, None, 5, None, tilt=0.1, reward=policy)
    other = shutil.copytree(policy, tmp_path / "policy")
    card = json.loads((other / "policy.json").read_text())
    (other / "stage.json").unlink()
    (other / "policy.json").write_text(json.dumps(card | {"numbered_by": "0" * 64}))
    with pytest.raises(UserError, match=r"was trained on another log than the policy \(SHA-256 "):
        recommend(other, USERS, None, 5, None, tilt=0.1, reward=own)
    with pytest.raises(UserError, match=r"--tilt -1: give a temperature above 0"):
        recommend(policy, USERS, None, 5, None, tilt=-1.0)


def test_the_command_line(finished, end, capsys):
    folder = str(stage(finished, "posttrain"))
    assert end("recommend", folder, "--users", "3", "--k", "2", "--tilt", "0.1") == 0
    assert "user_id" in capsys.readouterr().out
    assert end("recommend", folder, "--users", "3", "--reward", folder) == 2
    assert "--reward is the reward model of a tilt: give --tilt" in capsys.readouterr().err
