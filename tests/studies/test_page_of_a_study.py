"""A study ends with its page, and the commands on the page give the study again."""

import html
import json
import re
import shlex
from pathlib import Path

import pandas as pd


def test_a_study_ends_with_its_page(finished, capsys):
    folder = finished / "study-small"
    text = (folder / "report.html").read_text()
    assert 'id="differences"' in text
    assert 'id="training"' in text  # its stages are beside it
    assert len(text) < 200_000
    logged = [
        json.loads(line)
        for line in (finished / "stages" / _stage(folder, "OfflinePPO/0") / "metrics.jsonl")
        .read_text()
        .splitlines()
    ]
    key = "validation/ndcg@10"
    values = [line[key] for line in logged if key in line]
    (panel,) = re.findall(rf"<title>{key}</title>.*?</svg>", text)
    (line,) = re.findall(r'data-name="OfflinePPO".*?class="line"[^>]* d="M(.*?)"', panel)
    heights = [float(point.split()[1]) for point in line.split("L")]
    assert len(heights) == len(values) > 1
    order = sorted(range(len(values)), key=lambda n: values[n])
    assert [heights[n] for n in order] == sorted(heights, reverse=True)  # up is less


def test_the_commands_on_the_page_give_the_study_again(finished, end, capsys):
    text = (finished / "study-small" / "report.html").read_text()
    (fenced,) = re.findall(r"<pre><code>(recsys-posttrain .*?)</code>", text, re.DOTALL)
    run, report = html.unescape(fenced).strip().splitlines()
    assert shlex.split(report) == ["recsys-posttrain", "report", "study-small"]
    Path("runs").mkdir()  # the default of --output, of which the second command takes the name
    assert end(*shlex.split(run)[1:], "--workers", "1") == 0
    again, before = (Path(top) / "study-small" / "table.csv" for top in ("runs", finished))
    pd.testing.assert_frame_equal(pd.read_csv(again), pd.read_csv(before))
    written = Path("runs/study-small/report.html")
    assert _answer(written.read_text()) == _answer(text)
    written.unlink()
    assert end(*shlex.split(report)[1:]) == 0
    assert _answer(written.read_text()) == _answer(text)
    assert "report.html and 2 figures" in capsys.readouterr().out


def _stage(folder, name):
    return json.loads((folder / "run.json").read_text())["stages"][name]["folder"]


def _answer(text):
    (found,) = re.findall(r'<dl class="answers">.*?</dl>', text, re.DOTALL)
    return found
