"""The code that a result depends on, computed: all that functions and configurations reach by name.

Reached are definitions at the top of a module (a function, a class, a constant), through every name
that they use, within this package and beside the user's own file; other packages have a version
instead (provenance.py). What a reached module does when it is imported counts too. Docstrings,
comments and layout do not count.
"""

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys_posttrain.errors import UserError
from recsys_posttrain.source_code import IMPORTED, Code, Source, Target

PACKAGE = Path(__file__).resolve().parent
_INSTALLED = {"site-packages", "dist-packages"}

# What was read and found, until a file changes.
_sources: dict[Path, tuple[tuple[int, int], Source]] = {}
_edges: dict[tuple[Path, str, bool], list[tuple[Path, str]]] = {}
_digests: dict[tuple[object, ...], str] = {}


def code_digest(
    functions: Collection[object], values: object = (), without: Collection[object] = ()
) -> str:
    """One digest of all that is reached.

    functions: each is called with all of its arguments, so what their defaults name does not count.
    values: configurations. without: functions and classes whose code decides nothing here.

    Errors: UserError for a function or class that was not read from a file.
    """
    _forget_what_changed()
    parts = tuple(definitions_in(values))
    asked = (*functions, None, *parts, None, *without)
    if asked not in _digests:
        found = sorted(reached(functions, parts, without).items())
        text = "\n".join(" ".join([*place, each]) for place, each in found)
        _digests[asked] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _digests[asked]


def reached(
    functions: Collection[object], parts: Collection[object], without: Collection[object]
) -> dict[tuple[str, str], str]:
    """The digest of each definition, by module and name. parts: as of `definitions_in`."""
    left_out = {(source.path, name) for source, name in map(_place, without)}
    waiting = [(*_place(each), True) for each in functions]
    waiting += [(*_place(each), False) for each in parts]
    seen, found = set(), {}
    while waiting:
        source, name, is_called = waiting.pop()
        place = source.path, name, is_called
        if place in seen or place[:2] in left_out or name not in source:
            continue
        seen.add(place)
        found[source.name, name] = source.code(name).digest
        waiting += [(_sources[path][1], other, False) for path, other in _edges_of(*place)]
    return found


def definitions_in(value: Any) -> Iterator[object]:
    """The functions and classes that a configuration is made of."""
    if inspect.isfunction(value):
        yield inspect.unwrap(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in dataclasses.fields(value):
            yield from definitions_in(getattr(value, field.name))
    elif isinstance(value, tuple | list | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from definitions_in(each)


def _place(definition: object) -> tuple[Source, str]:
    """The module of a function or a class, and the name at its top that holds it."""
    module = sys.modules.get(str(getattr(definition, "__module__", None)))
    name = str(getattr(definition, "__qualname__", "")).partition(".")[0]
    source = _find(module.__name__, None) if module is not None else None
    if source is None:
        file = getattr(module, "__file__", None)
        if module is None or file is None or not Path(file).is_file():
            raise UserError(
                f"{definition!r} was not read from a file, so a change of its code could not be "
                "seen: write it into a Python file and import it from there"
            )
        source = _source(module.__name__, Path(file).resolve())
    return source, name


def _edges_of(path: Path, name: str, is_called: bool) -> list[tuple[Path, str]]:
    """Where a definition leads. is_called: with all of its arguments."""
    place = path, name, is_called
    if place not in _edges:
        source = _sources[path][1]
        code = source.code(name)
        names = code.names if is_called else code.names | code.defaults
        _edges[place] = [*_targets(source, code, names), *_imported_with(source)]
    return _edges[place]


def _imported_with(source: Source) -> Iterator[tuple[Path, str]]:
    """What runs when the module is imported: itself, after the packages around it."""
    parts = source.name.split(".")
    for depth in range(1, len(parts)):
        parent = _find(".".join(parts[:depth]), source)
        if parent is not None:
            yield parent.path, IMPORTED
    yield source.path, IMPORTED


def _targets(source: Source, code: Code, names: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """The definitions that these dotted names lead to."""
    for dotted in names:
        head, *rest = dotted.split(".")
        if head in code.imports or head in source.imports:
            module, attribute = code.imports.get(head) or source.imports[head]
            yield from _followed(module, [attribute, *rest] if attribute else rest, source)
        elif head in source:
            yield source.path, head
        else:
            for star in source.stars:
                yield from _followed(star, [head], source)


def _followed(name: str, path: list[str], near: Source) -> Iterator[tuple[Path, str]]:
    """What `path` is in the module `name`: its own definition, one of another module that it
    imports, or a module below. All modules on the way are imported."""
    source = _find(name, near)
    if source is None:
        return
    yield source.path, IMPORTED
    if not path:
        return
    head, *rest = path
    if head in source:
        yield source.path, head
    elif head in source.imports and source.imports[head] != Target(name, head):
        module, attribute = source.imports[head]
        yield from _followed(module, [attribute, *rest] if attribute else rest, source)
    elif _find(f"{name}.{head}", near) is not None:
        yield from _followed(f"{name}.{head}", rest, near)
    else:
        for star in source.stars:
            yield from _followed(star, path, source)


def _find(name: str, near: Source | None) -> Source | None:
    """The module of that name, as `near` would import it; None where it is neither of this package
    nor beside it."""
    top, own = name.partition(".")[0], near.name.partition(".")[0] if near else PACKAGE.name
    if top == PACKAGE.name:
        root = PACKAGE.parent
    elif near is not None and own != PACKAGE.name:
        root = near.root
    else:
        return None
    if top not in (PACKAGE.name, own) and _INSTALLED & set(root.parts):
        return None
    path = root.joinpath(*name.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file in _sources or file.is_file():
            return _source(name, file)
    return None


def _source(name: str, path: Path) -> Source:
    if path not in _sources:
        _sources[path] = (_state(path), Source(name, path))
    return _sources[path][1]


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _forget_what_changed() -> None:
    for path, (state, _) in list(_sources.items()):
        if not path.exists() or _state(path) != state:
            del _sources[path]
            _edges.clear()
            _digests.clear()
