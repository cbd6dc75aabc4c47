"""What other systems get: products against a sort per user, onnxruntime against PyTorch."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from data_factory import made_corpus, unseen_by_sorting
from safetensors.torch import load_file
from torch import nn

import recsys_posttrain as rp
from recsys_posttrain import export as module
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.errors import UserError
from recsys_posttrain.export import Targets, export, export_onnx
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.checkpoint import load_policy, save_policy
from recsys_posttrain.models.features import ItemFeatures
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


def with_titles(folder):
    """A policy with item features, whose item 3 is without an event; and features of new titles."""
    rng = np.random.default_rng(0)
    ids = np.array([f"film-{n}" for n in range(ITEMS)], dtype=object)
    vectors = pd.DataFrame({"item_id": ids, "vector": list(rng.standard_normal((ITEMS, 3)))})
    vectors.to_parquet(folder / "vectors.parquet")
    new = pd.DataFrame({"item_id": ["new a", "new b"], "vector": [[1.0, 0, 2], [-3.0, 1, 0]]})
    new.to_parquet(folder / "new.parquet")
    items = [n for n in range(1, ITEMS + 1) if n != 3]
    corpus = made_corpus([29, 29], items * 2, [1.0] * 58, item_ids=ids)
    config = ItemFeatures(str(folder / "vectors.parquet"), CONFIGS[0])
    policy = new_policy(config, ITEMS, seed=0)
    policy.item_ids = ids
    config.know(policy, SimpleNamespace(corpus=corpus, train=corpus.sequences), Rule())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    (folder / "policy").mkdir()
    save_policy(folder / "policy", policy, config, corpus, None)
    return folder / "policy", folder / "new.parquet"


def test_onnxruntime_scores_titles_that_only_their_features_tell_of(tmp_path):
    """With two that were added, also in histories. By hand: an embedding of the vectors."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra [onnx]")
    folder, new = with_titles(tmp_path)
    export(folder, Targets(onnx=tmp_path / "onnx"), items=new)
    table = pd.read_parquet(tmp_path / "onnx" / "items.parquet")
    assert table["item_id"].tolist() == [*(f"film-{n}" for n in range(ITEMS)), "new a", "new b"]
    state = load_file(folder / "policy.safetensors")
    stand_in = expected_vectors(state, tmp_path)
    vectors = np.stack(table["vector"])
    np.testing.assert_allclose(vectors[[2, ITEMS, ITEMS + 1]], stand_in, atol=1e-5)
    plain = new_policy(CONFIGS[0], ITEMS + 2, seed=1)
    kept = {k: v for k, v in state.items() if "item_embedding" not in k}
    kept["backbone.item_embedding.weight"] = torch.from_numpy(np.vstack([0 * vectors[:1], vectors]))
    plain.load_state_dict(kept)
    session = runtime.InferenceSession(str(tmp_path / "onnx" / "encoder.onnx"))
    rows = list(histories())
    for items, *_ in rows:  # what was added is read as history too
        items[-1], items[0] = ITEMS + 1, ITEMS + 2
    expected = np.array([scores_of(plain.eval(), row) for row in rows])
    (states,) = session.run(None, {"items": padded(rows, 12)["items"]})
    assert np.abs(expected - states @ vectors.T).max() < 1e-5 * np.abs(expected).max()


def expected_vectors(state, folder):
    """token + W f of item 3 and the new ones, in float64 from the files."""
    old, new = (pd.read_parquet(folder / f"{name}.parquet") for name in ("vectors", "new"))
    given = np.stack(old["vector"])
    trained = np.delete(given, 2, axis=0)
    asked = np.vstack([given[2], *new["vector"]])
    features = (asked - trained.mean(axis=0)) / trained.std(axis=0) / 3**0.5
    table = "backbone.item_embedding."
    weight = state[f"{table}projection.weight"].double().numpy()
    return state[f"{table}token"].double().numpy() + features @ weight.T


def test_a_policy_that_knows_more_titles_is_written(tmp_path, capsys):
    """Known by both files alone: the card, and what it recommends."""
    folder, new = with_titles(tmp_path)
    export(folder, Targets(policy=tmp_path / "grown"), items=new)
    assert "2 new items ('new a', 'new b')" in capsys.readouterr().err
    cards = [
        json.loads((each / "policy.json").read_text()) for each in (folder, tmp_path / "grown")
    ]
    assert cards[1].pop("item_ids") == [*cards[0].pop("item_ids"), "new a", "new b"]
    assert cards[1].pop("events") == [*cards[0].pop("events"), 0, 0]
    assert cards[1].pop("numbered_by") != cards[0].pop("numbered_by")
    assert cards[1] == cards[0]
    grown = load_policy(tmp_path / "grown")
    np.testing.assert_allclose(
        grown.policy.item_embedding_VD[ITEMS:],
        expected_vectors(load_file(folder / "policy.safetensors"), tmp_path)[1:],
        atol=1e-5,
    )
    assert torch.equal(
        grown.policy.item_embedding_VD[:ITEMS], load_policy(folder).policy.item_embedding_VD
    )
    events = pd.DataFrame({"user_id": ["u"], "item_id": ["new a"], "timestamp": [1]})
    lists = rp.recommend(grown, events.assign(rating=1.0), k=ITEMS + 2)
    assert set(lists["item_id"]) == set(grown.item_ids) - {"new a"}
    with pytest.raises(UserError, match=r"the policy knows all 2 items already"):
        export(tmp_path / "grown", Targets(policy=tmp_path / "more"), items=new)
    with pytest.raises(UserError, match=r"--policy .*grown is there already: give a new folder"):
        export(folder, Targets(policy=tmp_path / "grown"), items=new)
    assert not (tmp_path / "more").exists()


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
