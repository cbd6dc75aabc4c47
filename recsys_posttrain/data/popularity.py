"""How often each item was chosen."""

import torch
from torch import Tensor

from recsys_posttrain.types import Split, Targets


def event_counts(data: Split, targets: Targets | None = None) -> Tensor:
    """The number of events of each item before the targets, [V].

    targets: None or data.test: training and validation events count; otherwise training events
        alone.
    """
    known_E = data.train.items_E
    if targets is None or targets is data.test:
        known_E = torch.cat([known_E, data.validation.items_N])
    return torch.bincount(known_E - 1, minlength=data.corpus.num_items)
