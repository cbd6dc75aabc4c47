"""Rows of one family stand together, in all four forms of a table, by hand."""

from io import StringIO

import pandas as pd
from rich.console import Console

from recsys_posttrain.evaluation.metrics import per_user_frame
from recsys_posttrain.report import render
from recsys_posttrain.report.cells import Block, Cell, Heading, Sheet, read_sheet, write_sheet
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.study_folder import families_of
from recsys_posttrain.report.table import comparison_table, in_families
from recsys_posttrain.report.terminal import OnTerminal
from recsys_posttrain.stats.columns import Column

SHEET = Sheet(
    "",
    [
        Block(
            "",
            [Heading("method", second="method", is_text=True), Heading("HR@1", "HR", "@1", "↑")],
            [[Cell("A"), Cell(".1")], [Cell("B"), Cell(".2")], [Cell("C"), Cell(".3")]],
            ("no *training*", "no *training*", "w & v"),
        )
    ],
)


def test_markdown_by_hand():
    assert render.markdown(SHEET) == (
        "| method | HR@1 ↑ |\n|:--|--:|\n| *no \\*training\\** |  |\n| A | .1 |\n| B | .2 |\n"
        "| *w & v* |  |\n| C | .3 |\n"
    )


def test_latex_by_hand():
    body = latex(SHEET).partition("\\midrule\n")[2]
    assert body == (
        "\\addlinespace\n\\multicolumn{2}{l}{\\textit{no *training*}} \\\\\n"
        "A & .1 \\\\\nB & .2 \\\\\n"
        "\\addlinespace\n\\multicolumn{2}{l}{\\textit{w \\& v}} \\\\\nC & .3 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table*}\n"
    )


def test_html_by_hand():
    """A body per group, so that a sorted table keeps its groups."""
    body = render.html(SHEET.blocks[0]).partition("</thead>\n")[2]
    assert body == (
        '<tbody><tr class="group"><td colspan="2">no *training*</td></tr>\n'
        "<tr><td>A</td><td>.1</td></tr>\n<tr><td>B</td><td>.2</td></tr></tbody>"
        '<tbody><tr class="group"><td colspan="2">w &amp; v</td></tr>\n'
        "<tr><td>C</td><td>.3</td></tr></tbody></table></div>\n"
    )


def test_the_terminal_names_each_group_once_before_its_rows():
    out = StringIO()
    Console(file=out, width=60, color_system=None).print(OnTerminal(SHEET))
    lines = [line.strip() for line in out.getvalue().splitlines() if line.strip()]
    shown = [line.split("  ")[0] for line in lines if not line.startswith("─")]
    assert shown[-5:] == ["no *training*", "A", "B", "w & v", "C"]


def test_the_cells_on_disk_keep_the_groups(tmp_path):
    write_sheet(tmp_path / "table.json", SHEET)
    assert render.markdown(read_sheet(tmp_path / "table.json")) == render.markdown(SHEET)


def test_families_are_in_the_order_of_their_first_method_and_the_others_last():
    families = {"own": "", "pop": "none", "bc": "cloning", "tilt": "none", "rwr": "cloning"}
    found = in_families(["pop", "own", "bc", "tilt", "stranger", "rwr"], families)
    assert list(found.items()) == [
        ("pop", "none"),
        ("tilt", "none"),
        ("bc", "cloning"),
        ("rwr", "cloning"),
        ("own", "other"),
        ("stranger", "other"),
    ]
    assert in_families(["b", "a"], {}) == {"b": "", "a": ""}


def _table(families):
    parts = [
        per_user_frame(
            [1.0 + place] * 3,
            [(1, 2)] * 3,
            user_id=range(3),
            item_id=[1, 2, 3],
            reward_N=[5, 4, 1],
            total_reward_N=[9, 8, 7],
            proxy_reward_N=None,
        ).assign(method=method, seed=0)
        for place, method in enumerate(("BC", "DPO", "RWR"))
    ]
    columns = (Column("HR@1", "all", "hr@1"),)
    return comparison_table(pd.concat(parts), num_items=4, columns=columns, families=families)


def test_a_table_groups_its_levels_and_its_differences_alike():
    families = {"BC": "likelihood", "DPO": "preferences", "RWR": "likelihood"}
    text = _table(families).markdown()
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    levels = ["*likelihood*", "BC", "RWR", "*preferences*", "DPO"]
    assert names == ["method", *levels, "method", *(name for name in levels if name != "BC")]


def test_an_old_record_prints_as_before():
    """One without families, and one whose methods are all of one."""
    old = {"runs": [{"algorithm": {"class": "BC"}}, {"name": "x", "algorithm": {"class": "DPO"}}]}
    assert families_of(old) == {}
    assert families_of({"runs": [{**old["runs"][1], "family": "f"}]}) == {"x": "f"}
    plain = _table({}).markdown()
    assert "*" not in plain.partition("\n\n")[2].replace("**", "")
    assert _table(dict.fromkeys(("BC", "DPO", "RWR"), "f")).markdown() == plain
