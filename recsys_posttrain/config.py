"""Configuration is a value: frozen dataclasses that describe and digest themselves.

A study consists of plain frozen dataclasses (an algorithm *is* its hyper-parameters). Nothing here
knows which ones exist: `describe` writes any of them as JSON and `digest` names it.
"""

import dataclasses
import hashlib
import inspect
import json
import math
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, get_args, get_type_hints

from recsys_posttrain.errors import UserError


def require(condition: object, sentence: str) -> None:
    """Raises UserError(sentence) unless `condition` holds: for __post_init__ of a configuration."""
    if not condition:
        raise UserError(sentence)


def require_counts(owner: str, low: int, high: int, **counts: int | None) -> None:
    """Raises UserError unless each is a whole number from low to high; None is not given."""
    for name, count in counts.items():
        is_whole = isinstance(count, int) and not isinstance(count, bool)
        require(
            count is None or (is_whole and low <= count <= high),
            f"{owner}: {name}={count!r} must be a whole number from {low:,} to {high:,}.",
        )


def require_above_0(owner: object, *fields: str) -> None:
    """Raises UserError unless each of these fields of a configuration is above 0."""
    for name in fields:
        value = getattr(owner, name)
        require(value > 0, f"{type(owner).__name__}: {name}={value} must be above 0.")


def require_at_least(owner: object, least: float, *fields: str) -> None:
    """Raises UserError for a field of a configuration that is below `least`."""
    for name in fields:
        value = getattr(owner, name)
        require(value >= least, f"{type(owner).__name__}: {name}={value} must be at least {least}.")


# By argument what its object can do, and how to get one.
_KINDS = {
    "algorithm": ("loss", "give one such as rp.ASFT(temperature=0.5)"),
    "backbone": ("build", "give a configuration such as rp.SASRec()"),
    "config": ("build", "give a configuration such as rp.RewardFactors()"),
    "data": ("corpus", "give what rp.load(...) returns"),
    "folder": ("mkdir", 'give a path, as pathlib.Path("runs/mine")'),
    "judge": ("factors", "give the model that rp.train_reward returns first"),
    "logger": ("log_metrics", 'give one of Lightning\'s, such as CSVLogger("logs")'),
    "loss": ("build", "give one such as rp.FullSoftmax()"),
    "policy": ("hidden_states", "give what rp.pretrain returns first"),
    "ranker": ("scores", "give a policy, or rp.Tilt(...).ranker(rp.Given(...))"),
    "reference": ("scores", "give the policy that rp.pretrain returns first"),
    "reward": ("factors", "give the model that rp.train_reward returns first"),
    "seed": ("__index__", "give a whole number"),
    "split": ("minimum_item_ratings", "give one such as rp.LeaveOneOut()"),
    "targets": ("history", "give data.test or data.validation"),
    "thresholds": ("liked", "give rp.Thresholds(liked=4)"),
    "training": ("batches", "give a plan such as rp.Training(steps=100)"),
}


def require_kinds(may_miss: Mapping[str, object] = MappingProxyType({}), **given: object) -> None:
    """Raises UserError for the first argument, by its name, of a wrong kind.

    may_miss: arguments that may be None too.
    """
    for name, value in {**given, **may_miss}.items():
        if value is not None or name in given:
            require_kind(name, value, *_KINDS[name])


def require_trainer(device: str, callbacks: object, policy: Any = None) -> None:
    """Raises UserError for a device that is no word for one, for what are no callbacks, and for a
    policy that is not to be trained."""
    require(
        isinstance(device, str) and re.fullmatch(r"cpu|cuda(:\d+)?", device) is not None,
        f"device={device!r}: give cpu, cuda, or one GPU by its number as cuda:1.",
    )
    fix = "give a list of Lightning's callbacks"
    require_kind("callbacks", callbacks, "__iter__", fix)
    assert hasattr(callbacks, "__iter__")
    for each in callbacks:
        require_kind("one of the callbacks", each, "on_train_batch_end", fix)
    require(
        policy is None or str(policy.item_embedding_VD.dtype) != "torch.bfloat16",
        "policy: its items are in bfloat16, which is for lists; load it without bfloat16_items.",
    )


def require_kind(name: str, value: object, can: str, fix: str) -> None:
    """Raises UserError for a class in place of its object, and for what has no member `can`.

    fix: how to get one, as an imperative.
    """
    if isinstance(value, type):
        raise UserError(f"{name} is the class {value.__name__}, not one of its objects: {fix}.")
    if not hasattr(value, can):
        of = " (rp.pretrain and others return a pair: take its first part)"
        of = of if isinstance(value, tuple) else ""
        raise UserError(f"{name} is of the type {type(value).__name__}{of}: {fix}.")


class NotDescribable(UserError, TypeError):
    """A value that no configuration can hold."""


def describe(value: object) -> Any:
    """`value` as JSON: a dataclass becomes {"class": name, field: ...}, a function its full name.

    Fields with compare=False do not change what is computed and are left out. An integer in a
    float field is written as a float, so that equal values have equal digests.

    Errors: NotDescribable for what has no stable description (a lambda, an array, a set, nan).
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise NotDescribable(
            f"{value!r} cannot be part of a configuration: it is not a finite number"
        )
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: describe(item) for key, item in value.items()}
    if inspect.isfunction(value) and "<" not in value.__qualname__:  # <lambda>, <locals>
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        described: dict[str, Any] = {"class": type(value).__name__}
        for field in dataclasses.fields(value):
            if field.compare:
                item = getattr(value, field.name)
                if type(item) is int and _is_float(annotation_of(type(value), field)):
                    item = float(item)
                described[field.name] = describe(item)
        return described
    raise NotDescribable(
        f"{value!r} of type {type(value).__name__} cannot be part of a configuration: use frozen "
        "dataclasses, functions defined with def at the top of a module, numbers, text and tuples"
    )


def described_value(described: Any, names: Mapping[str, Any]) -> Any:
    """What `describe` wrote down, with the frozen dataclasses that go by these names.

    Errors: UserError for a class that is not among them, or that has other fields by now.
    """
    if isinstance(described, list):
        return tuple(described_value(item, names) for item in described)
    if not isinstance(described, dict):
        return described
    fields = {key: described_value(item, names) for key, item in described.items()}
    kind = names.get(fields.pop("class", None))
    try:
        require(isinstance(kind, type) and dataclasses.is_dataclass(kind), "")
        return kind(**fields)  # type: ignore[misc]
    except (TypeError, UserError):
        raise UserError(f"{described} is nothing that this version knows") from None


def digest(value: object, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON of `value`."""
    canonical = json.dumps(
        describe(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def as_called(value: Any) -> str:
    """A dataclass in short: the fields that differ from their defaults."""
    given = {
        each.name: (getattr(value, each.name), each.default) for each in dataclasses.fields(value)
    }
    words = [f"{name}={at!r}" for name, (at, default) in given.items() if at != default]
    return f"{type(value).__name__}({', '.join(words)})"


def annotation_of(owner: type, field: "dataclasses.Field[Any]") -> Any:
    """The field's type; Any where its annotation names something imported for type checks only."""
    module = sys.modules.get(owner.__module__)
    holder = SimpleNamespace(__annotations__={field.name: field.type})
    try:
        return get_type_hints(holder, vars(module) if module else None)[field.name]
    except NameError:
        return Any


def _is_float(annotation: Any) -> bool:
    kinds = get_args(annotation) or (annotation,)
    return float in kinds and int not in kinds
