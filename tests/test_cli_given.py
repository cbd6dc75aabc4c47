"""What run, sweep, dashboard and advise are told of a log: one list of options."""

from pathlib import Path

import pytest
import typer

from recsys_posttrain.cli import app
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.studies.own_files import OwnFiles

OF_A_LOG = (
    "--repeats --available --item-features --pretrained --reward-model --liked --top --disliked "
    "--reward-zero --duplicates --reward --signals --columns --dataset --data-root --device"
)


@pytest.mark.parametrize("verb", ["run", "sweep", "dashboard", "advise"])
def test_what_is_said_of_a_log_is_said_alike(verb):
    options = typer.main.get_command(app).commands[verb].params
    wanted = set(OF_A_LOG.split()) - ({"--device"} if verb == "dashboard" else set())
    assert wanted <= {word for each in options for word in each.opts}


def test_advise_passes_everything_on(monkeypatch, end):
    made = []
    monkeypatch.setattr(
        "recsys_posttrain.advise.advise_on", lambda *given, **named: made.append((given, named))
    )
    words = "--liked 4 --columns user=u --reward a+b --available w.csv --reward-model m.py"
    assert end("advise", "--dataset", "log.csv", *words.split()) == 0
    ((given, named),) = made
    assert given == ("log.csv", None, None, Path("runs"), "cpu")
    assert named == {
        "rules": FileRules(reward="a+b", columns="user=u"),
        "thresholds": Thresholds(liked=4.0),
        "changes": ("available=w.csv",),
        "own": OwnFiles("m.py"),
    }
