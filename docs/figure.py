"""Draws the picture of the front page, docs/front.png, from committed results.

Run it after those change: python docs/figure.py
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed

import matplotlib.pyplot as plt
import pandas as pd

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"
KL = 0.03  # the largest of the table that methods on logged rewards reach
TRAINED = ("DPO", "ASFT", "ExpRSFT", "OfflinePPO", "ASFT(model)", "IQL", "GRPO")
BIASED = {  # colour, marker and line of each method under errors
    "Tilt": ("#0072b2", "o", "-"),
    "DPO": ("#009e73", "^", "--"),
    "OfflinePPO": ("#cc79a7", "v", "--"),
    "RewardArgmax": ("#d55e00", "s", ":"),
}


def gains() -> pd.DataFrame:
    """By method: gain, low and high in expected true reward, at one KL, without errors."""
    table = pd.read_csv(RESULTS / "whole_field-jester-full-seeds" / "equal_kl.csv")
    rows = table[(table["column"] == "reward gold") & (table["kl"] == KL)]
    named = rows.set_index("method").loc[[*TRAINED, "Tilt"], ["gain", "low", "high"]]
    return named.sort_values("gain")


def under_bias() -> pd.DataFrame:
    """By method and sd of the item bias: mean, low and high of the true reward of lists of five."""
    table = pd.read_csv(RESULTS / "noise_vs_quality-jester" / "table.csv")
    clean = table[table["place"].isna()]
    biased = table[(table["place"] == "model") & (table["kind"] == "ItemBias")]
    rows = pd.concat([clean, biased])
    rows = rows[rows["method"].isin([*BIASED, "Pretrained"])]
    return rows.set_index(["method", "level"])[["mean", "low", "high"]].sort_index()


def draw(file: Path) -> None:
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.7), layout="constrained")
    table = gains()
    colours = ["black" if name == "Tilt" else "#777777" for name in table.index]
    left.hlines(table.index, table["low"], table["high"], colours, linewidth=2)
    left.scatter(table["gain"], table.index, color=colours, s=22, zorder=3)
    left.set(title="The reward model as it is", xlabel=f"gain in expected true reward, KL {KL}")
    left.set_xlim(left=0)
    lists = under_bias()
    levels = lists.index.unique("level").tolist()
    pretrained = lists["mean"].loc["Pretrained"].iloc[0]
    right.axhline(pretrained, color="#888888", linewidth=1)
    right.text(len(levels) - 1, pretrained, "Pretrained", ha="right", va="top", color="#555555")
    for place, (name, (colour, marker, line)) in enumerate(BIASED.items()):
        rows = lists.loc[name].reindex(levels)
        at = [index + 0.06 * (place - 1.5) for index in range(len(levels))]
        right.vlines(at, rows["low"], rows["high"], colour, linewidth=1, alpha=0.6)
        right.plot(at, rows["mean"], line, marker=marker, color=colour, markersize=4, label=name)
    right.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    right.set(title="With errors that belong to an item", xlabel="their sd, in stars")
    right.set_ylabel("true reward of lists of 5")
    right.legend(frameon=False, loc="lower left")
    figure.savefig(file, dpi=140)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if sys.argv[1:] else Path(__file__).with_name("front.png")))
