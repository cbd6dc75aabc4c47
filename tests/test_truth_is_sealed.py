"""Neither training nor model selection can read the truth of a world.

Three independent arguments. No sealed module can reach the package `worlds`, by any chain of
imports (test_imports.py). Whatever they are given (Split, Batch, Actors) holds no true reward of a
choice that the log does not hold. And the whole pipeline is run: training and selection finish in a
world whose truth raises when it is asked for, and give the same bytes in two worlds with one log
and different truths.

There is one sanctioned door, `Run(control=TrueRewards())`, and `Pipeline` alone has its key: a run
that does not name it never asks, and validation does not even of a policy that was trained so.
"""

import ast
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sealed_world import ITEMS, LENGTH, STEPS, USERS, Made, pipeline_in, run_in

from recsys_posttrain.algorithms import ExpRSFT
from recsys_posttrain.algorithms.actors import Actors, logged_rewards
from recsys_posttrain.data.batching import batch_of
from recsys_posttrain.rewards.control import ConstantRewards, ShuffledRewards, TrueRewards
from recsys_posttrain.studies.baselines import METHODS
from recsys_posttrain.studies.run import Run
from recsys_posttrain.untrained import Popularity, Uniform
from recsys_posttrain.worlds.base import truth_of
from recsys_posttrain.worlds.jester import Jester
from recsys_posttrain.worlds.true_reward import TrueReward

PACKAGE = Path(__file__).resolve().parents[1] / "recsys_posttrain"
# Who may call one of ANSWERS: evaluation, the control that names it, its own module, and the
# report on a world.
ASKERS = {"cli_data.py", "studies/shared_stages.py", "worlds/base.py"}
# What a world answers with true rewards; its logging policy is made of them.
ANSWERS = {each.__name__ for each in (truth_of, Jester.truth, Jester.logging_logits)}

pytestmark = pytest.mark.usefixtures("own_cache")


def test_who_asks_for_the_truth():
    askers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", None) or getattr(called, "id", None)
            if name in ANSWERS:
                askers.add(path.relative_to(PACKAGE).as_posix())
    assert askers == ASKERS


def test_the_stages_read_it_in_six_places():
    """For rows, curves, the axis and the head of a study, which are reported, and for the control
    and the noise that name it.

    `compute` is within `trace`, `make` within `measure_axis`.
    """
    readers = set()
    for path in (PACKAGE / "studies").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                called = {
                    node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)
                }
                if {"load_truth", "_truth"} & called:
                    readers.add((path.name, function.name))
    assert readers == {
        ("pipeline.py", "_rows"),
        ("pipeline.py", "trace"),
        ("pipeline.py", "compute"),
        ("reward_stages.py", "_by_control"),
        ("reward_stages.py", "_with_errors"),
        ("reward_stages.py", "measure_axis"),
        ("reward_stages.py", "make"),
        ("study.py", "say_the_data"),
        ("shared_stages.py", "load_truth"),
    }


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    return pipeline_in(Made(None), tmp_path_factory.mktemp("blind"))


@pytest.mark.parametrize("control", [None, ShuffledRewards(), ConstantRewards()], ids=repr)
def test_training_and_selection_never_ask(blind, control):
    """Only the rows that are reported do: validation rows, from which settings are chosen, have no
    gold column."""
    blind.rewards.measure()
    run = replace(run_in(Made(None)), control=control)
    posttrained = blind.posttrain(run)
    untrained = [replace(run, algorithm=each) for each in (*METHODS[:3], Popularity(), Uniform())]
    for folder in (blind.pretrain(), posttrained, *untrained):
        rows = blind.evaluate(folder, "validation")
        assert not [name for name in rows if "gold" in name or "regret" in name]
        assert rows["reward/dr"].notna().all(), "the log's propensities are no secret"
        with pytest.raises(AssertionError, match="the truth was asked for"):
            blind.evaluate(folder, "test")


def test_only_the_control_that_names_it_asks_and_never_for_validation(blind, tmp_path):
    """Trained where the truth is known, such a policy is validated where it raises; and the split,
    which selects, holds nothing of it."""
    world = Made(1)
    pipeline = pipeline_in(world, tmp_path)
    truly = replace(run_in(world), control=TrueRewards())
    with pytest.raises(AssertionError, match="the truth was asked for"):
        blind.posttrain(replace(run_in(Made(None)), control=TrueRewards()))
    folder = pipeline.posttrain(truly)
    rows = blind.evaluate(folder, "validation")
    assert not [name for name in rows if "gold" in name or "regret" in name]
    assert unlogged_rewards_in(pipeline.data, world) == 0


def test_other_truths_are_other_runs_of_the_control(tmp_path):
    """So that no stage of one world is taken for one of another with the same log."""
    names = set()
    for seed in (1, 2):
        keys = pipeline_in(Made(seed), tmp_path).keys
        names.add(keys.posttrain(replace(run_in(Made(seed)), control=TrueRewards())).folder.name)
    assert len(names) == 2


def test_the_same_log_gives_the_same_bytes_whatever_the_truth(blind, tmp_path):
    """And the rows that are reported differ in the gold columns, and in nothing else."""
    first, second = (pipeline_in(Made(seed), tmp_path / str(seed)) for seed in (1, 2))
    for folder_of in (lambda each: each.pretrain(), lambda each: each.rewards.train()):
        names = {folder_of(pipeline).name for pipeline in (blind, first, second)}
        assert len(names) == 1, "the name of the stage does not depend on the truth either"
    folders = [
        each.posttrain(Run(ExpRSFT(), each.setup, posttraining=STEPS))
        for each in (blind, first, second)
    ]
    assert len({folder.name for folder in folders}) == 1
    for pipeline in (first, second):
        for folder in (blind.pretrain(), blind.rewards.train(), folders[0]):
            (path,) = folder.glob("*.safetensors")
            copy = pipeline.root / path.relative_to(blind.root)
            assert copy.read_bytes() == path.read_bytes(), path
    one, two = (
        pipeline.evaluate(folder)
        for pipeline, folder in zip((first, second), folders[1:], strict=True)
    )
    gold = {name for name in one if "gold" in name or "regret" in name}
    assert {name for name in one if not one[name].astype(str).equals(two[name].astype(str))} == gold
    assert "reward/gold" in gold
    assert not one[sorted(gold)].isna().any().any()


# What the sealed modules are given.


def arrays_in(value, known):
    """Every tensor and array that can be reached from a value, through whatever holds it."""
    if id(value) in known:
        return
    known.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value.detach().cpu().numpy()
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from arrays_in(each, known)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from arrays_in(each, known)
    elif is_dataclass(value):
        for field in fields(value):
            yield from arrays_in(getattr(value, field.name), known)
    elif hasattr(value, "__dict__"):
        yield from arrays_in(vars(value), known)


def unlogged_rewards_in(value, world):
    """How many true rewards of choices outside the log are found, to the bit, in a value.

    They are random numbers, and no other value happens to be one of them.
    """
    frame = world.load().frame
    reward_UV = world.truth().state_UR.numpy().copy()
    is_logged_UV = np.zeros(reward_UV.shape, dtype=bool)
    is_logged_UV[frame["user_id"], frame["item_id"]] = True
    secret = reward_UV[~is_logged_UV]
    assert len(secret) == USERS * (ITEMS - LENGTH)
    floats = [each for each in arrays_in(value, set()) if each.dtype.kind == "f"]
    assert floats, "there is something to look through"
    return sum(int(np.isin(each.astype(np.float32), secret).sum()) for each in floats)


def test_what_training_is_given_holds_nothing_of_the_truth(blind, tmp_path):
    world = Made(1)
    pipeline = pipeline_in(world, tmp_path)
    data = pipeline.data
    batch = batch_of(data.train, torch.arange(USERS), 8)
    actors = Actors(
        blind.load_pretrained(), blind.rewards.load(), logged_rewards(data.train, ITEMS)
    )
    for given in (data, batch, actors):
        assert unlogged_rewards_in(given, world) == 0
    logged = data.corpus.sequences.rewards_E.numpy()
    assert np.isin(logged, world.truth().state_UR).all(), "the log itself is true"


def test_the_search_finds_what_is_hidden(blind):
    """The explicit upper bound, which does hold it, is found in Actors; so is a slip in a batch."""
    world = Made(1)
    reward = TrueReward(truth_of(world, blind.data.corpus), 8)
    log = logged_rewards(blind.data.train, ITEMS)
    assert unlogged_rewards_in(Actors(blind.load_pretrained(), reward, log), world) >= USERS * 16
    batch = batch_of(blind.data.train, torch.arange(USERS), 8)
    leaked = batch._replace(rewards_BT=truth_of(world, blind.data.corpus).state_UR[:, :7])
    assert unlogged_rewards_in(leaked, world) > 0
