"""The two functions of the Python interface that no stage needs: load data, compare results."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data import Dataset, LeaveOneOut, SplitConfig, prepare
from recsys_posttrain.eligibility import Catalogue
from recsys_posttrain.evaluation.evaluate import Evaluation
from recsys_posttrain.report.table import Table, comparison_table
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.types import Repeats, Split
from recsys_posttrain.worlds.catalog import dataset_named


def load(
    dataset: str | Dataset,
    data_root: str | None = None,
    split: SplitConfig = LeaveOneOut(),
    repeats: Repeats | None = None,
    thresholds: Thresholds = Thresholds(),
    catalogue: Catalogue = "eligible",
) -> Split:
    """A named dataset ("ml-100k", "ml-1m", "jester", "semi-ml-1m", ...) or a .csv or .parquet file,
    split; or a dataset or world itself, such as `Jester(users=2000)`.

    data_root: of a named one: a folder or zip that holds the ratings; otherwise they are downloaded
    once. thresholds: where its rewards count as liked, top and disliked, in place of those that its
    scale says (`data.corpus.reward_scale`). repeats: whether users choose items again, which
    decides what may be shown; None: measured in the log. catalogue: "eligible", so that policies
    are a softmax over what may be shown, or "all".
    """
    source = dataset_named(dataset, data_root) if isinstance(dataset, str) else dataset
    minimum = split.minimum_item_ratings
    corpus = prepare(source, minimum, repeats=repeats, thresholds=thresholds)
    return split.split(replace(corpus, catalogue=catalogue))


def compare(
    results: Mapping[str, Evaluation], control: str, relative_to: str | None = None
) -> Table:
    """The table of named evaluations of the same targets, one seed each; see `comparison_table`."""
    rows = [result.per_user.assign(method=name, seed=0) for name, result in results.items()]
    first = next(iter(results.values()))
    sizes = sorted({result.num_items for result in results.values()})
    require(
        len(sizes) == 1,
        f"the policies rank catalogues of {' and '.join(map(str, sizes))} items: compare those "
        "that were trained on the same data.",
    )
    return comparison_table(
        pd.concat(rows, ignore_index=True),
        num_items=first.num_items,
        control=control,
        relative_to=relative_to,
        scale=first.reward_scale,
    )
