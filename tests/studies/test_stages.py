"""How far the runs of a study are, by folders written by hand."""

import json
from pathlib import Path

import pytest

from recsys_posttrain.progress import Row
from recsys_posttrain.store import partial_of
from recsys_posttrain.studies.execute import Options
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.stages import Stages


@pytest.fixture
def study(world, small_ratings_csv, tmp_path):
    options = Options(("posttraining.steps=40",), str(small_ratings_csv), seeds=2, output=tmp_path)
    found = options.study(Path("study.py"))
    return found, Pipeline(found.runs[0].setup, tmp_path)


def folders(stages, title, seed):
    return [stage.folder for stage in stages.of[title][seed][1]]


def write(folder, *lines, end=""):
    """A stage under way, with these lines of its log."""
    partial = partial_of(folder)
    partial.mkdir(parents=True)
    (partial / "metrics.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines) + end)


def cells(stages):
    return {row.name: (*row.cells, row.is_running, row.is_done) for row in stages.look().rows}


def test_rows_and_what_is_left(study):
    left_out, stages = {}, Stages(*study, {})
    for each in (*folders(stages, "Popularity", 0), *folders(stages, "BC", 1)):
        each.mkdir(parents=True)
    stages = Stages(*study, left_out)
    waiting = ("", "", False, False)
    assert cells(stages) == {
        "Popularity": ("none", "reused", False, True),
        "Pretrained": ("none", "", False, False),
        "BC": ("1 of 2", "1 of 2", False, False),
        "ExpRSFT": waiting,
        "OfflinePPO": waiting,
    }
    # Popularity and Pretrained once, three methods with two seeds: 8, of which 2 are there.
    assert stages.look()[1:] == (0, 6)

    training, evaluation = folders(stages, "BC", 0)
    write(training, {"step": 10, "loss": 2.5}, {"step": 10, "validation/kl": 0.1}, end='{"st')
    found = cells(stages)
    assert found["BC"] == ("1 of 2, step 10/40, loss 2.5", "1 of 2", True, False)
    assert stages.look()[1:] == (0.25, 5.75)

    training.mkdir()
    partial_of(training).rename(partial_of(evaluation))
    (partial_of(evaluation) / "metrics.jsonl").unlink()
    assert cells(stages)["BC"] == ("done, 1 reused", "1 of 2, running", True, False)
    partial_of(evaluation).rename(evaluation)
    assert cells(stages)["BC"] == ("done, 1 reused", "done, 1 reused", False, True)
    assert stages.look()[1:] == (1, 5)

    left_out["OfflinePPO"] = "it diverged"
    row = Row("OfflinePPO", ("left out", ""), is_done=True)
    assert stages.look().rows[-1] == row
    assert stages.look()[1:] == (3, 3)


def test_what_was_built_before_is_not_asked_for(study):
    known = {("BC", 0), ("BC", 1), ("ExpRSFT", 1)}
    stages = Stages(*study, {"OfflinePPO": "no rewards"}, known)
    assert list(stages.of) == ["Popularity", "Pretrained", "ExpRSFT"]
    assert len(stages.of["ExpRSFT"]) == 1
