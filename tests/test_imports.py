"""No package imports upward, and no chain of imports leads from a sealed module to the worlds."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import import_graph, modules_of

PACKAGE = Path(__file__).resolve().parents[1] / "recsys_posttrain"
WORLDS = "recsys_posttrain.worlds"
# Every other module is sealed, so a new one is too. "": the root.
OPEN = ("advise", "api", "cli", "cli_data", "cli_policy", "cli_report", "evaluation", "live")
OPEN += ("export", "histories", "recommendation")
OPEN += ("report", "serve", "stats", "studies", "sweep", "tomorrow", "tracking", "worlds")
OPEN += ("__main__", "")


def order_of(package):
    """The packages and root modules, each after those that it imports.

    Raises: CycleError where two import each other, by whatever way.
    """
    nodes = {}
    for module, named in import_graph(package).items():
        imported = {_node(each) for each in named} - {_node(module)}
        nodes.setdefault(_node(module), set()).update(imported)
    return list(TopologicalSorter(nodes).static_order())


def _node(module):
    """The package below the root one, or the root module itself."""
    return ".".join(module.split(".")[:2])


def test_every_package_imports_only_what_is_below_it():
    order = [name.removeprefix("recsys_posttrain.") for name in order_of(PACKAGE)]
    assert order.index("types") < order.index("data") < order.index("training")
    assert order.index("training") < order.index("studies") < order.index("cli")


def written(folder, texts):
    """A package `made` with these modules."""
    for name, text in {"__init__": "", "inner/__init__": ""}.items() | texts.items():
        path = folder / "made" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "made"


def test_two_packages_that_import_each_other_are_found(tmp_path):
    """Through a module of the root, and in a function."""
    texts = {"root": "import made.high", "high/__init__": "", "inner/low": ""}
    order = order_of(written(tmp_path, texts))
    assert order.index("made.high") < order.index("made.root")
    package = written(tmp_path, {"high/part": "def f():\n    from ..inner import low"})
    assert order_of(package).index("made.inner") < order_of(package).index("made.high")
    with pytest.raises(CycleError):
        order_of(written(tmp_path, {"inner/low": "def f():\n    from made import root"}))


def graph_of(package):
    """What each module imports, and the packages around that, because these are imported first."""
    graph = import_graph(package)
    return {
        name: {above for each in named for above in _with_parents(each)} & graph.keys() - {name}
        for name, named in graph.items()
    }


def _with_parents(name):
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def reachable(start, graph):
    found, waiting = {start}, [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def sealed_modules():
    known = modules_of(PACKAGE)
    found = [name for name in known if [*name.split("."), ""][1] not in OPEN]
    assert {"recsys_posttrain.losses", "recsys_posttrain.training.fit"} <= set(found)
    return found


def test_no_chain_of_imports_leads_to_the_worlds():
    graph = graph_of(PACKAGE)
    for module in sealed_modules():
        assert not {name for name in reachable(module, graph) if name.startswith(WORLDS)}, module
    evaluating = reachable("recsys_posttrain.studies.pipeline", graph)
    assert WORLDS in evaluating, "evaluation does lead there"


def test_the_graph_sees_every_kind_of_import(tmp_path):
    texts = {
        "secret": "",
        "top": "import made.secret",
        "from_": "from made.secret import thing",
        "member": "from made import secret",
        "late": "def f():\n    from made import secret as other",
        "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import made.secret",
        "inner/relative": "from ..secret import thing",
        "inner/sibling": "from . import relative",
        "twice": "import made.inner.sibling",
        "innocent": "import os, json\nfrom made.inner import nothing\nTEXT = 'import made.secret'",
    }
    graph = graph_of(written(tmp_path, texts))
    guilty = {name[5:] for name in graph if "made.secret" in reachable(name, graph)}
    inner = {"inner.relative", "inner.sibling"}
    assert guilty == {"secret", "top", "from_", "member", "late", "typed", "twice"} | inner


def test_nothing_sealed_names_the_worlds_in_a_text():
    """So that importlib cannot be a way around."""
    known = modules_of(PACKAGE)
    for module in sealed_modules():
        for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert WORLDS not in node.value, module
