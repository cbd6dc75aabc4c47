"""The commands of `recsys-posttrain data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from recsys_posttrain.cli_options import DataRoot, DatasetName, Duplicates

if TYPE_CHECKING:
    from recsys_posttrain.worlds.base import World

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
    """Print the ties, the leakage and the rewards of a dataset; of a world also its headroom.

    \b
    Example:
      recsys-posttrain data audit ml-1m
      recsys-posttrain data audit jester --data-root ~/Downloads/jester-data-1.csv
    """
    from recsys_posttrain.data import audit as audit_of
    from recsys_posttrain.data import audit_lines, prepare, rewards_line
    from recsys_posttrain.worlds.base import World
    from recsys_posttrain.worlds.catalog import dataset_named

    dataset = dataset_named(name, data_root, duplicates)
    corpus = prepare(dataset, minimum_item_ratings=1)
    lines = [*audit_lines(corpus.name, audit_of(corpus)), rewards_line(corpus)]
    if isinstance(dataset, World):
        lines += _headroom_of(dataset)
    typer.echo("\n".join(lines))


def _headroom_of(world: World) -> list[str]:
    """At the last event of every user."""
    from recsys_posttrain.data import LeaveOneOut, prepare
    from recsys_posttrain.evaluation.headroom import headroom, headroom_lines
    from recsys_posttrain.worlds.base import truth_of

    split = LeaveOneOut()
    data = split.split(prepare(world, split.minimum_item_ratings))
    return headroom_lines(world.name, headroom(truth_of(world, data.corpus), data))
