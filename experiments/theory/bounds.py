"""(a) Clean rewards never cost value. (b) With noise, the bounds on what they can cost."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from theory.claims import Check, Claim
from theory.hard import hard_world

from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.worlds.tabular import Floats, Tabular, rows

ITEMS = 50
DELTA = 0.05  # d: the bounds may fail in this share of draws
ROUNDING = 4e-14  # of sums of 50 terms below 6 in float64: 50 x 6 x 1.1e-16
QUANTILE = f"{1 - DELTA:.0%} loss"
OF_BOUND = "95% / smaller of the first two"
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
ERRORS: dict[str, Draw] = {  # each has mean 0 and is sub-Gaussian with parameter 1
    "Gaussian": lambda generator, shape: generator.standard_normal(shape),
    "two-point": lambda generator, shape: generator.choice([-1.0, 1.0], shape),
    "uniform": lambda generator, shape: generator.uniform(-(3**0.5), 3**0.5, shape),
}
LAMBDAS = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in sigmas
GAPS, GOOD_SHARES, RIVALS = np.geomspace(0.1, 6, 12), (0.5, 0.7, 0.9), (1, ITEMS - 1)


def epsilon(sigma: float, items: int, delta: float) -> float:
    """With probability 1 - delta no error of `items` is larger in size (sub-Gaussian, union)."""
    return float(sigma * np.sqrt(2 * np.log(2 * items / delta)))


def random_world(generator: np.random.Generator) -> Tabular:
    """One context, rewards uniform on [0, 1], a reference that knows nothing about them."""
    reference_XV = np.exp(generator.standard_normal((1, ITEMS)))
    reward_XV = generator.random((1, ITEMS))
    return Tabular(rows(reward_XV), rows(reference_XV / reference_XV.sum()), (1.0,))


def clean(worlds: int) -> Claim:
    """V(pi_lambda) - V(pi_ref) over temperatures, in random worlds."""
    generator = np.random.default_rng(derived_seed("theory", "clean"))
    temperature_L = np.geomspace(0.01, 100, 33)
    gain_WL = np.empty((worlds, len(temperature_L)))
    for number in range(worlds):
        world = random_world(generator)
        policy_LXV = world.tilted(world.reward_XV, temperature_L[:, None, None])
        gain_WL[number] = world.value(policy_LXV) - world.value(world.reference_XV)
    quantile_3L = np.quantile(gain_WL, [0, 0.5, 1], axis=0)
    table = [
        {"lambda": float(temperature_L[at])}
        | dict(
            zip(("smallest gain", "median", "largest"), quantile_3L[:, at].tolist(), strict=True)
        )
        for at in range(0, len(temperature_L), 4)
    ]
    smallest, rise = gain_WL.min(), np.diff(gain_WL, axis=1).max()
    return Claim(
        "Clean rewards: tilting by the true reward never costs value",
        f"{worlds} random worlds of one context and {ITEMS} actions, rewards in [0, 1]. Gain is "
        "V(pi_lambda) - V(pi_ref), exactly.",
        table,
        {"lambda": temperature_L.tolist(), "gain": quantile_3L.tolist()},
        [
            Check(
                "V(pi_lambda) >= V(pi_ref) for every lambda",
                f"Smallest gain {smallest:.3g}.",
                smallest >= -ROUNDING,
            ),
            Check(
                "a smaller lambda never gains less",
                f"Largest change of the gain from one lambda to the next larger one {rise:.3g}.",
                rise <= ROUNDING,
            ),
        ],
    )


def losses(world: Tabular, error_SV: Floats, temperature: float) -> Floats:
    """V(pi_ref) - V(pi_lambda) for each of S draws of the errors, in a world of one context."""
    policy_SXV = world.tilted(world.reward_XV + error_SV[:, None], temperature)
    loss_S: Floats = world.value(world.reference_XV) - world.value(policy_SXV)
    return loss_S


def bounds(world: Tabular, sigma: float, temperature: float) -> dict[str, float]:
    """The two bounds of the theory on the loss, and one that the second's proof also gives: while
    no error is larger than eps, pi_lambda(a) >= exp(-2 eps / lambda) times the clean tilt's share,
    so for r* >= 0 the loss is at most V(pi_ref) (1 - exp(-2 eps / lambda))."""
    twice = 2 * epsilon(sigma, world.reward_XV.shape[1], DELTA)
    value = float(world.value(world.reference_XV))
    return {
        "2 eps": twice,
        "Rmax (exp(2 eps/lambda) - 1)": float(
            world.reward_XV.max() * np.expm1(twice / temperature)
        ),
        "V(pi_ref) (1 - exp(-2 eps/lambda))": float(-value * np.expm1(-twice / temperature)),
    }


def measured(world: Tabular, error_SV: Floats, sigma: float, temperature: float) -> dict[str, Any]:
    """Realised losses beside the bounds."""
    loss_S, bound = losses(world, error_SV, temperature), bounds(world, sigma, temperature)
    quantile = float(np.quantile(loss_S, 1 - DELTA))
    return {
        "sigma": sigma,
        "lambda": temperature,
        "median loss": float(np.median(loss_S)),
        QUANTILE: quantile,
        "largest": float(loss_S.max()),
        **bound,
        OF_BOUND: quantile / min(list(bound.values())[:2]),
        "held": float((loss_S <= min(bound.values()) + ROUNDING).mean()),
    }


def hardest_world(error_SV: Floats, temperature: float) -> Tabular:
    """Of the hard worlds of a grid, the one in which the loss comes closest to the bounds."""
    worlds = [hard_world(ITEMS, *each) for each in product(GAPS, GOOD_SHARES, RIVALS)]
    share = [measured(world, error_SV, 1.0, temperature)[OF_BOUND] for world in worlds]
    return worlds[int(np.argmax(share))]


def noisy(draws: int) -> Claim:
    """How often the bounds hold, and how far above the realised loss they are."""
    generator = np.random.default_rng(derived_seed("theory", "noisy"))
    random = random_world(generator)
    table = []
    for kind, draw in ERRORS.items():
        search_SV, error_SV = draw(generator, (draws // 8, ITEMS)), draw(generator, (draws, ITEMS))
        for temperature in LAMBDAS:
            hardest = hardest_world(search_SV, temperature)
            for name, world, sigma in (("random", random, 0.2), ("hardest", hardest, 1.0)):
                row = measured(world, sigma * error_SV, sigma, sigma * temperature)
                table.append({"errors": kind, "world": name, **row})
    held = min(row["held"] for row in table)
    shares = [row[OF_BOUND] for row in table]
    gaussian = [row for row in table if row["errors"] == "Gaussian"]
    return Claim(
        "Noisy rewards: the bounds hold, and are far above what is lost",
        f"{draws} draws of independent errors for each row, one context, {ITEMS} actions, d = "
        f"{DELTA}. Loss is V(pi_ref) - V(pi_lambda): negative is a gain. Random: a world as "
        f"above. Hardest: of {len(GAPS) * len(GOOD_SHARES) * len(RIVALS)} worlds with one good "
        "action, the one whose loss comes closest to the smaller of the first two bounds, found "
        "with other draws. The third bound follows from the proof of the second and is never above "
        "V(pi_ref). 'held': share of draws with a loss below all three.",
        table,
        {name: [row for row in gaussian if row["world"] == name] for name in ("random", "hardest")},
        [
            Check(
                f"the bounds hold in at least {1 - DELTA:.0%} of draws",
                f"Smallest share over {len(table)} rows {held:.4f}.",
                held >= 1 - DELTA,
            ),
            Check(
                f"the {1 - DELTA:.0%} quantile of the loss is below the smaller of the first two",
                f"At most {max(shares):.2f} of it.",
                max(shares) <= 1,
            ),
        ],
    )
