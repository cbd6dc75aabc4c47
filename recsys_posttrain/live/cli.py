"""`recsys-posttrain live ...`: parse, call, print. A verb imports what is slow to import."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from recsys_posttrain.cli_options import DataRoot, DatasetNow, LogNow, path_argument, path_option
from recsys_posttrain.errors import UserError
from recsys_posttrain.live import commands

EXTRA = ("redis", "starlette", "uvicorn", "websockets")  # what [live] installs


class _NamesTheExtra(TyperGroup):
    """A verb that finds a package of the extra missing says how to install it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRA:
                raise
            raise UserError(
                f"`live {ctx.invoked_subcommand}` needs {package}, which is not installed: "
                "pip install 'recsys-posttrain[live]'"
            ) from error


app = typer.Typer(
    cls=_NamesTheExtra,
    help="Live events: prefetched recommendations, shown by one small broadcast.",
    no_args_is_help=True,
)


@app.command()
def materialize(
    policy: Annotated[Path, path_argument("POLICY_FOLDER", "A saved policy.")],
    rules: Annotated[
        Path, path_option("A JSON file: event, live_title, and its place in each stage.")
    ],
    output: Annotated[Path, path_option("The folder that servers read.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Items per user and stage.")] = 20,
    users: Annotated[
        str | None, typer.Option(metavar="IDS", help="Comma-separated user ids; otherwise all.")
    ] = None,
    data_root: DataRoot = None,
    dataset: DatasetNow = None,
    log: LogNow = None,
    repeats: Annotated[
        Literal["never", "allowed"] | None,
        typer.Option(help="Whether to show what a user had before; default: as the policy says."),
    ] = None,
) -> None:
    """Write every user's recommendations for each stage of an event, before it.

    The rules are a file such as
    {"event": "final", "live_title": "1193", "stages": {"before": null, "live": 1, "after": 4}}

    \b
    Example:
      recsys-posttrain live materialize runs/stages/posttrain-0f3a --rules final.json --output final
    """
    from recsys_posttrain.live.materialize import materialize as write
    from recsys_posttrain.live.rules import EventRules
    from recsys_posttrain.worlds.catalog import log_or_dataset

    ids = None if users is None else [part.strip() for part in users.split(",") if part.strip()]
    source = log_or_dataset(log, dataset, data_root)
    manifest = write(policy, EventRules.read(rules), k, output, ids, data_root, source, repeats)
    typer.echo(
        f"{output}: event {manifest['event']}, stages {', '.join(manifest['stages'])}; "
        f"{manifest['users']:,} users, at most {k} items each; version {manifest['version'][:16]}"
    )


@app.command()
def herd(
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a field; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    draws: Annotated[int, typer.Option(min=1, help="How many, to see how far peaks vary.")] = 20,
) -> None:
    """Print the model's peak requests/s around an event: fetching on the push, prefetching,
    refreshing caches, retrying.

    \b
    Example:
      recsys-posttrain live herd
      recsys-posttrain live herd --set devices=10000000 --set window_hours=12 --set missed=0.05
    """
    import numpy as np

    from recsys_posttrain.live import herd_tables as tables
    from recsys_posttrain.live.herd import Herd
    from recsys_posttrain.override import override
    from recsys_posttrain.seeding import derived_seed

    chosen = Herd()
    for assignment in overrides or []:
        chosen = override(chosen, assignment)
    generator = np.random.default_rng(derived_seed(seed, "herd"))
    retries = {"fixed": tables.FIXED_WAIT, "as set": chosen.retry}
    for title, frame in (
        (
            "Peak requests/s at an event",
            tables.peaks(tables.event_habits(chosen), draws, generator),
        ),
        (
            "Peak requests/s of cache refreshes",
            tables.peaks(tables.refresh_habits(chosen), draws, generator),
        ),
        (
            f"A server of {chosen.capacity:,} requests/s",
            tables.overloads(chosen, retries, generator),
        ),
    ):
        typer.echo(f"{title}\n{frame.to_string(float_format='{:,.1f}'.format)}\n")


@app.command()
def demo(
    devices: Annotated[int, typer.Option(min=2, max=5000, help="How many devices.")] = 500,
    seconds: Annotated[float, typer.Option(min=4, max=3600, help="How long it takes.")] = 120,
    output: Annotated[Path, path_option("The folder for summary.json and demo.png.")] = Path(
        "runs/live-demo"
    ),
) -> None:
    """Play an event in this process: prefetch, a moved start, a killed gateway, an end by hand.

    Made-up recommendations, an embedded broker, real sockets. Exit code 1 where a promise is
    broken.

    \b
    Example:
      recsys-posttrain live demo
      recsys-posttrain live demo --devices 20 --seconds 8
    """
    from recsys_posttrain.files import write_json
    from recsys_posttrain.live import demo_report as report
    from recsys_posttrain.live.demo import Demo, run

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


@app.command()
def bench(
    devices: Annotated[int, typer.Option(min=2, help="Real sockets, one for each.")] = 5000,
    seconds: Annotated[
        float, typer.Option(min=0.5, help="How long devices sleep; other waits are shares of it.")
    ] = 60,
    output: Annotated[Path, path_option("The folder for the table and the figures.")] = Path(
        "runs/live-bench"
    ),
) -> None:
    """Run a service as processes, do to it what goes wrong, and measure what devices saw.

    Needs redis-server. Exit code 1 where a promise is broken.

    \b
    Example:
      recsys-posttrain live bench
      recsys-posttrain live bench --devices 20 --seconds 2
    """
    from recsys_posttrain.live.bench.rows import broken_promises
    from recsys_posttrain.live.bench.run import run_bench
    from recsys_posttrain.live.bench.service import Bench, NotRecovered
    from recsys_posttrain.tracking.mirror import track

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


for verb in (commands.serve, commands.gateway, commands.produce, commands.device):
    app.command()(verb)
