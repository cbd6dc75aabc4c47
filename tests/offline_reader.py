"""Offline runs of W&B, read back with its own reader: `wandb leet inspect --json`."""

import json

import pytest


def read(folder, capfd):
    """Of each offline run of a study its records, by its name."""
    from wandb.cli.cli import cli

    found = {}
    for path in sorted((folder / "wandb").glob("offline-run-*")):
        capfd.readouterr()
        with pytest.raises(SystemExit, match="0"):
            cli.main(["leet", "inspect", "--json", str(path)])
        records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        (run,) = (record["run"] for record in records if record["type"] == "run")
        history = [record["history"]["item"] for record in records if record["type"] == "history"]
        axes = [record["metric"] for record in records if record["type"] == "metric"]
        found[run["display_name"]] = run | {"history": history, "axes": axes, "path": path}
    return found


def curve(run):
    """The points of a run's training, by step, without what W&B adds."""
    return [
        {name: value for name, value in item.items() if name.startswith("train/")}
        for item in run["history"]
        if "train/step" in item
    ]
