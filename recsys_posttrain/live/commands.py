"""The commands that run the delivery of an event: serve, produce, gateway, device."""

import asyncio
import logging
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.running import (
    listening,
    redis_at,
    require_url,
    run_to_the_end,
    stop_on_signals,
    until_stopped,
)

_LONGEST_DELAY = 10_000_000  # seconds, 115 days
_TOKEN_SECONDS = 86_400

SecretFile = Annotated[
    Path, typer.Option(help="A file with the secret that signs tokens, for all servers alike.")
]
ScheduleArgument = Annotated[Path, typer.Argument(help="The schedule, a JSON file.")]
RedisUrl = Annotated[str, typer.Option(help="The broker, such as redis://127.0.0.1:6379.")]
Host = Annotated[str, typer.Option(help="The address to listen at.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free; it is printed.")]
EventName = Annotated[str, typer.Argument(help="The event's name.")]


def serve(
    folder: Annotated[Path, typer.Argument(help="What live materialize wrote.")],
    secret_file: SecretFile,
    schedule: Annotated[
        Path | None,
        typer.Option(help="The schedule; traffic that can wait is refused near its starts."),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(help="The broker's URL; without it, an embedded one, producer and gateway."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    gateway_port: Port = 8001,
) -> None:
    """Serve the materialised recommendations of an event to its devices.

    Without --redis everything runs in this process: prefetch server, producer and gateway.

    \b
    Example:
      recsys-posttrain live serve final/ --secret-file secret --schedule schedule.json
      recsys-posttrain live serve final/ --secret-file secret --redis redis://127.0.0.1:6379
    """
    from recsys_posttrain.live.broker import EmbeddedBroker
    from recsys_posttrain.live.gateway import Gateway
    from recsys_posttrain.live.materialized import Materialized
    from recsys_posttrain.live.prefetch import PrefetchServer
    from recsys_posttrain.live.producer import Producer
    from recsys_posttrain.live.schedule import ScheduleFile
    from recsys_posttrain.live.token import read_secret

    secret, recommendations = read_secret(secret_file), Materialized.open(folder)
    watched = None if schedule is None else ScheduleFile(schedule)
    if watched is not None:
        planned = watched.current()
        require(
            planned.event == recommendations.event,
            f"{schedule} is of event {planned.event}, {folder} of {recommendations.event}",
        )
        missing = set(planned.stages) - set(recommendations.stages)
        require(not missing, f"{folder} has nothing for the stages {', '.join(sorted(missing))}")

    async def with_redis(url: str) -> None:
        broker = await redis_at(url)
        server = PrefetchServer(recommendations, secret, broker, watched)
        broker.counters = server.counters  # so that /metrics shows them
        await server.run(listening(host, port, "http"), stop_on_signals())

    async def alone() -> None:
        if schedule is None or watched is None:
            raise UserError("live serve needs --schedule FILE, or --redis URL for a broker")
        broker, stop = EmbeddedBroker(), stop_on_signals()
        server = PrefetchServer(recommendations, secret, broker, watched)
        gateway = Gateway(recommendations.event, secret)
        http, sockets = listening(host, port, "http"), listening(host, gateway_port, "ws")
        async with asyncio.TaskGroup() as tasks:
            producing = tasks.create_task(Producer(ScheduleFile(schedule), broker).run())
            tasks.create_task(server.run(http, stop))
            tasks.create_task(gateway.run(broker, sockets, stop))
            await stop.wait()
            producing.cancel()

    run_to_the_end(with_redis(redis) if redis else alone())


def produce(
    schedule: ScheduleArgument,
    redis: RedisUrl = "redis://127.0.0.1:6379",
    advance: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Start this stage now, and stop here.")
    ] = None,
    delay: Annotated[
        int | None,
        typer.Option(
            min=-_LONGEST_DELAY, max=_LONGEST_DELAY, metavar="SECONDS",
            help="Move the starts to come, and stop here; negative: earlier.",
        ),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End the event, and stop here.")] = False,
) -> None:  # fmt: skip
    """Follow a schedule and write the event's states to the broker.

    With --advance, --delay or --end it changes the schedule's file, which a running producer
    follows, and returns.

    \b
    Example:
      recsys-posttrain live produce schedule.json --redis redis://127.0.0.1:6379
      recsys-posttrain live produce schedule.json --delay 600
      recsys-posttrain live produce schedule.json --end
    """
    from recsys_posttrain.live.producer import Producer
    from recsys_posttrain.live.schedule import ScheduleFile

    asked = [advance is not None, delay is not None, end]
    require(sum(asked) <= 1, "live produce takes one of --advance, --delay and --end")
    file = ScheduleFile(schedule)
    if any(asked):
        changed, now = file.current(), time.time()
        if advance is not None:
            changed = changed.advanced(advance, now)
        elif delay is not None:
            changed = changed.delayed(delay, now)
        else:
            changed = changed.finished()
        changed.write(schedule)
        typer.echo(f"{changed.event}: {changed.stage_at(now)} now")
        return

    logging.getLogger(Producer.__module__).setLevel(logging.INFO)  # a line for each state

    async def run() -> None:
        await until_stopped(Producer(file, await redis_at(redis)).run())

    run_to_the_end(run())


def gateway(
    event: EventName,
    secret_file: SecretFile,
    redis: RedisUrl = "redis://127.0.0.1:6379",
    host: Host = "127.0.0.1",
    port: Port = 8001,
) -> None:
    """Hold devices' connections and pass each state of the event on to them.

    \b
    Example:
      recsys-posttrain live gateway final --secret-file secret --port 8001
    """
    from recsys_posttrain.live.gateway import Gateway
    from recsys_posttrain.live.state import require_name
    from recsys_posttrain.live.token import read_secret

    require_name(event, "the event")
    node = Gateway(event, read_secret(secret_file))

    async def run() -> None:
        broker = await redis_at(redis)
        broker.counters = node.counters  # so that /metrics shows them
        await node.run(broker, listening(host, port, "ws"), stop_on_signals())

    run_to_the_end(run())


def device(
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
        Path | None, typer.Option(help="A file for what is shown, as lines of JSON; not printed.")
    ] = None,
) -> None:
    """Be devices of users of the materialised recommendations, and print what they show.

    To try a service out: it signs its own tokens; a real device gets one where its user signs in.

    \b
    Example:
      recsys-posttrain live device final --users 7 --secret-file secret
      recsys-posttrain live device final --users 7,8 --secret-file secret \\
        --gateway ws://127.0.0.1:8001 --gateway ws://127.0.0.1:8002
    """
    from recsys_posttrain.live.device import Device, Shown
    from recsys_posttrain.live.fleet import play, write_counters, write_shown
    from recsys_posttrain.live.state import require_name
    from recsys_posttrain.live.token import Claim, read_secret, sign

    require_name(event, "the event")
    urls = tuple(url.rstrip("/") for url in gateways or ["ws://127.0.0.1:8001"])
    require_url(prefetch, "http", "--prefetch")
    for url in urls:
        require_url(url, "ws", "--gateway")
    secret, expires = read_secret(secret_file), time.time() + _TOKEN_SECONDS
    names = [part.strip() for part in users.split(",") if part.strip()]
    require(names, f"--users {users!r}: give one id or more")
    devices = {
        user: Device(
            user, event, sign(Claim(user, event, expires), secret), prefetch.rstrip("/"), urls
        )
        for user in names
    }

    def tell(user: str, shown: Shown) -> None:
        typer.echo(f"user {user}, version {shown.version}, {shown.stage}: {' '.join(shown.items)}")

    async def run() -> None:
        with log.open("w", encoding="utf-8") if log else nullcontext() as file:
            hear = partial(write_shown, file) if file else tell
            look = partial(write_counters, file) if file else lambda counters: None
            await until_stopped(play(devices, spread, hear, look))

    run_to_the_end(run())
