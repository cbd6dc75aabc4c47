"""What a repository has beside its code: one version everywhere, templates, a container's build."""

import configparser
import re

import yaml
from doc_pages import ROOT, text_of

VERSION = re.compile(r"^## (\d+\.\d+\.\d+) - (unreleased|\d{4}-\d\d-\d\d)$", re.MULTILINE)


def test_changelog_metadata_and_citation_have_one_version():
    """Only the newest section may be without a date, and the newest comes first."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    changelog = text_of(ROOT / "CHANGELOG.md")
    sections = VERSION.findall(changelog)
    assert len(sections) == len(re.findall(r"^## ", changelog, re.MULTILINE))
    versions = [tuple(map(int, version.split("."))) for version, _ in sections]
    assert versions == sorted(versions, reverse=True)
    assert "unreleased" not in [date for _, date in sections[1:]]
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert citation["version"] == config["metadata"]["version"] == sections[0][0]
    assert citation["license"] == config["metadata"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= {*citation}


def test_issue_templates_are_forms_with_a_question_each():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 4
    for form in forms:
        content = yaml.safe_load(text_of(form))
        if form.name == "config.yml":
            assert content == {"blank_issues_enabled": True}
            continue
        assert {"name", "description", "body"} <= {*content}, form.name
        names = [field["id"] for field in content["body"]]
        assert len(names) == len({*names})
        for field in content["body"]:
            assert field["type"] in ("textarea", "input")
            assert field["attributes"]["label"]


def test_the_container_is_built_by_the_two_commands_of_the_front_page():
    text = text_of(ROOT / "Containerfile")
    front = re.findall(r"^make (\w+) +#", text_of(ROOT / "README.md"), re.MULTILINE)[:2]
    built = re.findall(r"make (\w+) PIP_ARGS", text)
    assert {*front} == {*built} == {"benchmark", "test"}
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "CMD", "ENV"}
    words = [line.split()[0] for line in text.splitlines() if line and line[0] not in "# "]
    assert {*words} <= known
    image = re.search(r"^FROM python:(3\.\d+)-slim$", text, re.MULTILINE)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    low, high = re.findall(r"3\.(\d+)", config["options"]["python_requires"])
    assert int(low) <= int(image[1].partition(".")[2]) < int(high)
