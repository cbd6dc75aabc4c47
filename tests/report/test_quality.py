"""The table of reward models by hand."""

import numpy as np

from recsys_posttrain.report.cells import read_sheet
from recsys_posttrain.report.quality import quality_sheet, write_quality
from recsys_posttrain.report.render import markdown
from recsys_posttrain.rewards.quality import quality_frame

STARS = (1.0, 5.0)


def frame_of(predicted, reward):
    model = {"a|b": np.array(predicted)}
    return quality_frame(model, np.array(reward), np.array([0, 0]), STARS, np.random.default_rng(0))


def test_the_table_by_hand(tmp_path):
    frame = frame_of([1.0, 3.0], [1.0, 2.0])
    write_quality(frame, "Models of x_y.", tmp_path / "judge.md")
    caption, _, head, rule, row = (tmp_path / "judge.md").read_text().splitlines()
    assert caption.startswith("Models of x\\_y. 2 events of 1 users, 95% intervals.")
    names = ["reward model", "RMSE", "MAE", "pairwise accuracy", "in one context", "Spearman"]
    assert head.startswith(f"| {' | '.join(names)} |")
    assert rule == "|:--|" + "--:|" * 9
    # Both events stand alone in their bins: (0 + 1) / 2 is an eighth of the range.
    assert row == (
        "| a\\|b | 0.7071 [0.7071, 0.7071] | 0.5000 [0.5000, 0.5000] | 1.0000 [1.0000, 1.0000] "
        "| – | 1.0000 [1.0000, 1.0000] | 0.5000 [0.5000, 0.5000] "  # noqa: RUF001
        "| 0.1250 [0.1250, 0.1250] | – | 0.0000 [0.0000, 0.0000] |"  # noqa: RUF001
    )
    assert row.count(" | ") == head.count(" | ")
    kept = read_sheet(tmp_path / "judge.json")
    assert markdown(kept) == (tmp_path / "judge.md").read_text()


def test_without_pairs_there_is_no_accuracy():
    cells = quality_sheet(frame_of([1.0, 3.0], [2.0, 2.0]), "x").blocks[0].rows[0]
    assert cells[3].text == cells[5].text == "–"  # noqa: RUF001
