"""A small sweep: its files, and one that ended undisturbed."""

import sys
from pathlib import Path

import pytest

from recsys_posttrain.sweep.run import Options, run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"


@pytest.fixture(scope="module")
def in_a_folder(tmp_path_factory):
    """A working directory and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setattr(sys, "path", [*sys.path])  # a sweep file adds its folder
        yield


@pytest.fixture(scope="module")
def options(in_a_folder, small_ratings_csv):
    return Options(dataset=str(small_ratings_csv))


@pytest.fixture(scope="module")
def finished(options):
    """The folder `runs` of an undisturbed sweep, in the working directory; do not change it."""
    run_sweep(SMALL_SWEEP, options)
    return Path("runs").resolve()
