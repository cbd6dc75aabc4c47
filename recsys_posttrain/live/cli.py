"""`recsys-posttrain live ...`: parse, call, print. A verb imports what is slow to import."""

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from recsys_posttrain.cli_options import (
    ColumnNames,
    DataRoot,
    DatasetNow,
    LogNow,
    path_argument,
    path_option,
)
from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.live import running

if TYPE_CHECKING:
    from recsys_posttrain.live.broker import Broker
    from recsys_posttrain.live.schedule import Schedule

EXTRA = ("redis", "starlette", "uvicorn", "websockets")  # what [live] installs
MISSING = ", which is not installed: pip install 'recsys-posttrain[live]'"

_LONGEST_DELAY = 10_000_000  # seconds, 115 days
REDIS = "redis://127.0.0.1:6379"

SecretFile = Annotated[
    Path, path_option("A file (mode 0600) with the key that signs tokens and states, or several.")
]
ScheduleArgument = Annotated[Path, path_argument("SCHEDULE", "The schedule, a JSON file.")]
RedisUrl = Annotated[
    str, typer.Option(envvar="REDIS_URL", help="The broker; others see options: no password here.")
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


class _NamesTheExtra(TyperGroup):
    """A verb that finds a package of the extra missing says how to install it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRA:
                raise
            raise UserError(f"`live {ctx.invoked_subcommand}` needs {package}{MISSING}") from error


app = typer.Typer(
    cls=_NamesTheExtra,
    help="Live events: prefetched lists, shown by one small broadcast.",
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
    columns: ColumnNames = None,
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
    asked = ids, data_root, source, repeats, columns or ""
    manifest = write(policy, EventRules.read(rules), k, output, *asked)
    typer.echo(
        f"{output}: event {manifest['event']}, stages {', '.join(manifest['stages'])}; "
        f"{manifest['users']:,} users, at most {k} items each; version {manifest['version'][:16]}"
    )


@app.command()
def serve(
    folder: Annotated[Path, path_argument("FOLDER", "What live materialize wrote.")],
    secret_file: SecretFile,
    schedule: Annotated[
        Path | None, path_option("The schedule; near its starts, traffic that can wait is refused.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(envvar="REDIS_URL", help="The broker; without it, all is here.")
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
    from recsys_posttrain.live.prefetch import PrefetchServer, PrefetchSettings
    from recsys_posttrain.live.producer import Producer, memory_beside
    from recsys_posttrain.live.schedule import ScheduleFile

    keys, lists = read_keys(secret_file), Materialized.open(folder)
    require(schedule or redis, "live serve needs --schedule FILE, or --redis URL for a broker")
    limits = Limits(per_address=per_address, proxies=tuple(trusted_proxies or ()))
    watched = None if schedule is None else ScheduleFile(schedule)
    if watched:
        planned = watched.current()
        is_same = planned.event == lists.event
        require(is_same, f"{schedule} is of event {planned.event}, {folder} of {lists.event}")
        missing = set(planned.stages) - set(lists.stages)
        require(not missing, f"{folder} has nothing for the stages {', '.join(sorted(missing))}")

    async def run() -> None:
        stop = running.stop_on_signals()
        broker: Broker = await running.redis_at(redis, keys) if redis else EmbeddedBroker()
        server = PrefetchServer(lists, keys, broker, watched, PrefetchSettings(limits=limits))
        sources = [server.values]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run(running.listening(host, port, "http"), stop))
            if schedule and not redis:
                settings = GatewaySettings(
                    per_address=per_address, per_user=per_user, proxies=limits.proxies
                )
                node = Gateway(lists.event, keys, settings)
                sockets = running.listening(host, gateway_port, "ws")
                tasks.create_task(node.run(broker, sockets, stop))
                sources.append(node.values)
                memory = memory_beside(schedule, lists.event)
                producer = Producer(ScheduleFile(schedule), broker, memory=memory)
                tasks.create_task(running.until_stopped(producer.run(), stop))
            async with running.reporting(running.listening_for_metrics(metrics), *sources):
                await stop.wait()

    running.run_to_the_end(run())


@app.command()
def produce(
    schedule: ScheduleArgument,
    secret_file: Annotated[
        Path | None, path_option("As for the servers; states are signed with it.")
    ] = None,
    redis: RedisUrl = REDIS,
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
    from recsys_posttrain.live.producer import Producer, memory_beside, seen_by
    from recsys_posttrain.live.schedule import ScheduleFile, change

    changes = (advance is not None) + (delay is not None) + end
    require(changes <= 1, "live produce takes one of --advance, --delay and --end")
    if changes:
        now = time.time()

        def changed(planned: "Schedule") -> "Schedule":
            if advance is not None:
                return planned.advanced(advance, now)
            return planned.finished() if delay is None else planned.delayed(delay, now)

        new = change(schedule, changed)
        typer.echo(f"{new.event}: {new.stage_at(now)} now")
        return

    file = ScheduleFile(schedule)
    event = file.current().event
    for url in readers or ():
        running.require_url(url, "http", "--reader")
    if secret_file is None:
        raise UserError(
            "live produce signs what it writes: give --secret-file FILE, as to gateways"
        )
    keys, memory = read_keys(secret_file), memory_beside(schedule, event)
    logging.getLogger(Producer.__module__).setLevel(logging.INFO)  # a line for each state

    async def run() -> None:
        broker = await running.redis_at(redis, keys)
        seen = await seen_by(readers or (), event, time.time())
        await running.until_stopped(Producer(file, broker, memory=memory, seen=seen).run())

    running.run_to_the_end(run())


@app.command()
def gateway(
    event: EventName,
    secret_file: SecretFile,
    redis: RedisUrl = REDIS,
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
    from recsys_posttrain.live.state import require_name

    require_name(event, "the event")
    keys, proxies = read_keys(secret_file), tuple(trusted_proxies or ())
    settings = GatewaySettings(per_address=per_address, per_user=per_user, proxies=proxies)
    node = Gateway(event, keys, settings)

    async def run() -> None:
        broker = await running.redis_at(redis, keys)
        sockets = running.listening(host, port, "ws")
        async with running.reporting(running.listening_for_metrics(metrics), node.values):
            await node.run(broker, sockets, running.stop_on_signals())

    running.run_to_the_end(run())
