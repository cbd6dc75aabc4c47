"""The policies of a finished study, by the labels of its table."""

from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import note
from recsys_posttrain.errors import UserError, did_you_mean, nearest
from recsys_posttrain.named import study_path
from recsys_posttrain.report.record import study_record

CARD = "policy.json"  # of models/checkpoint.py, whose import takes a second
PRETRAINED = "pretrained"  # as run.json begins the names of its stages


def policy_folder(given: Path, method: str | None) -> Path:
    """The folder of a saved policy: the one that is given, or that of a study's method. Of several
    seeds it is the first, which is said.

    given: a folder, or the name of a study under runs/.

    Raises: UserError for a method without a policy, and where the study's stages are gone.
    """
    folder = study_path(given)
    if (folder / CARD).is_file() or not (folder / "run.json").is_file():
        require(method is None, f"--method {method}: {folder} is no study; leave --method out.")
        return folder
    found = _by_method(folder)
    require(
        method is not None,
        f"{folder} is a study: say which policy with --method, one of {', '.join(found)}.",
    )
    if method not in found:
        hint = did_you_mean(nearest(str(method), found))
        raise UserError(
            f"--method {method}: {folder} holds no policy of that name{hint} (it has those of "
            f"{', '.join(found)})"
        )
    seeds = found[str(method)]
    seed, stage = next(iter(seeds.items()))
    path = folder.parent / "stages" / stage
    require(
        (path / CARD).is_file(),
        f"{path}, the policy of {method}, is not there any more: run the study again with the "
        "command in its run.json.",
    )
    if len(seeds) > 1:
        note(f"{method}: the policy of seed {seed}, the first of {len(seeds)}")
    return path


def _by_method(folder: Path) -> dict[str, dict[str, str]]:
    """The stages of a study's policies, by label (`Pretrained` too) and seed."""
    found: dict[str, dict[str, str]] = {}
    for name, stage in study_record(folder).get("stages", {}).items():
        title, _, seed = name.rpartition("/")
        if not stage.get("folder", "").startswith(("pretrain-", "posttrain-")):
            continue  # a reward model
        if name.startswith(PRETRAINED):  # one for all seeds has no seed in its name
            title = (title or name).replace(PRETRAINED, "Pretrained", 1)
        found.setdefault(title, {})[seed] = stage["folder"]
    return found
