"""A live event over real sockets: prefetch, a moved start, a killed gateway, an end by hand.

    make live-demo
    python benchmarks/live_demo.py [--devices 500] [--seconds 120] [--output runs/live-demo]

Random recommendations, an embedded broker. Writes summary.json and demo.png. Exit code 1 where a
promise is broken.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from live import demo_report as report
from live.demo import Demo, run

from recsys_posttrain.cli_options import path_option
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import write_json


def main(
    devices: Annotated[int, typer.Option(min=2, max=5000, help="How many devices.")] = 500,
    seconds: Annotated[float, typer.Option(min=4, max=3600, help="How long it takes.")] = 120,
    output: Annotated[Path, path_option("The folder for summary.json and demo.png.")] = Path(
        "runs/live-demo"
    ),
) -> None:
    """Play an event in this process: prefetch, a moved start, a killed gateway, an end by hand."""

    def say(second: float, text: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{second:6.1f} s  {text}", err=True)

    recording = run(Demo(devices, seconds), output, say)
    figures = report.summary(recording)
    write_json(output / "summary.json", figures)
    report.draw(recording, output / "demo.png")
    typer.echo(f"{report.text(figures)}\n\n{output}/summary.json and demo.png")
    if any(figures[name] for name in report.PROMISES):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: typer.run(main)))
