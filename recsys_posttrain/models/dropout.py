"""Dropout whose mask costs a quarter: 16 random bits for each element, not a float."""

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Module):
    """Zeroes elements with probability `rate` (rounded to 1/65536), scales the others to keep the
    mean; does nothing in evaluation mode.

    torch draws a CPU mask one float at a time on one thread; here an integer of 64 bits serves four
    elements. On other devices it is torch's own.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        dropped = min(round(self.rate * LEVELS), LEVELS - 1)
        if not self.training or dropped == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.rate)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
