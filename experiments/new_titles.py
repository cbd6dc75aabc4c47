"""New titles with events: vectors that stay what features say, against vectors that learn.

    python experiments/new_titles.py [--seeds 3] [--output FOLDER]

A plain script, not a study: it draws its own log. Titles are in clusters, and a title's vector
tells its cluster with noise, but not how popular it is. A tenth of the titles appears on the second
day. A policy with item features is pretrained on the first day, told of the new titles, and goes on
by BC on the second, whose last tenth of events are the targets. Each seed draws a log and weights.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from cold_titles import draw_titles

import recsys_posttrain as rp
from recsys_posttrain.files import write_text
from recsys_posttrain.models.backbone import BackboneConfig
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.plan import Training
from recsys_posttrain.tomorrow.go_on import Continued
from recsys_posttrain.training.posttrain import POSTTRAINING
from recsys_posttrain.training.pretrain import PRETRAINING

SAVED, FEATURES, OWN = "the saved policy", "features", "own"
PLANS = (
    POSTTRAINING,
    replace(POSTTRAINING, learning_rate=1e-3),
    replace(POSTTRAINING, learning_rate=1e-3, steps=400),
)
COLUMNS = ["new titles", "other titles", "old targets"]  # NDCG@10


@dataclass(frozen=True)
class Sizes:
    """Of the log and the model; the test runs smaller ones."""

    users: int = 2000
    titles: int = 300
    clusters: int = 12
    width: int = 16
    first_day: int = 14  # events of a user
    second_day: int = 6
    new: float = 0.1  # share of the titles
    noise: float = 0.5  # of a vector about its cluster's, whose entries have deviation 1
    training: Training = replace(PRETRAINING, epochs=12, batch_size=64)
    backbone: BackboneConfig = rp.SASRec(dim=32, blocks=1, feed_forward=64, max_length=20)


@dataclass(frozen=True)
class Drawn:
    """Both days, the vectors of all titles, and those that are new on the second."""

    first: pd.DataFrame
    second: pd.DataFrame
    vectors: pd.DataFrame
    new: frozenset[str]


def drawn(sizes: Sizes, seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    given = sizes.titles, sizes.clusters, sizes.width, sizes.noise
    cluster_V, vector_VF, popularity_V = draw_titles(rng, *given)
    new_M = rng.permutation(sizes.titles)[: round(sizes.new * sizes.titles)]
    rows = []
    for user in range(sizes.users):
        left_V = popularity_V * rng.dirichlet(np.full(sizes.clusters, 0.15))[cluster_V]
        last, start = -1, int(60_000 * rng.random())
        for place in range(sizes.first_day + sizes.second_day):
            is_late = place >= sizes.first_day
            there_V = left_V.copy()
            if not is_late:
                there_V[new_M] = 0
            near_V = there_V * (cluster_V == cluster_V[last])
            is_near = place and rng.random() < 0.6 and near_V.sum() > 0
            weight_V = near_V if is_near else there_V
            if weight_V.sum() <= 0:
                break
            last = int(rng.choice(sizes.titles, p=weight_V / weight_V.sum()))
            left_V[last] = 0
            time = 10**9 + 10**6 * is_late + start + 60 * place
            rows.append((f"user {user}", f"title {last}", time, is_late))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "late"])
    first, second = (log[log["late"] == late].drop(columns="late") for late in (False, True))
    ids = [f"title {title}" for title in range(sizes.titles)]
    vectors = pd.DataFrame({"item_id": ids, "vector": list(vector_VF)})
    return Drawn(first, second, vectors, frozenset(ids[title] for title in new_M))


def measured(
    sizes: Sizes, seed: int, plans: tuple[Training, ...] = PLANS
) -> list[dict[str, float | str]]:
    """One row for the saved policy, and for each plan one with each kind of vectors."""
    one = drawn(sizes, seed)
    is_new = one.vectors["item_id"].isin(one.new)
    data = rp.load(one.first, split=rp.LeaveOneOut(minimum_item_ratings=1))
    with TemporaryDirectory() as folder:
        one.vectors[~is_new].to_parquet(f"{folder}/known.parquet")
        config = rp.ItemFeatures(f"{folder}/known.parquet", sizes.backbone)
        policy, _ = rp.pretrain(data, config, sizes.training, seed)
        rp.save_policy(policy, f"{folder}/policy", data)
        saved = rp.add_items(rp.load_policy(f"{folder}/policy"), one.vectors[is_new])

    def row(policy: Ranker, found: Continued, plan: str, kind: str) -> dict[str, float | str]:
        split, old = found.data.data, found.data.old
        rows = rp.evaluate(policy, split).per_user
        is_of_new = rows["item_id"].isin(one.new)
        values = (
            rows["ndcg@10"][is_of_new],
            rows["ndcg@10"][~is_of_new],
            rp.evaluate(policy, split, targets=old).per_user["ndcg@10"],
        )
        means = {name: float(each.mean()) for name, each in zip(COLUMNS, values, strict=True)}
        return {"seed": seed, "plan": plan, "vectors": kind, **means}

    rows: list[dict[str, float | str]] = []
    for plan in plans:
        for kind in (FEATURES, OWN):
            done = rp.posttrain_from(
                *(saved, one.second, rp.BC(), None, plan),
                past=one.first,
                seed=seed,
                own_vectors=kind == OWN,
            )
            if not rows:
                rows.append(row(saved.policy, done, SAVED, FEATURES))
            label = f"{plan.steps} steps, rate {plan.learning_rate:g}"
            rows.append(row(done.policy, done, label, kind))
    return rows


def summary(rows: list[dict[str, float | str]]) -> str:
    """A markdown table of means over seeds, with the least and the most on new titles."""
    lines = [f"| plan | vectors | {' | '.join(COLUMNS)} |", "| --- " * 5 + "|"]
    for (plan, kind), group in pd.DataFrame(rows).groupby(["plan", "vectors"], sort=False):
        means = [f"{group[name].mean():.4f}" for name in COLUMNS]
        means[0] += f" ({group[COLUMNS[0]].min():.4f} to {group[COLUMNS[0]].max():.4f})"
        lines.append(f"| {plan} | {kind} | {' | '.join(means)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/new_titles"))
    options = parser.parse_args()
    rows = [row for seed in range(options.seeds) for row in measured(Sizes(), seed)]
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "table.md", summary(rows))
    print(summary(rows))


if __name__ == "__main__":
    main()
