"""One field of a frozen configuration changed from text: what `--set a.b=0.3` does.

Nothing here knows which configurations exist: a text is read as the type that the field's own
annotation names.
"""

import dataclasses
import inspect
import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from recsys_posttrain.config import annotation_of, require
from recsys_posttrain.errors import UserError, did_you_mean, nearest

Value = TypeVar("Value")

# Metadata of a field whose own fields are set without its name: `a` in place of `inner.a`.
INLINE = {"inline": True}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def override(run: Value, assignment: str) -> Value:
    """`run` with one field changed, e.g. override(run, "algorithm.temperature=0.3").

    The text is read as the type that the field's annotation names. A field that holds a function
    takes the name of another public function of the same module.

    Errors: UserError for an unknown name (with the nearest one) and for a value of another type.
    """
    path, equals, text = assignment.partition("=")
    require(equals and path.strip(), f"--set {assignment}: write it as name=value, e.g. a.b=0.3")
    changed: Value = _replace(run, run, path.strip().split("."), text.strip(), assignment)
    return changed


def _replace(root: Any, value: Any, path: list[str], text: str, assignment: str) -> Any:
    name, *rest = path
    fields = {field.name: field for field in dataclasses.fields(value) if field.init}
    where = f"--set {assignment}: {type(value).__name__}"
    if name not in fields:
        for inline in (each for each in fields.values() if each.metadata.get("inline")):
            current = getattr(value, inline.name)
            if name in {field.name for field in dataclasses.fields(current)}:
                new = _replace(root, current, path, text, assignment)
                return dataclasses.replace(value, **{inline.name: new})
        raise UserError(
            f"{where} has no field {name!r}{suggestion([root], assignment)} "
            f"(its fields: {', '.join(fields) or 'none'})"
        )
    current = getattr(value, name)
    if not rest:
        new = _parse(text, value, fields[name], f"{where}.{name}")
    elif dataclasses.is_dataclass(current):
        new = _replace(root, current, rest, text, assignment)
    else:
        raise UserError(f"{where}.{name} is {_shown(current)} and has no field {rest[0]!r}")
    return dataclasses.replace(value, **{name: new})


def suggestion(roots: Sequence[Any], assignment: str) -> str:
    """`did_you_mean` of the nearest path that can be set in any of `roots`; empty without one.

    A bare name that exists deeper down is found there.
    """
    written = assignment.partition("=")[0].strip()
    paths = list(dict.fromkeys(path for root in roots for path in _paths(root)))
    same_name = [path for path in paths if path.rpartition(".")[2] == written.rpartition(".")[2]]
    if same_name and "." not in written:
        return did_you_mean(same_name[0])
    # posttraning.steps is nearer to one of the two .steps than to the other
    leaves = {path.rpartition(".")[2]: path for path in reversed(paths)}
    return did_you_mean(
        nearest(written, same_name, cutoff=0)
        or nearest(written, paths, cutoff=0.5)
        or leaves.get(nearest(written, leaves), "")
    )


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(value):
        current = getattr(value, field.name)
        if dataclasses.is_dataclass(current) and not isinstance(current, type):
            inner = "" if field.metadata.get("inline") else f"{field.name}."
            yield from _paths(current, prefix + inner)
        elif field.init:
            yield prefix + field.name


def _parse(text: str, owner: Any, field: "dataclasses.Field[Any]", where: str) -> Any:
    current = getattr(owner, field.name)
    annotation = annotation_of(type(owner), field)
    is_optional = type(None) in get_args(annotation)
    if is_optional and text.lower() in ("none", "null"):
        return None
    example = field.default if current is None else current
    if inspect.isfunction(example) or (dataclasses.is_dataclass(example) and callable(example)):
        return _function_beside(example, annotation, text, where)
    if dataclasses.is_dataclass(current):
        names = ", ".join(f"{field.name}.{inner.name}" for inner in dataclasses.fields(current))
        raise UserError(
            f"{where} is {type(current).__name__}(...) and is not set as a whole: set one of its "
            f"fields ({names or 'it has none'}), or change it in the experiment file"
        )
    if annotation is Any and current is not None:
        annotation = type(current)
    try:
        return _as_type(text, annotation)
    except (ValueError, KeyError):
        raise UserError(f"{where} takes {_expected(annotation)}, not {text!r}") from None
    except TypeError:
        raise UserError(
            f"{where} is {_shown(current)} and cannot be set to {text!r} from text: "
            "change it in the experiment file"
        ) from None


def _as_type(text: str, annotation: Any) -> Any:
    """ValueError or KeyError when `text` is not of that type, TypeError when no text can be."""
    kind, arguments = get_origin(annotation), get_args(annotation)
    if annotation is str:
        return text
    if annotation is bool:
        return _TRUTH[text.lower()]
    if annotation is int:
        return int(text)
    if annotation is float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    if kind is Literal:
        return {str(option): option for option in arguments}[text]
    if kind is tuple:
        parts = [part.strip() for part in text.strip("()[]").rstrip(",").split(",")]
        parts = [] if parts == [""] else parts
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(parts)
        return tuple(_as_type(*pair) for pair in zip(parts, arguments, strict=True))
    if kind in (Union, types.UnionType):
        return _first_that_fits(text, [kind for kind in arguments if kind is not type(None)])
    raise TypeError


def _first_that_fits(text: str, annotations: list[Any]) -> Any:
    for annotation in sorted(annotations, key=lambda kind: kind is str):  # text fits anything
        try:
            return _as_type(text, annotation)
        except (ValueError, KeyError, TypeError) as error:
            refusal = error
    raise refusal


def _function_beside(example: Any, annotation: Any, name: str, where: str) -> Any:
    """The function called `name` in the module that defines `example`, or one with parameters, a
    callable dataclass, with its defaults: public, and of the kind that the field asks for."""
    loaded = sys.modules.get(example.__module__)
    module = vars(loaded) if loaded else getattr(inspect.unwrap(example), "__globals__", {})
    wanted = _kind_of(example, annotation)
    fitting = [
        key
        for key, value in module.items()
        if not key.startswith("_")
        and getattr(value, "__module__", None) == example.__module__
        and (inspect.isfunction(value) or _is_callable_dataclass(value))
        and _kind_of(value) == wanted
    ]
    if name not in fitting:
        hint = did_you_mean(nearest(name, fitting))
        choices = ", ".join([*fitting, *(["none"] if type(None) in get_args(annotation) else [])])
        raise UserError(f"{where} has no choice {name!r}{hint} (one of: {choices})")
    chosen = module[name]
    return chosen if inspect.isfunction(chosen) else chosen()


def _is_callable_dataclass(value: Any) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value) and "__call__" in vars(value)


def _kind_of(function: Any, annotation: Any = None) -> list[Any]:
    """The types that a function takes and what it returns; of a field, those of its Callable[...].

    A callable dataclass, or a value of one, is a function.
    """
    for option in (annotation, *get_args(annotation)):
        if get_origin(option) is Callable and isinstance(get_args(option)[0], list):
            return [*get_args(option)[0], get_args(option)[1]]
    called = function if inspect.isfunction(function) else function.__call__
    called = vars(function)["__call__"] if isinstance(function, type) else called
    try:
        hints = get_type_hints(called)
    except NameError:  # something that is imported for type checks only
        hints = dict(called.__annotations__)
    return list(hints.values())


def _expected(annotation: Any) -> str:
    kind, arguments = get_origin(annotation), get_args(annotation)
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
    if kind is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if kind is tuple and arguments[-1] is Ellipsis:
        return f"a comma-separated list, each {_expected(arguments[0])}"
    if kind is tuple:
        return f"{len(arguments)} comma-separated values ({', '.join(map(_expected, arguments))})"
    if kind in (Union, types.UnionType):
        return " or ".join("none" if kind is type(None) else _expected(kind) for kind in arguments)
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _shown(value: Any) -> str:
    return value.__name__ if inspect.isfunction(value) else repr(value)
