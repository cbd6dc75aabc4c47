"""No package imports upward: a package is built on those below it, and on nothing else."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import import_graph

PACKAGE = Path(__file__).resolve().parents[1] / "recsys_posttrain"


def order_of(package: Path) -> list[str]:
    """The packages and root modules, each after those that it imports.

    Raises: CycleError where two import each other, by whatever way.
    """
    nodes: dict[str, set[str]] = {}
    for module, named in import_graph(package).items():
        imported = {_node(each) for each in named} - {_node(module)}
        nodes.setdefault(_node(module), set()).update(imported)
    return list(TopologicalSorter(nodes).static_order())


def _node(module: str) -> str:
    """The package below the root one, or the root module itself."""
    return ".".join(module.split(".")[:2])


def test_every_package_imports_only_what_is_below_it() -> None:
    order = [name.removeprefix("recsys_posttrain.") for name in order_of(PACKAGE)]
    assert order.index("types") < order.index("data") < order.index("training")
    assert order.index("training") < order.index("studies") < order.index("cli")


@pytest.mark.parametrize(
    ("low", "high", "is_cycle"),
    [
        ("", "import pack.low.part", False),
        ("from pack.high import part", "from pack.low import part", True),
        ("def f():\n    from pack import root", "from ..low.part import f", True),
        ("import pack.root", "from pack.root import x", False),
    ],
)
def test_a_cycle_is_found_wherever_the_imports_stand(
    low: str, high: str, is_cycle: bool, tmp_path: Path
) -> None:
    """`root` imports `high`, so `low` must import neither."""
    package = tmp_path / "pack"
    root = "" if "pack.root" in low else "import pack.high.part"
    for name, text in (("low/part", low), ("high/part", high), ("root", root), ("__init__", "")):
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for inner in ("low", "high"):
        (package / inner / "__init__.py").write_text("")
    if is_cycle:
        with pytest.raises(CycleError):
            order_of(package)
    else:
        assert {"pack.low", "pack.high", "pack.root"} <= set(order_of(package))
