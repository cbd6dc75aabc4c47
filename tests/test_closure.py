"""Which stages are built anew when a part of the code changes, here or in the user's own file."""

import ast
import inspect
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from recsys_posttrain import closure
from recsys_posttrain.algorithms import ASFT, BC, DPO
from recsys_posttrain.algorithms.signals import model_reward, no_baseline
from recsys_posttrain.data import LeaveOneOut, UserHoldout
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.evaluation.judged_value import judged_value
from recsys_posttrain.evaluation.metrics import gini, hit_rate, ndcg
from recsys_posttrain.losses import GBCE, FullSoftmax
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.ops.softmax import kl_and_entropy
from recsys_posttrain.plan import Training
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.rewards.baselines import damped_means
from recsys_posttrain.rewards.control import ConstantRewards, ShuffledRewards
from recsys_posttrain.rewards.factor import FactorModule
from recsys_posttrain.rewards.noise import Flips, ItemBias, RewardNoise, Starvation
from recsys_posttrain.rewards.quality import quality_frame
from recsys_posttrain.studies.experiment import experiment_module
from recsys_posttrain.studies.keys import StageKeys
from recsys_posttrain.studies.run import Run
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.judge import reward_quality
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.training.pretrain import pretrain
from recsys_posttrain.training.reward import train_reward
from recsys_posttrain.untrained import ItemMean, Popularity, Tilt

PAIRS = type(DPO().pairs)
UNTRAINED = Popularity(), ItemMean(), Tilt()
MINE = f"""
from dataclasses import dataclass
import helper
from {PAIRS.__module__} import {PAIRS.__name__} as Pairs
def my_reward(batch, actors):
    return batch.rewards_BT * helper.SCALE
@dataclass(frozen=True)
class Mine:
    pairs: Pairs = Pairs()
    def loss(self, batch, actors):
        return helper.loss_of(self.pairs(batch, actors))
def main():
    return 1
if __name__ == "__main__":
    main()
"""
HELPER = """
SCALE = 2.0
def loss_of(pairs):
    from below.inner import halved
    return halved(pairs)
def not_used():
    return 0
"""


def forget():
    for cache in (closure._sources, closure._edges, closure._digests):
        cache.clear()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package, which digests are made of; imported is the real one."""
    folder = tmp_path_factory.mktemp("copied") / closure.PACKAGE.name
    shutil.copytree(closure.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "live"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closure, "PACKAGE", folder)
        forget()
        yield folder
        forget()


@pytest.fixture
def package(copied):
    """The copy, whose files are afterwards as before."""
    before = {path: path.read_bytes() for path in copied.rglob("*.py")}
    yield copied
    for path in copied.rglob("*.py"):
        if path not in before:
            path.unlink()
        elif path.read_bytes() != before[path]:
            path.write_bytes(before[path])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The user's experiment file, which imports from a file and a package beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "__init__.py").write_text("")
    (tmp_path / "below" / "inner.py").write_text("def halved(x):\n    return x / 2\n")
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "mine.py").write_text(MINE)
    return experiment_module(tmp_path / "mine.py")


@pytest.fixture
def runs(mine):
    bc = BC()
    return {
        "bc": Run(bc),
        "asft": Run(ASFT(model_reward, no_baseline)),
        "dpo": Run(DPO()),
        "noisy": Run(bc, noise=RewardNoise(log=ItemBias(0.5))),
        "starved": Run(bc, noise=RewardNoise(model=Starvation(0.5))),
        "shuffled": Run(bc, control=ShuffledRewards()),
        "patient": Run(bc, posttraining=Training(steps=9, patience=2)),
        "my signal": Run(ASFT(mine.my_reward, no_baseline)),
        "mine": Run(mine.Mine()),
    }


def names_of(runs, root):
    """The folder's name of every stage of these runs."""
    corpus = SimpleNamespace(content_hash="1", reward_scale=RewardScale(), never_shown_M=None)
    corpus.repeats, corpus.catalogue, corpus.windows = "never", "eligible", None
    data = SimpleNamespace(corpus=corpus, judge=object())
    keys = StageKeys(runs["bc"].setup, data, root)
    found = {"pretrain": keys.pretrain, "reward": keys.reward(), "judge": keys.judge}
    found["quality"] = keys.quality("reward", keys.reward().folder, reward_quality)
    for method in UNTRAINED:
        row = replace(runs["bc"], algorithm=method)
        found[f"{type(method).__name__} rows"] = keys.rows(row, "test")
    for name, run in runs.items():
        found[name] = keys.posttrain(run)
        found[f"{name} rows"] = keys.rows(found[name].folder, "test", run.noise)
    return {name: stage.folder.name for name, stage in found.items()}


def built_anew(runs, root, change):
    before = names_of(runs, root)
    change()
    after = names_of(runs, root)
    return {name for name in before if before[name] != after[name]}


def file_of(definition, package):
    module = Path(inspect.getfile(inspect.unwrap(definition)))
    original = Path(inspect.getfile(closure)).parent
    return package / module.relative_to(original) if module.is_relative_to(original) else module


def edit(definition, package):
    """One statement more at the end of a function, or in a class."""
    path = file_of(definition, package)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (node,) = (each for each in tree.body if getattr(each, "name", "") == definition.__name__)
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    last = node.body[-1]
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.insert(int(last.end_lineno or 0), " " * last.col_offset + "edited = 1")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def stages(*names):
    """The stages of these runs."""
    return {stage for name in names for stage in (name, f"{name} rows")}


BCS = ("bc", "noisy", "starved", "shuffled", "patient")
TRAINED = stages(*BCS, "asft", "dpo", "my signal", "mine")
ROWS = {f"{type(method).__name__} rows" for method in UNTRAINED}
ROWS |= {name for name in TRAINED if name.endswith(" rows")}
MODELS = {"reward", "judge", "quality"}
POLICIES = {"pretrain", *TRAINED, *ROWS}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (PAIRS, stages("dpo", "mine")),
        (DPO, stages("dpo")),
        (BC, stages(*BCS)),
        (model_reward, stages("asft")),
        (no_baseline, stages("asft", "my signal")),
        (HSTU, set()),
        (SASRec, POLICIES),  # the default reward model has no encoder
        (GBCE, set()),
        (FullSoftmax, POLICIES),
        (UserHoldout, set()),
        (LeaveOneOut, POLICIES | MODELS),
        (pretrain, POLICIES),
        (fit, POLICIES),
        (Training, POLICIES),
        (posttrain, TRAINED),
        (train_reward, MODELS | TRAINED | ROWS),
        (FactorModule, MODELS | TRAINED | ROWS),
        (quality_frame, {"quality"}),
        (ItemBias, stages("noisy")),
        (Starvation, stages("noisy", "starved")),  # a noise asks which kind it is
        (RewardNoise, stages("noisy", "starved")),
        (ShuffledRewards, stages("shuffled")),
        (ConstantRewards, set()),
        (gini, set()),
        (hit_rate, ROWS | stages("patient")),
        (ndcg, POLICIES),
        (evaluate, ROWS | stages("patient")),
        (judged_value, ROWS),
        (kl_and_entropy, TRAINED | ROWS),
        (Popularity, {"Popularity rows"}),
        (Tilt, {"Tilt rows"}),
        (damped_means, {"quality", "ItemMean rows"}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_an_edit_builds_anew_what_depends_on_it(part, expected, package, runs, tmp_path):
    assert built_anew(runs, tmp_path, lambda: edit(part, package)) == expected


def _append(file, text):
    """file: in the copied package, or beside the experiment (own/...)."""

    def change(package, folder):
        own = file.removeprefix("own/")
        path = folder / own if own != file else package / file
        path.write_text((path.read_text() if path.exists() else "") + text)

    return change


def _replace(file, old, new):
    def change(package, folder):
        path = folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def _a_new_backbone(package, folder):
    (package / "models" / "newest.py").write_text("class Newest:\n    pass\n")
    line = "from recsys_posttrain.models.newest import Newest as Newest\n"
    _append("models/__init__.py", line)(package, folder)


def _docstrings_and_comments(package, folder):
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text("# A comment.\n" + text.replace('"""\n', ' Said again."""\n'))


BC_FILE = Path(inspect.getfile(BC)).name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_docstrings_and_comments, set()),
        (_a_new_backbone, set()),
        (_append("evaluation/metrics.py", "def newest(rank_N):\n    return rank_N\n"), set()),
        (_append(f"algorithms/{BC_FILE}", "import os\nos.environ['A'] = '1'\n"), stages(*BCS)),
        (_replace("mine.py", "rewards_BT * ", "rewards_BT + "), stages("my signal")),
        (_replace("mine.py", "(self.pairs(", "(1 + self.pairs("), stages("mine")),
        (_replace("mine.py", "return 1", "return 2"), set()),
        (_append("own/mine.py", "print('imported')\n"), stages("mine", "my signal")),
        (_replace("helper.py", "SCALE = 2.0", "SCALE = 3.0"), stages("my signal")),
        (_replace("helper.py", "halved(pairs)", "-halved(pairs)"), stages("mine")),
        (_replace("helper.py", "return 0", "return 1"), set()),
        (_replace("below/inner.py", "x / 2", "x / 3"), stages("mine")),
        (_append("own/below/__init__.py", "print('imported')\n"), stages("mine")),
    ],
)
def test_other_changes_here_and_in_the_users_own_files(change, expected, package, runs, tmp_path):
    assert built_anew(runs, tmp_path, lambda: change(package, tmp_path)) == expected


def test_a_noise_that_trains_the_model_has_a_model_of_its_own(package, runs, tmp_path):
    """The clean one stays, whatever happens to the noise."""
    flipped = {"bc": Run(BC()), "flipped": Run(BC(), noise=RewardNoise(model=Flips(0.5)))}
    assert built_anew(flipped, tmp_path, lambda: edit(Flips, package)) == stages("flipped")


def test_what_has_no_file_is_refused():
    names = {"__name__": "nowhere"}
    exec("def loss(batch, actors):\n    return 0", names)
    with pytest.raises(UserError, match="was not read from a file, so a change of its code"):
        closure.code_digest([names["loss"]])


def test_all_keys_of_a_study_read_each_file_once(package, runs, tmp_path):
    forget()
    with patch.object(ast, "parse", wraps=ast.parse) as parse:
        names_of(runs, tmp_path)
    files = [call.kwargs["filename"] for call in parse.call_args_list if "filename" in call.kwargs]
    assert 50 < len(files) == len(set(files))
