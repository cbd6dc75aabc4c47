"""A live service as processes, hit by every fault and attack, and what its devices saw of it.

    make live-bench
    python benchmarks/live_bench.py [--devices 5000] [--seconds 60] [--output runs/live-bench]

Needs redis-server. Writes table.md, faults.csv, run.json and two figures. Exit code 1 where a
promise is broken.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from live.rows import broken_promises
from live.run import run_bench
from live.service import Bench, NotRecovered

from recsys_posttrain.cli_options import path_option
from recsys_posttrain.endings import exit_code
from recsys_posttrain.tracking.mirror import track


def main(
    devices: Annotated[int, typer.Option(min=2, help="Real sockets, one for each.")] = 5000,
    seconds: Annotated[
        float, typer.Option(min=0.5, help="How long devices sleep; other waits are shares of it.")
    ] = 60,
    output: Annotated[Path, path_option("The folder for the table and the figures.")] = Path(
        "runs/live-bench"
    ),
) -> None:
    """Run a service as processes, do to it what goes wrong, and measure what devices saw."""
    try:
        rows = run_bench(Bench(devices, seconds), output, typer.echo)
    except NotRecovered as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"written: {output}/table.md, faults.csv, run.json and figures\n{track(output)}")
    if broken := broken_promises(rows):
        typer.echo("\n".join(broken), err=True)
        raise typer.Exit(1)
    typer.echo("kept under every fault: every promise")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: typer.run(main)))
