"""The commands on a saved policy."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain import cli_options as options
from recsys_posttrain.errors import UserError


def recommend(
    policy: Annotated[Path, options.path_argument("POLICY_FOLDER", "A saved policy.")],
    users: Annotated[
        str | None, typer.Option(metavar="IDS", help="Comma-separated user ids of the dataset.")
    ] = None,
    histories: Annotated[
        Path | None, options.path_option("A .csv or .parquet file of other users' events.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items per user.")] = 10,
    data_root: options.DataRoot = None,
    output: Annotated[
        Path | None, options.path_option("A .csv or .parquet file to write; otherwise printed.")
    ] = None,
    dataset: options.DatasetNow = None,
    log: options.LogNow = None,
    repeats: options.Repeats = None,
    tilt: Annotated[
        float | None,
        typer.Option(
            metavar="TEMPERATURE",
            help="Multiply probabilities by exp(predicted reward / TEMPERATURE), in stars.",
        ),
    ] = None,
    reward: Annotated[
        Path | None,
        options.path_option(
            "The reward model of --tilt; by default the one that the policy was trained with."
        ),
    ] = None,
    columns: options.ColumnNames = None,
    items: Annotated[
        Path | None,
        options.path_option(
            "A .parquet file of item_id and vectors: titles that are new to a policy with item "
            "features, recommended like the others."
        ),
    ] = None,
    unknown_users: options.UnknownUsers = None,
) -> None:
    """Recommend items to users with a saved policy.

    The users are those of the data that the policy was trained on, or of --dataset or --log, by id;
    or those whose events a file of histories holds. Items are matched by id.

    \b
    Example:
      recsys-posttrain recommend runs/stages/posttrain-0f3a --users 1,2,3 --k 10 --output top.csv
      recsys-posttrain recommend runs/stages/posttrain-0f3a --users 1,2,3 --log log_of_today.csv
      recsys-posttrain recommend runs/stages/posttrain-0f3a --users 1,2,3 --tilt 0.3
      recsys-posttrain recommend runs/stages/posttrain-0f3a --users 1,2,3 --items new_titles.parquet
    """
    if reward is not None and tilt is None:
        raise UserError("--reward is the reward model of a tilt: give --tilt TEMPERATURE too")
    if items is not None and tilt is not None:
        raise UserError(
            "--tilt reads a reward model, which does not know the titles of --items: "
            "leave one of them out"
        )
    if (users is None) == (histories is None):
        raise UserError("recommend needs --users IDS or --histories FILE, and not both")
    if histories is not None and (dataset, log) != (None, None):
        raise UserError("--histories holds the events itself: leave out --dataset and --log")
    ids = None if users is None else [part.strip() for part in users.split(",") if part.strip()]

    from recsys_posttrain.recommendation import recommend as recommend_to
    from recsys_posttrain.worlds.catalog import log_or_dataset

    source = log_or_dataset(log, dataset, data_root)
    asked = policy, ids, histories, k, output, data_root, source, repeats, tilt, reward
    recommend_to(*asked, columns or "", items, unknown_users)
