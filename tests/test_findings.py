"""The findings page says what the committed results say, and nothing else."""

import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from doc_pages import ROOT, text_of

sys.path.insert(0, str(ROOT / "docs"))
import findings_claims
import findings_page
from findings import RESULTS, Refuted, Results, claim, listed, plain

RESULTS_PAGE = ROOT / "docs" / "results.md"
FOLDERS = sorted({name for _, name in findings_page.FINDINGS})
FILES = ("table.csv", "equal_kl.csv", "pairs.csv", "selection.csv", "rows.parquet")
FILES += ("frontier.csv", "validation.csv", "strengths.csv")
CLAIMS = [(each, findings_page.CLAIMS_OF) for each in findings_claims.CLAIMS]


@pytest.fixture
def copied(tmp_path):
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        for file in files_of(name):
            shutil.copy(RESULTS / name / file, tmp_path / name / file)
    return tmp_path


def files_of(name):
    return [file for file in FILES if (RESULTS / name / file).exists()]


def test_the_page_is_what_the_results_give():
    page = text_of(ROOT / "docs" / "results.md")
    assert page == findings_page.written(page, RESULTS)
    assert page.index(findings_page.MARKS[0]) < 1_500, "first on the page"


@pytest.mark.parametrize(
    ("finding", "name"),
    [*findings_page.FINDINGS, *CLAIMS],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_no_finding_outlives_its_rows(copied, finding, name):
    """With other rows in a file that it reads, its sentences are refuted or its figures change; and
    every figure of it comes from a file."""
    before = finding(Results(name, copied))
    folders = FOLDERS if (finding, name) in CLAIMS else [name]
    read = [
        (folder, file)
        for folder in folders
        for file in files_of(folder)
        if _differs(finding, name, copied, copied / folder / file, before)
    ]
    assert read, "it reads none of the files"
    figures = re.findall(r"[+-]?\d*\.\d+", re.sub(r"\]\(.*?\)", "", str(before)))
    assert len(figures) > (0 if (finding, name) in CLAIMS else 2)


def _differs(finding, name, root, path, before):
    """Whether the finding notices that all numbers of a file are others."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    kept = (
        {"seed", "user", "level", "kl"}
        if path.name != "rows.parquet"
        else {"seed", "user", "level"}
    )
    numbers = [each for each in frame.select_dtypes("number") if each not in kept]
    turned = frame.assign(**{each: -1.5 * frame[each].to_numpy()[::-1] for each in numbers})
    if path.suffix == ".parquet":
        turned.to_parquet(path)
    else:
        turned.to_csv(path, index=False)
    try:
        return finding(Results(name, root)) != before
    except (Refuted, KeyError):  # or a row that it needs is gone
        return True
    finally:
        shutil.copy(RESULTS / path.parent.name / path.name, path)


def test_the_means_of_the_tables_follow_from_the_published_rows():
    """With pandas alone, as publish.py says."""
    by = ["place", "kind", "level", "method", "strength"]
    worlds = [name for name in FOLDERS if "rows.parquet" in files_of(name)]
    assert len(worlds) == 3, "rows of people are not published, those of worlds are"
    for name in worlds:
        rows = pd.read_parquet(RESULTS / name / "rows.parquet")
        means = rows.groupby(by)["reward/gold@5"].mean()
        table = Results(name).table
        of_lists = table[table["column"] == "true reward of the top 5"].set_index(by)["mean"]
        assert means.index.isin(of_lists.index).all()
        assert len(means) > 20
        np.testing.assert_allclose(means, of_lists[means.index], atol=1e-4, rtol=0)


def test_the_snippets_of_the_page_run_as_printed(capsys, monkeypatch):
    """Means, an interval, and a gain at equal KL: those of the committed tables."""
    snippets = re.findall(r"```python\n(.*?)```", text_of(RESULTS_PAGE), re.DOTALL)
    assert len(snippets) == 3
    monkeypatch.chdir(ROOT)
    names, printed = {}, []
    for snippet in snippets:
        exec(snippet, names)
        printed.append(capsys.readouterr().out)
    lists = names["rows"].groupby(names["by"])["reward/gold@5"].mean()
    shown = dict(re.findall(r"(\w+) .*?(\d\.\d+)$", printed[0], re.MULTILINE))
    assert float(shown["KTO"]) == pytest.approx(lists.xs("KTO", level="method").iloc[0], abs=1e-5)
    field = Results(findings_page.JESTER)
    tilt = field.at().loc["Tilt"]  # BC, the control, did nothing
    difference, half = map(float, re.findall(r"\d\.\d+", printed[1]))
    assert difference == pytest.approx(tilt["difference"], abs=1e-3)
    assert half == pytest.approx((tilt["difference_high"] - tilt["difference_low"]) / 2, abs=1e-3)
    assert float(printed[2]) == pytest.approx(
        field.gains("reward gold", 0.1).at["Tilt", "gain"], abs=1e-3
    )


def test_a_refuted_sentence_stops_the_page(capsys, monkeypatch, tmp_path):
    claim(True, "so it is")
    with pytest.raises(Refuted, match="no longer say: so it is"):
        claim(False, "so it is")

    def refuted(_):
        raise Refuted("the committed results no longer say: x")

    monkeypatch.setattr(findings_page, "FINDINGS", ((refuted, FOLDERS[0]),))
    before = text_of(ROOT / "docs" / "results.md")
    assert findings_page.main() == 1
    assert "no longer say: x" in capsys.readouterr().err
    assert text_of(ROOT / "docs" / "results.md") == before


def test_numbers_as_the_page_prints_them():
    assert [plain(x) for x in (0.1234, -0.05, 3.5, 0.0)] == [".123", "-.050", "3.500", ".000"]
    assert plain(0.5, "+.2f") == "+.50"
    assert listed(["A"]) == "`A`"
    assert listed(["A", "B", "C"]) == "`A`, `B` and `C`"
