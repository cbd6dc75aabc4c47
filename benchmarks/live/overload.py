"""Requests that can wait, near an event, more than the prefetch server can answer."""

import asyncio
import time

import numpy as np

from live.http_get import get
from live.random_lists import EVENT
from live.service import Service

_CLIENTS, _URGENT_OF = 32, 10


async def overload(service: Service) -> str:
    """Asks for a few pauses' time; of ten requests one is urgent. What came of them, in words.

    A refused request is not repeated: its Retry-After says when it would come back.
    """
    until = time.time() + 3 * service.bench.pause
    statuses: dict[bool, list[int]] = {False: [], True: []}
    seconds: list[float] = []
    returns: list[float] = []

    async def ask(client: int) -> None:
        token = service.token_of(str(client % service.bench.devices))
        headers, count = {"Authorization": f"Bearer {token}"}, client
        while time.time() < until:
            is_urgent, began = count % _URGENT_OF == 0, time.time()
            count += 1
            priority = {"Priority": "u=1" if is_urgent else "u=6"}
            url = f"{service.http}/v1/events/{EVENT}/prefetch"
            answer = await get(url, headers | priority, 30)
            statuses[is_urgent].append(answer.status)
            if is_urgent:
                seconds.append(time.time() - began)
            if answer.status == 503:
                returns.append(time.time() + float(answer.headers["retry-after"]))

    began = time.time()
    await asyncio.gather(*(ask(client) for client in range(_CLIENTS)))
    rate = sum(map(len, statuses.values())) / (time.time() - began)
    bins = np.arange(min(returns, default=0), max(returns, default=0) + 2)
    peak = np.histogram(returns, bins)[0].max()
    waiting, urgent = statuses[False], statuses[True]
    return (
        f"{rate:,.0f} requests/s; {waiting.count(503):,} of {len(waiting):,} that can wait were "
        f"told to, and to come back at most {peak}/s; {urgent.count(200):,} of {len(urgent):,} "
        f"urgent ones answered, p99 {1000 * np.percentile(seconds, 99):.0f} ms"
    )
