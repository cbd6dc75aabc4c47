"""Titles that pretraining never saw: what item features rank, against popularity and neighbours.

    python experiments/cold_titles.py [--seeds 6] [--output FOLDER]

A plain script, not a study: it draws its own log. Titles are in clusters, and a title's vector
tells its cluster with noise. A user has a taste over clusters and goes on in the cluster of the
last title more often than not; titles are also more or less popular. A tenth of the titles is held
out of pretraining entirely. Held-out targets are their events; the history before has none of them.
Warm targets are every user's last event on another title. Both rank the whole catalogue; "warm
alone" is without the held-out titles, which take places from others as soon as they can be ranked.

Each seed draws a log, titles to hold out, and weights. Writes results.json and table.md: means over
seeds, and half of the 95% t interval over them.
"""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import normalize

import recsys_posttrain as rp
from recsys_posttrain.data.encode import Encoder
from recsys_posttrain.data.hold_out import targets_where
from recsys_posttrain.data.split import targets_at
from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.plan import Training
from recsys_posttrain.provenance import git_commit
from recsys_posttrain.training.pretrain import PRETRAINING
from recsys_posttrain.types import Sequences, Split, Targets
from recsys_posttrain.untrained.base import Given

WITHOUT, WITH, ADDED = "SASRec", "with features", "with features, titles added afterwards"
COLUMNS = HELD_OUT, WARM, NDCG = "held-out recall@10", "warm recall@10", "warm alone, NDCG@10"
K = 10


@dataclass(frozen=True)
class Sizes:
    """Of the log and the model; the test runs smaller ones."""

    users: int = 800
    titles: int = 300
    clusters: int = 12
    width: int = 16
    events: int = 20
    held_out: float = 0.1
    noise: float = 0.5  # of a vector about its cluster's, whose entries have deviation 1
    training: Training = replace(PRETRAINING, epochs=24)
    backbone: BackboneConfig = rp.SASRec(dim=32, blocks=1, feed_forward=64, max_length=20)


@dataclass(frozen=True)
class Drawn:
    """A log, the vectors of its titles, and those that are held out."""

    log: pd.DataFrame
    vectors: pd.DataFrame
    held_out: frozenset[str]


def draw_titles(
    rng: np.random.Generator, titles: int, clusters: int, width: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each title its cluster, a vector near its cluster's, and how popular it is."""
    cluster_V = rng.integers(clusters, size=titles)
    centre_CF = rng.standard_normal((clusters, width))
    noise_VF = noise * rng.standard_normal((titles, width))
    return cluster_V, centre_CF[cluster_V] + noise_VF, rng.lognormal(size=titles)


def drawn(sizes: Sizes, seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    given = sizes.titles, sizes.clusters, sizes.width, sizes.noise
    cluster_V, vector_VF, popularity_V = draw_titles(rng, *given)
    rows = []
    for user in range(sizes.users):
        taste_V = popularity_V * rng.dirichlet(np.full(sizes.clusters, 0.15))[cluster_V]
        left_V, last = taste_V.copy(), -1
        for place in range(sizes.events):
            near_V = left_V * (cluster_V == cluster_V[last])
            weight_V = near_V if place and rng.random() < 0.6 and near_V.sum() > 0 else left_V
            last = int(rng.choice(sizes.titles, p=weight_V / weight_V.sum()))
            left_V[last] = 0
            rows.append((f"user {user}", f"title {last}", 10**9 + 10**5 * user + place))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    ids = [f"title {title}" for title in range(sizes.titles)]
    vectors = pd.DataFrame({"item_id": ids, "vector": list(vector_VF)})
    count = round(sizes.held_out * sizes.titles)
    return Drawn(log, vectors, frozenset(rng.permutation(ids)[:count].tolist()))


def without(data: Split, held_out: frozenset[str]) -> tuple[Split, Targets]:
    """The split without the events of the held-out titles, which stay in the catalogue; and those
    events as targets."""
    corpus = data.corpus
    is_held_V = torch.tensor([each in held_out for each in corpus.item_ids])
    number_V1 = torch.arange(corpus.num_items + 1)
    number_V1[1:][is_held_V] = 0
    warm = Encoder(corpus.item_ids, number_V1)
    events = torch.nonzero(is_held_V[corpus.sequences.items_E - 1]).squeeze(1)
    targets = targets_at(corpus, events)
    targets = replace(targets, history=warm.sequences(targets.history))
    long_N = targets.history.lengths_N >= 5
    return replace(warm.split(data), corpus=corpus), targets_where(targets, long_N)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Titles by the mean cosine of their vectors with those of the history."""

    item_ids: np.ndarray
    vector_VF: Tensor

    def scores(
        self, histories: Sequences, times_N: Tensor | None = None, users_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        unit_VF = normalize(self.vector_VF, dim=1)
        row_E = torch.repeat_interleave(histories.lengths_N)
        sum_NF = torch.zeros(len(histories), unit_VF.shape[1])
        sum_NF.index_add_(0, row_E, unit_VF[histories.items_E - 1])
        return sum_NF / histories.lengths_N[:, None], unit_VF


def rankers(sizes: Sizes, seed: int, one: Drawn, data: Split, folder: Path) -> dict[str, Ranker]:
    """By row of the table."""
    corpus, plan = data.corpus, (sizes.training, seed)
    files = folder / "all.parquet", folder / "warm.parquet"
    is_held = one.vectors["item_id"].isin(one.held_out)
    for file, vectors in zip(files, (one.vectors, one.vectors[~is_held]), strict=True):
        vectors.to_parquet(file)
    every, known = (rp.ItemFeatures(str(file), sizes.backbone) for file in files)
    warm_log = one.log[~one.log["item_id"].isin(one.held_out)]
    warm = rp.load(warm_log, split=rp.LeaveOneOut(minimum_item_ratings=1))
    by_id = one.vectors.set_index("item_id")["vector"].loc[corpus.item_ids]
    return {
        "Popularity": rp.Popularity().ranker(Given(data)),
        "content neighbours": Neighbours(
            corpus.item_ids, torch.tensor(np.stack(by_id.to_list())).float()
        ),
        WITHOUT: rp.pretrain(data, sizes.backbone, *plan)[0],
        WITH: rp.pretrain(data, every, *plan)[0],
        ADDED: rp.add_items(rp.pretrain(warm, known, *plan)[0], one.vectors[is_held]),
    }


def measured(sizes: Sizes, seed: int) -> list[dict[str, float | str]]:
    """One row per ranker."""
    one = drawn(sizes, seed)
    data, cold = without(
        rp.load(one.log, split=rp.LeaveOneOut(minimum_item_ratings=1)), one.held_out
    )
    rows: list[dict[str, float | str]] = []
    held_M = torch.tensor([each in one.held_out for each in data.corpus.item_ids]).nonzero()[:, 0]
    without_new = replace(data.test, never_shown_M=held_M + 1)
    with TemporaryDirectory() as folder:
        for name, ranker in rankers(sizes, seed, one, data, Path(folder)).items():
            held = rp.evaluate(ranker, data, targets=cold).per_user
            warm = rp.evaluate(ranker, data).per_user
            alone = rp.evaluate(ranker, data, targets=without_new).per_user
            rows.append(
                {
                    "method": name,
                    "seed": seed,
                    HELD_OUT: float((held["rank"] <= K).mean()),
                    WARM: float((warm["rank"] <= K).mean()),
                    NDCG: float(alone["ndcg@10"].mean()),
                }
            )
    return rows


def summary(rows: list[dict[str, float | str]]) -> str:
    """A markdown table, and the paired difference of warm NDCG@10 that features make."""
    values: dict[str, dict[str, pd.Series]] = {}  # by method and column, one per seed
    for name, frame in pd.DataFrame(rows).groupby("method", sort=False):
        values[str(name)] = {each: frame.set_index("seed")[each] for each in COLUMNS}
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name, found in values.items():
        lines.append(f"| {name} | " + " | ".join(_mean(each) for each in found.values()) + " |")
    for name in (WITH, ADDED):
        difference = values[name][NDCG] - values[WITHOUT][NDCG]
        lines.append(f"\n{name} minus {WITHOUT}, {NDCG}: {_mean(difference)}")
    return "\n".join(lines) + "\n"


def _mean(value_S: pd.Series) -> str:
    """With half of the 95% t interval over seeds."""
    count = len(value_S)
    half = student.ppf(0.975, count - 1) * value_S.std() / count**0.5 if count > 1 else np.nan
    return f"{value_S.mean():.4f} ± {half:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("runs/cold_titles"))
    options = parser.parse_args()
    sizes = Sizes()
    rows = [row for seed in range(options.seeds) for row in measured(sizes, seed)]
    options.output.mkdir(parents=True, exist_ok=True)
    facts = {"commit": git_commit(), "sizes": asdict(sizes), "rows": rows}
    write_json(options.output / "results.json", facts)
    write_text(options.output / "table.md", summary(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
