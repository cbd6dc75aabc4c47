"""The site of the documentation: what is generated is complete and true, and it builds."""

import ast
import re
import subprocess
import sys

import pytest
import typer.main
from doc_pages import DOCS, ROOT, table, text_of

import recsys_posttrain as rp
from recsys_posttrain import algorithms, untrained
from recsys_posttrain.cli import app


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The pages, written anew by the script that `make docs` runs."""
    folder = tmp_path_factory.mktemp("site") / "generated"
    code = f"import pathlib, generate; generate.write(pathlib.Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs", check=True)
    return folder


def test_every_method_has_a_page_and_stands_in_the_index(generated):
    names = {n for home in (algorithms, untrained) for n in vars(home) if n[:1].isupper()}
    names -= {"Given"}
    pages = {page.stem for page in (generated / "methods").glob("*.md")}
    assert names == pages
    index = text_of(generated / "methods.md")
    assert {*re.findall(r"^methods/(\w+)$", index, re.MULTILINE)} == names


def test_a_page_has_formula_source_settings_and_measured_rows(generated):
    page = text_of(generated / "methods" / "OfflinePPO.md")
    assert page.startswith("# OfflinePPO\n")
    for part in (
        "```text\nloss = ",
        "**Limits:** ",
        "**Source:** the surrogate is PPO's, arXiv 1707.06347",
    ):
        assert part in page, part
    assert "| stronger | `kl_coefficient` ↓ |" in page
    assert re.search(r"^    clip: float = 0\.2", page, re.MULTILINE)
    rows = {row[0]: row[1:] for row in table(page, "| method | KL 0.01")}
    assert rows["OfflinePPO"][2] == "+.1256† ±.0055"
    assert rows["Tilt"][2] == "**+.1451** ±.0054"
    biased = table(page.partition("are added to the reward model")[2], "|  | level 0 |")
    assert [row[3] for row in biased if row[0] == "OfflinePPO"] == ["3.531 ±0.040 (do nothing)"]
    ours = table(page, "| method | NDCG@10 all")
    assert ours[0] == [
        "method",
        *(f"NDCG@10 {s}" for s in ("all ↑", "liked ↑", "disliked ↓")),
        "reward proxy@10 ↑",
    ]
    assert [row[0] for row in ours[2:]] == ["Pretrained", "Tilt", "BC", "OfflinePPO"]


def test_a_page_names_nothing_that_was_not_measured(generated):
    assert "What was measured" not in text_of(generated / "methods" / "ExactPPO.md")
    assert "reward proxy@10" in text_of(generated / "methods" / "Tilt.md")


def test_the_reference_has_every_name_and_every_option(generated):
    headings = re.findall(r"^## rp\.(\w+)$", text_of(generated / "api.md"), re.MULTILINE)
    methods = {page.stem for page in (generated / "methods").glob("*.md")}
    assert len(headings) > 30
    assert {*headings} | methods == {name for name in dir(rp) if not name.startswith("_")}
    sections = text_of(generated / "commands.md").split("\n## recsys-posttrain")[1:]
    by_name = {section.partition("\n")[0].strip(): section for section in sections}

    usage, _, listed = by_name[""].partition("Commands:\n")
    assert "Usage: recsys-posttrain [OPTIONS]" in usage
    assert "doctor" in listed
    assert "..." not in listed, "a summary that a terminal cuts"

    def check(command, path):
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("--") or option in by_name[path], (path, option)
        for name, below in getattr(command, "commands", {}).items():
            check(below, f"{path} {name}".strip())

    check(typer.main.get_command(app), "")


def _navigation():
    """As docs/conf.py has it, which needs Sphinx."""
    text = text_of(ROOT / "docs" / "conf.py")
    literal = re.search(r"^NAVIGATION = (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    return [page for pages in ast.literal_eval(literal[1]).values() for page in pages]


def test_every_page_is_in_the_navigation_once():
    pages = _navigation()
    assert len(pages) == len({*pages})
    written = {f"docs/{page.stem}" for page in DOCS}
    assert {page for page in pages if re.fullmatch(r"docs/\w+", page)} == written
    others = [page for page in pages if not page.startswith("docs/")]
    assert [page for page in others if not (ROOT / f"{page}.md").is_file()] == []


def test_the_site_builds_without_a_warning(generated, tmp_path):
    """A link that leads nowhere is a warning, and a warning is an error."""
    python = ROOT / ".venv-docs" / "bin" / "python"
    if not (ROOT / ".venv-docs" / ".stamp").exists():
        pytest.skip("make docs was not run, so there is no Sphinx in .venv-docs")
    subprocess.run([sys.executable, "docs/generate.py"], cwd=ROOT, check=True)
    words = [
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-n",
        "-c",
        "docs",
        "-d",
        str(tmp_path / "tree"),
        ".",
    ]
    done = subprocess.run(
        [python, *words, str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    start = text_of(tmp_path / "site" / "README.html")
    assert 'href="docs/generated/methods.html"' in start
