"""A policy whose encoder is a module of the user's own.

    policy = rp.policy_of(item_embedding, encoder, item_ids)

The encoder is called with a `History` and gives the hidden states, [B, T, D]; the logits are their
products with the item embedding. A saved policy holds its weights and the name of its class, never
the class: `rp.load_policy(folder, encoder=...)` is given a module of that class again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recsys_posttrain.config import require, require_counts
from recsys_posttrain.data.encode import as_text
from recsys_posttrain.errors import UserError
from recsys_posttrain.models.backbone import last_hidden_states
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.types import History

PROBE = 6  # events that a new encoder is tried on


class OwnModule(nn.Module):
    """An encoder and an item embedding as a Backbone. An optional `last` of the encoder is used."""

    def __init__(self, encoder: nn.Module, item_embedding: nn.Embedding, max_length: int) -> None:
        super().__init__()
        self.dim, self.max_length = item_embedding.embedding_dim, max_length
        self.item_embedding = item_embedding
        self.encoder = encoder

    def forward(self, history: History) -> Tensor:
        """The hidden states, [B, T, D]."""
        hidden_BTD: Tensor = self.encoder(history)
        return hidden_BTD

    def last(self, history: History, length_B: Tensor) -> Tensor:
        """The hidden states at position length - 1, [B, D]."""
        return last_hidden_states(self.encoder, history, length_B)


@dataclass(frozen=True)
class OwnEncoder:
    """What a saved policy says of its encoder.

    name: of the class, with its module. tied: where in the encoder the item embedding is, if it is
    a part of it. module: the encoder itself, which is copied.
    """

    name: str
    dim: int
    max_length: int
    tied: str = ""
    module: nn.Module | None = field(default=None, compare=False, repr=False)

    def build(self, num_items: int) -> OwnModule:
        """Raises: UserError without a module of the class."""
        need = f"the policy's encoder is of the user's own class {self.name}, which no file holds"
        fix = "give a module of it: rp.load_policy(folder, encoder=...)"
        require(self.module is not None, f"{need}; {fix}.")
        assert self.module is not None
        given = name_of(self.module)
        require(given == self.name, f"{need}, and {given} was given; {fix}.")
        encoder = deepcopy(self.module)
        table = nn.Embedding(num_items + 1, self.dim, padding_idx=0)
        if self.tied:
            table = encoder.get_submodule(self.tied)  # type: ignore[assignment]
        return OwnModule(encoder, table, self.max_length)


def name_of(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def policy_of(
    item_embedding: nn.Embedding | Tensor | np.ndarray,
    encoder: nn.Module,
    item_ids: Sequence[str | int] | np.ndarray,
    max_length: int = 200,
) -> Policy:
    """A policy of modules that were trained elsewhere, which are copied.

    item_embedding: the output vectors of the items, [V, D], or an nn.Embedding of V + 1 rows, the
        first for padding; one that is a part of the encoder stays the same one. item_ids: of the V
        items, in that order. max_length: the longest history that the encoder reads.

    encoder: called with a `History` of item numbers 1..V, right-padded with 0. The state at t must
    depend on events up to t only, which is tried.

    Raises: UserError where sizes do not fit, the encoder fails, or its states see later events.
    """
    require(isinstance(encoder, nn.Module), f"encoder={encoder!r} must be a torch module.")
    require_counts("policy_of", 1, 2**20, max_length=max_length)
    ids = np.asarray(item_ids)
    ids = ids.astype(object) if ids.dtype.kind == "U" else ids
    require(
        ids.ndim == 1 and len(ids) == len(set(as_text(ids))) > 0,
        "item_ids must be a list of ids, each there once.",
    )
    tied = ""
    if isinstance(item_embedding, nn.Embedding):
        weight, head = item_embedding.weight, 1
        names = [name for name, each in encoder.named_modules() if each is item_embedding]
        tied = names[0] if names else ""
    else:
        weight, head = torch.as_tensor(item_embedding), 0
    require(
        weight.ndim == 2 and len(weight) == len(ids) + head,
        f"the item embedding has the shape {tuple(weight.shape)} and there are {len(ids):,} item "
        "ids; give a table of one row for each, or an nn.Embedding with one more, for padding, in "
        "front.",
    )
    config = OwnEncoder(name_of(encoder), weight.shape[1], max_length, tied, encoder)
    backbone = config.build(len(ids)).to(weight.dtype)
    with torch.no_grad():
        backbone.item_embedding.weight[1:] = weight[head:]
        backbone.item_embedding.weight[0] = weight[0] if head else 0.0
    _try(deepcopy(backbone).eval(), len(ids))
    backbone.config = replace(config, module=None)  # type: ignore[assignment]
    return Policy(backbone, ids)


def made_by(make: Callable[[], Any]) -> Policy:
    """The policy that a function of the user's own gives.

    Raises: UserError where it raises, or gives anything but a policy that knows the ids of its
    items and how it is built.
    """
    name = f"pretrained={getattr(make, '__name__', make)}"
    try:
        found = make()
    except UserError as refusal:
        raise UserError(f"{name}: {refusal}") from refusal
    except Exception as error:
        reason = (str(error).strip() or "without a word").splitlines()[0]
        raise UserError(f"{name} raised {type(error).__name__} ({reason}); correct it.") from error
    policy = getattr(found, "policy", found)  # of what load_policy returns
    require(
        isinstance(policy, Policy)
        and policy.item_ids is not None
        and getattr(policy.backbone, "config", None) is not None,
        f"{name} gave {type(found).__name__}; return what rp.policy_of or rp.load_policy gives.",
    )
    assert isinstance(policy, Policy)
    return policy


def weights_digest(policy: Policy) -> str:
    """Of all its weights."""
    found = hashlib.sha256()
    for name, tensor in policy.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


@torch.no_grad()
def _try(backbone: OwnModule, num_items: int) -> None:
    """Raises: UserError where the encoder does not give the states of a short batch as it must."""
    generator = torch.Generator().manual_seed(0)
    time = min(PROBE, backbone.max_length)
    items_BT = torch.randint(1, num_items + 1, (2, time), generator=generator)
    items_BT[1, time // 2 + 1 :] = 0
    like = backbone.item_embedding.weight

    def states(items_BT: Tensor) -> Tensor:
        rewards_BT, times_BT = 3.0 * torch.ones_like(items_BT), torch.ones_like(items_BT).cumsum(1)
        history = History(items_BT, rewards_BT, times_BT, times_BT + 1)
        found: Any = _called(backbone, history.to(like))
        wanted = (*items_BT.shape, backbone.dim)
        require(
            isinstance(found, Tensor) and found.shape == wanted,
            f"the encoder gives {getattr(found, 'shape', type(found).__name__)} for histories of "
            f"the shape {tuple(items_BT.shape)}; it must give {wanted}: a state of the width of "
            "the item embedding after each event.",
        )
        require(bool(found[items_BT > 0].isfinite().all()), "the encoder gives states with NaN.")
        return torch.as_tensor(found)

    seen_BTD = states(items_BT)
    other_BT = items_BT.clone()
    other_BT[0, -1] = items_BT[0, -1] % num_items + 1
    other_BT[1, time // 2 + 1 :] = 1
    changed_BTD = states(other_BT)
    for row, step in ((0, slice(time - 1)), (1, slice(time // 2 + 1))):
        require(
            torch.allclose(seen_BTD[row, step], changed_BTD[row, step], rtol=1e-3, atol=1e-4),
            "the encoder's state after an event changes with later events, so that it would see "
            "what it is to predict; make it causal, and let padding stand on the right.",
        )
    alone_BTD = states(items_BT[:1])
    require(
        torch.allclose(seen_BTD[:1], alone_BTD, rtol=1e-3, atol=1e-4),
        "the encoder's states depend on what else is in the batch; each history stands alone.",
    )


def _called(backbone: OwnModule, history: History) -> Any:
    try:
        return backbone(history)
    except Exception as error:
        reason = (str(error).strip() or "without a word").splitlines()[0]
        raise UserError(
            f"the encoder raised {type(error).__name__} ({reason}) when it was called with a "
            "History of two short rows; its forward takes one History (items_BT, rewards_BT, "
            "times_BT, next_times_BT)."
        ) from error
