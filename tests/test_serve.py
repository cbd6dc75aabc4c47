"""rp.save_policy, rp.load_policy and rp.recommend: the same lists as the command line's."""

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.histories import log_of
from recsys_posttrain.models.frozen import FrozenPolicy


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", float(rng.integers(1, 6)), 1000 * user + place)
        for user in range(12)
        for place, item in enumerate(rng.permutation(15)[:8])
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture
def data(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    return rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))


@pytest.fixture
def policy(data):
    return rp.pretrain(data, rp.SASRec(dim=8, blocks=1), rp.Training(steps=3, batch_size=4))[0]


def test_lists_are_the_best_items_that_a_user_did_not_have(frame, data, policy):
    found = rp.recommend(policy, data, k=3)
    assert found.groupby("user_id").size().eq(3).all()
    had = set(frame[["user_id", "item_id"]].itertuples(index=False, name=None))
    assert not had & set(found[["user_id", "item_id"]].itertuples(index=False, name=None))
    # By hand, for one user: the logits after the whole history.
    row = list(data.corpus.user_ids).index("u5")
    hidden_ND = policy.last_hidden_states(data.corpus.sequences)
    logit_V = (hidden_ND @ policy.item_embedding_VD.detach().T)[row].numpy().copy()
    items = data.corpus.sequences.items_E
    start, end = data.corpus.sequences.offsets_N1[row : row + 2].tolist()
    logit_V[items[start:end] - 1] = -np.inf
    best = data.corpus.item_ids[np.argsort(-logit_V)[:3]]
    assert found[found["user_id"] == "u5"]["item_id"].tolist() == best.tolist()


def test_a_saved_policy_gives_the_same_lists_for_a_frame_in_another_order(
    frame, data, policy, tmp_path
):
    better, _ = rp.posttrain(
        policy, data, rp.RWR(), rp.train_reward(data)[0], rp.Training(steps=2, batch_size=4)
    )
    for each in (policy, better):
        rp.save_policy(each, tmp_path / "policy", data)
        saved = rp.load_policy(tmp_path / "policy")
        with pytest.raises(rp.UserError, match=r"does not say where its log is .* --log FILE"):
            log_of(saved)  # a data frame is nowhere
        want = rp.recommend(each, data, k=4)
        shuffled = frame.sample(frac=1, random_state=1)
        new = pd.DataFrame(
            [("new", "not there", 5.0, 1), ("new", "i3", 5.0, 2)], columns=frame.columns
        )
        got = rp.recommend(saved, pd.concat([shuffled, new]), k=4)
        mine = got[got["user_id"] != "new"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, want)
        assert (got["user_id"] == "new").sum() == 4


def test_asking_does_not_change_the_policy(data, policy):
    before = {name: each.clone() for name, each in policy.state_dict().items()}
    assert not isinstance(policy, FrozenPolicy)
    rp.recommend(policy, data, users=["u1"], k=2)
    assert all(parameter.requires_grad for parameter in policy.parameters())
    assert all(torch.equal(each, before[name]) for name, each in policy.state_dict().items())


def test_mistakes(frame, data, policy, tmp_path):
    assert rp.recommend(policy, data, users=["u11", "u2"], k=1)["user_id"].tolist() == ["u11", "u2"]
    with pytest.raises(rp.UserError, match="no user 'u77'; did you mean 'u7'"):
        rp.recommend(policy, data, users=["u77"])
    with pytest.raises(rp.UserError, match="k=0 must be at least 1"):
        rp.recommend(policy, data, k=0)
    with pytest.raises(rp.UserError, match="histories is of the type list"):
        rp.recommend(policy, [1, 2])
    with pytest.raises(rp.UserError, match="none of its items is known to the policy"):
        rp.recommend(policy, frame.assign(item_id="elsewhere"))
    with pytest.raises(rp.UserError, match="can be saved"):
        rp.save_policy(type(policy)(torch.nn.Linear(2, 2)), tmp_path / "x", data)
    assert not (tmp_path / "x").exists()


def test_items_in_bfloat16_take_half_and_hardly_change_what_is_shown(frame, data, policy, tmp_path):
    rp.save_policy(policy, tmp_path / "policy", data)
    exact = rp.load_policy(tmp_path / "policy")
    half = rp.load_policy(tmp_path / "policy", bfloat16_items=True)
    tables = [each.policy.item_embedding_VD for each in (exact, half)]
    assert tables[1].dtype == torch.bfloat16
    assert torch.equal(tables[0].bfloat16(), tables[1]), "rounded, and nothing else"
    found, expected = (rp.recommend(each, frame, k=3) for each in (half, exact))
    largest = float(expected["score"].abs().max())
    assert found["user_id"].equals(expected["user_id"])
    assert (found["score"] - expected["score"]).abs().max() < 2**-8 * largest * 4
    value = rp.evaluate(half.policy, data, reference=exact.policy)
    assert value.per_user["kl"].abs().max() < 1e-3
    reward = rp.train_reward(data)[0]
    with pytest.raises(rp.UserError, match="its items are in bfloat16, which is for lists; load"):
        rp.posttrain(half.policy, data, rp.BC(), reward)


def test_items_on_features_stay_in_float32(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path / "cache"))
    vectors = pd.DataFrame(
        {"item_id": [f"i{item}" for item in range(15)], "vector": list(np.eye(15).tolist())}
    )
    data = rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))
    vectors.to_parquet(tmp_path / "vectors.parquet")
    backbone = rp.ItemFeatures(str(tmp_path / "vectors.parquet"), rp.SASRec(dim=8, blocks=1))
    policy, _ = rp.pretrain(data, backbone, rp.Training(steps=2, batch_size=4))
    rp.save_policy(policy, tmp_path / "policy", data)
    with pytest.raises(rp.UserError, match=r"items that stand on features.* leave bfloat16_items"):
        rp.load_policy(tmp_path / "policy", bfloat16_items=True)
