"""A policy on disk: the same afterwards, or a sentence that says what is wrong."""

import json
from dataclasses import dataclass

import pytest
import torch

from recsys_posttrain import store as stages
from recsys_posttrain.data import MovieLens100K, RatingsFile, prepare
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.histories import log_of
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.checkpoint import POLICY_FILES, ids_array, load_policy, save_policy
from recsys_posttrain.models.policy import new_policy

BACKBONE = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)


@dataclass(frozen=True)
class Own:
    """A dataset of an experiment file."""

    users: int
    name: str = "own"


@pytest.fixture(scope="module")
def corpus(small_ratings_csv, tmp_path_factory):
    return prepare(RatingsFile(str(small_ratings_csv)), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def saved(corpus, tmp_path):
    policy = new_policy(BACKBONE, corpus.num_items, seed=1)
    save_policy(tmp_path, policy, BACKBONE, corpus, MovieLens100K())
    return policy, tmp_path


@pytest.mark.parametrize(
    "backbone", [BACKBONE, HSTU(dim=8, blocks=1, heads=2, max_length=10, target_time=True)]
)
def test_it_comes_back_with_equal_log_probabilities(backbone, corpus, tmp_path):
    policy, folder = new_policy(backbone, corpus.num_items, seed=1), tmp_path
    save_policy(folder, policy, backbone, corpus, MovieLens100K())
    loaded = load_policy(folder)
    batch = batch_of(corpus.sequences, torch.arange(20), 10)
    expected = policy.eval().log_prob(batch)
    assert torch.equal(loaded.policy.log_prob(batch), expected)
    assert not loaded.policy.training
    assert not any(parameter.requires_grad for parameter in loaded.policy.parameters())
    assert loaded.item_ids.tolist() == corpus.item_ids.tolist()
    assert loaded.policy.item_ids.tolist() == corpus.item_ids.tolist()
    assert (loaded.dataset, loaded.content_hash) == ("small", corpus.content_hash)
    assert log_of(loaded, "folder") == MovieLens100K("folder")
    names = ["policy.json", "policy.safetensors", "source.json"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_the_weights_of_another_model_are_refused_with_both_shapes(saved, corpus, tmp_path_factory):
    _, folder = saved
    other_folder = tmp_path_factory.mktemp("other")
    other = SASRec(dim=12, blocks=1, feed_forward=16, max_length=10)
    save_policy(other_folder, new_policy(other, 40, 0), other, corpus, MovieLens100K())
    (other_folder / "policy.safetensors").replace(folder / "policy.safetensors")
    with pytest.raises(UserError, match=r"policy.safetensors.*\(41, 12\).*\(41, 8\).*another mo"):
        load_policy(folder)


def test_a_folder_without_a_policy_is_named(tmp_path):
    with pytest.raises(UserError, match=r"policy.json does not exist: give the folder of a pre"):
        load_policy(tmp_path)


CARDS = {
    "names the backbone .*Recurrent": {"backbone": {"class": "Recurrent", "dim": 8}},
    "names the backbone .*dims": {"backbone": {"class": "SASRec", "dims": 8}},
    "names the backbone 5": {"backbone": 5},
    "SASRec: dim='8' must be": {"backbone": {"class": "SASRec", "dim": "8"}},
    "blocks=True must be a whole number": {"backbone": {"class": "SASRec", "blocks": True}},
    "dim=1000000000 must be a whole number": {"backbone": {"class": "SASRec", "dim": 10**9}},
    "blocks=1000000 must be a whole num": {"backbone": {"class": "SASRec", "blocks": 10**6}},
    "has no 'item_ids'": {"item_ids": None},
    "reward_scale=5 is no scale of rewards": {"reward_scale": 5},
    "reward_scale={.* is no scale of rewards": {"reward_scale": {"liked": "4"}},
}
NOT_A_POLICY = [
    *({"item_ids": [[1], [2]]}, {"item_ids": 40}, {"repeats": "sometimes"}, {"content_hash": 5})
]
SOURCES = [{"name": 5}, {"dataset": 5}]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        *(("policy.json", change, message) for message, change in CARDS.items()),
        *(("policy.json", change, "does not describe a policy") for change in NOT_A_POLICY),
        *(("source.json", change, "does not describe a dataset: give the f") for change in SOURCES),
        ("source.json", {"dataset": None}, "has no 'dataset'"),
    ],
)
def test_a_card_that_this_version_cannot_read_is_named(saved, name, change, message):
    path = saved[1] / name
    card = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        load_policy(saved[1])


@pytest.mark.parametrize(
    ("name", "kept", "message"),
    [
        ("policy.json", 40, "is cut short or not JSON"),
        ("policy.safetensors", -100, "is cut short"),
        ("policy.safetensors", None, "does not exist"),
    ],
)
def test_a_file_that_is_cut_short_or_missing_is_named(saved, name, kept, message):
    path = saved[1] / name
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    with pytest.raises(UserError, match=f"{name} {message}"):
        load_policy(saved[1])


def test_one_flipped_bit_in_the_weights_of_a_finished_stage_is_found(saved, corpus, tmp_path):
    """It gave other recommendations, and exit code 0."""
    policy, _ = saved
    folder = stages.stage_folder(tmp_path, "posttrain", {})

    def make(partial):
        save_policy(partial, policy, BACKBONE, corpus, RatingsFile("log.csv"))
        return {}

    stages.build(folder, {}, make, POLICY_FILES)
    load_policy(folder)
    weights = folder / "policy.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(UserError, match=r"policy.safetensors is damaged: its SHA-256 is not .*del"):
        load_policy(folder)


def test_a_dataset_that_is_not_there_again_is_named(saved, corpus, tmp_path, monkeypatch):
    """One of the user's own, and a file that is gone; a relative path becomes an absolute one."""
    policy, folder = saved
    save_policy(folder, policy, BACKBONE, corpus, Own(users=3))
    with pytest.raises(UserError, match=r"trained on small .*'Own'.*--log FILE or --dataset NAME"):
        log_of(load_policy(folder))
    monkeypatch.chdir(tmp_path)
    save_policy(folder, policy, BACKBONE, corpus, RatingsFile("log.csv"))
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match=r"on .*/log.csv, which is not there any more: say where"):
        log_of(load_policy(folder))
    (tmp_path / "log.csv").touch()
    assert log_of(load_policy(folder)) == RatingsFile(str(tmp_path / "log.csv"))


def test_what_a_policy_is_does_not_depend_on_where_its_log_was(saved, corpus):
    policy, folder = saved
    before = (folder / "policy.json").read_bytes()
    save_policy(folder, policy, BACKBONE, corpus, RatingsFile("elsewhere.csv"))
    assert (folder / "policy.json").read_bytes() == before


def test_one_long_id_does_not_widen_the_others():
    ids = ids_array(["x" * 500, *(str(n) for n in range(999))])
    assert ids.nbytes == 8 * 1000  # references; a width for all would be 4 bytes x 500 x 1000
    assert ids[999] == "998"
    assert ids_array([3, 4]).dtype == "int64"
