"""The command line: parse, call, print. What is slow to import is imported by the command."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys_posttrain import cli_options as options
from recsys_posttrain.cli_data import app as data_app
from recsys_posttrain.cli_given import Given, on_a_log
from recsys_posttrain.cli_policy import export, posttrain, recommend
from recsys_posttrain.cli_report import dashboard, report, table, wandb_sync
from recsys_posttrain.live.cli import app as live_app

# Plain help and errors: rich's would triple the time that --help takes.
app = typer.Typer(
    help="Post-training algorithms for generative recommenders, compared fairly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(live_app, name="live")


def _print_version(wanted: bool) -> None:
    if wanted:
        from recsys_posttrain import __version__

        print(f"recsys-posttrain {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


@app.command()
def doctor() -> None:
    """Check this machine and say what to do about each problem.

    \b
    Example:
      recsys-posttrain doctor
    """
    from recsys_posttrain.doctor import diagnose

    if not diagnose():
        raise typer.Exit(2)


@app.command()
@on_a_log
def run(
    file: options.ExperimentFile,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a field; may be repeated."),
    ] = None,
    dataset: options.Dataset = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many post-training seeds.")] = None,
    full_seeds: Annotated[
        bool,
        typer.Option(
            "--full-seeds", help="Seeds of pretraining and of the reward model too: one of each."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes for the runs, of one thread and some 0.3 GB (ML-100K) each; by default "
            "one per core, at most 8, or as many as Ray has room for. 1: this process, with all "
            "its threads."
        ),
    ] = None,
    engine: options.EngineName = "processes",
    gpu_share: options.GpuShare = 1.0,
    device: options.Device = "cpu",
    devices: options.Devices = 1,
    data_root: options.DataRoot = None,
    output: options.Output = Path("runs"),
    eval_split: Annotated[
        Literal["test", "validation", "final"],
        typer.Option(help="Targets of the table. Choose settings on validation only."),
    ] = "test",
    split: Annotated[
        str | None, typer.Option(help="leave-one-out, global-time or user-holdout.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Only these, by label: BC,DPO. BC is always there."),
    ] = None,
    given: Given = Given(),
) -> None:
    """Run a study and print its table.

    What is finished already, by this study or another, is reused.

    \b
    Example:
      recsys-posttrain run experiments/movielens_main.py --dataset ml-1m --seeds 3
      recsys-posttrain run experiments/movielens_main.py --set algorithm.temperature=0.3
      recsys-posttrain run experiments/strengths.py --dataset ml-1m --eval-split validation
      recsys-posttrain run experiments/movielens_main.py --methods BC,ASFT,DPO
      recsys-posttrain run experiments/movielens_main.py --split global-time
      recsys-posttrain run experiments/movielens_main.py --dataset log.csv --liked 80%
      recsys-posttrain run experiments/movielens_main.py --item-features vectors.parquet
      recsys-posttrain run experiments/movielens_main.py --dataset log.csv --reward "click + watch"
      recsys-posttrain run experiments/movielens_main.py --reward-model predictions.parquet
      recsys-posttrain run experiments/noise_vs_quality.py --engine ray
    """
    from recsys_posttrain.studies.execute import Options
    from recsys_posttrain.studies.study import run_study
    from recsys_posttrain.training.launched import devices_of

    asked = Options(
        overrides=(*(overrides or ()), *given.changes),
        dataset=dataset,
        seeds=seeds,
        workers=workers,
        device=device,
        devices=devices_of(devices),
        data_root=data_root,
        output=output,
        eval_split=eval_split,
        split=split,
        thresholds=given.thresholds,
        rules=given.rules,
        full_seeds=full_seeds,
        methods=methods,
        own=given.own,
        engine=options.engine_of(engine, device, gpu_share),
    )
    run_study(file, asked)


@app.command()
@on_a_log
def sweep(
    file: options.ExperimentFile,
    dataset: options.Dataset = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of each method and noise.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Fresh seeds of each chosen setting.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, one thread each; by default this one, or as many as Ray has room for."
        ),
    ] = None,
    engine: options.EngineName = "processes",
    gpu_share: options.GpuShare = 1.0,
    storage: options.Storage = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on though the definition changed.")
    ] = False,
    device: options.Device = "cpu",
    data_root: options.DataRoot = None,
    output: options.Output = Path("runs"),
    report: Annotated[
        bool, typer.Option("--report", help="Write the page of `report` at the end.")
    ] = False,
    given: Given = Given(),
) -> None:
    """Tune every method alike, and compare what was chosen. Tuning sees validation targets only.

    What is finished already is reused; other machines join with the same --storage.

    \b
    Example:
      recsys-posttrain sweep experiments/sweep_noise.py --dataset ml-1m --workers 2
      recsys-posttrain sweep experiments/sweep_noise.py --storage postgresql://me@host/sweeps
      recsys-posttrain sweep experiments/sweep_noise.py --dataset log.csv --item-features v.parquet
    """
    from recsys_posttrain.sweep.run import Options, run_sweep

    folder = run_sweep(
        file,
        Options(
            dataset=dataset,
            trials=trials,
            seeds=seeds,
            workers=workers,
            storage=storage,
            accepts_changes=accept_changes,
            device=device,
            data_root=data_root,
            output=output,
            thresholds=given.thresholds,
            rules=given.rules,
            changes=given.changes,
            own=given.own,
            engine=options.engine_of(engine, device, gpu_share),
        ),
    )
    if report:
        from recsys_posttrain.report.page import write_report

        write_report(folder)


for verb in (dashboard, table, report, wandb_sync, recommend, export, posttrain):
    app.command()(verb)


@app.command()
@on_a_log
def advise(
    dataset: Annotated[str, typer.Option(help=options.DATASET_WORDS, callback=options.expanded)],
    data_root: options.DataRoot = None,
    studies: Annotated[
        Path | None, options.path_option("Where folders of noise studies are.")
    ] = None,
    output: options.Output = Path("runs"),
    device: options.Device = "cpu",
    given: Given = Given(),
) -> None:
    """Measure your reward model, and say which method to take. Evidence: studies at its quality.

    \b
    Example:
      recsys-posttrain advise --dataset ml-100k
      recsys-posttrain advise --dataset log.csv --reward-model predictions.parquet --liked 80%
    """
    from recsys_posttrain.advise import advise_on

    typer.echo(
        advise_on(
            *(dataset, data_root, studies, output, device),
            rules=given.rules,
            thresholds=given.thresholds,
            changes=given.changes,
            own=given.own,
        )
    )
