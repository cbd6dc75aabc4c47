"""The commands of `recsys-posttrain data`."""

import typer

from recsys_posttrain.cli_options import DataRoot, DatasetName, Duplicates

app = typer.Typer(help="Fetch a dataset, or print what it can show.", no_args_is_help=True)


@app.command()
def fetch(name: DatasetName, data_root: DataRoot = None, duplicates: Duplicates = None) -> None:
    """Download, verify and prepare a dataset, or reuse the cache.

    \b
    Example:
      recsys-posttrain data fetch ml-100k
      recsys-posttrain data fetch ml-1m --data-root ~/Downloads/ml-1m.zip
    """
    from recsys_posttrain.data import prepare
    from recsys_posttrain.worlds.catalog import dataset_named

    corpus = prepare(dataset_named(name, data_root, duplicates))
    events, users = len(corpus.sequences.items_E), len(corpus.sequences)
    typer.echo(
        f"{corpus.name}: {events:,} events, {users:,} users, {corpus.num_items:,} items with "
        f"5 events or more; SHA-256 of the source {corpus.content_hash}"
    )


@app.command()
def audit(name: DatasetName, data_root: DataRoot = None, duplicates: Duplicates = None) -> None:
    """Print the ties, the leakage and the rewards of a dataset.

    \b
    Example:
      recsys-posttrain data audit ml-1m
    """
    from recsys_posttrain.data import audit as audit_of
    from recsys_posttrain.data import audit_lines, prepare, rewards_line
    from recsys_posttrain.worlds.catalog import dataset_named

    corpus = prepare(dataset_named(name, data_root, duplicates), minimum_item_ratings=1)
    typer.echo("\n".join([*audit_lines(corpus.name, audit_of(corpus)), rewards_line(corpus)]))


@app.command()
def truth(name: DatasetName, data_root: DataRoot = None) -> None:
    """Print what any policy can reach in a world, whose true rewards are known.

    \b
    Example:
      recsys-posttrain data truth jester --data-root ~/Downloads/jester-data-1.csv
    """
    from recsys_posttrain.data import prepare
    from recsys_posttrain.worlds.base import bounds, truth_of, world
    from recsys_posttrain.worlds.catalog import dataset_named

    known = world(dataset_named(name, data_root))
    corpus = prepare(known)
    typer.echo(f"{corpus.name}: mean true reward over {len(corpus.sequences):,} users")
    for policy, value in bounds(truth_of(known, corpus), corpus).items():
        typer.echo(f"  {policy:<16}{value:.4f}")
