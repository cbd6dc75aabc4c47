"""The map of log_quality.py: which method is best for which reward model and which log.

    python experiments/log_quality_map.py [runs/log_quality-jester-...]...

Reads finished or published folders of log_quality.py, by default the published ones, and writes
results/log_quality/map.md and map.png. In each cell: the best in the true reward of lists of five,
at the strength that the judge chose, and how far it is ahead of the second. A cell is undecided
where the best is not ahead of all others, Holm-corrected over the pairs of the best in that cell.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from log_quality import TEN

from recsys_posttrain.config import require
from recsys_posttrain.endings import exit_code
from recsys_posttrain.files import write_text
from recsys_posttrain.report import render
from recsys_posttrain.report.cells import Block, Cell, Sheet, headings
from recsys_posttrain.report.figures import panels, save
from recsys_posttrain.report.study_folder import StudyFolder, study_folder
from recsys_posttrain.report.style import COLORS
from recsys_posttrain.stats.significance import holm

RESULTS = Path(__file__).parent / "results"
COLUMN = "true reward of the top 5"
SIGNIFICANT = 0.05
MODELS = {
    ("model", "ItemBias", 0.6): "item bias .6",
    ("model", "Starvation", 0.9): "a tenth of its users",
    ("", "", 0.0): "as it is",
    ("model", "TruthShare", 0.5): "half of the truth",
}
NO_TRAINING = ("Tilt", "RewardArgmax", "ItemMean", "Popularity")
TRAINED = ("Pretrained", *(method.name for method in TEN))  # doing nothing is one of the choices


class Best(NamedTuple):
    """ahead: of the second, in stars. is_decided: ahead of each other, after correction."""

    name: str
    mean: float
    second: str
    ahead: float
    is_decided: bool


def best_of(means: pd.Series, pairs: pd.DataFrame) -> Best:
    """means: of each method that competes. pairs: of one condition, each of them once."""
    order = means.sort_values(ascending=False)
    best, second = str(order.index[0]), str(order.index[1])
    of_best = pairs[(pairs["method"] == best) | (pairs["other"] == best)]
    other = of_best["method"].where(of_best["other"] == best, of_best["other"])
    p_value = of_best.set_index(other)["p_value"].astype(float)
    p_values = [p_value[name] for name in order.index[1:]]
    is_decided = bool((holm(p_values) <= SIGNIFICANT).all())
    return Best(
        best, float(order.iloc[0]), second, float(order.iloc[0] - order.iloc[1]), is_decided
    )


def cells_of(study: StudyFolder) -> dict[tuple[str, bool], Best]:
    """By reward model, of all that can be done and of training alone; doing nothing is in both."""
    table, pairs = study.frame("table.csv"), study.frame("pairs.csv")
    require(
        table is not None and pairs is not None,
        f"{study.path} has no table.csv and pairs.csv: give a finished folder of log_quality.py",
    )
    assert table is not None
    assert pairs is not None
    found = {}
    for (place, kind, level), name in MODELS.items():
        here, between = (
            frame[
                (frame["place"] == place)
                & (frame["kind"] == kind)
                & (frame["level"].astype(float) == level)
                & (frame["column"] == COLUMN)
            ]
            for frame in (table, pairs)
        )
        require(len(here) > 0, f"{study.path} has no rows of {kind or 'no noise'} {level:g}")
        means = here.set_index("method")["mean"].astype(float)
        for is_trained in (False, True):
            competing = TRAINED if is_trained else (*TRAINED, *NO_TRAINING)
            found[name, is_trained] = best_of(means[means.index.isin(competing)], between)
    return found


def log_of(study: StudyFolder) -> float:
    """How much the logging policy follows what people like."""
    return float(study.record["runs"][0]["setup"]["dataset"]["preference"])


def picture(found: dict[float, dict[tuple[str, bool], Best]], path: Path) -> None:
    figure, axes = panels(2, 1, width=8.4, height=1.0 + 0.75 * len(found))
    shown = [best.name for cells in found.values() for best in cells.values()]
    colors = dict(zip(sorted(set(shown)), COLORS, strict=False))
    for axis, is_trained in zip(axes, (False, True), strict=True):
        for row, cells in enumerate(found.values()):
            for column, model in enumerate(MODELS.values()):
                best = cells[model, is_trained]
                axis.add_patch(_rectangle(column, row, colors[best.name], best.is_decided))
                text = f"{best.name}\n{best.mean:.3f}, +{best.ahead:.3f}"
                axis.text(column, row, text, ha="center", va="center", fontsize=9)
        axis.set_xlim(-0.5, len(MODELS) - 0.5)
        axis.set_ylim(-0.5, len(found) - 0.5)
        axis.set_xticks(range(len(MODELS)), MODELS.values())
        axis.set_yticks(range(len(found)), [f"preference {each:g}" for each in found])
        axis.set_title("trained methods" if is_trained else "all that can be done", loc="left")
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
    axes[-1].set_xlabel("reward model; hatched: undecided")
    save(figure, path)


def _rectangle(column: int, row: int, color: str, is_decided: bool) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (column - 0.47, row - 0.45), 0.94, 0.9,
        facecolor=color, alpha=0.35, hatch=None if is_decided else "///",
        edgecolor="black", linewidth=0.3,
    )  # fmt: skip


def sheet_of(found: dict[float, dict[tuple[str, bool], Best]]) -> Sheet:
    blocks = []
    for is_trained, title in ((False, "All that can be done"), (True, "Trained methods")):
        rows = [
            [
                Cell(f"preference {preference:g}"),
                *(_cell(cells[model, is_trained]) for model in MODELS.values()),
            ]
            for preference, cells in found.items()
        ]
        blocks.append(Block(title, headings("log", *MODELS.values()), rows))
    note = (
        "Mean true reward of lists of five over test users and full seeds; the judge chose each "
        "strength; in brackets the second, and how far the best is ahead of it. Bold: ahead of all "
        "others, Holm-corrected; the rest is undecided. Doing nothing competes everywhere."
    )
    return Sheet(note, blocks)


def _cell(best: Best) -> Cell:
    note = f"({best.second}, +{best.ahead:.3f})"
    return Cell(f"{best.name} {best.mean:.3f}", note=note, bold=best.is_decided)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="*", help="default: the published ones")
    parser.add_argument("--output", type=Path, default=RESULTS / "log_quality")
    arguments = parser.parse_args(words)
    folders = arguments.studies or sorted(RESULTS.glob("log_quality-*"))
    require(bool(folders), "no log_quality-... is published yet: give finished folders of runs/")
    studies = [study_folder(folder) for folder in folders]
    found = {log_of(study): cells_of(study) for study in studies}
    ordered = {preference: found[preference] for preference in sorted(found)}
    sheet = sheet_of(ordered)
    write_text(arguments.output / "map.md", render.markdown(sheet))
    picture(ordered, arguments.output / "map.png")
    print(render.markdown(sheet))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
