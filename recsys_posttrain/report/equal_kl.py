"""The main table of a study whose methods have several strengths: what each gains at the same KL.

stats/equal_kl.py has the numbers.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from recsys_posttrain.report.cells import NOTHING, Block, Cell, Heading, Sheet, decimal, plus_minus
from recsys_posttrain.report.noise_quality import WHERE
from recsys_posttrain.stats.bootstrap import ALPHA
from recsys_posttrain.stats.equal_kl import CONDITION, KLS, REFERENCE, TILT
from recsys_posttrain.stats.significance import holm


def equal_kl_sheet(frame: pd.DataFrame, about: str) -> Sheet:
    """One block per column and noise: methods by KL. frame: of `stats.equal_kl.equal_kl`. about:
    the data, users, seeds and draws, for the caption."""
    blocks = [
        _block(str(column), str(place), str(kind), float(str(level)), part)
        for (column, place, kind, level), part in frame.groupby(["column", *CONDITION], sort=False)
    ]
    tilt = (
        f" † differs from {TILT} at the same KL (p ≤ .05, Holm-corrected over a block)."
        if (frame["method"] == TILT).any()
        else ""
    )
    caption = (
        f"Gain over {REFERENCE} at the same KL to it, in nats. {about} Each method's strengths are "
        f"its points, beside {REFERENCE} at KL 0; between two of them the gain is linear in √KL, "
        "for each seed. Nothing is extrapolated: a note says how far every seed of a method came. "
        f"Mean ± half of the 95% interval over users, whose KL is drawn with them, and seeds.{tilt}"
    )
    return Sheet(caption, blocks)


def _block(column: str, place: str, kind: str, level: float, frame: pd.DataFrame) -> Block:
    where = f"{kind} {level:g}, {WHERE[place]}" if place else "without noise"
    p_adjusted = pd.Series(holm(frame["p_value"].to_numpy(dtype=np.float64)), frame.index)
    best = frame.groupby("kl")["gain"].transform("max")
    frame = frame.assign(dagger=p_adjusted <= ALPHA, bold=frame["gain"] == best)
    rows = []
    for method, of_method in frame.groupby("method", sort=False):
        by_kl = {cell["kl"]: cell for cell in of_method.to_dict("records")}
        rows.append([Cell(str(method)), *(_cell(by_kl[kl]) for kl in KLS)])
    columns = [Heading("method", second="method", is_text=True)]
    columns += [Heading(f"KL {kl:g}", "KL", f"{kl:g}") for kl in KLS]
    return Block(f"{column}, {where}", columns, rows)


def _cell(cell: Mapping[Hashable, Any]) -> Cell:
    gain, low, high = cell["gain"], cell["low"], cell["high"]
    if np.isnan(gain):
        return Cell(NOTHING, note=f"(to {cell['largest_kl']:.2g})")
    half = plus_minus(decimal((high - low) / 2))
    return Cell(decimal(gain, sign=True), half, bold=cell["bold"], dagger=cell["dagger"])
