"""The page: alone, complete, and with the numbers of the rows, also as a browser shows it."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.report import page
from recsys_posttrain.report.cells import Block, Cell, Sheet, headings, read_sheet, write_sheet
from recsys_posttrain.report.page import write_report
from recsys_posttrain.report.render import markdown
from recsys_posttrain.report.study_folder import study_folder

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NOISY = "PPO, item bias 0.6"
SECTIONS = [
    "differences",
    "noise",
    "leaderboard",
    "pairs",
    "cutoffs",
    "way",
    "rewards",
    "tuning",
    "failed",
    "environment",
]


class _Tables(HTMLParser):
    """The text of every cell: tables -> rows -> cells; and the ids of sections."""

    def __init__(self, html):
        super().__init__()
        self.tables = []
        self.sections = []
        self.hidden = 0
        self.links = {}
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.sections += [str(named["id"])] if tag == "section" else []
        if tag == "a" and "download" in named:
            self.links[named["download"]] = named["href"]
        self.hidden += tag == "tr" and "hidden" in named
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def _check_against_rows(html, folder):
    """The answer, the differences and the saved table, and the leaderboard's NDCG@10 and gold,
    against means of the rows."""
    read = _Tables(html)
    _check_answer(html, read, folder)
    table = next(table for table in read.tables if "NDCG@10 all" in str(table[0][1:2]))
    head = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in table[0]]
    means = pd.read_parquet(folder / "rows.parquet").groupby("method").mean(numeric_only=True)
    assert {row[0] for row in table[1:]} == set(means.index)
    for row in table[1:]:
        for column, source in (("NDCG@10 all ↑", "ndcg@10"), ("reward gold@5 ↑", "reward/gold@5")):
            shown = re.match(r"[\d.]+", row[head.index(column)])
            assert shown is not None
            # Half of the last of four digits, and rows of one seed stand for all.
            assert abs(float(shown[0]) - means.loc[row[0], source]) <= 0.5001e-4
    return read


def _check_answer(html, read, folder):
    """Of two seeds each the mean of a user stands for it. Gold comes first, and is the more the
    less a method is trained (study_factory.py), but with two seeds nothing is decided."""
    rows = pd.read_parquet(folder / "rows.parquet")
    gold = rows.pivot_table(index="user_id", columns="method", values="reward/gold@5")
    minus = gold.sub(gold["BC"], axis=0).mean()
    assert minus.idxmax() == "Popularity"
    shown = re.search(
        r"<dt>reward gold@5</dt><dd><strong>Undecided.</strong> No method is shown to be better "
        r"than BC. Nearest: Popularity, (\S+) \[(\S+), (\S+)\] \(p = (\S+)\)",
        html,
    )
    assert shown is not None
    assert float(shown[1]) == pytest.approx(minus["Popularity"], abs=0.5001e-4)
    saved = base64.b64decode(read.links["drawn-table.csv"].partition("base64,")[2])
    table = pd.read_csv(io.BytesIO(saved)).query("column == 'reward gold@5'").set_index("method")
    assert table["mean"].to_dict() == pytest.approx(gold.mean().to_dict(), abs=1e-9)
    seeds = base64.b64decode(read.links["drawn-seeds.csv"].partition("base64,")[2])
    assert b"user_id" not in seeds
    by_seed = pd.read_csv(io.BytesIO(seeds)).set_index(["method", "seed"])["ndcg@10"]
    expected = rows.groupby(["method", "seed"])["ndcg@10"].mean()
    assert by_seed.to_dict() == pytest.approx(expected.to_dict(), abs=1e-12)
    bounds = table.loc["Popularity", ["difference_low", "difference_high"]]
    assert [float(shown[2]), float(shown[3])] == pytest.approx(list(bounds), abs=0.5001e-4)
    assert float(shown[4]) == pytest.approx(table.loc["Popularity", "p_holm"], abs=0.5001e-3)
    forest = next(table for table in read.tables if table[0][-1].startswith("reward gold@5"))
    assert [row[0] for row in forest[1:]] == ["Popularity", "BC", "Pretrained", "PPO"]
    for row in forest[1:2] + forest[3:]:
        found = re.match(r"[-+]\.\d{4}", row[2])
        assert found is not None
        assert float(found[0]) == pytest.approx(minus[row[0]], abs=0.5001e-4)
    drawn = re.findall(r'<td>(\w+)</td><td><svg class="strip".*?cx="([\d.]+)%', html)[:3]
    at = {name: float(x) for name, x in drawn}
    share = (at["Pretrained"] - at["PPO"]) / (at["Popularity"] - at["PPO"])
    spans = [minus[name] - minus["PPO"] for name in ("Pretrained", "Popularity")]
    assert share == pytest.approx(spans[0] / spans[1], abs=0.005)


def test_the_page_has_every_section_and_the_numbers_of_the_rows(finished_study):
    html = page.page(study_folder(finished_study))
    read = _check_against_rows(html, finished_study)
    assert read.sections == SECTIONS
    (failed,) = (table for table in read.tables if table[0][-1] == "reason")
    assert failed[1:] == [["PPO", "", "1", "the loss is not finite"]]
    assert "recsys-posttrain run drawn.py" in html


def test_the_page_is_alone_and_repeats(finished_study):
    """Nothing is fetched: no address in an attribute, and a policy that forbids it."""
    html = page.page(study_folder(finished_study))
    assert html == page.page(study_folder(finished_study))
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", own)
    assert "default-src 'none'" in own
    assert len(html) < 100_000


def test_text_of_a_study_is_text(finished_study):
    table = (finished_study / "table.csv").read_text()
    (finished_study / "table.csv").write_text(table.replace("PPO", "</script>PPO"))
    html = page.page(study_folder(finished_study))
    assert "</script>PPO" not in html


def test_figures_on_paper(finished_study):
    assert write_report(finished_study) == finished_study / "report.html"
    names = {path.name for path in (finished_study / "figures").iterdir()}
    stems = ("leaderboard", "noise_quality", "over_optimisation")
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".pdf", ".png")}
    assert (finished_study / "figures" / "leaderboard.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["noise_vs_quality-jester", "movielens_main-ml-1m"])
def test_published_studies_have_a_page(name):
    """The tables are the published ones; without rows the page says what is missing."""
    html = page.page(study_folder(RESULTS / name))
    read = _Tables(html)
    value = {"noise_vs_quality-jester": "3.955", "movielens_main-ml-1m": ".2028"}[name]
    assert any(cell.startswith(value) for table in read.tables for row in table for cell in row)
    assert ("rows.parquet" in html) == (name == "movielens_main-ml-1m")


def test_published_tables_are_the_cells_beside_them():
    sheets = [
        path
        for name in ("table", "reward_models", "judge", "over_optimisation", "selection")
        for path in RESULTS.glob(f"*/{name}.json")
    ]
    assert len(sheets) > 20
    for path in sheets:
        assert markdown(read_sheet(path)) == path.with_suffix(".md").read_text(), path


def test_rules_that_choose_a_strength_have_a_section_where_they_were_compared(
    finished_study, tmp_path
):
    folder = shutil.copytree(finished_study, tmp_path / "study")
    assert _Tables(page.page(study_folder(folder))).sections == SECTIONS
    block = Block("", headings("rule"), [[Cell("judge")]])
    write_sheet(folder / "selection.json", Sheet("What it got.", [block]))
    read = _Tables(html := page.page(study_folder(folder)))
    assert "selection" in read.sections
    assert [["rule"], ["judge"]] in read.tables
    assert "What it got." in html


def test_faults_of_live_events_have_a_section_where_they_are_given(finished_study, tmp_path):
    (tmp_path / "faults.csv").write_text("fault,p50_ms\nnaught,2.5\n")
    (tmp_path / "x.png").write_bytes(b"picture")
    read = _Tables(html := page.page(study_folder(finished_study), tmp_path))
    assert read.sections == [*SECTIONS[:-1], "live", SECTIONS[-1]]
    assert [["fault", "p50 ms"], ["naught", "2.5000"]] in read.tables
    assert html.count("data:image/png;base64,cGljdHVyZQ==") == 1
    with pytest.raises(UserError, match=r"--live .*figures has no faults.csv"):
        page.page(study_folder(finished_study), finished_study / "figures")


def _opened(path, profile):
    """The page as a browser has it after its scripts ran."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={profile}",
            *("--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the page is not opened")
def test_a_browser_shows_the_page_and_filters_it(finished_study, tmp_path):
    """One family is put away by a click; then only names with a P are asked for."""
    path = write_report(finished_study)
    _check_against_rows(_opened(path, tmp_path / "profile"), finished_study)
    record = json.loads((finished_study / "run.json").read_text())
    families = {"BC": "weighted likelihood", "OfflinePPO": "policy gradient"}
    for run in record["runs"]:
        run["family"] = families[run["algorithm"]["class"]]
    (finished_study / "run.json").write_text(json.dumps(record))
    html = page.page(study_folder(finished_study))
    click = 'document.querySelectorAll(".families button")[1].click()'
    path.write_text(html.replace("</body>", f"<script>{click}</script></body>"))
    opened = _opened(path, tmp_path / "profile")
    assert [re.findall(r'aria-pressed="(\w+)">(weighted|policy)', opened)] == [
        [("true", "weighted"), ("false", "policy")]
    ]
    gone = set(re.findall(r'<tr[^>]*hidden=""[^>]*><td>(.*?)</td>', opened))
    assert gone == {"PPO", NOISY}
    typing = 'search.value = "ppo"; search.dispatchEvent(new Event("input"));'
    path.write_text(html.replace("</body>", f"<script>{typing}</script></body>"))
    opened = _opened(path, tmp_path / "profile")
    gone = set(re.findall(r'<tr[^>]*hidden=""[^>]*><td>(.*?)</td>', opened))
    assert gone == {"Popularity", "Pretrained", "BC"}
