"""In which region the user of an event is: a column `region` that a log may have.

Windows by region (data/available.py) are read with it. An event without a region is in one for
which no window holds but those that hold in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys_posttrain.config import require
from recsys_posttrain.data.notes import counted, note
from recsys_posttrain.errors import did_you_mean, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from recsys_posttrain.data.columns import Column
    from recsys_posttrain.types import Corpus, Sequences
    from recsys_posttrain.windows import Windows

REGION = "region"
NAMELESS = "nan"  # what a program wrote that had none; no region is called so
FIX = "name its column with --columns region=NAME"


def read_names(column: Column) -> Any:
    """The region of each row as text, a pyarrow ChunkedArray; missing where nothing is written.

    Raises: UserError where the column holds neither text nor whole numbers.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    from recsys_posttrain.data.columns import WHOLE, numpy_of

    column = column.plain()
    values = column.values
    if pa.types.is_floating(values.type):  # whole numbers, of which some are missing
        values = pc.if_else(pc.is_nan(values), None, values)
        is_whole = pc.equal(pc.floor(values), values)
        column.check(
            numpy_of(pc.fill_null(is_whole, True), "bool"),
            f"{column.name} holds numbers with a decimal point, and a region is text or a whole "
            "number",
        )
        values = values.cast(pa.int64())
    column.check_type("text or a whole number", column.is_number)
    text = values.cast(pa.large_string())
    if column.is_text and column.every(WHOLE):
        text = pc.replace_substring_regex(text, r"\.0+$", "")
    return text


def read_regions(column: Column) -> pd.Series:
    """As a column of `Interactions.frame`: categories, and nothing where none is written."""
    import pyarrow.compute as pc

    text = read_names(column)
    is_none = pc.equal(pc.utf8_lower(text), NAMELESS)
    text = pc.if_else(pc.fill_null(is_none, False), None, text)
    found: pd.Series = text.dictionary_encode().unify_dictionaries().to_pandas()
    return found


def codes_of(regions_E: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The code of each row's region, int64, NOWHERE where it has none, and the names of all."""
    import numpy as np
    import pandas as pd

    from recsys_posttrain.windows import NOWHERE, region_code

    place_E, found = pd.factorize(regions_E)
    names = [str(each).strip() for each in found]
    codes = [region_code(name) if name else NOWHERE for name in names]
    return np.array([*codes, NOWHERE])[place_E], sorted(filter(None, names))


def windows_for(corpus: Corpus, windows: Windows | None, label: str) -> Windows | None:
    """The windows, which the corpus is to obey. label: what has them.

    Events without a region, and regions that no event has, are counted in a line on stderr.
    Raises: UserError where they are by region and the log says of no event in which region it is.
    """
    if windows is None or not windows.regions:
        return windows
    from recsys_posttrain.data.encode import some
    from recsys_posttrain.windows import NOWHERE

    regions_E = corpus.sequences.regions_E
    require(
        regions_E is not None,
        f"{label} has windows by region, and {corpus.name} does not say in which region an event "
        f"is: {FIX}, or give windows without a region.",
    )
    assert regions_E is not None
    known, said = set(corpus.region_names), []
    if unknown := [each.name for each in windows.regions if each.name not in known]:
        said.append(
            f"{counted(len(unknown), 'region')} of {len(windows.regions):,} that no event of "
            f"{corpus.name} has ({some(unknown)}){did_you_mean(nearest(unknown[0], known))}"
        )
    if missing := int((regions_E == NOWHERE).sum()):
        said.append(
            f"{counted(missing, 'event')} of {len(regions_E):,} without a region, to which the "
            "windows without one alone apply"
        )
    if said:
        note(f"{label}: {'; '.join(said)}")
    return windows


def regions_after(windows: Windows | None, histories: Sequences, region: str = "") -> Tensor | None:
    """Where the user of each history is: in the region named, or where the last event was, int64,
    [N]; None: no window is by region.

    Raises: UserError where the histories do not say it.
    """
    if windows is None or not windows.regions:
        return None
    import torch

    from recsys_posttrain.windows import NOWHERE, region_code

    if region:
        return torch.full((len(histories),), region_code(region))
    regions_E = histories.regions_E
    require(
        regions_E is not None,
        "the policy has windows by region, and the histories do not say in which region a user is: "
        f"{FIX} (recommend also takes --region NAME, in Python region=...).",
    )
    assert regions_E is not None
    regions_N = torch.full((len(histories),), NOWHERE)
    has_any_N = histories.lengths_N > 0
    regions_N[has_any_N] = regions_E[histories.offsets_N1[1:][has_any_N] - 1]
    return regions_N


def check_region(windows: Windows | None, region: str) -> None:
    """Raises: UserError where a region is named and no window is by region. One that no window
    names is said in a line on stderr: only what is open in all regions is shown there."""
    if not region:
        return
    names = [each.name for each in windows.regions] if windows is not None else []
    require(names, f"--region {region}: this policy has no windows of items by region.")
    if region not in names:
        note(
            f"--region {region}: no window of the policy is of this region"
            f"{did_you_mean(nearest(region, names))}; those without a region alone apply"
        )


def in_last_region(histories: Sequences) -> Sequences:
    """With every event in the region of its user's last one, which may be left out afterwards."""
    if histories.regions_E is None:
        return histories
    from dataclasses import replace

    length_N = histories.lengths_N
    last_N = (histories.offsets_N1[1:] - 1)[length_N > 0]
    regions_E = histories.regions_E[last_N].repeat_interleave(length_N[length_N > 0])
    return replace(histories, regions_E=regions_E)
