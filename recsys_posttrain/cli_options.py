"""Options that several commands have: paths, device, and what the rewards of a log mean."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys_posttrain.errors import UserError
from recsys_posttrain.named import study_file

if TYPE_CHECKING:
    from recsys_posttrain.data.table_file import FileRules
    from recsys_posttrain.reward_scale import Thresholds
    from recsys_posttrain.studies.engine import Engine

Liked = Annotated[
    str | None,
    typer.Option(
        metavar="REWARD",
        help="Liked from here on: a reward in the data's own unit, or a quantile such as 50%.",
    ),
]
Top = Annotated[str | None, typer.Option(metavar="REWARD", help="Top from here on.")]
Disliked = Annotated[str | None, typer.Option(metavar="REWARD", help="Disliked down from here.")]
Zero = Annotated[
    str | None,
    typer.Option("--reward-zero", metavar="REWARD", help="The reward that is worth nothing."),
]

MOST_BYTES_OF_A_NAME = 255  # of Linux, macOS and Windows


def thresholds(*given: str | None) -> "Thresholds":
    """Of what was given for liked, top, disliked and zero, in this order."""
    from recsys_posttrain.reward_scale import Thresholds

    return Thresholds(*map(_number_or_text, given))


def file_rules(
    duplicates: str | None, reward: str | None, signals: str | None, columns: str | None
) -> "FileRules":
    from recsys_posttrain.data.table_file import FileRules

    return FileRules(duplicates, reward, signals, columns)  # type: ignore[arg-type]


def _number_or_text(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def expanded(text: str) -> str:
    """The text of a path without ~; where there is no such user's home, as it is.

    Raises: UserError for what no file can be called.
    """
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > MOST_BYTES_OF_A_NAME or "\0" in text:
        raise UserError(
            f"{text[:40]!r}... cannot be a path: a name has at most {MOST_BYTES_OF_A_NAME} bytes "
            "and no NUL; give another one"
        )
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        return text


def _expanded_if_given(text: str | None) -> str | None:
    return expanded(text) if text else text


def path(text: str | Path) -> Path:
    """Of every option, so that --output=~/runs, where no shell replaces ~, is the home folder."""
    return Path(expanded(str(text)))


def path_option(help: str) -> Any:
    return typer.Option(help=help, parser=path)


def path_argument(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, parser=path)


def _study_file(text: str | Path) -> Path:
    return study_file(path(text))


def checked_device(text: str) -> str:
    """cpu, cuda or cuda:1, which this machine has.

    Raises: UserError for another word, and for a GPU that is not there.
    """
    if text == "cpu":
        return text
    if not re.fullmatch(r"cuda(:\d{1,3})?", text):
        raise UserError(f"--device {text}: give cpu, cuda, or one GPU by its number as cuda:1")
    import torch  # a second, which only those with a GPU spend here

    count = torch.cuda.device_count()
    if count == 0:
        raise UserError(f"--device {text}: PyTorch finds no GPU here; leave --device out for cpu")
    if text != "cuda" and int(text.removeprefix("cuda:")) >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise UserError(f"--device {text}: this machine has {there}")
    return text


def engine_of(name: str, device: str, gpu_share: float) -> "Engine":
    """Who trains."""
    from recsys_posttrain.studies.engine import Processes
    from recsys_posttrain.studies.on_ray import Ray

    if name == "processes":
        return Processes()
    return Ray(0.0 if device == "cpu" else gpu_share)


DataRoot = Annotated[
    str | None,
    typer.Option(
        help="A folder or zip that holds the ratings of a named dataset; no other source then.",
        callback=_expanded_if_given,
    ),
]
Output = Annotated[Path, path_option("Where runs and stages are kept.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...", callback=checked_device)]
Devices = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes that share a training, in a study pretraining: each takes a part of every "
        "batch. CPU only. Under torchrun as many as it starts.",
    ),
]
EngineName = Annotated[
    Literal["processes", "ray"],
    typer.Option(
        help="Who trains: processes of this machine, or a Ray cluster (RAY_ADDRESS) whose machines "
        "share this folder."
    ),
]
GpuShare = Annotated[
    float,
    typer.Option(
        min=0.01, help="With --engine ray and --device cuda: GPUs of one task; 0.5: two share one."
    ),
]
DATASET_WORDS = (
    "ml-100k, ml-1m, jester, ..., or a file: .csv, .tsv (.gz too), .parquet; or a folder of them."
)
DatasetName = Annotated[str, typer.Argument(help=DATASET_WORDS, callback=expanded)]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="RECSYS_POSTTRAIN_STORAGE",
        help="postgresql://user@host/database; a file in the run's folder by default. A password "
        "belongs in PGPASSWORD or ~/.pgpass: every user of the machine can read arguments.",
    ),
]
StudyFolder = Annotated[
    Path, path_argument("STUDY", "A study: its folder, or its name under runs/.")
]
ExperimentFile = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY",
        help="A study of this package by name (movielens_main), or a Python file. It is executed: "
        "run only files that you trust.",
        parser=_study_file,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(help=f"In place of the file's own: {DATASET_WORDS}", callback=_expanded_if_given),
]
Duplicates = Annotated[
    Literal["refuse", "first", "last"] | None,
    typer.Option(
        help="In a file: which row to keep of those with one user, item and time; by default such "
        "a file is refused."
    ),
]
RewardFormula = Annotated[
    str | None,
    typer.Option(
        "--reward",
        metavar="FORMULA",
        help="In a file: the reward, of its columns: 'thumbs + 0.5*completion - 0.3*abandoned'.",
    ),
]
SignalNames = Annotated[
    str | None,
    typer.Option(
        "--signals",
        metavar="COLUMNS",
        help="In a file: columns that travel with every event: 'click, long=watch/duration'.",
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="NAME=COLUMN", help="In a file: which is which: user=uid,item=vid,..."
    ),
]
ItemFeatures = Annotated[
    Path | None,
    path_option(
        "A .parquet file of item_id and vectors, which the policy's item vectors read too, so that "
        "it can score titles without events."
    ),
]
Available = Annotated[
    Path | None,
    path_option(
        "A table of item_id, from, until, region: when and where items may be shown; others always "
        "may."
    ),
]
NewItems = Annotated[
    Path | None,
    path_option(
        "A .parquet file of item_id and vectors: titles that are new to a policy with item "
        "features, which it then knows like the others."
    ),
]
UnknownUsers = Annotated[
    Literal["popularity", "nothing"] | None,
    typer.Option(
        help="What users without an item that the policy knows get: the most popular items, or "
        "nothing. By default nothing, and ids that the log does not have are refused."
    ),
]
RewardModelFile = Annotated[
    str | None,
    typer.Option(
        "--reward-model",
        metavar="FILE",
        help="A reward model of your own: a table of user_id, item_id, prediction, or a Python "
        "file (it is executed) that defines REWARD_MODEL.",
        callback=_expanded_if_given,
    ),
]
PretrainedFile = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="FILE",
        help="A policy of your own in place of pretraining: a Python file (it is executed) that "
        "defines PRETRAINED, a function that gives rp.policy_of(...).",
        callback=_expanded_if_given,
    ),
]
Repeats = Annotated[
    Literal["never", "allowed"] | None,
    typer.Option(
        help="never: what a user had is not shown again. allowed: it may be. Default: as measured "
        "in the log."
    ),
]
# Of a saved policy, whose users' events may have moved since it was trained.
DatasetNow = Annotated[
    str | None,
    typer.Option(help="Read the users' events from this dataset now.", callback=_expanded_if_given),
]
LogNow = Annotated[Path | None, path_option("Read them from this .csv or .parquet file now.")]
