"""Top items per user and stage from a saved policy, before an event: no model runs during it."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import torch
from rich.progress import track
from torch import Tensor, nn

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset
from recsys_posttrain.data.split import latest_events
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.ranking import top_items
from recsys_posttrain.files import disk_is_explained, read_json, replacing, sha256_of, write_json
from recsys_posttrain.histories import histories_of_dataset, states_of
from recsys_posttrain.live.materialized import MANIFEST, lists_name, version_of
from recsys_posttrain.live.state import require_name
from recsys_posttrain.models.checkpoint import WEIGHTS, SavedPolicy, load_policy
from recsys_posttrain.progress import plain_console
from recsys_posttrain.recommendation import not_to_show
from recsys_posttrain.types import Repeats, Sequences

# Memory is that of so many users. Histories are padded to the longest of a few dozen, so larger
# chunks, in which such have more alike lengths, save a little time.
USERS_PER_CHUNK = 4096
_EXAMPLE = '{"event": "final", "live_title": "1193", "stages": {"before": null, "live": 1}}'


@dataclass(frozen=True)
class EventRules:
    """The stages of one event, in the order in which they are expected.

    live_title: the data set's id of the item.
    stages: by name, the place of the live title from 1, or None: it is not in the list, whatever
        the policy thinks of it.
    Errors: UserError for names and places that cannot be.
    """

    event: str
    live_title: str
    stages: dict[str, int | None]

    def __post_init__(self) -> None:
        require(
            isinstance(self.live_title, str) and self.live_title,
            f"live_title is {self.live_title!r}: give the item's id as text",
        )
        require(
            isinstance(self.stages, dict) and self.stages,
            f"stages is {self.stages!r}: give one stage or more, each with a place or null",
        )
        require_name(self.event, "the event")
        for name, place in self.stages.items():
            require_name(name, "a stage")
            require(
                place is None or (type(place) is int and place >= 1),
                f"stage {name!r} places the live title at {place!r}: give 1 or more, or null",
            )

    @classmethod
    def read(cls, path: Path) -> "EventRules":
        """The rules in a JSON file. Errors: UserError, which names the file and shows one."""
        value = read_json(path, fix=f"give a file such as {_EXAMPLE}")
        names = set(cls.__dataclass_fields__)
        require(
            isinstance(value, dict) and set(value) == names,
            f"{path} does not hold exactly {', '.join(sorted(names))}: write it as {_EXAMPLE}",
        )
        try:
            return cls(**value)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def check_places(self, k: int) -> None:
        """UserError where a stage places the live title beyond the list's end."""
        for name, place in self.stages.items():
            require(
                (place or 0) <= k,
                f"stage {name!r} places the live title at {place}, beyond the {k} items of a list: "
                f"give a place of at most {k}, or a larger --k",
            )


def materialize(
    policy_folder: Path,
    rules: EventRules,
    k: int,
    output: Path,
    users: list[str] | None = None,
    data_root: str | None = None,
    source: Dataset | None = None,
    repeats: Repeats | None = None,
    columns: str = "",
    encoder: nn.Module | None = None,
) -> dict[str, Any]:
    """Writes k items per user and stage into the folder `output`; returns the manifest.

    In each stage the live title stands where the rules say. The other items are the policy's best
    that may be shown to the user, in its order. A user who has seen almost everything gets fewer.
    What an earlier call wrote there stays valid until the new manifest takes its place in one
    rename; two calls must not write to one folder at a time.

    users, data_root, source, repeats, columns: as for `recommend`. encoder: as for
    `load_policy`. Users without an item that the policy
    knows are left out, and counted in a line on stderr.
    Errors: UserError for rules that k or the policy cannot meet, unknown users, a full disk.
    """
    rules.check_places(k)
    saved = load_policy(policy_folder, encoder=encoder)
    count = len(saved.item_ids)
    require(k < count, f"--k {k}: give at most {count - 1}, the policy's items but the live title")
    live_item = _live_item(saved, rules.live_title)
    is_masked = saved.never_shown_M is not None and live_item in saved.never_shown_M.tolist()
    require(
        not is_masked,
        f"live_title {rules.live_title!r} is an item that the policy is never to show: give "
        "another title, or a policy that was trained without it in never_shown",
    )
    wanted = None if users is None else list(dict.fromkeys(users))
    user_ids, histories = histories_of_dataset(saved, wanted, data_root, source, columns)
    saved = saved._replace(repeats=repeats or saved.repeats)
    require(not output.is_file(), f"--output {output} is a file: give a folder")
    with disk_is_explained(output):
        output.mkdir(parents=True, exist_ok=True)
        with replacing(output / "lists.arrow") as temporary:
            write_lists(temporary, saved, user_ids, histories, live_item, rules, k)
            sha256 = sha256_of(temporary)
        (output / "lists.arrow").replace(output / lists_name(sha256))
        policy = [(policy_folder / name).read_bytes() for name in ("policy.json", WEIGHTS)]
        manifest = {
            **asdict(rules),
            "k": k,
            "users": len(user_ids),
            "dataset": saved.dataset,
            "policy_sha256": hashlib.sha256(b"".join(policy)).hexdigest(),
            "lists_sha256": sha256,
        }
        manifest["version"] = version_of(manifest)
        write_json(output / MANIFEST, manifest)
        # A server that has older lists mapped keeps them.
        for path in output.glob("lists-*.arrow"):
            if path.name != lists_name(sha256):
                path.unlink()
    return manifest


def write_lists(
    path: Path,
    saved: SavedPolicy,
    user_ids: np.ndarray,
    histories: Sequences,
    live_item: int,
    rules: EventRules,
    k: int,
) -> None:
    """The Arrow file, chunk by chunk, users in the order of their ids as text.

    histories: everything that user_ids[n] has seen. live_item: 1..V.
    """
    names = [str(user) for user in user_ids.tolist()]
    order = sorted(range(len(names)), key=names.__getitem__)
    item_ids = pa.array([str(item) for item in saved.item_ids.tolist()])
    column = pa.list_(pa.dictionary(pa.int32(), pa.string()))
    # By position, not by name: a stage may be called user_id.
    schema = pa.schema([("user_id", pa.string()), *((name, column) for name in rules.stages)])
    longest, console = int(histories.lengths_N.max()), plain_console(stderr=True)
    starts = range(0, len(order), USERS_PER_CHUNK)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for start in track(starts, "users", console=console, disable=not console.is_terminal):
            rows = order[start : start + USERS_PER_CHUNK]
            seen = latest_events(histories, torch.tensor(rows), longest)
            others_NK = best_others(saved, seen, live_item, k)
            lists = [
                _list_column(placed(others_NK, live_item, place), item_ids)
                for place in rules.stages.values()
            ]
            text = pa.array([names[row] for row in rows], pa.string())
            writer.write_batch(pa.record_batch([text, *lists], schema=schema))


def best_others(saved: SavedPolicy, seen: Sequences, live_item: int, k: int) -> Tensor:
    """The k best that may be shown but the live one, best first, int64 [N, K]; 0 for none."""
    hidden_ND = states_of(saved.policy, seen)
    removed = not_to_show(saved, seen)
    items_NK1, _ = top_items(hidden_ND, saved.policy.item_embedding_VD, k + 1, removed)
    # A stable sort by "is it the live one" moves that one item, if it is there, to the end.
    order_NK1 = (items_NK1 == live_item).long().argsort(dim=1, stable=True)
    return items_NK1.gather(1, order_NK1)[:, :k]


def placed(others_NK: Tensor, live_item: int, place: int | None) -> Tensor:
    """[N, K]: the others in their order, with the live title at `place`, from 1, if at one."""
    if place is None:
        return others_NK
    live_N1 = torch.full_like(others_NK[:, :1], live_item)
    return torch.cat([others_NK[:, : place - 1], live_N1, others_NK[:, place - 1 : -1]], dim=1)


def _list_column(items_NK: Tensor, item_ids: pa.Array) -> pa.Array:
    """Lists without the zeros, which stand for no item."""
    real_NK = (items_NK > 0).numpy()
    offsets = np.concatenate([[0], real_NK.sum(axis=1).cumsum()])
    index = pa.array(items_NK.numpy()[real_NK] - 1, pa.int32())
    values = pa.DictionaryArray.from_arrays(index, item_ids)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _live_item(saved: SavedPolicy, live_title: str) -> int:
    item_ids = [str(item) for item in saved.item_ids.tolist()]
    if live_title not in item_ids:
        raise UserError(
            f"live_title {live_title!r} is not among the {len(item_ids):,} items that the policy "
            f"knows: give an id of {saved.dataset} such as {item_ids[0]!r}"
        )
    return item_ids.index(live_title) + 1
