"""A small study: run once for a module, copied by the tests that change it."""

import shutil
from pathlib import Path

import pytest

from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.study import run_study

STUDY = (Path(__file__).parents[1] / "small_study.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A working directory and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        Path("study.py").write_text(STUDY)
        yield


@pytest.fixture(scope="module")
def run(world, small_ratings_csv):
    def run_on_the_small_file(
        output, *overrides, seeds=1, file="study.py", eval_split="test", split=None
    ):
        csv = str(small_ratings_csv)
        options = Options(
            overrides=overrides,
            dataset=csv,
            seeds=seeds,
            workers=1,
            output=Path(output),
            eval_split=eval_split,
            split=split,
        )
        return run_study(Path(file), options)

    return run_on_the_small_file


@pytest.fixture(scope="module")
def finished(run):
    """Output folder of an uninterrupted study; copied by tests that change it."""
    run("finished")
    return Path("finished")


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"
