"""A saved policy for other systems: vectors of items and users, and the encoder as ONNX.

    score(user, item) = state . vector

The best items of a user are those with the largest products, without what the user had where the
policy's log does not repeat items. The tables are parquet, a vector a row.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset
from recsys_posttrain.data.available import where
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.errors import UserError
from recsys_posttrain.evaluation.stable_top import stable_top
from recsys_posttrain.files import (
    check_output,
    new_folder,
    write_json,
)
from recsys_posttrain.histories import histories_of, states_of
from recsys_posttrain.models.backbone import last_hidden_states
from recsys_posttrain.models.checkpoint import SavedPolicy, load_policy
from recsys_posttrain.models.new_items import add_items, save_grown
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.recommendation import followed, writing
from recsys_posttrain.types import History

EXTRA = ("onnx", "onnxscript", "onnxruntime")
ENCODER, ITEMS, FACTS = "encoder.onnx", "items.parquet", "encoder.json"
INPUTS = {
    "items": "int64 [batch, length]: item numbers, 1 + the row in items.parquet, oldest first, "
    "0 on the right where a history is shorter",
    "rewards": "float [batch, length]: the logged rewards in stars of reward_scale",
    "times": "int64 [batch, length]: seconds since 1970",
    "next_time": "int64 [batch]: of the action to predict; if that is not known, of the last event",
}
TOLERANCE = 1e-5  # of the largest score: what float32 leaves of other kernels' sums
PROBES, TOP = 64, 10


def table_of(name: str, ids: np.ndarray, vectors_ND: Tensor) -> pa.Table:
    """A row for each id: the column `name`, and `vector`, a list of D numbers."""
    values_ND = vectors_ND.detach().float().cpu().contiguous().numpy()
    vectors = pa.FixedSizeListArray.from_arrays(values_ND.reshape(-1), values_ND.shape[1])
    return pa.table({name: pa.array(ids.tolist()), "vector": vectors})


class Targets(NamedTuple):
    """Where to write what; None: not."""

    onnx: Path | None = None
    embeddings: Path | None = None
    states: Path | None = None
    policy: Path | None = None


def export(
    policy_folder: Path,
    targets: Targets,
    users: list[str] | None = None,
    histories: Path | None = None,
    data_root: str | None = None,
    source: Dataset | None = None,
    columns: str = "",
    items: Path | None = None,
) -> None:
    """Writes what is asked for. All but `targets` is as for `recommend`."""
    if targets.onnx is not None:
        check_onnx(targets.onnx)
    if targets.policy is not None:
        check_new(targets.policy, "--policy")
    for option in ("embeddings", "states"):
        if (path := getattr(targets, option)) is not None:
            check_output(path, f"--{option}", (".parquet",))
    saved = load_policy(policy_folder)
    saved = saved if items is None else add_items(saved, items)
    if saved.windows is not None and targets != Targets(policy=targets.policy):
        dated = counted(len(saved.windows.items_U), "item")
        note(f"{dated} may be shown {where(saved.windows)} only (policy.json), not said here")
    if targets.embeddings is not None:
        write_embeddings(saved, targets.embeddings)
    if targets.states is not None:
        asked = histories_of(saved, users, histories, data_root, source, columns)
        with writing(targets.states, "--states") as add:
            for user_ids, sequences in followed(asked, "users"):
                add(table_of("user_id", user_ids, states_of(saved.policy, sequences)))
    if targets.onnx is not None:
        export_onnx(saved, targets.onnx)
    if targets.policy is not None:
        with new_folder(targets.policy, "--policy") as temporary:
            save_grown(policy_folder, temporary, saved)


def write_embeddings(saved: SavedPolicy, path: Path) -> None:
    """item_id and vector of every item that may be shown; the others are counted in one line."""
    kept_V = np.ones(len(saved.item_ids), dtype=bool)
    if saved.never_shown_M is not None:
        kept_V[saved.never_shown_M.numpy() - 1] = False
        masked = counted(len(saved.never_shown_M), "item")
        note(f"{path}: left out: {masked} that the policy is never to show")
    vectors_VD = saved.policy.item_embedding_VD[torch.from_numpy(kept_V)]
    with writing(path, "--embeddings") as add:
        add(table_of("item_id", saved.item_ids[kept_V], vectors_VD))


def _plain(backbone: nn.Module) -> nn.Module:
    """The backbone with item vectors as they are, where features compute them: which titles are new
    is a branch that no trace holds."""
    table: Any = backbone.item_embedding
    if isinstance(table, nn.Embedding):
        return backbone
    plain = deepcopy(backbone)
    plain.item_embedding = nn.Embedding.from_pretrained(table.weight.detach(), padding_idx=0)
    return plain


class Encoder(nn.Module):
    """Histories, right-padded -> the state after the last event of each, [B, D].

    names: which of INPUTS it is called with, in this order; the others are 0.
    """

    def __init__(self, policy: Policy, names: Collection[str] = tuple(INPUTS)) -> None:
        super().__init__()
        self.backbone, self.names = _plain(policy.backbone), tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        items_BT = given["items"]
        nothing_BT = torch.zeros_like(items_BT)
        times_BT = given.get("times", nothing_BT)
        length_B = (items_BT > 0).sum(dim=1)
        is_last_BT = torch.arange(items_BT.shape[1]) == length_B[:, None] - 1
        following_BT = nn.functional.pad(times_BT[:, 1:], (0, 1))
        next_B1 = given.get("next_time", nothing_BT[:, 0])[:, None]
        next_times_BT = torch.where(is_last_BT, next_B1, following_BT)
        history = History(items_BT, given.get("rewards", nothing_BT), times_BT, next_times_BT)
        weight: Tensor = self.backbone.item_embedding.weight  # type: ignore[union-attr,assignment]
        return last_hidden_states(self.backbone, history.to(weight), length_B)


def check_new(folder: Path, option: str) -> None:
    require(not folder.exists(), f"{option} {folder} is there already: give a new folder")


def check_onnx(folder: Path) -> None:
    """Raises: UserError where a package of the extra is missing, or the folder is there."""
    check_new(folder, "--onnx")
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise UserError(
            f"an export to ONNX needs {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: pip install "
            "'recsys-posttrain[onnx]'"
        )


def export_onnx(policy: SavedPolicy, folder: str | Path) -> None:
    """Writes the policy into a new folder, for systems without PyTorch.

    encoder.onnx gives the state after each history; its batch and its length are free, and its
    inputs are those of items, rewards, times and next_time that a state depends on. items.parquet
    has item_id, vector and never_shown, and encoder.json says what the inputs are. Scores are
    products of states and vectors. onnxruntime then computes both, and must agree with PyTorch.

    policy: of `load_policy`.

    Raises: UserError without the extra [onnx], for a folder that is there already, and for an
    encoder that ONNX cannot express.
    """
    saved, folder = policy, Path(folder)
    check_onnx(folder)
    with new_folder(folder, "--onnx") as temporary:
        names = inputs_read(saved.policy)
        _program(saved.policy, names).save(str(temporary / ENCODER))
        vectors = table_of("item_id", saved.item_ids, saved.policy.item_embedding_VD)
        is_masked_V = np.zeros(len(saved.item_ids), dtype=bool)
        if saved.never_shown_M is not None:
            is_masked_V[saved.never_shown_M.numpy() - 1] = True
        vectors = vectors.append_column("never_shown", pa.array(is_masked_V))
        pq.write_table(vectors, temporary / ITEMS, write_page_checksum=True)
        facts = {
            "inputs": {name: INPUTS[name] for name in names},
            "output": "state: float [batch, width]; score = state . vector of items.parquet",
            "max_length": saved.policy.max_length,
            "repeats": saved.repeats,
            "reward_scale": asdict(saved.reward_scale),
        }
        write_json(temporary / FACTS, facts)
        note(f"{folder}: {_compared(saved.policy, temporary / ENCODER, names)}")


def probes(policy: Policy, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Random histories of lengths that the policy reads, by the names of INPUTS."""
    generator = torch.Generator().manual_seed(seed)
    shape, items = (count, policy.max_length), len(policy.item_embedding_VD)
    length_B = torch.randint(1, policy.max_length + 1, (count,), generator=generator)
    length_B[0] = policy.max_length
    is_real_BT = torch.arange(shape[1]) < length_B[:, None]
    items_BT = torch.randint(1, items + 1, shape, generator=generator) * is_real_BT
    rewards_BT = torch.randint(1, 6, shape, generator=generator) * is_real_BT.float()
    gaps_BT = torch.randint(1, 10**6, shape, generator=generator)
    times_BT = (1_700_000_000 + gaps_BT.cumsum(dim=1)) * is_real_BT
    inputs = items_BT, rewards_BT, times_BT, times_BT.amax(dim=1) + seed
    return dict(zip(INPUTS, inputs, strict=True))


@torch.inference_mode()
def inputs_read(policy: Policy) -> list[str]:
    """The names of INPUTS that a state depends on."""
    encoder = Encoder(policy).eval()
    inputs, others = probes(policy, PROBES), probes(policy, PROBES, seed=10**5)
    states_BD = encoder(*inputs.values())
    read = ["items"]
    for name in list(INPUTS)[1:]:
        changed = inputs | {name: others[name]}
        if not torch.equal(encoder(*changed.values()), states_BD):
            read.append(name)
    return read


def _program(policy: Policy, names: list[str]) -> Any:
    """The encoder in ONNX, with these inputs."""
    free = {0: "batch"} | ({1: "length"} if policy.max_length > 1 else {})
    # A sample of one row or one event would be taken for the only size, one with gaps for strides.
    sample = tuple(probes(policy, 3)[name][..., :7].contiguous() for name in names)
    shapes = tuple({0: "batch"} if each.ndim == 1 else free for each in sample)
    try:
        with _quiet():
            return torch.onnx.export(
                Encoder(policy, names).eval(),
                sample,
                dynamo=True,
                input_names=names,
                output_names=["state"],
                dynamic_shapes=(shapes,),
                verbose=False,
            )
    except Exception as raised:
        error: BaseException = raised
        while error.__cause__ is not None:
            error = error.__cause__
        reason = (f"{error}".strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"ONNX cannot express the policy's encoder: {reason}") from raised


def _compared(policy: Policy, path: Path, names: list[str]) -> str:
    """How near onnxruntime is to PyTorch, in words. Raises: UserError where it is too far."""
    import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]

    session = onnxruntime.InferenceSession(str(path))
    inputs = probes(policy, PROBES, seed=1)
    with torch.inference_mode():
        ours_ND = Encoder(policy).eval()(*inputs.values())
        theirs_ND = torch.from_numpy(session.run(None, {k: inputs[k].numpy() for k in names})[0])
        ours_NV, theirs_NV = (each @ policy.item_embedding_VD.T for each in (ours_ND, theirs_ND))
    largest, score = float((ours_NV - theirs_NV).abs().max()), float(ours_NV.abs().max())
    require(
        largest <= TOLERANCE * max(1.0, score),
        f"onnxruntime's scores differ from PyTorch's by {largest:.1e} of {score:.1e}: the encoder "
        "does something that its export does not, such as a branch on its input",
    )
    k = min(TOP, ours_NV.shape[1])
    same_N = (stable_top(ours_NV, k)[1] == stable_top(theirs_NV, k)[1]).all(dim=1)
    return (
        f"onnxruntime agrees with PyTorch on {PROBES} random histories: scores differ by at most "
        f"{largest:.1e}, {int(same_N.sum())} of {PROBES} lists of {k} are equal"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages and folding that nobody asked about."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
