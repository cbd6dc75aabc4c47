"""(f) Best of n and the exact tilt under a proxy: gold against sqrt(KL), and the two laws."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from theory.claims import Check, Claim, in_standard_errors

from recsys_posttrain.evaluation.over_optimisation import BEST_OF_N, RL, fit
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.worlds.tabular import Floats, Tabular, rows

ITEMS = 1000
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
TEMPERATURES = tuple(np.geomspace(30, 0.05, 25).tolist())
RARE, EQUAL = "larger on rare items", "equal on all items"
RARE_SIGMA, EQUAL_SIGMA = 0.3, 1.0
POLICIES = ("best of n", "exact tilt")


def skewed_world(generator: np.random.Generator) -> Tabular:
    """One context, standard normal rewards, a log-normal reference that knows nothing of them."""
    reference_XV = np.exp(1.5 * generator.standard_normal((1, ITEMS)))
    reward_XV = generator.standard_normal((1, ITEMS))
    return Tabular(rows(reward_XV), rows(reference_XV / reference_XV.sum()), (1.0,))


def walks(world: Tabular, proxy_SXV: Floats) -> dict[str, Floats]:
    """KL, gold and proxy along both ways from the reference, [3, L], means over S error tables;
    gold and proxy as differences to the reference."""

    def proxy(policy_SXV: Floats) -> float:
        return float((policy_SXV * proxy_SXV).sum(axis=(1, 2)).mean())

    start_XV = world.reference_XV

    def along(policies: Iterator[Floats]) -> Floats:
        points = [
            (
                world.kl(policy_SXV).mean(),
                world.value(policy_SXV).mean() - world.value(start_XV),
                proxy(policy_SXV) - proxy(start_XV),
            )
            for policy_SXV in policies
        ]
        return np.array(points).T

    return {
        "best of n": along(world.best_of_n(proxy_SXV, n) for n in SIZES),
        "exact tilt": along(world.tilted(proxy_SXV, each) for each in TEMPERATURES),
    }


def over_optimisation(worlds: int, draws: int) -> Claim:
    """Errors differ between draws and stay as they are along a curve, as a wrong model's would."""
    generator = np.random.default_rng(derived_seed("theory", "laws"))
    found: dict[tuple[str, str], list[Floats]] = {}
    for _ in range(worlds):
        world = skewed_world(generator)
        rarity_XV = np.sqrt(world.reference_XV.mean() / world.reference_XV)
        standard_SXV = generator.standard_normal((draws, 1, ITEMS))
        for errors, deviation_XV in ((RARE, RARE_SIGMA * rarity_XV), (EQUAL, EQUAL_SIGMA)):
            proxy_SXV = world.reward_XV + deviation_XV * standard_SXV
            for policy, points_3L in walks(world, proxy_SXV).items():
                found.setdefault((policy, errors), []).append(points_3L)
    points_W3L = {key: np.stack(each) for key, each in found.items()}
    mean_3L = {key: each.mean(axis=0) for key, each in points_W3L.items()}
    table = [
        {"policy": policy, "errors": errors} | _fits(np.sqrt(kl_L), gold_L)
        for (policy, errors), (kl_L, gold_L, _) in mean_3L.items()
    ]
    falls = [
        in_standard_errors(
            points_W3L[policy, RARE][:, 1, mean_3L[policy, RARE][1].argmax()] - last_W
        )
        for policy in POLICIES
        for last_W in [points_W3L[policy, RARE][:, 1, -1]]
    ]
    step = min(float(np.diff(proxy_L).min()) for _, _, proxy_L in mean_3L.values())
    share = 1 / (1 + EQUAL_SIGMA**2)
    misses = [
        abs(
            in_standard_errors(
                points_W3L[policy, EQUAL][:, 1, at] - share * points_W3L[policy, EQUAL][:, 2, at]
            )
        )
        for policy in POLICIES
        for at in range(1, len(mean_3L[policy, EQUAL][0]))
    ]
    excess = (points_W3L["best of n", EQUAL][:, 0] - np.log(SIZES) + 1 - 1 / np.array(SIZES)).max()
    first = table[0]
    return Claim(
        "Gold peaks and falls where errors are larger on rare items, and not where they are equal",
        f"Mean over {worlds} worlds and {draws} frozen Gaussian error tables in each; one "
        f"context, {ITEMS} actions, standard normal rewards, log-normal reference. Deviation of "
        f"the errors: {RARE_SIGMA} / sqrt(relative reference share of the item), or {EQUAL_SIGMA} "
        f"for all. Best of n up to {SIZES[-1]}; lambda from {TEMPERATURES[0]:g} down to "
        f"{TEMPERATURES[-1]:g}. Policies, KL and gold are exact. a, b, R² and peak are of each "
        "law by least squares; a peak beyond the largest KL is an extrapolation.",
        table,
        {
            f"{policy}, errors {errors}": dict(
                zip(("kl", "gold", "proxy"), each.tolist(), strict=True)
            )
            for (policy, errors), each in mean_3L.items()
        },
        [
            Check("the proxy rises along every curve", f"Smallest step {step:.3g}.", step > 0),
            Check(
                "with errors larger on rare items gold peaks and then falls",
                f"By {falls[0]:.0f} (best of n) and {falls[1]:.0f} (tilt) standard errors over "
                "worlds.",
                min(falls) > 4,
            ),
            Check(
                f"with equal Gaussian errors gold is {share:g} of the proxy all the way",
                f"Largest deviation {max(misses):.1f} standard errors over worlds, of "
                f"{len(misses)} points.",
                max(misses) < 4,
            ),
            Check(
                "for best of n the best-of-n law fits better than the RL law",
                f"R² {first['best-of-n R²']:.3f} and {first['RL R²']:.3f}; fitted peak at KL "
                f"{first['best-of-n peak KL']:.2f}, observed {first['observed peak KL']:.2f}.",
                first["best-of-n R²"] > first["RL R²"],
            ),
            Check(
                "KL of best of n is at most log n - (n - 1) / n (arXiv 2401.01879)",
                f"Largest excess {excess:.2g}.",
                excess <= 1e-12,
            ),
        ],
    )


def _fits(sqrt_kl_L: Floats, gold_L: Floats) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for law in (BEST_OF_N, RL):
        fitted = fit(law, sqrt_kl_L, gold_L)
        found |= {
            f"{law.name} a": fitted.a,
            f"{law.name} b": fitted.b,
            f"{law.name} R²": fitted.r_squared,
            f"{law.name} peak KL": fitted.peak_kl,
        }
    return found | {
        "observed peak KL": float(sqrt_kl_L[gold_L.argmax()] ** 2),
        "largest KL": float(sqrt_kl_L.max() ** 2),
    }
