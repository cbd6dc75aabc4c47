"""Writes the pages of the site that code and committed results say already, into docs/generated/.

One page for each method and tutorial, the Python names, the commands. `make docs` runs it first.
"""

import ast
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import typer.main
from measured import measured
from typer.testing import CliRunner

import recsys_posttrain as rp
from recsys_posttrain import algorithms, untrained
from recsys_posttrain.cli import app

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TUTORIALS = ("own_data", "new_algorithm", "noise_and_quality", "deliver")  # in reading order
PAPERS = ROOT / "recsys_posttrain" / "algorithms" / "PAPERS.md"
TITLE = re.compile(r"^(Limits|Source|Departures): ", re.MULTILINE)
PARAMETER = re.compile(r"^([a-z][\w\\]*(?:, [a-z][\w\\]*)*|Raises): ", re.MULTILINE)


def methods(package: ModuleType) -> dict[str, type]:
    """Every exported method of `algorithms` or `untrained` by name, without helper classes."""
    names = {name: each for name, each in vars(package).items() if name[:1].isupper()}
    return {
        name: each
        for name, each in names.items()
        if hasattr(each, "loss" if package is algorithms else "ranker")
    }


def method_page(name: str, method: type, papers: dict[str, dict[str, str]]) -> str:
    """Formula, limits, source and departures; row of PAPERS; settings; what was measured."""
    module = sys.modules[method.__module__]
    alone = (
        sum(
            hasattr(each, "ranker") and each.__module__ == module.__name__
            for each in vars(module).values()
        )
        < 2
    )
    text = (inspect.getdoc(module) if alone else inspect.getdoc(method)) or ""
    parts = [f"# {name}", prose(text)]
    if name in papers:
        rows = [f"| {key} | {value} |" for key, value in papers[name].items()]
        parts += ["## In short", "\n".join(["| | |", "|---|---|", *rows])]
    parts += ["## Settings", settings(method, alone), measured(name, "../../..")]
    source = Path(inspect.getfile(method)).relative_to(ROOT)
    parts.append(f"Code: [{source}](../../../{source}).")
    return "\n\n".join(part for part in parts if part) + "\n"


def settings(method: type, with_docstring: bool) -> str:
    """The fields of its class as they stand in the file, defaults and remarks included."""
    source = inspect.getsource(method)
    if not with_docstring:
        source = source.replace(f'    """{method.__doc__}"""\n', "")
    kept: list[str] = []
    for line in source.splitlines():
        if re.match(r"    (@|def )", line):
            break
        if "ClassVar" not in line:
            kept.append(line)
    return f"```python\n{chr(10).join(kept).rstrip()}\n```"


def papers_rows() -> dict[str, dict[str, str]]:
    """Of each class the cells of its row in PAPERS.md by the title of their column."""
    lines = [
        line for line in PAPERS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    head, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return {
        row[0].strip("`"): dict(zip(head[1:], row[1:], strict=True))
        for row in rows
        if "`" in row[0]
    }


def prose(text: str) -> str:
    """A docstring as Markdown: an indented block is a formula, "Limits: ..." is a paragraph."""
    text = TITLE.sub(r"\n**\1:** ", text)
    parts = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("    "):
            parts.append(f"```text\n{inspect.cleandoc(block)}\n```")
        elif PARAMETER.match(block):
            parts.append(PARAMETER.sub(r"- **\1**: ", escaped(block)))
        else:
            parts.append(escaped(block))
    return "\n\n".join(parts)


def escaped(text: str) -> str:
    """Plain text for Markdown; what is in backticks, and **bold**, stays."""
    pieces = re.split(r"(`[^`]*`|\*\*[^*]+\*\*)", text)
    return "".join(
        piece if index % 2 else re.sub(r"([_*<>\[\]~|$\\])", r"\\\1", piece)
        for index, piece in enumerate(pieces)
    )


def api_page() -> str:
    """Every public name that is no method, with its signature and its docstring."""
    parts = ["# Which names does the Python interface have?"]
    parts.append("`import recsys_posttrain as rp`. Methods have a [page each](methods.md).")
    taken = {*methods(algorithms), *methods(untrained)}
    for name in dir(rp):
        if name in taken or name.startswith("_"):
            continue
        each = getattr(rp, name)
        parts += [f"## rp.{name}", f"```python\n{signature(name, each)}\n```"]
        doc = inspect.getdoc(each) or ""
        parts.append("" if doc.startswith(f"{name}(") else prose(doc))
    return "\n\n".join(part for part in parts if part) + "\n"


def signature(name: str, each: object) -> str:
    if inspect.isclass(each) and issubclass(each, Exception):
        return f"class {name}({each.__mro__[1].__name__})"
    assert callable(each)
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(inspect.signature(each)))
    text = re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text).replace("'", "")
    opening = f"{'class' if inspect.isclass(each) else 'def'} {name}{text}"
    return opening if len(opening) <= 100 else re.sub(r", (?=\w+:)", ",\n    ", opening)


def commands_page() -> str:
    """What --help says of every command."""
    parts = ["# What are the options of every command?"]
    for words in command_paths(typer.main.get_command(app)):
        run = CliRunner().invoke(
            app,
            [*words, "--help"],
            prog_name="recsys-posttrain",
            terminal_width=84,  # what the site shows without scrolling
        )
        shown = run.output
        parts += [f"## {' '.join(['recsys-posttrain', *words])}", f"```text\n{shown.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def command_paths(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command, a group before its own."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from command_paths(below, (*path, name))


def write(folder: Path) -> None:
    """All generated pages, in place of those of the last time."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("methods", "tutorials"):
        (folder / name).mkdir(parents=True)
    for name in TUTORIALS:
        page = tutorial_page(HERE / "tutorials" / f"{name}.py")
        (folder / "tutorials" / f"{name}.md").write_text(page, encoding="utf-8")
    papers = papers_rows()
    listed: dict[str, list[str]] = {}
    for package in (untrained, algorithms):
        for name, method in methods(package).items():
            page = method_page(name, method, papers)
            (folder / "methods" / f"{name}.md").write_text(page, encoding="utf-8")
            family = "no training" if package is untrained else method().family
            listed.setdefault(family, []).append(name)
    (folder / "methods.md").write_text(index(listed), encoding="utf-8")
    (folder / "api.md").write_text(api_page(), encoding="utf-8")
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")


def tutorial_page(script: Path) -> str:
    """A script as a page: its docstring and the comments between statements are the text."""
    text = script.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text)) or ""
    title, _, about = doc.partition("\n\n")
    parts = [f"# {title.rstrip('.')}", prose(about)]
    code: list[str] = []
    for block in re.split(r"\n\n+", text.partition('\n"""\n')[2].strip()):
        if all(line.startswith("#") for line in block.splitlines()):
            parts += [*_code(code), re.sub(r"^# ?", "", block, flags=re.MULTILINE)]
            code = []
        else:
            code.append(block)
    return "\n\n".join([*parts, *_code(code)]) + "\n"


def _code(blocks: list[str]) -> list[str]:
    return ["```python\n" + "\n\n".join(blocks) + "\n```"] if blocks else []


def index(listed: dict[str, list[str]]) -> str:
    trees = (
        f"```{{toctree}}\n:caption: {family}\n:maxdepth: 1\n\n"
        + "\n".join(f"methods/{n}" for n in names)
        + "\n```"
        for family, names in listed.items()
    )
    about = "All of them side by side: [PAPERS.md](../../recsys_posttrain/algorithms/PAPERS.md)."
    return "\n\n".join(["# Which methods are there?", about, *trees]) + "\n"


if __name__ == "__main__":
    write(HERE / "generated")
