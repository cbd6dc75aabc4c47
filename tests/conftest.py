"""Fixtures that every test may use. No test reaches the network."""

import importlib.util
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

# One thread per test process: two that share a core wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two, one that waits sleeps: it would spin until the other gets a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")


@pytest.fixture(autouse=True)
def handlers():
    """A command run in this process leaves its signals to the system; pytest needs its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the real MovieLens files, where a checkout has one beside it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data files are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def small_ratings_csv(tmp_path_factory):
    """A generated CSV of 60 users and 40 items with timestamp ties; read it, do not change it."""
    module = _beside("data_factory")
    path = module.write_small_ratings(tmp_path_factory.mktemp("ratings") / "small.csv")
    return path


@pytest.fixture(scope="session")
def drawn_study(tmp_path_factory):
    """A folder as `run` and `sweep` leave it: rows, tables, trials, curves; do not change it."""
    folder = tmp_path_factory.mktemp("study") / "drawn"
    path = _beside("study_factory").write_finished_study(folder)
    return path


@pytest.fixture
def finished_study(drawn_study, tmp_path):
    """A copy of `drawn_study` that is yours to change."""
    return shutil.copytree(drawn_study, tmp_path / "drawn")


@pytest.fixture
def end(monkeypatch):
    """The exit code of `recsys-posttrain ARGUMENTS`, in this process."""

    def run(*arguments):
        from recsys_posttrain.__main__ import main

        monkeypatch.setattr(sys, "argv", ["recsys-posttrain", *map(str, arguments)])
        try:
            return main()
        except SystemExit as ended:
            return int(ended.code or 0)

    return run


@pytest.fixture
def script(monkeypatch):
    """A script by its path in the repository, as a module; it finds what lies beside it."""

    def load(path):
        file = Path(__file__).parents[1] / path
        monkeypatch.syspath_prepend(file.parent)
        # Not under its own name: `coverage` is another package. A dataclass looks itself up there.
        return _module(f"script_{file.stem}", file, partial(monkeypatch.setitem, sys.modules))

    return load


def _beside(name):
    """A module of this folder, which is no package."""
    return _module(name, Path(__file__).with_name(f"{name}.py"))


def _module(name, file, register=lambda *_: None):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    register(name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def states_and_table():
    """(positions, items, width) -> hidden [N, D] and table [V, D], float64 leaves."""
    import torch

    def make(positions, items, width):
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(rows, width, generator=generator, dtype=torch.float64).requires_grad_()
            for rows in (positions, items)
        ]

    return make


@pytest.fixture
def count_logits(monkeypatch):
    """module -> a list that grows by one each time that it computes all logits."""

    def count(module):
        calls = []
        original = module.logits_in_chunks

        def counted(*arguments):
            calls.append(arguments)
            return original(*arguments)

        monkeypatch.setattr(module, "logits_in_chunks", counted)
        return calls

    return count


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """Prepared data of the tests of one file stay among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def in_a_folder(own_cache, tmp_path_factory):
    """A working directory and a cache of its own; a study's or a sweep's file adds its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setattr(sys, "path", [*sys.path])
        yield


@pytest.fixture(scope="module")
def policy_folder(small_ratings_csv, tmp_path_factory, own_cache):
    """A saved policy with random weights, of the 60 users and 40 items of the generated CSV."""
    from recsys_posttrain.data import RatingsFile, prepare
    from recsys_posttrain.models import SASRec
    from recsys_posttrain.models.checkpoint import save_policy
    from recsys_posttrain.models.policy import new_policy

    backbone = SASRec(dim=8, blocks=1, feed_forward=16, max_length=10)
    dataset = RatingsFile(str(small_ratings_csv))
    corpus = prepare(dataset)
    policy = new_policy(backbone, corpus.num_items, seed=1)
    made = tmp_path_factory.mktemp("policy")
    save_policy(made, policy, backbone, corpus, dataset)
    return made
