"""A policy on disk: the same afterwards, or a sentence that says what is wrong."""

import json
from dataclasses import dataclass

import pytest
import torch

from recsys_posttrain import store as stages
from recsys_posttrain.data import MovieLens100K, RatingsFile, prepare
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.errors import UserError
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.checkpoint import POLICY_FILES, ids_array, load_policy, save_policy
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.recommend import log_of

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
    with pytest.raises(
        UserError, match=r"policy.safetensors.*\(41, 12\).*\(41, 8\).*another model"
    ):
        load_policy(folder)


def test_a_folder_without_a_policy_is_named(tmp_path):
    with pytest.raises(UserError, match=r"policy.json does not exist: give the folder of a pre"):
        load_policy(tmp_path)


def test_missing_weights_are_named(saved):
    (saved[1] / "policy.safetensors").unlink()
    with pytest.raises(UserError, match=r"policy.safetensors does not exist"):
        load_policy(saved[1])


def test_weights_cut_short_are_named(saved):
    path = saved[1] / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"policy.safetensors is cut short"):
        load_policy(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"class": "Recurrent", "dim": 8}}, "names the backbone .*Recurrent"),
        ({"backbone": {"class": "SASRec", "dims": 8}}, "names the backbone .*dims"),
        ({"item_ids": None}, "policy.json has no 'item_ids'"),
        ({"item_ids": [[1], [2]]}, "does not describe a policy"),
        ({"item_ids": 40}, "does not describe a policy"),
        ({"repeats": "sometimes"}, "does not describe a policy"),
        ({"content_hash": 5}, "does not describe a policy"),
        ({"backbone": {"class": "SASRec", "dim": "8"}}, "policy.json: SASRec: dim='8' must be"),
        ({"backbone": {"class": "SASRec", "blocks": True}}, "blocks=True must be a whole number"),
        ({"backbone": {"class": "SASRec", "dim": 10**9}}, "dim=1000000000 must be a whole number"),
        ({"backbone": {"class": "SASRec", "blocks": 10**6}}, "blocks=1000000 must be a whole num"),
        ({"backbone": 5}, "names the backbone 5"),
        ({"reward_scale": 5}, "policy.json: reward_scale=5 is no scale of rewards"),
        ({"reward_scale": {"liked": "4"}}, "policy.json: reward_scale=.* is no scale of rewards"),
    ],
)
def test_a_card_that_this_version_cannot_read_is_named(saved, change, message):
    path = saved[1] / "policy.json"
    card = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    with pytest.raises(UserError, match=message):
        load_policy(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 5}, "source.json does not describe a dataset: give the folder"),
        ({"dataset": 5}, "source.json does not describe a dataset: give the folder"),
        ({"dataset": None}, "source.json has no 'dataset'"),
    ],
)
def test_a_source_that_this_version_cannot_read_is_named(saved, change, message):
    path = saved[1] / "source.json"
    source = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in source.items() if value is not None}))
    with pytest.raises(UserError, match=message):
        load_policy(saved[1])


def test_a_card_cut_short_is_named(saved):
    path = saved[1] / "policy.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=r"policy.json is cut short or not JSON"):
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
