"""A reward, or a signal, as a formula of a log's columns: `1.0*thumbs + 0.5*"watch time"`.

Numbers, names of columns (quoted where they are no plain word), + - * /, parentheses, and the
functions of FUNCTIONS. Parsed, never executed.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError, did_you_mean, nearest

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]

LONGEST = 500  # characters
LARGEST = 1e15  # of a number


def quantile_within(value_E: Floats, group_E: Any) -> Floats:
    """Where each value lies among those of its group, from 0 to 1; ties share their middle. What is
    missing (NaN) stays so, and is no part of a group."""
    found_E = np.full(len(value_E), np.nan)
    is_there_E = ~np.isnan(value_E)
    value_K = value_E[is_there_E]
    group_K = np.unique(group_E[is_there_E], return_inverse=True)[1].ravel()
    order_K = np.lexsort((value_K, group_K))
    sorted_group, sorted_value = group_K[order_K], value_K[order_K]
    size_G = np.bincount(group_K)
    place_K = np.arange(len(value_K)) - (size_G.cumsum() - size_G)[sorted_group]
    is_new_K = (np.diff(sorted_group, prepend=-1) != 0) | (np.diff(sorted_value, prepend=0) != 0)
    tie_K = is_new_K.cumsum() - 1
    middle_K = (np.bincount(tie_K, place_K + 0.5) / np.bincount(tie_K))[tie_K]
    found_K = np.empty(len(value_K))
    found_K[order_K] = middle_K / size_G[sorted_group]
    found_E[is_there_E] = found_K
    return found_E


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
# How many arguments each takes, and what it does.
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "clip": (3, np.clip),
    "log1p": (1, np.log1p),
    "floor": (1, np.floor),
    "fill": (2, lambda value, other: np.where(np.isnan(value), other, value)),
    "quantile_within": (2, quantile_within),
    "quantile_within_user": (1, quantile_within),  # the user is added
}


@dataclass(frozen=True)
class Expression:
    """text: as it was given. what: the option that it was given for, for sentences."""

    text: str
    what: str = "--reward"

    @cached_property
    def _tree(self) -> ast.expr:
        length = len(self.text)
        require(
            length <= LONGEST, f"{self.what} has {length:,} characters; give at most {LONGEST}."
        )
        try:
            tree = ast.parse(self.text.strip(), mode="eval").body
            ast.unparse(tree)  # which an expression that is nested too deeply is not
            return tree
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._refusal("cannot be read") from None

    def _refusal(self, why: str) -> UserError:
        return UserError(
            f"{self.what} {self.text!r} {why}; write numbers, names of columns (one with blanks or "
            f"signs in quotes), + - * /, parentheses and {', '.join(FUNCTIONS)}."
        )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of columns in it, each once, in order. Checks the whole expression."""
        names = tuple(dict.fromkeys(self._names(self._tree)))
        require(names, f"{self.what} {self.text!r} names no column; give one or more.")
        return names

    @cached_property
    def canonical(self) -> str:
        """One text for all ways to write the same expression."""
        return ast.unparse(self._tree)

    def _names(self, node: ast.expr) -> Iterator[str]:
        match node:
            case ast.Name(id=name):
                yield name
            case ast.Constant(value=str(name)):
                yield name.strip()
            case ast.Constant(value=int(number) | float(number)) if not isinstance(number, bool):
                if not abs(number) <= LARGEST:
                    raise self._refusal(f"has a number above {LARGEST:g}")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                yield from self._names(left)
                yield from self._names(right)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                yield from self._names(operand)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    hint = did_you_mean(nearest(name, FUNCTIONS))
                    raise self._refusal(f"calls {name}, which there is not{hint}")
                if len(arguments) != FUNCTIONS[name][0]:
                    raise self._refusal(
                        f"gives {name} {len(arguments)} values, which takes {FUNCTIONS[name][0]}"
                    )
                for each in arguments:
                    yield from self._names(each)
            case _:
                raise self._refusal(f"has {ast.unparse(node)!r}")

    def values(self, columns: Columns, user_E: Any) -> Floats:
        """Of each row; not finite where a value is missing (NaN) or a division is by 0."""
        _ = self.columns  # checks it
        with np.errstate(all="ignore"):
            found = self._value(self._tree, columns, user_E)
        return np.broadcast_to(np.asarray(found, dtype=np.float64), len(user_E)).copy()

    def _value(self, node: ast.expr, columns: Columns, user_E: Any) -> Any:
        match node:
            case ast.Name(id=name):
                return columns[name]
            case ast.Constant(value=str(name)):
                return columns[name.strip()]
            case ast.Constant(value=int(number) | float(number)):
                return np.float64(number)
            case ast.BinOp(left=left, op=op, right=right):
                both = (self._value(each, columns, user_E) for each in (left, right))
                return _OPERATORS[type(op)](*both)
            case ast.UnaryOp(op=op, operand=operand):
                return _OPERATORS[type(op)](self._value(operand, columns, user_E))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                found = [self._value(each, columns, user_E) for each in arguments]
                if name.startswith("quantile"):
                    found = [np.broadcast_to(each, len(user_E)) for each in found]
                return FUNCTIONS[name][1](*found, *([user_E] * (name == "quantile_within_user")))
        raise AssertionError("unreachable: `columns` has checked the tree")

    def check(self, value_E: Floats, columns: Columns, place: Callable[[int], str]) -> None:
        """UserError where a value is not finite. place: of a row, in words."""
        bad_E = ~np.isfinite(value_E)
        if not bad_E.any():
            return
        row = int(bad_E.argmax())
        missing = [name for name in self.columns if math.isnan(columns[name][row])]
        why, fix = "divides by 0 or is too large", "a larger divisor such as clip(x, 1, 1e9)"
        if missing:
            why = f"has nothing in {' and '.join(missing)}"
            fix = f"fill({missing[0]}, 0), where nothing means 0"
        raise UserError(
            f"{self.what} {self.text!r} has no value in {int(bad_E.sum()):,} of {len(bad_E):,} "
            f"rows; {place(row)} {why}: give {fix}, or remove such rows."
        )


def named_expressions(text: str) -> dict[str, Expression]:
    """Of `click, long = watch / duration`: each by its name, a column by its own."""
    whole = Expression(f"f({text})", "--signals")
    call = whole._tree
    if not isinstance(call, ast.Call) or not text.strip():
        raise UserError(
            f"--signals {text!r} is no list; give columns, or formulas with a name, between "
            "commas: click, long=watch/duration."
        )
    pairs = [(each.arg, each.value) for each in call.keywords]
    pairs = [*((_name_of(each), each) for each in call.args), *pairs]
    found: dict[str, Expression] = {}
    for name, node in pairs:
        expression = Expression(ast.unparse(node), "--signals")
        require(
            name,
            f"--signals: the formula {expression.text!r} needs a name: give x={expression.text}.",
        )
        assert name is not None
        require(name not in found, f"--signals names {name} twice; give each once.")
        _ = expression.columns
        found[name] = expression
    return found


def _name_of(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=str(name)):
            return name.strip()
    return None
