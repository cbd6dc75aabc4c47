"""`recsys-posttrain posttrain`, as tests call it."""

from pathlib import Path

from typer.testing import CliRunner

from recsys_posttrain.cli import app
from recsys_posttrain.errors import UserError

STEPS = 12


def posttrain(drift, output, *words, policy=None, log="tuesday.csv"):
    few = ["--set", f"posttraining.steps={STEPS}", "--set", "posttraining.batch_size=32"]
    asked = ["posttrain", "--from", str(policy or drift.policy), "--log", str(drift.folder / log)]
    done = CliRunner().invoke(app, [*asked, *few, "--output", str(output), *words])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, done.exception
    (said,) = (line for line in done.output.splitlines() if line.startswith("policy: "))
    return Path(said.removeprefix("policy: ").removesuffix(" (reused)")), done.output
