"""One Python file, read for `closure`: its definitions, the names in each, and its imports."""

import ast
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

IMPORTED = ""  # names what a module does when it is imported


class Target(NamedTuple):
    """What an import names: a module, or something in it."""

    module: str
    attribute: str | None


class Code(NamedTuple):
    """names: dotted, as written. defaults: those that only a function's own defaults use. imports:
    those inside, by the name that they give."""

    digest: str
    names: frozenset[str]
    defaults: frozenset[str]
    imports: dict[str, Target]


class Source:
    """name: of the module, dotted. root: the folder where its absolute imports are looked for."""

    def __init__(self, name: str, path: Path) -> None:
        is_package = path.name == "__init__.py"
        self.name, self.path = name, path
        self.root = path.parents[name.count(".") + is_package]
        self.tree = _parsed(path)
        self.imports: dict[str, Target] = {}
        self.stars: list[str] = []
        self._package = name if is_package else name.rpartition(".")[0]
        self._statements: dict[str, list[ast.stmt]] = {IMPORTED: []}
        self._code: dict[str, Code] = {}
        for statement in self.tree.body:
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        for name in _defined(statement):
            self._statements.setdefault(name, []).append(statement)
        if not _only_defines(statement):
            self._statements[IMPORTED].append(statement)
        is_block = isinstance(statement, ast.If | ast.Try)
        for node in ast.walk(statement) if is_block else [statement]:
            for name, target in self.imported(node):
                if name == "*":
                    self.stars.append(target.module)
                else:
                    self.imports[name] = target

    def imported(self, node: ast.AST) -> Iterator[tuple[str, Target]]:
        """The names that an import statement gives, and what they are."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, Target(alias.name if alias.asname else top, None)
        elif isinstance(node, ast.ImportFrom):
            parts = self._package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, Target(module, alias.name)

    def __contains__(self, name: str) -> bool:
        return name in self._statements

    def code(self, name: str) -> Code:
        if name not in self._code:
            reader = _Reader(self)
            for statement in self._statements[name]:
                reader.read(statement, is_top=True)
            self._code[name] = reader.code()
        return self._code[name]


def _parsed(path: Path) -> ast.Module:
    """Without collecting garbage on the way, which takes four times as long as parsing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    finally:
        if was_enabled:
            gc.enable()


def _defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a module gives a value."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            yield from (each.id for each in parts if isinstance(each, ast.Name))
    elif isinstance(statement, ast.If | ast.Try) and not _is_main(statement):
        for inner in _inner(statement):
            yield from _defined(inner)


def _only_defines(statement: ast.stmt) -> bool:
    """Nothing but definitions; or an import (what its module does counts where it is reached), a
    text, the main part of a script."""
    match statement:
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            return any(_defined(statement))
        case ast.If() | ast.Try():
            return _is_main(statement) or all(map(_only_defines, _inner(statement)))
        case ast.Expr():
            return isinstance(statement.value, ast.Constant)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)


def _inner(statement: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.ExceptHandler):
            yield from child.body
        elif isinstance(child, ast.stmt):
            yield child


def _is_main(statement: ast.stmt) -> bool:
    """if __name__ == "__main__": what a script does when it is no module."""
    match statement:
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


class _Reader:
    """Reads statements node by node: a text for the digest, and the names in them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: list[str] = []
        self._names: set[str] = set()
        self._defaults: set[str] = set()
        self._imports: dict[str, Target] = {}

    def code(self) -> Code:
        found = hashlib.sha256("\x1f".join(self._parts).encode()).hexdigest()
        names = frozenset(self._names)
        return Code(found, names, frozenset(self._defaults) - names, self._imports)

    def read(self, node: ast.AST, is_top: bool = False) -> None:
        self._parts.append(node.__class__.__name__)
        if isinstance(node, ast.Name | ast.Attribute):
            self._names.add(_dotted(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._imports.update(self._source.imported(node))
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            self._parts.append(name)
            if name == "body" and isinstance(value, list):
                value = [each for each in value if not _is_text(each)]
            if is_top and isinstance(value, ast.arguments):
                self._read_apart(value)
            elif isinstance(value, ast.AST):
                self.read(value)
            elif isinstance(value, list):
                for each in value:
                    self.read(each) if isinstance(each, ast.AST) else self._parts.append(repr(each))
                self._parts.append("]")
            else:
                self._parts.append(repr(value))

    def _read_apart(self, arguments: ast.arguments) -> None:
        """The defaults, whose names are kept apart, and the rest."""
        names, self._names = self._names, set()
        for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.read(default)
        self._defaults |= self._names
        self._names = names
        rest: list[Any] = [arguments.vararg, arguments.kwarg]
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest):
            if each is not None:
                self.read(each)


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _dotted(node: ast.expr) -> str:
    """a.b.c, where it starts with a name; nothing otherwise."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
