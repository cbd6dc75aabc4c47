"""The commands on a study: its trials, its table, its page, its mirror."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain.cli_given import Given, on_a_log
from recsys_posttrain.cli_options import (
    DataRoot,
    Dataset,
    ExperimentFile,
    Output,
    Storage,
    StudyFolder,
    path_option,
)
from recsys_posttrain.named import study_path


def table(
    folder: StudyFolder,
    relative_to: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="Show differences in % of this one.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="ALGORITHM", help="What each one is compared with; BC if left out."),
    ] = None,
    against: Annotated[
        Path | None,
        path_option("Another study: print how alike the two rank the methods."),
    ] = None,
    output: Annotated[
        Path | None, path_option("Write the table to this folder too, as .md, .tex and .csv.")
    ] = None,
) -> None:
    """Print the table of a finished study again. Nothing is written without --output.

    \b
    Example:
      recsys-posttrain table movielens_main-ml-100k --relative-to RWR --output paper
      recsys-posttrain table main-ml-1m --against main-ml-1m-global-time
    """
    from recsys_posttrain.studies.study import study_table

    folder = study_path(folder)
    study_table(folder, control, relative_to, output)
    if against is not None:
        from recsys_posttrain.studies.agreement import study_agreement

        study_agreement(folder, study_path(against))


def report(
    folder: StudyFolder,
    live: Annotated[
        Path | None, path_option("A folder of make live-bench: its faults get a section.")
    ] = None,
) -> None:
    """Write a finished study as one HTML page, report.html. Its figures come as PDF and PNG.

    \b
    Example:
      recsys-posttrain report movielens_main-ml-1m
      recsys-posttrain report movielens_main-ml-1m --live runs/live-bench
    """
    from recsys_posttrain.report.page import write_report

    write_report(study_path(folder), live)


def wandb_sync(folder: StudyFolder) -> None:
    """Mirror a study to Weights & Biases. Offline, or uploaded where you are logged in.

    \b
    Example:
      recsys-posttrain wandb-sync movielens_main-ml-1m
    """
    from recsys_posttrain.tracking.mirror import sync

    typer.echo(sync(study_path(folder)))


@on_a_log
def dashboard(
    file: ExperimentFile,
    dataset: Dataset = None,
    storage: Storage = None,
    data_root: DataRoot = None,
    output: Output = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of this machine only.")] = 8080,
    given: Given = Given(),
) -> None:
    """Serve optuna-dashboard on the trials of a sweep, until Ctrl-C. Give what the sweep was given.

    \b
    Example:
      recsys-posttrain dashboard experiments/sweep_noise.py --dataset ml-1m
      recsys-posttrain dashboard experiments/sweep_noise.py --dataset log.csv --liked 80%
    """
    from recsys_posttrain.sweep.there import require_one_of

    if storage is None:
        require_one_of(file, dataset, output)

    from recsys_posttrain.sweep.dashboard import serve
    from recsys_posttrain.sweep.load import Options

    options = Options(
        dataset=dataset,
        storage=storage,
        data_root=data_root,
        output=output,
        thresholds=given.thresholds,
        rules=given.rules,
        changes=given.changes,
        own=given.own,
    )
    serve(file, options, port)
