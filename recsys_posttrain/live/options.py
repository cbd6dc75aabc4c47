"""Arguments and options that several commands of a live service have."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain.cli_options import path_argument, path_option

REDIS = "redis://127.0.0.1:6379"

SecretFile = Annotated[
    Path,
    path_option("A file (mode 0600) with the key that signs tokens and states, or several."),
]
ScheduleArgument = Annotated[Path, path_argument("SCHEDULE", "The schedule, a JSON file.")]
RedisUrl = Annotated[
    str,
    typer.Option(
        envvar="REDIS_URL",
        help="The broker; with a password, by the environment: others see options.",
    ),
]
PerAddress = Annotated[int, typer.Option(min=1, help="Connections from one address at most.")]
PerUser = Annotated[int, typer.Option(min=1, help="Connections of one user at most.")]
Proxies = Annotated[
    list[str] | None,
    typer.Option("--trusted-proxy", metavar="ADDRESS", help="Whose X-Forwarded-For is believed."),
]
Metrics = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where /metrics is, for your eyes alone.")
]
Host = Annotated[str, typer.Option(help="The address to listen at.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free; it is printed.")]
EventName = Annotated[str, typer.Argument(help="The event's name.")]
