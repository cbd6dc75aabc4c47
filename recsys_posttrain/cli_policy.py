"""The commands on a saved policy."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_posttrain import cli_options as options
from recsys_posttrain.errors import UserError

Policy = Annotated[
    Path, options.path_argument("STUDY", "A study, or the folder of a saved policy.")
]
Method = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Of a study: whose policy, as its table calls it."),
]
Users = Annotated[
    str | None, typer.Option(metavar="IDS", help="Comma-separated user ids of the dataset.")
]
Histories = Annotated[
    Path | None, options.path_option("A .csv or .parquet file of other users' events.")
]


def _ids(
    users: str | None, histories: Path | None, dataset: str | None, log: Path | None
) -> list[str] | None:
    if histories is not None and (dataset, log) != (None, None):
        raise UserError("--histories holds the events itself: leave out --dataset and --log")
    return None if users is None else [part.strip() for part in users.split(",") if part.strip()]


def recommend(
    policy: Policy,
    method: Method = None,
    users: Users = None,
    histories: Histories = None,
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
    at: Annotated[
        str,
        typer.Option(metavar="DATE", help="When: of a policy with dated windows; now."),
    ] = "",
    region: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where all users are: of a policy with windows by region; that of the last event.",
        ),
    ] = "",
    items: options.NewItems = None,
    unknown_users: options.UnknownUsers = None,
    bfloat16_items: Annotated[
        bool,
        typer.Option("--bfloat16-items", help="The table of items in half of its memory."),
    ] = False,
) -> None:
    """Recommend items to users with a saved policy.

    The users are those of the data that the policy was trained on, or of --dataset or --log, by id;
    or those whose events a file of histories holds. Items are matched by id.

    \b
    Example:
      recsys-posttrain recommend movielens_main-ml-100k --method ASFT --users 1,2 --output top.csv
      recsys-posttrain recommend runs/my_study-log --method DPO --users 1,2 --log log_of_today.csv
      recsys-posttrain recommend exported/policy --users 1,2,3 --tilt 0.3
      recsys-posttrain recommend exported/policy --users 1,2,3 --items new_titles.parquet
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
    ids = _ids(users, histories, dataset, log)

    from recsys_posttrain.recommendation import recommend as recommend_to
    from recsys_posttrain.studies.policies import policy_folder
    from recsys_posttrain.worlds.catalog import log_or_dataset

    source = log_or_dataset(log, dataset, data_root)
    asked = (
        policy_folder(policy, method),
        ids,
        histories,
        k,
        output,
        data_root,
        source,
        repeats,
        tilt,
        reward,
    )
    recommend_to(*asked, columns or "", at, items, unknown_users, region, bfloat16_items)


def export(
    policy: Policy,
    method: Method = None,
    onnx: Annotated[
        Path | None, options.path_option("A new folder: the encoder as ONNX, and the item table.")
    ] = None,
    embeddings: Annotated[
        Path | None, options.path_option("A .parquet file: item_id and vector of every item.")
    ] = None,
    states: Annotated[
        Path | None,
        options.path_option("A .parquet file: user_id and vector of --users or --histories."),
    ] = None,
    grown: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="A new folder: the policy itself, which knows the titles of --items.",
            parser=options.path,
        ),
    ] = None,
    users: Users = None,
    histories: Histories = None,
    data_root: options.DataRoot = None,
    dataset: options.DatasetNow = None,
    log: options.LogNow = None,
    columns: options.ColumnNames = None,
    items: options.NewItems = None,
) -> None:
    """Write a saved policy for other systems. Scores are products of user and item vectors.

    \b
    Example:
      recsys-posttrain export movielens_main-ml-100k --method ASFT --onnx serving
      recsys-posttrain export exported/policy --embeddings items.parquet
      recsys-posttrain export exported/policy --states users.parquet --users 1,2,3
      recsys-posttrain export exported/policy --items new_titles.parquet --policy grown
    """
    if onnx is embeddings is states is grown is None:
        raise UserError(
            "export needs --onnx FOLDER, --embeddings FILE, --states FILE or --policy FOLDER"
        )
    if grown is not None and items is None:
        raise UserError("--policy FOLDER is a policy that knows more titles: give --items FILE")
    if (states is None) != (users is None and histories is None) or (users and histories):
        raise UserError("--states FILE is of the users of --users IDS or of --histories FILE")
    ids = _ids(users, histories, dataset, log)

    from recsys_posttrain import export as write
    from recsys_posttrain.studies.policies import policy_folder
    from recsys_posttrain.worlds.catalog import log_or_dataset

    targets = write.Targets(onnx, embeddings, states, grown)
    source = log_or_dataset(log, dataset, data_root)
    folder = policy_folder(policy, method)
    write.export(folder, targets, ids, histories, data_root, source, columns or "", items)


def posttrain(
    policy: Annotated[
        Path,
        typer.Option("--from", help="A saved policy's folder, or a study.", parser=options.path),
    ],
    log: Annotated[
        str,
        typer.Option(help=f"Its newest events: {options.DATASET_WORDS}", callback=options.expanded),
    ],
    method: Annotated[
        str, typer.Option(help="An algorithm, by its name; of a study, its policy goes on.")
    ] = "BC",
    replay: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of the loss, on events of the past; .5 by default."),
    ] = None,
    past: Annotated[
        str | None,
        typer.Option(
            help="The log that the policy was trained on, where it is not there any more."
        ),
    ] = None,
    reward: Annotated[
        Path | None,
        options.path_option(
            "The folder of a reward model; by default the one that the policy was trained with."
        ),
    ] = None,
    judge: Annotated[
        Path | None, options.path_option("The folder of a judge, for a bound on the gap to it.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a field; may be repeated."),
    ] = None,
    items: options.NewItems = None,
    columns: options.ColumnNames = None,
    device: options.Device = "cpu",
    devices: options.Devices = 1,
    data_root: options.DataRoot = None,
    output: options.Output = Path("runs"),
) -> None:
    """Continue from a saved policy on the newest events of its log.

    Events after the policy's newest one are trained on; the last of them, by time, are the new
    targets. Old events are replayed. The table says what was gained on new targets and forgotten
    on old ones. What is finished already is reused; a run that was killed goes on.

    \b
    Example:
      recsys-posttrain posttrain --from runs/stages/posttrain-0f3a --log today.csv --method ASFT
      recsys-posttrain posttrain --from POLICY --log log.csv --set posttraining.guard.kl=0.5
      recsys-posttrain posttrain --from POLICY --log today.csv --items titles_of_today.parquet
    """
    from recsys_posttrain.data.table_columns import mapping_of
    from recsys_posttrain.named import study_path
    from recsys_posttrain.studies.policies import CARD, policy_folder
    from recsys_posttrain.tomorrow.stage import Asked, continue_policy
    from recsys_posttrain.training.launched import devices_of

    policy = study_path(policy)
    if (policy / "run.json").is_file() and not (policy / CARD).is_file():
        policy = policy_folder(policy, method)
    given = [*(overrides or ()), *([] if replay is None else [f"replay={replay}"])]
    asked = Asked(
        policy,
        log,
        method,
        given,
        past,
        reward,
        judge,
        mapping_of(columns or ""),
        data_root,
        output,
        device,
        items,
        devices_of(devices),
    )
    continue_policy(asked)
