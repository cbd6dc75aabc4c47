"""Counters as the text that Prometheus reads."""

from collections.abc import Mapping


def prometheus(values: Mapping[str, float]) -> bytes:
    """One line per value, in order of name. A name may carry labels: 'requests{status="200"}'."""
    lines = [f"live_{name} {values[name]}\n" for name in sorted(values)]
    return "".join(lines).encode()
