"""The page's figures on paper: PDF and PNG."""

from pathlib import Path

from recsys_posttrain.report.curves import mean_curves
from recsys_posttrain.report.figures import over_optimisation, panels, plain, save
from recsys_posttrain.report.noise_quality import noise_kinds, quality_against_value
from recsys_posttrain.report.plots import without_outlier
from recsys_posttrain.report.study_folder import StudyFolder, by_line, value_columns

SUFFIXES = (".pdf", ".png")


def write_figures(study: StudyFolder, folder: Path) -> list[Path]:
    """leaderboard, and where the study has them noise_quality and over_optimisation.

    Raises: UserError where matplotlib is missing.
    """
    folder.mkdir(exist_ok=True)
    column = value_columns(study)[0]
    points, table = study.frame("curves.parquet"), by_line(study, column)
    written = []
    for suffix in SUFFIXES:
        written.append(folder / f"leaderboard{suffix}")
        leaderboard(study, column, written[-1])
        if noise_kinds(table):
            written.append(folder / f"noise_quality{suffix}")
            quality_against_value(table, column, written[-1])
        if points is not None:
            written.append(folder / f"over_optimisation{suffix}")
            over_optimisation(mean_curves(points), written[-1], "reward units")
    return written


def leaderboard(study: StudyFolder, column: str, path: Path) -> None:
    """Means and 95% intervals of all methods without noise; filled where one differs from the
    control."""
    is_shown = (study.cells["column"] == column) & (study.cells["place"] == "")
    cells = without_outlier(study.cells[is_shown]).sort_values("mean")
    figure, (axis,) = panels(1, 1, width=6.4, height=0.8 + 0.28 * len(cells))
    error = [cells["mean"] - cells["low"], cells["high"] - cells["mean"]]
    names = cells["method"].map(plain)
    axis.errorbar(cells["mean"], names, xerr=error, fmt="none", ecolor="#9a9a9a", lw=1.2)
    filled = ["#1f5f8b" if is_sure else "#ffffff" for is_sure in cells["significant"]]
    axis.scatter(cells["mean"], names, c=filled, edgecolors="#1f5f8b", zorder=3)
    axis.set(xlabel=plain(f"{column} (filled: differs from {study.control})"))
    save(figure, path)
