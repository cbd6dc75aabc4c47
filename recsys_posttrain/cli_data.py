"""The commands of `recsys-posttrain data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from recsys_posttrain.cli_options import (
    ColumnNames,
    DataRoot,
    DatasetName,
    Duplicates,
    RewardFormula,
    SignalNames,
    file_rules,
)

if TYPE_CHECKING:
    from recsys_posttrain.worlds.base import World

app = typer.Typer(help="Fetch a dataset, or print what it can show.", no_args_is_help=True)


@app.command()
def fetch(
    name: DatasetName,
    data_root: DataRoot = None,
    duplicates: Duplicates = None,
    reward: RewardFormula = None,
    signals: SignalNames = None,
    columns: ColumnNames = None,
) -> None:
    """Download, verify and prepare a dataset, or reuse the cache.

    \b
    Example:
      recsys-posttrain data fetch ml-100k
      recsys-posttrain data fetch ml-1m --data-root ~/Downloads/ml-1m.zip
    """
    from recsys_posttrain.data import prepare
    from recsys_posttrain.worlds.catalog import dataset_named

    rules = file_rules(duplicates, reward, signals, columns)
    corpus = prepare(dataset_named(name, data_root, rules))
    events, users = len(corpus.sequences.items_E), len(corpus.sequences)
    typer.echo(
        f"{corpus.name}: {events:,} events, {users:,} users, {corpus.num_items:,} items with "
        f"5 events or more; SHA-256 of the source {corpus.content_hash}"
    )


@app.command()
def audit(
    name: DatasetName,
    data_root: DataRoot = None,
    duplicates: Duplicates = None,
    reward: RewardFormula = None,
    signals: SignalNames = None,
    columns: ColumnNames = None,
) -> None:
    """Print the ties, the leakage and the rewards of a dataset; of a world also its headroom.

    \b
    Example:
      recsys-posttrain data audit ml-1m
      recsys-posttrain data audit jester --data-root ~/Downloads/jester-data-1.csv
    """
    from recsys_posttrain.data import RatingsFile, audit_lines, prepare, rewards_line
    from recsys_posttrain.data import audit as audit_of
    from recsys_posttrain.data.audit import signal_lines
    from recsys_posttrain.data.table_columns import SHOWN_COLUMNS
    from recsys_posttrain.worlds.base import World
    from recsys_posttrain.worlds.catalog import dataset_named

    rules = file_rules(duplicates, reward, signals, columns)
    dataset = dataset_named(name, data_root, rules)
    corpus = prepare(dataset, minimum_item_ratings=1)
    lines = [*audit_lines(corpus.name, audit_of(corpus)), rewards_line(corpus)]
    lines += signal_lines(corpus)
    if isinstance(dataset, RatingsFile) and (unused := dataset.unused()):
        lines.append(
            f"numeric columns that are not read: {', '.join(unused[:SHOWN_COLUMNS])}"
            + (", ..." if len(unused) > SHOWN_COLUMNS else "")
            + "; take them with --reward or --signals"
        )
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
