"""Devices of users of a live event: they print what they show.

    python benchmarks/live_device.py final --users 7 --secret-file secret
    python benchmarks/live_device.py final --users 7,8 --secret-file secret \\
        --gateway ws://127.0.0.1:8001 --gateway ws://127.0.0.1:8002

To try a service out: it signs its own tokens; a real device gets one where its user signs in.
"""

import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from live.device import Device, Shown
from live.fleet import play, write_counters, write_shown

from recsys_posttrain.cli_options import path_option
from recsys_posttrain.config import require
from recsys_posttrain.endings import exit_code
from recsys_posttrain.live.cli import EventName, SecretFile
from recsys_posttrain.live.keys import Claim, read_keys, sign
from recsys_posttrain.live.running import require_url, run_to_the_end, until_stopped
from recsys_posttrain.live.state import require_name

_TOKEN_SECONDS = 86_400


def main(
    event: EventName,
    users: Annotated[
        str, typer.Option(metavar="IDS", help="Comma-separated; one device for each user.")
    ],
    secret_file: SecretFile,
    prefetch: Annotated[str, typer.Option(help="The prefetch server.")] = "http://127.0.0.1:8000",
    gateways: Annotated[
        list[str] | None, typer.Option("--gateway", help="A gateway; give it once for each.")
    ] = None,
    spread: Annotated[
        float, typer.Option(min=0, help="Devices start at random times within so many seconds.")
    ] = 0.0,
    log: Annotated[
        Path | None,
        path_option("A file for the states shown, as lines of JSON; not printed."),
    ] = None,
) -> None:
    """Be devices of users of the materialised recommendations, and print what they show."""
    require_name(event, "the event")
    urls = tuple(url.rstrip("/") for url in gateways or ["ws://127.0.0.1:8001"])
    require_url(prefetch, "http", "--prefetch")
    for url in urls:
        require_url(url, "ws", "--gateway")
    keys = read_keys(secret_file)
    names = [part.strip() for part in users.split(",") if part.strip()]
    require(names, f"--users {users!r}: give one id or more")

    def token(user: str) -> str:
        return sign(Claim(user, event, time.time() + _TOKEN_SECONDS), keys)

    def tell(user: str, shown: Shown) -> None:
        typer.echo(f"user {user}, version {shown.version}, {shown.stage}: {' '.join(shown.items)}")

    devices = {
        user: Device(user, event, partial(token, user), prefetch.rstrip("/"), urls)
        for user in names
    }

    async def run() -> None:
        with log.open("w", encoding="utf-8") if log else nullcontext() as file:
            hear = partial(write_shown, file) if file else tell
            look = partial(write_counters, file) if file else lambda _counters: None
            await until_stopped(play(devices, spread, hear, look))

    run_to_the_end(run())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: typer.run(main)))
