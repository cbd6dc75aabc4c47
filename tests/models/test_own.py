"""A policy of the user's own modules: a hand-written GRU and torch's transformer as encoders."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import recsys_posttrain as rp
from recsys_posttrain.algorithms import ASFT
from recsys_posttrain.data import LeaveOneOut, RatingsFile, prepare
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models import SASRec
from recsys_posttrain.models.backbone import last_hidden_states
from recsys_posttrain.models.own import policy_of
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.plan import Training
from recsys_posttrain.rewards.factor import RewardFactors
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.types import History

DIM = 8


class GRU(nn.Module):
    """Its own input table, and the logged reward as a further input."""

    def __init__(self, num_items):
        super().__init__()
        self.table = nn.Embedding(num_items + 1, DIM, padding_idx=0)
        self.gru = nn.GRU(DIM + 1, DIM, batch_first=True)

    def forward(self, history):
        reward_BT1 = history.rewards_BT[..., None] / 5
        return self.gru(torch.cat([self.table(history.items_BT), reward_BT1], dim=2))[0]


class Transformer(nn.Module):
    """SASRec of torch's own layers (norm first, GELU), as many tutorials write it."""

    def __init__(self, num_items, max_length):
        super().__init__()
        self.table = nn.Embedding(num_items + 1, DIM, padding_idx=0)
        self.places = nn.Embedding(max_length, DIM)
        layer = nn.TransformerEncoderLayer(
            DIM, 2, 16, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, 2, norm=nn.LayerNorm(DIM), enable_nested_tensor=False
        )

    def forward(self, history):
        time = history.items_BT.shape[1]
        x_BTD = self.table(history.items_BT) + self.places.weight[:time]
        mask_TT = nn.Transformer.generate_square_subsequent_mask(time).to(x_BTD)
        return self.layers(x_BTD, mask=mask_TT, is_causal=True)


class Both(GRU):
    """Sees later events too."""

    def __init__(self, num_items):
        super().__init__(num_items)
        self.gru = nn.GRU(DIM + 1, DIM // 2, batch_first=True, bidirectional=True)


class Neighbours(GRU):
    def forward(self, history):
        return super().forward(history) - history.rewards_BT.numel()


class Strings(GRU):
    def forward(self, history):
        raise ValueError("expected str")


class Narrow(GRU):
    def forward(self, history):
        return super().forward(history)[..., :3]


@pytest.fixture(scope="module")
def data(small_ratings_csv, tmp_path_factory):
    corpus = prepare(RatingsFile(str(small_ratings_csv)), cache=tmp_path_factory.mktemp("cache"))
    return LeaveOneOut().split(corpus)


@pytest.fixture
def gru(data):
    torch.manual_seed(0)
    return GRU(data.corpus.num_items)


@pytest.fixture
def policy(data, gru):
    items_VD = 2 * torch.randn(
        data.corpus.num_items, DIM, generator=torch.Generator().manual_seed(1)
    )
    return policy_of(items_VD, gru, data.corpus.item_ids, max_length=10)


def test_ranks_are_those_of_a_loop_over_histories(data, gru, policy):
    rows = evaluate(policy, data).per_user
    events, number = data.corpus.sequences, data.corpus.num_items
    table_VD = policy.item_embedding_VD.detach()
    for user in range(len(events)):
        own = slice(int(events.offsets_N1[user]), int(events.offsets_N1[user + 1]))
        items, rewards = events.items_E[own], events.rewards_E[own]
        reward_T1 = rewards[:-1][-10:, None] / 5
        with torch.no_grad():
            x_TD = torch.cat([gru.table(items[:-1][-10:]), reward_T1], dim=1)
            score_V = table_VD @ gru.gru(x_TD[None])[0][0, -1]
        unseen = set(range(1, number + 1)) - set(items[:-1].tolist())
        target = float(score_V[items[-1] - 1])
        above = sum(float(score_V[each - 1]) > target for each in unseen)
        assert rows["rank"].iloc[user] == above + 1


def test_it_is_post_trained_saved_and_loaded(data, gru, policy, tmp_path):
    reward, _ = train_reward(data, RewardFactors(rank=2, rounds=2))
    before = copy.deepcopy(policy.state_dict())
    short = Training(epochs=2, batch_size=16, learning_rate=0.01)
    better, _ = posttrain(policy, data, ASFT(), reward, short)
    moved = [
        name for name, value in better.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert "backbone.item_embedding.weight" in moved
    assert "backbone.encoder.gru.weight_hh_l0" in moved
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    rp.save_policy(better, tmp_path, data)
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["policy.json", "policy.safetensors", "source.json"]
    weights = gru.table.weight.clone()
    found = rp.load_policy(tmp_path, encoder=gru)
    assert torch.equal(gru.table.weight, weights)  # a copy of it was filled
    for name, value in better.state_dict().items():
        assert torch.equal(value, found.policy.state_dict()[name])
    assert evaluate(found.policy, data).per_user.equals(evaluate(better, data).per_user)
    rp.save_policy(found.policy, tmp_path / "again", data)
    again = rp.load_policy(tmp_path / "again", encoder=gru).policy
    assert torch.equal(again.item_embedding_VD, better.item_embedding_VD)


def test_a_saved_one_asks_for_its_class(data, gru, policy, tmp_path):
    rp.save_policy(policy, tmp_path, data)
    need = r"own class .*test_own\.GRU, which no file holds"
    with pytest.raises(UserError, match=need + r"; give a module of it: rp\.load_policy"):
        rp.load_policy(tmp_path)
    with pytest.raises(UserError, match=need + r", and .*test_own\.Narrow was given"):
        rp.load_policy(tmp_path, encoder=Narrow(data.corpus.num_items))
    with pytest.raises(UserError, match=r"encoder\.table\.weight' is float32"):
        rp.load_policy(tmp_path, encoder=GRU(7))
    ours = new_policy(SASRec(dim=8, heads=1, max_length=10), data.corpus.num_items, 0)
    rp.save_policy(ours, tmp_path / "ours", data)
    with pytest.raises(UserError, match=r"the backbone is SASRec\(.*leave out encoder"):
        rp.load_policy(tmp_path / "ours", encoder=gru)


def test_an_item_embedding_of_the_encoder_stays_one(data, gru, tmp_path):
    tied = policy_of(gru.table, gru, data.corpus.item_ids, max_length=10)
    assert tied.backbone.item_embedding is tied.backbone.encoder.table
    assert tied.backbone.encoder.table is not gru.table
    rp.save_policy(tied, tmp_path, data)
    found = rp.load_policy(tmp_path, encoder=GRU(data.corpus.num_items)).policy
    assert found.backbone.item_embedding is found.backbone.encoder.table
    assert torch.equal(found.item_embedding_VD, gru.table.weight[1:])
    assert len([*found.parameters()]) == len([*gru.parameters()])


def mapped(state, blocks):
    """Torch's names of a transformer's tensors to those of ours."""
    names = {
        "self_attn.in_proj_": "query_key_value.",
        "self_attn.out_proj.": "attention_output.",
        "norm1.": "attention_norm.",
        "norm2.": "feed_forward_norm.",
        "linear1.": "feed_forward.0.",
        "linear2.": "feed_forward.2.",
    }
    found = {
        "item_embedding.weight": state["table.weight"],
        "position_embedding.weight": state["places.weight"],
        "output_norm.weight": state["layers.norm.weight"],
        "output_norm.bias": state["layers.norm.bias"],
    }
    for block in range(blocks):
        for theirs, ours in names.items():
            for kind in ("weight", "bias"):
                source = f"layers.layers.{block}.{theirs}{kind}"
                found[f"blocks.{block}.{ours}{kind}"] = state[source]
    return found


def test_a_transformer_of_torch_is_our_sasrec_with_its_tensors_renamed():
    """To 1e-9 in float64: at all positions, and after the last event alone."""
    torch.manual_seed(0)
    theirs = Transformer(30, 12).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        theirs.table.weight[0] = 0
    ours = SASRec(dim=DIM, blocks=2, heads=2, feed_forward=16, max_length=12).build(30).double()
    ours.load_state_dict(mapped(theirs.state_dict(), 2))
    policy = policy_of(theirs.table, theirs, np.arange(30), max_length=12)
    items_BT = torch.tensor([[3, 9, 1, 30, 7], [2, 2, 5, 0, 0]])
    history = History(items_BT, items_BT.double(), items_BT, items_BT)
    with torch.no_grad():
        wanted_BTD = ours.eval()(history)
        real_BT = items_BT > 0
        found_BTD = policy.eval().backbone(history)
        torch.testing.assert_close(found_BTD[real_BT], wanted_BTD[real_BT], atol=1e-9, rtol=1e-9)
        length_B = real_BT.sum(dim=1)
        both = [last_hidden_states(each, history, length_B) for each in (policy.backbone, ours)]
        torch.testing.assert_close(*both, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Both, "changes with later events"),
        (Neighbours, "depend on what else is in the batch"),
        (Strings, r"raised ValueError \(expected str\)"),
        (Narrow, r"gives torch.Size\(\[2, 6, 3\]\) for histories .* must give \(2, 6, 8\)"),
    ],
)
def test_an_encoder_that_cannot_be_one_is_refused_at_once(kind, says):
    torch.manual_seed(0)
    with pytest.raises(UserError, match=says):
        policy_of(torch.randn(9, DIM), kind(9), range(9))


@pytest.mark.parametrize(
    ("rows", "ids", "says"),
    [
        (10, range(9), r"has the shape \(10, 8\) and there are 9 item ids"),
        (9, [*"abcdefgh", "a"], "each there once"),
        (9, [], "each there once"),
    ],
)
def test_a_table_of_another_catalogue_is_refused(rows, ids, says):
    with pytest.raises(UserError, match=says):
        policy_of(torch.randn(rows, DIM), GRU(9), ids)
    with pytest.raises(UserError, match="must be a torch module"):
        policy_of(torch.randn(9, DIM), lambda history: history, range(9))
