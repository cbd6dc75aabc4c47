"""Item features: the vectors by hand, what draws them, and titles that training never saw."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus

import recsys_posttrain as rp
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.item_vectors import ItemVectors
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.models.features import FeatureEmbedding, ItemFeatures
from recsys_posttrain.models.policy import new_policy

BACKBONE = rp.SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)
PLAN = rp.Training(steps=12, batch_size=8, learning_rate=0.01)
ITEMS = 12
NEW = 3  # the number of the item without an event to train on


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    ids = [f"i{item}" for item in range(ITEMS)]
    return pd.DataFrame({"item_id": ids, "vector": list(rng.standard_normal((ITEMS, 3)))})


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            (f"u{user}", f"i{item}", float(rng.integers(1, 6)), 1000 * user + place)
            for user in range(30)
            for place, item in enumerate(rng.permutation(ITEMS)[:8])
        ],
        columns=["user_id", "item_id", "rating", "timestamp"],
    )


@pytest.fixture
def config(vectors, tmp_path):
    vectors[:10].to_parquet(tmp_path / "vectors.parquet")
    return ItemFeatures(str(tmp_path / "vectors.parquet"), BACKBONE)


@pytest.fixture
def data(frame):
    """Item NEW stays in the catalogue, and has no event to train on."""
    whole = rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1), repeats="allowed")
    number_V1 = torch.arange(whole.corpus.num_items + 1)
    number_V1[NEW] = 0
    found = Encoder(whole.corpus.item_ids, number_V1).split(whole)
    return replace(found, corpus=whole.corpus)


def small_table():
    """Items 1 to 4: with features, with none, new with features, new with none."""
    table = FeatureEmbedding(torch.nn.Embedding(5, 2, padding_idx=0), width=1)
    with torch.no_grad():
        table.own.weight[1:] = torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]])
        table.token.copy_(torch.tensor([7.0, 0]))
        table.projection.weight.copy_(torch.tensor([[0.0], [10.0]]))
    vectors = ItemVectors(np.array(["a", "c", "no"]), np.float32([[5.0], [9.0], [100.0]]))
    table.fill(vectors, torch.tensor([1, 3, 0]), torch.tensor([False, False, True, True]))
    # Item 1 alone is trained with features, so its column is constant and says nothing.
    assert not table.features.any()
    table.features[1], table.features[3] = 0.5, 2.5
    return table


def test_vectors_by_hand():
    table = small_table()
    want = [[0.0, 0], [1, 0], [2, 0], [7, 25], [7, 0]]
    assert table.weight.tolist() == want
    items = torch.tensor([[4, 3], [1, 0]])
    assert table(items).tolist() == [[want[4], want[3]], [want[1], want[0]]]


def test_features_are_standardised_over_the_items_that_are_trained_on():
    table = FeatureEmbedding(torch.nn.Embedding(4, 2, padding_idx=0), width=2)
    given = np.float32([[1.0, 5.0], [3.0, 5.0], [6.0, 5.1]])
    numbers = torch.tensor([2, 1, 3])
    table.fill(ItemVectors(np.array([*"bac"]), given), numbers, torch.tensor([False, False, True]))
    # Mean 2 and deviation 1 in the first column; the second is constant. Over the root of 2.
    want = np.array([[0, 0], [1, 0], [-1, 0], [4, 0]]) / 2**0.5
    np.testing.assert_allclose(table.features, want, rtol=1e-6)


def test_own_vectors_are_replaced_at_the_stated_rate():
    table, generator = small_table(), torch.Generator().manual_seed(0)
    drawn = torch.stack([table.replaced(0.25, generator) for _ in range(4000)])
    rows = {tuple(row) for row in drawn[:, 1].tolist()}
    assert rows == {(1.0, 0.0), (7.0, 5.0)}
    share = (drawn[:, 1, 0] == 7).double().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    # The others are always what they are: without features, new, and padding.
    assert torch.equal(drawn[:, [0, 2, 3, 4]], table.weight[[0, 2, 3, 4]].expand(4000, 4, 2))


def test_only_the_token_and_the_projection_learn_from_what_is_replaced():
    table = small_table()
    table.replaced(1 - 1e-9, torch.Generator().manual_seed(0)).sum().backward()
    assert table.own.weight.grad is None
    assert table.token.grad.tolist() == [1, 1]
    assert table.projection.weight.grad.flatten().tolist() == [0.5, 0.5]
    # And they learn from nothing else.
    table.zero_grad()
    (table.weight[1:].sum() + table(torch.arange(5)).sum()).backward()
    assert table.token.grad is None
    assert table.projection.weight.grad is None
    assert table.own.weight.grad[:, 0].tolist() == [0, 2, 2, 0, 0]


@pytest.mark.parametrize("loss", [rp.FullSoftmax(), rp.GBCE(negatives=4)], ids=["full", "gbce"])
def test_titles_with_events_learn_bit_for_bit_what_they_learn_without_features(frame, config, loss):
    data = rp.load(frame, split=rp.LeaveOneOut(minimum_item_ratings=1))
    plan = replace(PLAN, steps=9, patience=2, validation_steps=3, ema_decay=0.9)
    plain, fitted = rp.pretrain(data, BACKBONE, plan, loss=loss)
    policy, again = rp.pretrain(data, config, plan, loss=loss)
    assert again == fitted
    found = {name.replace("own.", ""): each for name, each in policy.state_dict().items()}
    for name, each in plain.state_dict().items():
        assert torch.equal(each, found[name]), name
    table = policy.backbone.item_embedding
    assert table.token.any()
    assert table.projection.weight.all()


def test_the_loss_of_what_is_replaced_by_hand(data, config):
    """In float64: a softmax over vectors of which some come from features; the states are fixed."""
    policy = new_policy(config, data.corpus.num_items, seed=4).double().eval()
    rule = config.know(policy, data, Rule())
    assert rule.never_shown_M.tolist() == [NEW]
    table, batch = policy.backbone.item_embedding, batch_of(data.train, torch.arange(9), 10)
    with torch.no_grad():
        table.token += 0.3
        table.projection.weight += torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    per_position = rp.FullSoftmax().build(torch.ones(data.corpus.num_items, dtype=torch.int64))
    alone_N = per_position(policy, batch, torch.Generator())
    both_N = config.loss(per_position)(policy, batch, torch.Generator().manual_seed(2))
    drawn = torch.rand(13, generator=torch.Generator().manual_seed(2)) < config.replaced
    number = {item: place for place, item in enumerate(data.corpus.item_ids, start=1)}
    has = {number[f"i{item}"] for item in range(10)} - {NEW}
    weight = policy.backbone.item_embedding.weight.clone()
    picked = [item for item in range(1, 13) if drawn[item] and item in has]
    assert picked
    for item in picked:
        weight[item] = table.token + table.projection.weight @ table.features[item]
    logits_NV = policy.hidden_states(batch) @ weight[1:].T
    row_N = torch.arange(len(alone_N))
    want_N = logits_NV.logsumexp(dim=1) - logits_NV[row_N, batch.action_N - 1]
    torch.testing.assert_close(both_N - alone_N, want_N)


@pytest.mark.parametrize("loss", [rp.FullSoftmax(), rp.GBCE(negatives=4)], ids=["full", "gbce"])
def test_training_moves_all_but_the_new_titles_own_vector(data, config, loss, capsys):
    start = new_policy(config, data.corpus.num_items, seed=0)
    policy, _ = rp.pretrain(data, config, replace(PLAN, weight_decay=0.0), loss=loss)
    said = capsys.readouterr().err
    assert "vectors of 3 numbers for 10 of 12 items of the data frame; 2 items ('i1" in said
    assert f"1 item ('{data.corpus.item_ids[NEW - 1]}') without an event to train on" in said
    before, after = start.backbone.item_embedding, policy.backbone.item_embedding
    for name in ("token", "projection.weight"):
        assert (before.get_parameter(name) != after.get_parameter(name)).any()
    same_V = (before.own.weight == after.own.weight).all(dim=1).nonzero().flatten()
    assert same_V.tolist() == [0, NEW]
    again, _ = rp.pretrain(data, config, replace(PLAN, weight_decay=0.0), loss=loss)
    assert torch.equal(policy.item_embedding_VD, again.item_embedding_VD)


def test_a_saved_policy_needs_no_file_and_is_post_trained(data, config, tmp_path):
    policy, _ = rp.pretrain(data, config, PLAN)
    reward, _ = rp.train_reward(data)
    better, _ = rp.posttrain(policy, data, rp.ASFT(), reward, PLAN)
    tables = [each.backbone.item_embedding for each in (policy, better)]
    assert not torch.equal(tables[0].own.weight, tables[1].own.weight)
    assert torch.equal(tables[0].projection.weight, tables[1].projection.weight)
    assert torch.equal(tables[0].weight[NEW], tables[1].weight[NEW])
    for place, each in enumerate((policy, better)):
        rp.save_policy(each, tmp_path / f"{place}", data)
    (tmp_path / "vectors.parquet").unlink()
    for place, each in enumerate((policy, better)):
        saved = rp.load_policy(tmp_path / f"{place}")
        assert torch.equal(saved.policy.item_embedding_VD, each.item_embedding_VD)
        want = rp.evaluate(each, data).per_user
        pd.testing.assert_frame_equal(rp.evaluate(saved.policy, data).per_user, want)
        assert "vectors.parquet" not in (tmp_path / f"{place}" / "policy.json").read_text()


def test_settings_are_a_value_by_the_content_of_the_file(config, vectors, tmp_path):
    vectors[:10].to_parquet(tmp_path / "copy.parquet")
    copy = ItemFeatures(str(tmp_path / "copy.parquet"), BACKBONE)
    assert copy == config
    vectors[:9].to_parquet(tmp_path / "copy.parquet")
    assert replace(copy) != config
    assert config.max_length == 10


BAD = {
    "path is missing": {"path": ""},
    "has no method build": {"backbone": 5},
    "replaced=0 must be above 0 and below 1": {"replaced": 0},
}


@pytest.mark.parametrize("sentence", BAD)
def test_settings_that_cannot_be_are_named(config, sentence):
    with pytest.raises(rp.UserError, match=sentence):
        ItemFeatures(**{"path": config.path, "backbone": BACKBONE, **BAD[sentence]})


def test_a_file_of_other_items_or_that_has_changed_is_refused(data, config, vectors):
    other = made_corpus([4, 4], [1, 2, 3, 4, 2, 3, 4, 1], item_ids=np.array([*"abcd"]))
    with pytest.raises(rp.UserError, match=r"none of the 4 items of .* such as 'i0', .* as 'a'"):
        rp.pretrain(rp.LeaveOneOut(1).split(other), config, PLAN)
    vectors[:4].to_parquet(config.path)
    with pytest.raises(rp.UserError, match=r"vectors.parquet has changed since it was given"):
        rp.pretrain(data, config, PLAN)
