"""The front page is short, and what it claims stands in the committed results that it names."""

import importlib.util
import json
import re
import sys
import textwrap
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from doc_pages import PACKAGE, README, ROOT, blocks, table, text_of

import recsys_posttrain as rp
from recsys_posttrain import algorithms

sys.path.insert(0, str(ROOT / "docs"))
from findings import Results, trained
from findings_ml_1m import leads_over

RESULTS = ROOT / "experiments" / "results"
NUMBER = re.compile(r"(?<![\w.])\d*\.\d{3,4}\b")


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_front_page_is_short():
    assert len(text_of(README).splitlines()) < 200
    (snippet,) = blocks(README, "python")
    indented = rp.__doc__.partition("    ")[2].partition("\n\nNames")[0]
    assert snippet == textwrap.dedent(f"    {indented}\n"), "the package's docstring shows it too"
    assert len([line for line in snippet.splitlines() if line]) <= 11


def _numbers(text):
    return {number.lstrip("0") for number in NUMBER.findall(text)}


def test_every_figure_of_the_advice_stands_in_the_file_that_its_row_links():
    rows = table(text_of(README), "| your situation")[2:]
    assert len(rows) > 5
    checked = 0
    for situation, _method, evidence in rows:
        links = [ROOT / each for each in re.findall(r"\]\(([^)]+\.md)\)", evidence)]
        theirs = {number for link in links for number in _numbers(text_of(link))}
        ours = _numbers(evidence)
        assert ours <= theirs, (situation, ours - theirs)
        checked += len(ours)
    assert checked > 15


def test_the_best_trained_method_of_the_advice_is_the_best_of_its_table():
    """In expected true reward at KL .1 on Jester, and in lists of five."""
    folder = RESULTS / "whole_field-jester-full-seeds"
    at_kl = table(text_of(folder / "equal_kl.md"), "| method | KL 0.01 |")
    place = at_kl[0].index("KL 0.1")
    gains = {
        row[0]: re.sub(r"[*+†]| ±.*", "", row[place]) for row in at_kl[2:] if "±" in row[place]
    }
    best = max((gain for name, gain in gains.items() if name != "Tilt"), key=Decimal)
    lists = {
        row[0]: row[1].split()[0].rstrip("†")
        for row in table(text_of(folder / "table.md"), "|  | value")[2:]
    }
    listed = max(lists[name] for name in lists if name.partition("(")[0] in vars(algorithms))
    page = text_of(README)
    assert f"+{gains['Tilt']} ±.0054, the best trained method +{best} (" in page
    assert f"{lists['ItemMean']}, `Tilt` {lists['Tilt']}, trained methods {listed} at most" in page


def test_what_no_trained_method_beats():
    """The rivals of the first screen: in Jester by value, on MovieLens after correction."""
    at = Results("whole_field-jester-full-seeds").at()["mean"]
    values = [at["BC"], max(at[trained(at.index)]), at["ItemMean"], at["Tilt"]]
    assert values == sorted(values)
    assert f"{at['Pretrained']:.3f}" == f"{at['BC']:.3f}"
    page = " ".join(text_of(README).split())
    said = (
        "worth {:.3f} stars before training and with tuned BC, {:.3f} with the best trained "
        "method, {:.3f} by the mean reward of each item, and {:.3f} with the tilt"
    )
    assert said.format(*values) in page
    at = Results("whole_field-semi-ml-100k-full-seeds").at()["mean"]
    values = [max(at[trained(at.index)]), at["BC"], at["ItemMean"], at["Tilt"]]
    assert max(values[:2]) < min(values[2:])
    said = (
        "training pays, {:.3f} against {:.3f} of tuned BC, and is behind the item mean ({:.3f}) "
        "and the tilt ({:.3f}) too"
    )
    assert said.format(*values) in page
    for folder in ("movielens_main-ml-100k", "movielens_main-ml-1m"):
        study = Results(folder)
        for rival, column in (("BC", "all"), ("BC", "liked"), ("Tilt", "liked")):
            leads = leads_over(study, rival, f"NDCG@10 {column}")
            assert len(leads) >= 25
            assert not ((leads["difference"] > 0) & (leads["p_holm"] <= 0.05)).any()
        of_all = study.table[study.table["column"] == "NDCG@10 all"].set_index("method")["mean"]
        assert of_all["ItemMean"] < of_all["Pretrained"] / 10


def test_what_the_rules_chose_is_of_the_semi_synthetic_world():
    chosen = pd.read_csv(RESULTS / "whole_field-semi-ml-100k-full-seeds" / "selection.csv")
    of_ppo = chosen[chosen["method"] == "OfflinePPO"].set_index("rule")["mean"]
    judge, own = of_ppo["judge"], of_ppo["NDCG@10 liked"]
    said = f"OfflinePPO: {judge:.3f} at the judge's choice, {own:.3f}, as before training"
    assert said in text_of(README)


def test_no_trained_method_is_separated_from_the_tilt_and_the_pretrained_policy():
    pairs = pd.read_csv(RESULTS / "movielens_main-ml-100k" / "pairs.csv")
    names = pairs[["method", "other"]]
    is_trained = names.map(lambda name: name.partition("(")[0] in vars(algorithms)).any(axis=1)
    found = pairs[
        (pairs["column"] == "NDCG@10 all")
        & is_trained
        & names.isin(["Tilt", "Pretrained"]).any(axis=1)
    ]
    assert len(found) > 40
    assert (found["p_holm"] > 0.05).all()


def test_every_method_is_listed_with_the_paper_of_its_row():
    listed = dict(table(text_of(README), "| family | methods |")[2:])
    named = [name for cell in listed.values() for name in re.findall(r"`(\w+)`", cell)]
    assert len(named) == len({*named})
    assert {*named} >= {name for name in vars(algorithms) if name[:1].isupper()}
    papers = text_of(PACKAGE / "algorithms" / "PAPERS.md")
    for cell in listed.values():
        for part in cell.split(", `"):
            names, numbers = re.findall(r"(\w+)`", part), re.findall(r"\d{4}\.\d{5}", part)
            rows = [
                line
                for name in names
                for line in papers.splitlines()
                if line.startswith(f"| `{name}` ")
            ]
            assert all(number in row for row in rows for number in numbers), part
    for family, cell in listed.items():
        for name in re.findall(r"`(\w+)`", cell):
            assert getattr(getattr(rp, name)(), "family", "no training") == family, name


def measured_speed():
    measured = json.loads(text_of(ROOT / "benchmarks" / "results" / "peers.json"))
    names = "events_per_second_median", "recommend_seconds_median"
    return measured["ratios"], *(measured[name] for name in names)


def test_speed_is_the_measured_one():
    _, events, seconds = measured_speed()
    keys = {"ours": "ours-64", "RecTools 0.19.0": "rectools", "RePlay 0.22.0": "replay"}
    rows = {row[0]: row[1:] for row in table(text_of(README), "| | training, real events/s")[2:]}
    for name, key in keys.items():
        assert rows[name] == [f"{events[key]:,}", f"{seconds[key]:.2f}"], name


def test_each_peer_stands_beside_ours_of_its_architecture():
    keys = (
        *(("rectools", "ours-64"), ("rectools-fast", "ours"), ("rectools-gbce", "ours-gbce")),
        *(("rectools-hstu", "ours-hstu"), ("replay", "ours-64"), ("replay-buckets", "ours-64")),
        ("recbole", "ours-64"),
    )
    ratios, events, seconds = measured_speed()

    def ratio(kind, peer, ours):
        found = ratios[kind][f"{ours} to {peer}"]
        values = [found["median_of_pairs"], *found["interval_of_pairs"]]
        digits = 0 if values[0] > 10 else 1
        return "{} [{}, {}]".format(*(f"{value:.{digits}f}" for value in values))

    rows = table(text_of(ROOT / "docs" / "speed.md"), "| | training, real events/s")[2:]
    for (peer, ours), row in zip(keys, rows, strict=True):
        expected = [f"{events[peer]:,}", f"{events[ours]:,}", ratio("train", peer, ours)]
        assert row[1:4] == expected, peer
        if peer in seconds:
            expected = [f"{seconds[peer]:.2f}", f"{seconds[ours]:.2f}"]
            assert row[4:] == [*expected, ratio("recommend", peer, ours)], peer


def test_the_picture_is_drawn_from_the_committed_results(tmp_path):
    """Drawn again it is the committed picture, and its figures are those of the tables."""
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = _module(ROOT / "docs" / "figure.py")
    gains, lists = figure.gains(), figure.under_bias()
    assert f"{gains.loc['Tilt', 'gain']:.4f}" == "0.0831"
    assert f"{lists.loc[('RewardArgmax', 2.4), 'mean']:.3f}" == "3.154"
    figure.draw(tmp_path / "front.png")
    again, committed = (
        plt.imread(each) for each in (tmp_path / "front.png", ROOT / "docs/front.png")
    )
    np.testing.assert_array_equal(again, committed)


def test_the_table_of_results_is_the_committed_one():
    """Fewer columns, but each cell as it stands there."""
    committed = RESULTS / "movielens_main-ml-100k" / "table.md"

    def rows(page):
        cells = table(text_of(page), "| method | NDCG")
        return {line[0]: line[1:] for line in [cells[0], *cells[2:]]}

    ours, theirs = rows(ROOT / "docs" / "results.md"), rows(committed)
    assert list(ours) == list(theirs)
    place = [theirs["method"].index(name) for name in ours["method"]]
    for method, cells in ours.items():
        assert cells == [theirs[method][each] for each in place], method
