"""What the bench leaves: a table, its rows, the machine, and two figures."""

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from live import measure
from live.redis_server import PERSISTENCE
from live.rows import Measured
from live.service import FLEETS, GATEWAYS, Bench
from recsys_posttrain.config import describe
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.report.figures import LINES, panels, save
from recsys_posttrain.tracking.entries import LIVE

COMMAND = "make live-bench"
SHOWN = {
    "fault": "fault",
    "wrong_final_state": "wrong final state",
    "twice_or_backwards": "twice or backwards",
    "not_their_own": "not their own",
    "disconnected": "no connection",
    "loaded_torch": "can call a model",
    "updates": "updates",
    "skipped": "skipped",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
    "last_right_s": "last right s",
    "reconnects": "reconnects",
    "peak_reconnects_per_s": "peak /s",
    "requests": "requests",
    "peak_requests_per_s": "peak /s",
    "gateway_cpu_s": "gateway CPU s",
    "gateway_mb_per_connection": "MB per connection",
}
CAPTION = (
    "Times: from an update's publication until a device shows it, over all devices and updates of "
    "the fault. The devices share the cores with the service, so their own work is in them. Last "
    "right: seconds from the fault (of sleeping devices: from their waking) or the last update, "
    "whichever is later, until the last device shows that update. Skipped: device and update pairs "
    "that never met; a state replaces the one before it, so nothing is lacking. "
    "Requests: what devices asked of the prefetch server meanwhile, the load that a fault "
    "displaces. Peaks are within one second. CPU and memory are the gateways'; memory is what they "
    "hold beyond their own at their start, by connection. The first five columns must be 0."
)
_TIMES, _CROWD = "time_to_update", "reconnects"
_QUIET_LOAD = 0.5
_CROWDS = ("gateway killed", "all connections cut")


def circumstances() -> dict[str, Any]:
    """What the figures depend on, before the bench adds its load and its files."""
    return {
        "command": COMMAND,
        "commit": git_commit(),
        "versions": package_versions(),
        "machine": _machine(),
    }


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_before": round(os.getloadavg()[0], 1),
        "redis": redis.partition("v=")[2].partition(" ")[0],
        "redis_options": shlex.join(PERSISTENCE),
    }


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    return (
        f"{row['fault']:<20}  p99 {_cell(row['p99_ms']):>9} ms  "
        f"last right {_cell(row['last_right_s']):>6} s  wrong {row['wrong_final_state']}  "
        f"twice {row['twice_or_backwards']}  reconnects/s {row['peak_reconnects_per_s']:>5,}  "
        f"({row['seconds']:.0f} s)"
    )


def write(bench: Bench, before: dict[str, Any], found: Sequence[Measured], folder: Path) -> None:
    """table.md, faults.csv, run.json and the figures as PNG and PDF. before: `circumstances`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [each.row for each in found]
    record = {
        **before,
        "bench": {**describe(bench), "gateways": GATEWAYS, "fleets": FLEETS},
        "rows": rows,
    }
    write_text(folder / LIVE, pd.DataFrame(rows).to_csv(index=False))
    write_text(folder / "table.md", table(bench, before["machine"], rows))
    write_json(folder / "run.json", record)
    for suffix in (".png", ".pdf"):
        draw_times(found, folder / f"{_TIMES}{suffix}")
        draw_reconnects(found, folder / f"{_CROWD}{suffix}")


def table(bench: Bench, machine: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown, and what is needed to judge them."""
    load = machine["load_average_before"]
    busy = ": other work was running, so times are too long" if load > _QUIET_LOAD else ""
    head = (
        f"{bench.devices:,} devices with a socket each, in {FLEETS} processes; {GATEWAYS} "
        f"gateways, a prefetch server, a producer and Redis {machine['redis']} "
        f"(`{machine['redis_options']}`), each a process, on loopback without TLS. "
        f"{machine['cores_used']} of {machine['cores']} cores ({machine['processor']}, "
        f"{machine['memory_gib']} GiB), shared by all of them; load average before: "
        f"{load}{busy}."
    )
    lines = [list(SHOWN.values()), [":--", *["--:"] * (len(SHOWN) - 1)]]
    lines += [[_cell(row[name]) for name in SHOWN] for row in rows]
    notes = [
        f"- **{row['fault']}**: {row['what']}{' (' + row['note'] + ')' if row['note'] else ''}"
        for row in rows
    ]
    figures = [f"![{name.replace('_', ' ')}]({name}.png)" for name in (_TIMES, _CROWD)]
    cells = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([head, cells, CAPTION, "\n".join(notes), *figures]) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,}"


def draw_times(found: Sequence[Measured], path: Path) -> None:
    """Of each fault when 1%, 25%, 50%, 75%, 99% and all of its updates were shown."""
    figure, (axis,) = panels(1, 1, width=7.6, height=1.1 + 0.34 * len(found))
    for place, each in enumerate(reversed(found)):
        delays = pd.Series(each.delays_ms).clip(lower=0.1)
        low, first, middle, third, high = delays.quantile([0.01, 0.25, 0.5, 0.75, 0.99])
        is_first = place == 0
        axis.plot([low, high], [place] * 2, color="#555555", lw=1.2)
        axis.plot([first, third], [place] * 2, color="#9a9a9a", lw=8, solid_capstyle="butt")
        for value, mark, name in (
            (middle, "o", "median"), (high, "|", "99%"), (delays.max(), "x", "last"),
        ):  # fmt: skip
            label = name if is_first else None
            axis.plot(value, place, mark, color="#111111", ms=7, ls="", label=label)
    axis.set_yticks(range(len(found)), [each.row["fault"] for each in reversed(found)])
    axis.set_xlabel("milliseconds from publication to shown (line: 1% to 99%, bar: 25% to 75%)")
    measure.plain_ticks(axis)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    save(figure, path)


def draw_reconnects(found: Sequence[Measured], path: Path) -> None:
    """Reconnects/s after a gateway's death and after that of all."""
    figure, (axis,) = panels(1, 1, width=7.6, height=3.6)
    crowds = [each for each in found if each.row["fault"] in _CROWDS]
    for each, style in zip(crowds, LINES, strict=False):
        label = f"{each.row['fault']}: {each.row['reconnects']:,} reconnects"
        axis.plot(each.seconds, each.reconnects, label=label, lw=1.6, **measure.look(style))
    axis.set(xlabel="seconds after the kill", ylabel="reconnects/s", ylim=(0, None))
    axis.legend(frameon=False)
    save(figure, path)
