"""Item vectors from features, so that a title that nobody has chosen yet has one.

    vector(v) = own(v),  or for a title without an event to train on:  token + W f(v)

f(v) is the item's row of the user's file, each column with mean 0 and deviation 1 over the items
that are trained on, divided by the root of the width.

Pretraining adds its own loss once more, at the same states, with a random share of the own vectors
replaced by token + W f(v), anew in every step. Only the token and W learn from it: they learn to
stand alone, and what is learnt of titles with events is, bit for bit, what is learnt without
features.

A title without events was no alternative to what the log chose. Pretraining leaves it out of the
softmax, which would teach states to shun it. Post-training changes neither the token nor W. Where a
policy goes on, a title with events since has a vector of its own, which starts at token + W f(v).
F numbers of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from recsys_posttrain.config import require
from recsys_posttrain.data.encode import as_text, numbers, some
from recsys_posttrain.data.item_vectors import ItemVectors, vector_file
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.data.repeats import Rule
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.sasrec import SASRec
from recsys_posttrain.types import Batch, Split

# As losses/base.py has it, which stands above the models.
Objective = Callable[[Policy, Batch, torch.Generator], Tensor]


class FeatureEmbedding(nn.Module):
    """In place of a backbone's nn.Embedding: `weight` is computed, [V + 1, D], row 0 is padding.

    Buffers: the standardised rows, and the statistics by which another row is.
    """

    features: Tensor  # [V + 1, F]
    has_features: Tensor  # bool, [V + 1]
    is_new: Tensor  # bool, [V + 1]: without an event to train on
    mean_F: Tensor
    scale_F: Tensor

    def __init__(self, own: nn.Embedding, width: int) -> None:
        super().__init__()
        rows, dim = own.weight.shape
        self.own = own
        self.token = nn.Parameter(torch.zeros(dim))
        self.projection = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.projection.weight)
        self.register_buffer("features", torch.zeros(rows, width))
        for name in ("has_features", "is_new"):
            self.register_buffer(name, torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("scale_F", torch.ones(width))

    @property
    def weight(self) -> Tensor:
        """All item vectors."""
        if not self.is_new.any():
            return self.own.weight
        return torch.where(self.is_new[:, None], self.stand_in(self.features), self.own.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Those of the items, of any shape."""
        own: Tensor = self.own(items)
        if not self.is_new.any():
            return own
        return torch.where(self.is_new[items][..., None], self.stand_in(self.features[items]), own)

    def stand_in(self, features: Tensor) -> Tensor:
        """token + W f, without a gradient: only `replaced` teaches it."""
        with torch.no_grad():
            return self._from(features)

    def _from(self, features: Tensor) -> Tensor:
        vectors: Tensor = self.token + self.projection(features)
        return vectors

    def replaced(self, share: float, generator: torch.Generator) -> Tensor:
        """All item vectors, that share of those with features from these; own ones are constant."""
        drawn = torch.rand(len(self.is_new), generator=generator) < share
        drawn = drawn.to(self.is_new.device) & self.has_features & ~self.is_new
        return torch.where(drawn[:, None], self._from(self.features), self.weight.detach())

    @torch.no_grad()
    def fill(self, vectors: ItemVectors, number_I: Tensor, is_new_V: Tensor) -> None:
        """Takes the vectors of the items of a log.

        number_I: of each vector's item, 1..V, or 0 where the log does not have it. is_new_V: items
        without an event to train on.
        """
        known_I = number_I > 0
        vector_IF = torch.from_numpy(vectors.vector_IF)[known_I]
        trained_I = ~is_new_V[number_I[known_I] - 1]
        measured_IF = (vector_IF[trained_I] if trained_I.any() else vector_IF).double()
        deviation_F = measured_IF.std(dim=0, correction=0)
        # A column that is constant says nothing, and rounding must not make it loud.
        is_constant_F = deviation_F <= 1e-6 * measured_IF.abs().amax(dim=0)
        self.mean_F.copy_(measured_IF.mean(dim=0))
        self.scale_F.copy_(deviation_F.masked_fill(is_constant_F, torch.inf) * vectors.width**0.5)
        self.features[number_I[known_I]] = self.standardised(vector_IF).to(self.features)
        self.has_features[number_I[known_I]] = True
        self.is_new[1:] = is_new_V

    def standardised(self, vector_IF: Tensor) -> Tensor:
        return (vector_IF - self.mean_F) / self.scale_F

    @torch.no_grad()
    def settle(self, items: Tensor) -> int:
        """Gives those of the items that have no vector of their own one that starts where token and
        features put them, to be trained from there. Returns: how many they are."""
        new = items.unique()
        new = new[self.is_new[new]]
        self.own.weight[new] = self.stand_in(self.features[new])
        self.is_new[new] = False
        return len(new)

    @torch.no_grad()
    def with_new(self, vector_IF: Tensor) -> "FeatureEmbedding":
        """A copy in which these vectors are of titles behind the others."""
        rows, dim = self.own.weight.shape
        own = nn.Embedding(rows + len(vector_IF), dim, padding_idx=0).to(self.own.weight)
        own.weight[:rows], own.weight[rows:] = self.own.weight, self.token
        grown = FeatureEmbedding(own, vector_IF.shape[1]).to(self.own.weight)
        state, new = self.state_dict(), torch.ones(len(vector_IF), dtype=torch.bool)
        behind = {"features": self.standardised(vector_IF), "has_features": new, "is_new": new}
        state |= {
            name: torch.cat([state[name], each.to(state[name])]) for name, each in behind.items()
        }
        grown.load_state_dict(state | {"own.weight": own.weight})
        return grown.train(self.training).requires_grad_(self.token.requires_grad)


class _Replaced(Policy):
    """A policy at fixed states, with these item vectors."""

    def __init__(self, policy: Policy, batch: Batch, weight: Tensor) -> None:
        nn.Module.__init__(self)
        self.logits_dtype = policy.logits_dtype
        self.state_ND = policy.hidden_states(batch).detach()
        self.backbone: Any = SimpleNamespace(item_embedding=SimpleNamespace(weight=weight))

    def hidden_states(self, batch: Batch) -> Tensor:
        return self.state_ND


@dataclass(frozen=True)
class ItemFeatures:
    """A backbone with item features.

    path: a .parquet file of item_id beside a column of lists, or beside columns of numbers. A study
        knows it by its content; a saved policy holds its rows, and needs it no more.
    backbone: the one whose items they are; `--set backbone.dim=32` reaches its fields.
    replaced: the share of own vectors that token and features replace in a step of pretraining.
    content_hash, width: of the file, which says them.
    """

    path: str = field(default="", compare=False)
    backbone: BackboneConfig = field(default=SASRec(), metadata={"inline": True})
    replaced: float = 0.2
    content_hash: str = ""
    width: int = 0

    def __post_init__(self) -> None:
        require(
            callable(getattr(self.backbone, "build", None)),
            f"ItemFeatures: backbone={self.backbone!r} has no method build; give one such as "
            "SASRec().",
        )
        require(
            isinstance(self.replaced, float | int) and 0 < self.replaced < 1,
            f"ItemFeatures: replaced={self.replaced!r} must be above 0 and below 1.",
        )
        if self.path:
            vectors, content_hash = vector_file(self.path)
            object.__setattr__(self, "content_hash", content_hash)
            object.__setattr__(self, "width", vectors.width)
        require(self.width > 0, "ItemFeatures: path is missing; give a .parquet file of vectors.")

    @property
    def max_length(self) -> int:
        """The longest history that the backbone reads, in events."""
        return self.backbone.max_length

    def build(self, num_items: int) -> nn.Module:
        """The backbone, without a feature yet: `know` or the tensors of a saved policy fill it."""
        module = self.backbone.build(num_items)
        own: nn.Embedding = module.item_embedding  # type: ignore[assignment]
        module.item_embedding = FeatureEmbedding(own, self.width)
        return module

    def know(self, policy: Policy, data: Split, rule: Rule) -> Rule:
        """Reads the file. What it covers is said in one line.

        Returns: the rule of the training softmax, without the titles that have no event.
        Raises: UserError where it has a vector of no item of the log.
        """
        require(self.path, "ItemFeatures: path is missing; give the .parquet file of the vectors.")
        vectors, content_hash = vector_file(self.path)
        require(
            content_hash == self.content_hash,
            f"{self.path} has changed since it was given; start again.",
        )
        corpus, table = data.corpus, policy.backbone.item_embedding
        assert isinstance(table, FeatureEmbedding)
        number_I = numbers(corpus.item_ids, vectors.ids)[1:]
        count, known = corpus.num_items, int((number_I > 0).sum())
        require(
            known,
            f"{self.path} has a vector of none of the {count:,} items of {corpus.name}: its ids "
            f"are such as {as_text(vectors.ids)[0]!r}, those of the log such as "
            f"{as_text(corpus.item_ids)[0]!r}; give a file with the same ids.",
        )
        is_new_V = torch.bincount(data.train.items_E, minlength=count + 1)[1:] == 0
        table.fill(vectors, number_I, is_new_V)
        note(_coverage(self.path, corpus.name, as_text(corpus.item_ids), table, known, vectors))
        if not is_new_V.any():
            return rule
        left_out_M = is_new_V.nonzero().squeeze(1) + 1
        if rule.never_shown_M is not None:
            left_out_M = torch.cat([left_out_M, rule.never_shown_M]).unique()
        return rule._replace(never_shown_M=left_out_M)

    def loss(self, per_position: Objective) -> Objective:
        """`per_position`, and once more with own vectors replaced."""

        def both(policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
            loss_N = per_position(policy, batch, generator)
            table: Any = policy.backbone.item_embedding
            weight = table.replaced(self.replaced, generator)
            return loss_N + per_position(_Replaced(policy, batch, weight), batch, generator)

        return both


def _coverage(
    path: str, log: str, ids: list[str], table: FeatureEmbedding, known: int, vectors: ItemVectors
) -> str:
    has_V, is_new_V = table.has_features[1:].cpu(), table.is_new[1:].cpu()

    def named(which_V: Tensor) -> str:
        places = which_V.nonzero().squeeze(1).tolist()
        return f"{counted(len(places), 'item')} ({some([ids[place] for place in places])})"

    said = [f"vectors of {vectors.width:,} numbers for {known:,} of {len(ids):,} items of {log}"]
    if known < len(ids):
        said.append(f"{named(~has_V)} without one")
    if (stand_V := is_new_V & has_V).any():
        said.append(f"{named(stand_V)} without an event to train on stand on theirs alone")
    if (lost_V := is_new_V & ~has_V).any():
        said.append(f"{named(lost_V)} with neither all have one vector, the fallback token")
    if len(vectors.ids) > known:
        said.append(f"{counted(len(vectors.ids) - known, 'vector')} of items that it does not have")
    return f"{path}: " + "; ".join(said)
