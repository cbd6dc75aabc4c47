"""What other systems get: products against a sort per user, onnxruntime against PyTorch."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus, unseen_by_sorting
from torch import nn

from recsys_posttrain import export as module
from recsys_posttrain.errors import UserError
from recsys_posttrain.export import Targets, export, export_onnx
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.checkpoint import load_policy, save_policy
from recsys_posttrain.models.own import policy_of
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.types import History

CONFIGS = [
    SASRec(dim=8, heads=2, feed_forward=16, max_length=12),
    SASRec(dim=8, blocks=1, feed_forward=16, max_length=12, history_rewards=True),
    HSTU(dim=8, heads=2, max_length=12),
    HSTU(dim=8, blocks=1, max_length=12, history_rewards=True, target_time=True),
]
READ = [
    ["items"],
    ["items", "rewards"],
    ["items", "times"],
    ["items", "rewards", "times", "next_time"],
]
ITEMS = 30


def saved(folder, config, masked=()):
    """A policy whose weights are large enough for lists to differ between histories."""
    ids = np.array([f"film-{n}" for n in range(ITEMS)], dtype=object)
    items = [n % ITEMS + 1 for n in range(60)]
    corpus = made_corpus([20, 20, 20], items, [1.0] * 60, item_ids=ids)
    if masked:
        object.__setattr__(corpus, "never_shown_M", torch.tensor(masked))
    policy = new_policy(config, ITEMS, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    folder.mkdir()
    save_policy(folder, policy, config, corpus, None)
    return load_policy(folder)


def histories(seed=0):
    """Of 1 to 12 events."""
    generator = np.random.default_rng(seed)
    for length in (1, 12, 5, 3, 7):
        items = generator.integers(1, ITEMS + 1, length)
        times = 10**9 + generator.integers(1, 10**6, length + 1).cumsum()
        yield items, generator.integers(1, 6, length).astype("float32"), times[:-1], times[-1]


def padded(rows, width):
    """Inputs of the encoder, by hand."""
    out = {"items": [], "rewards": [], "times": [], "next_time": []}
    for items, rewards, times, next_time in rows:
        for name, values in (("items", items), ("rewards", rewards), ("times", times)):
            out[name].append(np.pad(values, (0, width - len(values))))
        out["next_time"].append(next_time)
    return {name: np.array(values) for name, values in out.items()}


def scores_of(policy, row):
    """One history alone, without padding, through the policy's own forward, in float64."""
    items, rewards, times, next_time = map(torch.as_tensor, row)
    following = torch.cat([times[1:], next_time[None]])
    history = History(items[None], rewards[None].double(), times[None], following[None])
    backbone = policy.backbone.double()
    with torch.no_grad():
        state = backbone(history)[0, -1] @ backbone.item_embedding.weight[1:].T
    policy.backbone.float()
    return state.numpy()


@pytest.mark.parametrize(("config", "read"), list(zip(CONFIGS, READ, strict=True)), ids=str)
def test_onnxruntime_scores_as_pytorch_does_for_any_batch_and_length(tmp_path, config, read):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra [onnx]")
    policy = saved(tmp_path / "policy", config)
    export_onnx(policy, tmp_path / "onnx")
    table = pd.read_parquet(tmp_path / "onnx" / "items.parquet")
    assert table["item_id"].tolist() == [f"film-{n}" for n in range(ITEMS)]
    assert list(json.loads((tmp_path / "onnx" / "encoder.json").read_text())["inputs"]) == read
    session = runtime.InferenceSession(str(tmp_path / "onnx" / "encoder.onnx"))
    assert [each.name for each in session.get_inputs()] == read
    rows = list(histories())
    expected = np.array([scores_of(policy.policy, row) for row in rows])
    vectors = np.stack(table["vector"])
    for part, width in ((slice(5), 12), (slice(1), 1), (slice(2, 4), 9)):
        inputs = padded(rows[part], width)
        (states,) = session.run(None, {name: inputs[name] for name in read})
        ours = expected[part]
        theirs = states @ vectors.T
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()
        assert (np.argsort(-ours)[:, :10] == np.argsort(-theirs)[:, :10]).all()
    assert len({tuple(row[:10]) for row in np.argsort(-expected).tolist()}) == len(rows)


class Mean(nn.Module):
    """An encoder of the user's own: the running mean of the items' vectors."""

    def __init__(self):
        super().__init__()
        self.items = nn.Embedding(ITEMS + 1, 4, padding_idx=0)

    def forward(self, history):
        count = (history.items_BT > 0).cumsum(1).clamp(min=1)[..., None]
        return self.items(history.items_BT).cumsum(1) / count


class Branches(Mean):
    """What no trace holds: it answers by a value that only the input knows."""

    def forward(self, history):
        return super().forward(history) * (2 if int(history.items_BT.max()) > 20 else 1)


@pytest.mark.parametrize("encoder", [Mean, Branches])
def test_an_encoder_of_ones_own(tmp_path, encoder):
    pytest.importorskip("onnxscript", reason="needs the extra [onnx]")
    policy = policy_of(torch.randn(ITEMS, 4), encoder(), [f"i{n}" for n in range(ITEMS)], 12)
    corpus = made_corpus([20], [1] * 20, [1.0] * 20, item_ids=policy.item_ids)
    (tmp_path / "policy").mkdir()
    save_policy(tmp_path / "policy", policy, policy.backbone.config, corpus, None)
    known = load_policy(tmp_path / "policy", encoder=encoder())
    if encoder is Mean:
        export_onnx(known, tmp_path / "onnx")
        facts = json.loads((tmp_path / "onnx" / "encoder.json").read_text())
        assert list(facts["inputs"]) == ["items"]
    else:
        with pytest.raises(UserError, match="ONNX cannot express the policy's encoder"):
            export_onnx(known, tmp_path / "onnx")
        assert not (tmp_path / "onnx").exists()


def test_an_export_that_scores_otherwise_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="needs the extra [onnx]")
    policy = saved(tmp_path / "policy", CONFIGS[0])
    other = saved(tmp_path / "other", SASRec(dim=8, blocks=1, max_length=12))
    program = module._program(other.policy, ["items"])
    monkeypatch.setattr(module, "_program", lambda policy, names: program)
    with pytest.raises(UserError, match="onnxruntime's scores differ from PyTorch's by"):
        export_onnx(policy, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_products_of_the_tables_are_the_order_of_recommend(
    policy_folder, small_ratings_csv, tmp_path
):
    targets = Targets(None, tmp_path / "items.parquet", tmp_path / "new" / "users.parquet")
    export(policy_folder, targets, histories=small_ratings_csv)
    items, users = pd.read_parquet(targets.embeddings), pd.read_parquet(targets.states)
    events = pd.read_csv(small_ratings_csv)
    best = unseen_by_sorting(policy_folder, events)
    assert len(users) == len(best) == 60
    scores = np.stack(users["vector"]) @ np.stack(items["vector"]).T
    for user, score in zip(users["user_id"], scores, strict=True):
        had = set(events.loc[events["user_id"] == user, "item_id"])
        order = [items["item_id"][n] for n in np.argsort(-score) if items["item_id"][n] not in had]
        assert order == [item for item, _ in best[user]]
    export(policy_folder, targets, ["7", "3"])
    assert pd.read_parquet(targets.states)["user_id"].tolist() == [7, 3]


def test_an_index_of_embeddings_never_holds_what_is_never_shown(tmp_path, capsys):
    saved(tmp_path / "policy", CONFIGS[0], masked=(2, 30))
    export(tmp_path / "policy", Targets(embeddings=tmp_path / "items.parquet"))
    ids = pd.read_parquet(tmp_path / "items.parquet")["item_id"].tolist()
    assert ids == [f"film-{n}" for n in range(ITEMS) if n not in (1, 29)]
    assert "left out: 2 items that the policy is never to show" in capsys.readouterr().err


def test_mistakes_are_said_before_anything_is_read(policy_folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"--embeddings .*items.csv: the name must end in .parquet"):
        export(tmp_path / "none", Targets(embeddings=tmp_path / "items.csv"))
    with pytest.raises(UserError, match=r"--onnx .* is there already: give a new folder"):
        export(tmp_path / "none", Targets(onnx=policy_folder))
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match=r"needs onnxscript, which is not installed.*\[onnx\]"):
        export(tmp_path / "none", Targets(onnx=tmp_path / "new"))
    assert not list(tmp_path.iterdir())
