"""`recsys-posttrain live ...`: parse, call, print. A verb imports what is slow to import."""

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
    from recsys_posttrain.live.materialize import EventRules
    from recsys_posttrain.live.materialize import materialize as write
    from recsys_posttrain.worlds.catalog import log_or_dataset

    ids = None if users is None else [part.strip() for part in users.split(",") if part.strip()]
    source = log_or_dataset(log, dataset, data_root)
    manifest = write(policy, EventRules.read(rules), k, output, ids, data_root, source, repeats)
    typer.echo(
        f"{output}: event {manifest['event']}, stages {', '.join(manifest['stages'])}; "
        f"{manifest['users']:,} users, at most {k} items each; version {manifest['version'][:16]}"
    )


for verb in (commands.serve, commands.gateway, commands.produce):
    app.command()(verb)
