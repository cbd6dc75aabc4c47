"""The modules of a package, and which of them each one imports."""

import ast
from pathlib import Path

from recsys_posttrain.source_code import Source


def modules_of(package: Path) -> dict[str, Path]:
    """Every module of a package by its full name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(package: Path) -> dict[str, set[str]]:
    """By module of a package, the others that it names in an import, wherever that stands: at the
    top, in a function, for type checks only."""
    known, graph = modules_of(package), {}
    for name, path in known.items():
        source, named = Source(name, path), set()
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            for _, (module, attribute) in source.imported(node):
                inner = f"{module}.{attribute}"
                named.add(inner if inner in known else module)
        graph[name] = {each for each in named if each in known} - {name}
    return graph
