"""A machine that is too small ends a command with a sentence, whatever asked for the memory."""

import numpy as np
import pytest
import torch

from recsys_posttrain.endings import OUT_OF_MEMORY, exit_code

TOO_MUCH = 2**60


def wrapped():
    try:
        torch.empty(TOO_MUCH)
    except RuntimeError as error:
        raise ValueError("while training") from error


ASKED = {
    "torch": lambda: torch.empty(TOO_MUCH),
    "numpy": lambda: np.empty(TOO_MUCH, np.uint8),
    "python": lambda: bytearray(TOO_MUCH),
    "a GPU": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")),
    "wrapped": wrapped,
}


@pytest.mark.parametrize("who", ASKED)
def test_one_sentence(who, capsys):
    assert exit_code(ASKED[who]) == 2
    assert capsys.readouterr().err == f"error: {OUT_OF_MEMORY}\n"


def test_any_other_failure_keeps_its_traceback(capsys):
    assert exit_code(lambda: torch.empty(2).view(3)) == 1
    assert "Traceback" in capsys.readouterr().err
