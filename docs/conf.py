"""How Sphinx builds the site (`make docs`). Its source is the repository, so links work as on disk.

Pages are docs/*.md, what docs/generate.py writes, and the Markdown pages that lie beside code.
"""

from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
NAVIGATION = {
    "Start": [
        "docs/install",
        "docs/python",
        "docs/study",
        "docs/settings",
    ],
    "Tutorials": [
        "docs/generated/tutorials/own_data",
        "docs/generated/tutorials/new_algorithm",
        "docs/generated/tutorials/noise_and_quality",
        "docs/generated/tutorials/deliver",
    ],
    "Your data": ["docs/data", "docs/table"],
    "Methods": ["docs/choosing", "docs/generated/methods", "recsys_posttrain/algorithms/PAPERS"],
    "Understand": [
        "docs/results",
        "docs/noise",
        "docs/tomorrow",
        "docs/worlds",
        "docs/protocol",
        "docs/statistics",
        "docs/off_policy",
        "docs/reproducing",
        "docs/speed",
        "docs/converging",
        "docs/peers",
    ],
    "Go on": ["docs/sweeps", "docs/machines", "docs/tracking", "docs/recommend", "docs/live"],
    "Reference": ["docs/commands", "docs/generated/commands", "docs/generated/api"],
    "Change it": ["docs/code", "recsys_posttrain/ADDING", "CONTRIBUTING"],
    "When in doubt": ["docs/troubleshooting", "docs/security", "docs/README"],
    "Log": ["experiments/README", "experiments/DESIGN", "benchmarks/NOTES", "CHANGELOG"],
}

project, author, copyright = "recsys-posttrain", "recsys-posttrain", "Apache-2.0"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["README.md", *(f"{page}.md" for pages in NAVIGATION.values() for page in pages)]
include_patterns += ["docs/generated/**", "experiments/results/**.md", "benchmarks/results/**.md"]
HOMES = {
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "experiments",
    "benchmarks",
    "recsys_posttrain",
}
exclude_patterns = [path.name for path in ROOT.iterdir() if path.name not in HOMES]
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
suppress_warnings = ["myst.strikethrough", "myst.header"]
html_theme = "furo"
html_title = "recsys-posttrain"
html_copy_source = False


def add_what_files_lack(_app: Sphinx, name: str, source: list[str]) -> None:
    """The front page is the start of the site; its list of pages is here, not in the file. A table
    of results, which other pages link, has its folder as its title."""
    if name.startswith(("experiments/results/", "benchmarks/results/")):
        title = " / ".join(name.split("/")[2:])
        source[0] = f"---\norphan: true\n---\n\n# {title}\n\n{source[0]}"
    if name == root_doc:
        trees = (
            f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
            + "\n".join(f"/{page}" for page in pages)
            + "\n```"
            for caption, pages in NAVIGATION.items()
        )
        source[0] += "\n\n" + "\n\n".join(trees)


def add_index(app: Sphinx, error: Exception | None) -> None:
    """A site starts at index.html."""
    if error is None:
        page = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_what_files_lack)
    app.connect("build-finished", add_index)
