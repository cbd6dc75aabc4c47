"""The command line: parse, call, print. What is slow to import is imported by the command."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from recsys_posttrain.cli_options import Disliked, Liked, Top, Zero, thresholds
from recsys_posttrain.errors import UserError
from recsys_posttrain.live.cli import app as live_app

# Plain help and errors: rich's would triple the time that --help takes.
app = typer.Typer(
    help="Post-training algorithms for generative recommenders, compared fairly.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch a dataset, or print what it can show.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(live_app, name="live")

DatasetName = Annotated[
    str,
    typer.Argument(
        help="ml-100k, ml-1m, jester, semi-ml-1m, ..., or a file: .csv, .tsv (.gz too), .parquet."
    ),
]
Duplicates = Annotated[
    Literal["refuse", "first", "last"] | None,
    typer.Option(
        help="In a file: which row to keep of those with one user, item and time; by default such "
        "a file is refused."
    ),
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        help="A folder or zip that holds the ratings; no other source then.",
        callback=lambda text: text and os.path.expanduser(text),  # --data-root=~/x, make's too
    ),
]


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


@data_app.command()
def fetch(name: DatasetName, data_root: DataRoot = None, duplicates: Duplicates = None) -> None:
    """Download, verify and prepare a dataset, or reuse the cache.

    \b
    Example:
      recsys-posttrain data fetch ml-100k
      recsys-posttrain data fetch ml-1m --data-root ~/Downloads/ml-1m.zip
    """
    from recsys_posttrain.data import prepare
    from recsys_posttrain.named import dataset_named

    corpus = prepare(dataset_named(name, data_root, duplicates))
    events, users = len(corpus.sequences.items_E), len(corpus.sequences)
    typer.echo(
        f"{corpus.name}: {events:,} events, {users:,} users, {corpus.num_items:,} items with "
        f"5 events or more; SHA-256 of the source {corpus.content_hash}"
    )


@data_app.command()
def audit(name: DatasetName, data_root: DataRoot = None, duplicates: Duplicates = None) -> None:
    """Print the ties, the leakage and the rewards of a dataset.

    \b
    Example:
      recsys-posttrain data audit ml-1m
    """
    from recsys_posttrain.data import audit as audit_of
    from recsys_posttrain.data import audit_lines, prepare, rewards_line
    from recsys_posttrain.named import dataset_named

    corpus = prepare(dataset_named(name, data_root, duplicates), minimum_item_ratings=1)
    typer.echo("\n".join([*audit_lines(corpus.name, audit_of(corpus)), rewards_line(corpus)]))


@data_app.command()
def truth(name: DatasetName, data_root: DataRoot = None) -> None:
    """Print what any policy can reach in a world, whose true rewards are known.

    \b
    Example:
      recsys-posttrain data truth jester --data-root ~/Downloads/jester-data-1.csv
    """
    from recsys_posttrain.data import prepare
    from recsys_posttrain.named import dataset_named
    from recsys_posttrain.worlds.base import truth_of, world
    from recsys_posttrain.worlds.bounds import bounds

    known = world(dataset_named(name, data_root))
    corpus = prepare(known)
    typer.echo(f"{corpus.name}: mean true reward over {len(corpus.sequences):,} users")
    for policy, value in bounds(truth_of(known, corpus), corpus).items():
        typer.echo(f"  {policy:<16}{value:.4f}")


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A study: a Python file.", exists=True)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a field; may be repeated."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Run the study on this dataset.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many post-training seeds.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes for the runs, of one thread and some 0.3 GB (ML-100K) each; by default "
            "one per core, at most 8. 1: this process, with all its threads."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    data_root: DataRoot = None,
    output: Annotated[Path, typer.Option(help="Where runs and stages are kept.")] = Path("runs"),
    on: Annotated[
        Literal["test", "validation"],
        typer.Option(help="Targets of the table. Choose settings on validation only."),
    ] = "test",
    split: Annotated[
        str | None, typer.Option(help="leave-one-out, global-time or user-holdout.")
    ] = None,
    liked: Liked = None,
    top: Top = None,
    disliked: Disliked = None,
    reward_zero: Zero = None,
    duplicates: Duplicates = None,
) -> None:
    """Run a study and print its table.

    What is finished already, by this study or another, is reused.

    \b
    Example:
      recsys-posttrain run experiments/movielens_main.py --dataset ml-1m --seeds 3
      recsys-posttrain run experiments/movielens_main.py --set algorithm.temperature=0.3
      recsys-posttrain run experiments/strengths.py --dataset ml-1m --on validation
      recsys-posttrain run experiments/movielens_main.py --split global-time
      recsys-posttrain run experiments/movielens_main.py --dataset log.csv --liked 80%
    """
    from recsys_posttrain.study import run_study
    from recsys_posttrain.study_runs import Options

    run_study(
        file,
        Options(
            overrides=tuple(overrides or ()),
            dataset=dataset,
            seeds=seeds,
            workers=workers,
            device=device,
            data_root=data_root,
            output=output,
            on=on,
            split=split,
            thresholds=thresholds(liked, top, disliked, reward_zero),
            duplicates=duplicates,
        ),
    )


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep: a Python file.", exists=True)],
    dataset: Annotated[str | None, typer.Option(help="Run the sweep on this dataset.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of each method and noise.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Fresh seeds of each chosen setting.")] = None,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="RECSYS_POSTTRAIN_STORAGE",
            help="postgresql://user@host/database; a file in the run's folder by default. A "
            "password belongs in PGPASSWORD or ~/.pgpass: arguments are for all to see.",
        ),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on though the definition changed.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    data_root: DataRoot = None,
    output: Annotated[Path, typer.Option(help="Where runs and stages are kept.")] = Path("runs"),
    liked: Liked = None,
    top: Top = None,
    disliked: Disliked = None,
    reward_zero: Zero = None,
    is_worker: Annotated[bool, typer.Option("--is-worker", hidden=True)] = False,
    duplicates: Duplicates = None,
) -> None:
    """Tune every method alike on validation targets, and compare what was chosen.

    What is finished already is reused; other machines join with the same --storage.

    \b
    Example:
      recsys-posttrain sweep experiments/sweep_noise.py --dataset ml-1m --workers 2
      recsys-posttrain sweep experiments/sweep_noise.py --storage postgresql://me@host/sweeps
    """
    from recsys_posttrain.sweep.run import Options, run_sweep

    run_sweep(
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
            thresholds=thresholds(liked, top, disliked, reward_zero),
            is_worker=is_worker,
            duplicates=duplicates,
        ),
    )


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="A study's or a run's folder.")],
    relative_to: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="Show differences in % of this one.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="ALGORITHM", help="What each one is compared with; BC if left out."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another study's folder: print how alike the two rank the methods."),
    ] = None,
) -> None:
    """Print the table of a finished study again.

    \b
    Example:
      recsys-posttrain table runs/movielens_main --relative-to RWR
      recsys-posttrain table runs/main-ml-1m --against runs/main-ml-1m-global-time
    """
    from recsys_posttrain.study import study_agreement, study_table

    study_table(folder, control, relative_to)
    if against is not None:
        study_agreement(folder, against)


StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")]


@app.command()
def report(
    folder: StudyFolder,
    live: Annotated[
        Path | None, typer.Option(help="A folder of live bench: its faults get a section.")
    ] = None,
) -> None:
    """Write a finished study as one HTML page, report.html, and its figures as PDF and PNG.

    \b
    Example:
      recsys-posttrain report runs/movielens_main-ml-1m
      recsys-posttrain report runs/movielens_main-ml-1m --live runs/live-bench
    """
    from recsys_posttrain.report.page import write_report

    write_report(folder, live)


@app.command()
def wandb_sync(folder: StudyFolder) -> None:
    """Mirror a study to Weights & Biases: offline, or uploaded where you are logged in.

    \b
    Example:
      recsys-posttrain wandb-sync runs/movielens_main-ml-1m
    """
    from recsys_posttrain.sweep.tracking import sync

    typer.echo(sync(folder))


@app.command()
def advise(
    dataset: Annotated[
        str, typer.Option(help="A named dataset, or a file (.csv, .tsv, .parquet).")
    ],
    data_root: DataRoot = None,
    studies: Annotated[
        Path | None, typer.Option(help="Where noise_vs_quality-* folders are.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where runs and stages are kept.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    duplicates: Duplicates = None,
) -> None:
    """Measure your reward model, and say which algorithm the studies support at its quality.

    \b
    Example:
      recsys-posttrain advise --dataset ml-100k
    """
    from recsys_posttrain.advise import advise_on

    typer.echo(advise_on(dataset, data_root, studies, output, device, duplicates))


@app.command()
def recommend(
    policy: Annotated[Path, typer.Argument(metavar="POLICY_FOLDER", help="A saved policy.")],
    users: Annotated[
        str | None, typer.Option(metavar="IDS", help="Comma-separated user ids of the dataset.")
    ] = None,
    histories: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file of other users' events.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items per user.")] = 10,
    data_root: DataRoot = None,
    output: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file to write; otherwise printed.")
    ] = None,
) -> None:
    """Recommend items to users with a saved policy.

    The users are the dataset's own, by id, or those whose events a file holds.

    \b
    Example:
      recsys-posttrain recommend runs/stages/posttrain-0f3a --users 1,2,3 --k 10 --output top.csv
    """
    if (users is None) == (histories is None):
        raise UserError("recommend needs --users IDS or --histories FILE, and not both")
    ids = None if users is None else [part.strip() for part in users.split(",") if part.strip()]

    from recsys_posttrain.recommend import recommend as recommend_to

    recommend_to(policy, ids, histories, k, output, data_root)
