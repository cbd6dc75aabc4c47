"""Shared by the tests of what is written: pages, code blocks, tables, the words in backticks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "recsys_posttrain"
README, ADDING = ROOT / "README.md", PACKAGE / "ADDING.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ADDING, ROOT / "CONTRIBUTING.md", *DOCS]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def name_of(page):
    return str(page.relative_to(ROOT))


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, kind):
    """Its fenced blocks of this language; "" for those without one."""
    return [text for language, text in FENCE.findall(text_of(page)) if language == kind]


def spans(page):
    """What stands in the text between backticks, on one line each."""
    return [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text_of(page)))
    ]


def table(text, start):
    """Rows of cells of the first Markdown table whose first line begins so, that line included."""
    lines = text[text.index(start) :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
