"""The commands that run the delivery of an event: serve, produce, gateway, device."""

import asyncio
import logging
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain.cli_options import path_argument, path_option
from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.options import (
    EventName,
    Host,
    Metrics,
    PerAddress,
    PerUser,
    Port,
    Proxies,
    RedisUrl,
    ScheduleArgument,
    SecretFile,
)
from recsys_posttrain.live.running import (
    listening,
    listening_for_metrics,
    redis_at,
    require_url,
    run_to_the_end,
    stop_on_signals,
    until_stopped,
)

_LONGEST_DELAY = 10_000_000  # seconds, 115 days
_TOKEN_SECONDS = 86_400


def serve(
    folder: Annotated[Path, path_argument("FOLDER", "What live materialize wrote.")],
    secret_file: SecretFile,
    schedule: Annotated[
        Path | None,
        path_option("The schedule; traffic that can wait is refused near its starts."),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            envvar="REDIS_URL",
            help="The broker's URL; without it, an embedded one, producer and gateway.",
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    gateway_port: Port = 8001,
    per_address: PerAddress = 1000,
    per_user: PerUser = 10,
    trusted_proxies: Proxies = None,
    metrics: Metrics = None,
) -> None:
    """Serve the materialised recommendations of an event to its devices.

    Without --redis everything runs in this process: prefetch server, producer and gateway.

    \b
    Example:
      recsys-posttrain live serve final/ --secret-file secret --schedule schedule.json
      recsys-posttrain live serve final/ --secret-file secret --redis redis://127.0.0.1:6379
    """
    from recsys_posttrain.live.broker import EmbeddedBroker
    from recsys_posttrain.live.door import Limits
    from recsys_posttrain.live.gateway import Gateway, GatewaySettings
    from recsys_posttrain.live.keys import read_keys
    from recsys_posttrain.live.materialized import Materialized
    from recsys_posttrain.live.metrics import reporting
    from recsys_posttrain.live.prefetch import PrefetchServer, PrefetchSettings
    from recsys_posttrain.live.producer import Memory, Producer
    from recsys_posttrain.live.schedule import ScheduleFile

    keys, recommendations = read_keys(secret_file), Materialized.open(folder)
    proxies = tuple(trusted_proxies or ())
    settings = PrefetchSettings(limits=Limits(per_address=per_address, proxies=proxies))
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
        broker = await redis_at(url, keys)
        server = PrefetchServer(recommendations, keys, broker, watched, settings)
        broker.counters = server.counters  # so that /metrics shows them
        http = listening(host, port, "http")
        async with reporting(listening_for_metrics(metrics), server.values):
            await server.run(http, stop_on_signals())

    async def alone() -> None:
        if schedule is None or watched is None:
            raise UserError("live serve needs --schedule FILE, or --redis URL for a broker")
        broker, stop = EmbeddedBroker(), stop_on_signals()
        server = PrefetchServer(recommendations, keys, broker, watched, settings)
        gateway = Gateway(
            recommendations.event,
            keys,
            GatewaySettings(per_address=per_address, per_user=per_user, proxies=proxies),
        )
        memory = Memory.beside(schedule, recommendations.event)
        producer = Producer(ScheduleFile(schedule), broker, memory=memory)
        http, sockets = listening(host, port, "http"), listening(host, gateway_port, "ws")
        report = reporting(
            listening_for_metrics(metrics), lambda: server.values() | gateway.values()
        )
        async with report, asyncio.TaskGroup() as tasks:
            producing = tasks.create_task(producer.run())
            tasks.create_task(server.run(http, stop))
            tasks.create_task(gateway.run(broker, sockets, stop))
            await stop.wait()
            producing.cancel()

    run_to_the_end(with_redis(redis) if redis else alone())


def produce(
    schedule: ScheduleArgument,
    secret_file: Annotated[
        Path | None, path_option("As for the servers; states are signed with it.")
    ] = None,
    redis: RedisUrl = "redis://127.0.0.1:6379",
    readers: Annotated[
        list[str] | None,
        typer.Option(
            "--reader", metavar="URL",
            help="A prefetch server or gateway, asked at the start what it has seen; repeat it.",
        ),
    ] = None,
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
    follows, and returns. The newest state is kept beside the schedule too.

    \b
    Example:
      recsys-posttrain live produce schedule.json --secret-file secret \\
        --reader http://127.0.0.1:8000 --reader http://127.0.0.1:8001
      recsys-posttrain live produce schedule.json --delay 600
      recsys-posttrain live produce schedule.json --end
    """
    from recsys_posttrain.live.keys import read_keys
    from recsys_posttrain.live.producer import Memory, Producer, seen_by
    from recsys_posttrain.live.schedule import Schedule, ScheduleFile, change

    asked = [advance is not None, delay is not None, end]
    require(sum(asked) <= 1, "live produce takes one of --advance, --delay and --end")
    if any(asked):
        now = time.time()

        def changed(planned: Schedule) -> Schedule:
            if advance is not None:
                return planned.advanced(advance, now)
            return planned.finished() if delay is None else planned.delayed(delay, now)

        new = change(schedule, changed)
        typer.echo(f"{new.event}: {new.stage_at(now)} now")
        return

    file = ScheduleFile(schedule)
    event = file.current().event
    for url in readers or ():
        require_url(url, "http", "--reader")
    if secret_file is None:
        raise UserError(
            "live produce signs what it writes: give --secret-file FILE, as to gateways"
        )
    keys, memory = read_keys(secret_file), Memory.beside(schedule, event)
    logging.getLogger(Producer.__module__).setLevel(logging.INFO)  # a line for each state

    async def run() -> None:
        broker = await redis_at(redis, keys)
        seen = await seen_by(readers or (), event, time.time())
        await until_stopped(Producer(file, broker, memory=memory, seen=seen).run())

    run_to_the_end(run())


def gateway(
    event: EventName,
    secret_file: SecretFile,
    redis: RedisUrl = "redis://127.0.0.1:6379",
    host: Host = "127.0.0.1",
    port: Port = 8001,
    per_address: PerAddress = 1000,
    per_user: PerUser = 10,
    trusted_proxies: Proxies = None,
    metrics: Metrics = None,
) -> None:
    """Hold devices' connections and pass each state of the event on to them.

    \b
    Example:
      recsys-posttrain live gateway final --secret-file secret --port 8001
    """
    from recsys_posttrain.live.gateway import Gateway, GatewaySettings
    from recsys_posttrain.live.keys import read_keys
    from recsys_posttrain.live.metrics import reporting
    from recsys_posttrain.live.state import require_name

    require_name(event, "the event")
    keys, proxies = read_keys(secret_file), tuple(trusted_proxies or ())
    settings = GatewaySettings(per_address=per_address, per_user=per_user, proxies=proxies)
    node = Gateway(event, keys, settings)

    async def run() -> None:
        broker = await redis_at(redis, keys)
        broker.counters = node.counters  # so that /metrics shows them
        sockets = listening(host, port, "ws")
        async with reporting(listening_for_metrics(metrics), node.values):
            await node.run(broker, sockets, stop_on_signals())

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
        Path | None, path_option("A file for what is shown, as lines of JSON; not printed.")
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
    from recsys_posttrain.live.keys import read_keys
    from recsys_posttrain.live.state import require_name
    from recsys_posttrain.live.token import Claim, sign

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

    devices = {
        user: Device(user, event, partial(token, user), prefetch.rstrip("/"), urls)
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
