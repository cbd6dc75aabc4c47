"""A gateway as it must not be: repeats, reorders and garbles what the stream has.

    python -m live.hostile EVENT PORT REDIS_URL SECRET_FILE

Each new state comes to its devices twice, between older ones and things that are no state; to a
device that connects, all of the history backwards.
"""

import asyncio
import sys
from pathlib import Path

from websockets.asyncio.server import ServerConnection, broadcast, serve

from recsys_posttrain.live.broker import BrokerDown
from recsys_posttrain.live.keys import read_keys
from recsys_posttrain.live.running import listening, redis_at, run_to_the_end
from recsys_posttrain.live.state import EventState

_KEPT = 5


def garbled(states: list[EventState]) -> list[str | bytes]:
    """The messages for a history, oldest first: its newest is among them, and nothing newer."""
    messages: list[str | bytes] = [state.to_json() for state in states[-_KEPT:]]
    newest = messages[-1:]
    foreign = [EventState("another", 2**50, state.stage, 1.0).to_json() for state in states[-1:]]
    nonsense: list[str | bytes] = ["", "{", "null", b"\x00\xff", '{"version": 1e300}']
    return [*messages[:-1], *nonsense, *newest, *foreign, *newest, *reversed(messages)]


async def run(event: str, port: int, url: str, secret_file: Path) -> None:
    broker, connections = await redis_at(url, read_keys(secret_file)), set[ServerConnection]()
    states: list[EventState] = []

    async def connected(connection: ServerConnection) -> None:
        connections.add(connection)
        for message in reversed(garbled(states)):
            broadcast((connection,), message)
        await connection.wait_closed()
        connections.discard(connection)

    async with serve(connected, sock=listening("127.0.0.1", port, "ws"), compression=None):
        while True:
            try:
                new = await broker.after(event, states[-1].version if states else 0, 5)
            except BrokerDown:
                await asyncio.sleep(0.1)
                continue
            states += new
            for message in garbled(states) if new else ():
                broadcast(connections, message)


if __name__ == "__main__":
    run_to_the_end(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
