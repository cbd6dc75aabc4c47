"""One row per fault: what was measured between its beginning and the return to calm."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from live import measure
from live.attack_faults import Fault
from live.fleet_log import counts
from live.measure import Floats
from live.service import NotRecovered, Service

PROMISES = {
    **measure.PROMISES,
    "disconnected": "devices without a connection in the end",
    "loaded_torch": "service processes that could call a model",
}
_ASKED = (
    *("pulls", "pull_failures"),
    *("prefetch_200", "prefetch_304", "prefetch_shed", "prefetch_failures"),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """row: the figures. delays_ms: of every device and update, sorted. seconds, reconnects: from
    the fault on, and the reconnects/s of all devices then."""

    row: dict[str, Any]
    delays_ms: Floats
    seconds: Floats
    reconnects: Floats


async def measured(service: Service, fault: Fault, lists: measure.Lists) -> Measured:
    """Lets a fault happen, waits until all devices are right and connected again, and measures."""
    began, first = time.time(), len(service.states)
    processor = service.processor_seconds()
    before = _promises(service, lists)
    name = fault.__name__.replace("_", " ")
    try:
        note = await fault(service)
    except NotRecovered as error:
        raise NotRecovered(f"broken under {name!r}: {error}") from None
    await service.until(service.is_right)
    await service.until(service.is_connected)
    await asyncio.sleep(max(0.2, service.bench.pause / 3))  # for what comes twice or late
    await service.look()
    ended, states = time.time(), service.states[first:]
    logs = service.shown
    delays = np.sort(np.concatenate([measure.delays_ms(logs, state) for state in states]))
    rightly = [log[-1].at for log in logs.values() if log and log[-1].version == states[-1].version]
    since = max(service.hit_at, states[-1].published)
    at, connections = counts(service.logs, began, ended, "connections")
    _, asked = counts(service.logs, began, ended, *_ASKED)
    rates = [measure.per_second(at, count) for count in (connections, asked)]
    broken = _promises(service, lists)
    processor = service.processor_seconds() - processor
    row = {
        "fault": name,
        "what": " ".join((fault.__doc__ or "").split()),
        "sockets": service.bench.devices,
        "cores": len(os.sched_getaffinity(0)),
        **{name: broken[name] - before[name] * (name != "wrong_final_state") for name in broken},
        "disconnected": service.bench.devices - service.connections(),
        "loaded_torch": sum(p.has_loaded("libtorch") for p in service.processes.values()),
        "updates": len(states),
        "skipped": len(states) * len(logs) - len(delays),
        **measure.quantiles(delays),
        "last_right_s": round(max(rightly) - since, 2) if rightly else None,
        "reconnects": round(connections[-1]),
        "peak_reconnects_per_s": round(float(rates[0].max())),
        "requests": round(asked[-1]),
        "peak_requests_per_s": round(float(rates[1].max())),
        "gateway_cpu_s": round(processor, 2),
        "gateway_cpu_ms_per_connection": round(1000 * processor / service.bench.devices, 2),
        "gateway_mb_per_connection": round(await service.bytes_per_connection() / 1e6, 4),
        "seconds": round(ended - began, 1),
        "note": note,
    }
    return Measured(row, delays, at - service.hit_at, rates[0])


def broken_promises(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each promise that a fault broke."""
    return [
        f"broken under {row['fault']!r}: {row[name]:,} {what}; 0 were promised"
        for row in rows
        for name, what in PROMISES.items()
        if row[name]
    ]


def _promises(service: Service, lists: measure.Lists) -> dict[str, int]:
    newest, applied = service.states[-1], service.count("states_applied")
    return measure.promises(service.shown, newest, lists, applied)
