"""One PNG per claim, from what the claims hand over."""

from pathlib import Path

import numpy as np
from theory.bounds import DELTA, QUANTILE
from theory.claims import Claim

from recsys_posttrain.evaluation.over_optimisation import BEST_OF_N, RL, Curve, fit
from recsys_posttrain.report.figures import LINES, over_optimisation, panels, save

BOUNDS = ("2 eps", "Rmax (exp(2 eps/lambda) - 1)", "V(pi_ref) (1 - exp(-2 eps/lambda))")
LOSSES = {
    "median loss": "loss, median",
    QUANTILE: f"loss, {1 - DELTA:.0%} quantile",
    "largest": "loss, largest",
}
GAIN = r"$V(\pi_\lambda) - V(\pi_{ref})$ (reward units)"
LOSS = r"loss $V(\pi_{ref}) - V(\pi_\lambda)$ (units of $\sigma$)"
VALUE = r"true value $V(\pi_\lambda)$ (reward units)"


def draw_clean(claim: Claim, path: Path) -> None:
    figure, (axis,) = panels(1, 1, width=5.2)
    names = ("smallest of the worlds", "median", "largest")
    for name, gain_L, line in zip(names, claim.curves["gain"], LINES, strict=False):
        axis.plot(claim.curves["lambda"], gain_L, label=name, ms=4, markevery=4, **line)
    axis.axhline(0, color="#888888", lw=0.8)
    axis.set(xscale="log", xlabel=r"$\lambda$ (reward units)", ylabel=GAIN)
    axis.legend(frameon=False)
    save(figure, path)


def draw_noisy(claim: Claim, path: Path) -> None:
    figure, (left, right) = panels(1, 2, width=5.2, height=4.2)
    for axis, name in ((left, "random"), (right, "hardest")):
        rows = claim.curves[name]
        x = [row["lambda"] / row["sigma"] for row in rows]
        for key, line in zip((*LOSSES, *BOUNDS), LINES, strict=True):
            label = key if key in BOUNDS else LOSSES[key]
            axis.plot(x, [row[key] / row["sigma"] for row in rows], label=label, ms=5, **line)
        axis.axhline(0, color="#888888", lw=0.8)
        axis.set(xscale="log", title=f"{name} world{'s' * (name == 'hardest')}, Gaussian errors")
        axis.set(xlabel=r"$\lambda$ (units of $\sigma$)", ylabel=LOSS)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set_ylim(-5, 20)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def draw_scaling(claim: Claim, path: Path) -> None:
    figure, (axis,) = panels(1, 1, width=6.2, height=4.4)
    x = [row["sqrt(log V)"] for row in claim.rows]
    names = {
        "2 eps": "bound on the loss, 2 eps",
        "eps": "bound on the largest error, eps",
        "largest error, 95%": "largest error, 95% quantile",
        "loss, 95%": "loss, 95% quantile",
    }
    for (key, label), line in zip(names.items(), LINES, strict=False):
        axis.plot(x, [row[key] for row in claim.rows], label=label, ms=5, **line)
    axis.plot(x, [row["closed form"] for row in claim.rows], "k+", ms=10, label="loss, closed form")
    axis.set(xlabel="√log V   (V: number of actions)", ylabel=r"units of $\sigma$", ylim=(0, None))
    shown = claim.rows[:: 2 if len(claim.rows) > 4 else 1]
    above = axis.secondary_xaxis("top")
    above.set_xticks([row["sqrt(log V)"] for row in shown], [f"{row['V']:,}" for row in shown])
    above.set_xlabel("V")
    axis.legend(frameon=False)
    save(figure, path)


def draw_inverted_u(claim: Claim, path: Path) -> None:
    figure, (left, right) = panels(1, 2, width=5.2, height=3.8)
    for row, line in zip(claim.rows, LINES, strict=False):
        value_L = claim.curves["value"][f"{row['sigma']:g}"]
        label = rf"$\sigma$ = {row['sigma']:g}"
        left.plot(claim.curves["lambda"], value_L, label=label, ms=4, markevery=5, **line)
        left.plot(row["best lambda"], row["value there"], "*", color="black", ms=13, mfc="white")
    left.axhline(claim.curves["reference"], color="#888888", lw=0.8)
    left.annotate("reference", (50, claim.curves["reference"]), ha="right", va="top", fontsize=9)
    left.set(xscale="log", xlabel=r"$\lambda$ (reward units)", ylabel=VALUE)
    left.set_title(r"stars: the best $\lambda$")
    left.legend(frameon=False)
    noisy = [row for row in claim.rows if row["sigma"] > 0]
    best_K, low_K, high_K = (
        np.array([row[key] for row in noisy]) for key in ("best lambda", "from", "to")
    )
    right.errorbar(
        [row["sigma"] for row in noisy],
        best_K,
        [best_K - low_K, high_K - best_K],
        capsize=4,
        **LINES[0],
    )
    right.set(xscale="log", yscale="log", xlabel=r"$\sigma$ of the errors (reward units)")
    right.set(ylabel=r"best $\lambda$ (reward units)", title="95% intervals over draws")
    ticks = [row["sigma"] for row in noisy]
    right.set_xticks(ticks, [f"{each:g}" for each in ticks])
    right.minorticks_off()
    save(figure, path)


def draw_state_blind(claim: Claim, path: Path) -> None:
    figure, (axis,) = panels(1, 1, width=5.6, height=3.8)
    x = [row["lambda"] for row in claim.rows]
    trained = ("ExpRSFT", "ASFT, soft value", "ASFT, reference value")
    for key, line, size in zip(trained, LINES, (7, 10, 5), strict=False):
        y = [row[key] for row in claim.rows]
        axis.plot(x, y, label=f"trained: {key}", ms=size, mfc="none", **line)
    axis.plot(x, [row["closed form"] for row in claim.rows], "k+", ms=10, label="closed form")
    axis.plot(x, [row["normalised"] for row in claim.rows], "k+", ms=10)
    axis.set(
        xscale="log",
        xlabel=r"$\lambda$ (reward units)",
        ylabel="share of action 1",
        ylim=(0.45, 0.95),
    )
    axis.set_xticks(x, [f"{each:g}" for each in x])
    axis.minorticks_off()
    axis.legend(frameon=False)
    save(figure, path)


def draw_laws(claim: Claim, path: Path) -> None:
    curves = {}
    for name, curve in claim.curves.items():
        sqrt_kl_L, gold_L = np.sqrt(curve["kl"]), np.array(curve["gold"])
        law = BEST_OF_N if name.startswith("best of n") else RL
        fitted, largest = fit(law, sqrt_kl_L, gold_L), max(curve["kl"])
        peak = fitted.peak_kl if (fitted.peak_kl or np.inf) <= largest else None
        curves[name] = Curve(
            sqrt_kl_L, np.array(curve["proxy"]), gold_L, fitted=fitted, peak_kl=peak
        )
    over_optimisation(curves, path, unit="deviations of r*")
