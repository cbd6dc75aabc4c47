"""The W&B workspace of a study, as code: building it needs no network.

`python -m recsys_posttrain.tracking.workspace STUDY` saves it to the service
and prints its address.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_posttrain.report.study_folder import (
    StudyFolder,
    means_by_seed,
    study_folder,
    value_columns,
)
from recsys_posttrain.tracking import entries, mirror

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


def workspace(study: StudyFolder, entity: str, project: str) -> "Workspace":
    """Noise against quality per algorithm, over-optimisation, the leaderboard, and the trials of
    all algorithms in parallel coordinates."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2 import interface as wr

    logged = means_by_seed(study).columns.drop(["method", "seed"], errors="ignore")
    quality = [
        wr.LinePlot(title=f"{noise} ({axis})", x=axis, y=[*names])
        for axis in (entries.QUALITY, entries.LEVEL)
        for noise, names in _lines(study, axis).items()
    ]
    scatter = [
        wr.ScatterPlot(title=name, x=wr.SummaryMetric(entries.QUALITY), y=wr.SummaryMetric(name))
        for name in logged
    ]
    tried = [] if study.trials is None else list(study.trials.columns)
    settings = ["algorithm", "noise", *(name for name in tried if name.startswith("param."))]
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in settings]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("value")))
    drawn, group = mirror.figures(study), study.path.resolve().name

    def gallery(name: str) -> wr.MediaBrowser:
        keys = [key for key in drawn if key.startswith(f"{name}/")]
        return wr.MediaBrowser(title=name.replace("_", "-"), media_keys=keys)

    return ws.Workspace(
        entity=entity,
        project=project,
        name=group,
        sections=[
            ws.Section(name="Noise against quality", panels=[*quality, *scatter], is_open=True),
            ws.Section(name="Over-optimisation", panels=[gallery("over_optimisation")]),
            ws.Section(
                name="Leaderboard",
                panels=[wr.WeavePanelSummaryTable(table_name="rows"), gallery("differences")],
                is_open=True,
            ),
            ws.Section(
                name="Trials",
                panels=[wr.ParallelCoordinatesPlot(title="trials", columns=columns)],
                is_open=True,
            ),
        ],
        runset_settings=ws.RunsetSettings(filters=ws.And(ws.Metric("Group") == group)),
    )


def _lines(study: StudyFolder, axis: str) -> dict[str, list[str]]:
    """By noise the names of its methods' lines, those that are logged against this axis."""
    found: dict[str, list[str]] = {}
    for point in mirror.noise_points(study, value_columns(study)[0]):
        for name in point:
            if name.startswith(f"{entries.AXES[axis]}/"):
                found.setdefault(name.split("/")[1], []).append(name)
    return {noise: list(dict.fromkeys(names)) for noise, names in found.items()}


if __name__ == "__main__":
    import wandb

    project = os.environ.get("WANDB_PROJECT", mirror.PROJECT)
    entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity or ""
    built = workspace(study_folder(Path(sys.argv[1])), entity, project)
    print(built.save().url)  # type: ignore[no-untyped-call]
