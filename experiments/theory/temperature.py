"""(d) True value is an inverted U in the temperature, and its top moves up with the noise."""

from itertools import pairwise

import numpy as np
from theory.claims import Check, Claim, in_standard_errors

from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.stats.bootstrap import bootstrap
from recsys_posttrain.worlds.tabular import Floats, Tabular, rows

CONTEXTS, ITEMS = 4, 50
PREFERENCE = 3.0  # of the reference, for rewards in [0, 1]: without any, greedy is always best
SIGMAS = (0.0, 0.4, 0.8, 1.6, 3.2)


def informed_world(generator: np.random.Generator) -> Tabular:
    """A reference that likes what is good, and other things too."""
    reward_XV = generator.random((CONTEXTS, ITEMS))
    reference_XV = np.exp(PREFERENCE * reward_XV + generator.standard_normal((CONTEXTS, ITEMS)))
    reference_XV /= reference_XV.sum(axis=1, keepdims=True)
    return Tabular(rows(reward_XV), rows(reference_XV), (1 / CONTEXTS,) * CONTEXTS)


def inverted_u(draws: int, temperatures: int) -> Claim:
    """The errors of one draw are the same, times sigma, for every sigma and temperature."""
    generator = np.random.default_rng(derived_seed("theory", "temperature"))
    world = informed_world(generator)
    error_SXV = generator.standard_normal((draws, CONTEXTS, ITEMS))
    temperature_L = np.geomspace(0.005, 50, temperatures)
    reference_value = float(world.value(world.reference_XV))
    table, curves, weakest = [], {}, np.inf
    for sigma in SIGMAS:
        scores_SXV = world.reward_XV + sigma * error_SXV
        value_LS = np.stack([world.value(world.tilted(scores_SXV, at)) for at in temperature_L])
        mean_L = value_LS.mean(axis=1)
        curves[f"{sigma:g}"] = mean_L.tolist()
        best, (low, high) = int(mean_L.argmax()), _best_interval(value_LS, temperature_L, generator)
        table.append(
            {
                "sigma": sigma,
                "best lambda": float(temperature_L[best]),
                "from": low,
                "to": high,
                "value there": float(mean_L[best]),
                f"at lambda {temperature_L[0]:g}": float(mean_L[0]),
                "of the reference": reference_value,
            }
        )
        if sigma > 0:
            gains_2S = value_LS[best] - value_LS[0], value_LS[best] - reference_value
            weakest = min(weakest, *map(in_standard_errors, gains_2S))
    noisy = [row for row in table if row["sigma"] > 0]
    best_K = [row["best lambda"] for row in noisy]
    exponent = float(np.polyfit(np.log([row["sigma"] for row in noisy]), np.log(best_K), 1)[0])
    return Claim(
        "With noise, true value is an inverted U in lambda, and the best lambda grows with sigma",
        f"One world of {CONTEXTS} contexts and {ITEMS} actions, rewards in [0, 1], a reference "
        f"that prefers better actions (log share {PREFERENCE:g} r* + a standard normal). Mean "
        f"over {draws} draws of independent Gaussian errors, {temperatures} values of lambda, a "
        f"factor of {temperature_L[1] / temperature_L[0]:.2f} apart. 'from', 'to': 95% interval of "
        "the best of them, bootstrap over draws.",
        table,
        {"lambda": temperature_L.tolist(), "value": curves, "reference": reference_value},
        [
            Check(
                "without noise the smallest lambda is best",
                f"Best lambda {table[0]['best lambda']:g}.",
                table[0]["best lambda"] == temperature_L[0],
            ),
            Check(
                "with noise the best lambda is inside the range, above the smallest lambda and "
                "the reference",
                f"By at least {weakest:.1f} standard errors of the mean over draws.",
                weakest > 4,
            ),
            Check(
                "the best lambda grows with sigma",
                ", ".join(f"{row['sigma']:g}: {row['best lambda']:.3g}" for row in noisy)
                + f"; exponent of sigma {exponent:.2f}.",
                all(low < high for low, high in pairwise(best_K)),
            ),
        ],
    )


def _best_interval(
    value_LS: Floats, temperature_L: Floats, generator: np.random.Generator
) -> tuple[float, float]:
    """Percentile interval of the temperature whose mean over resampled draws is largest."""
    mean_RL = bootstrap(value_LS[:, None], resamples=1000, rng=generator).draws_RK
    low, high = np.quantile(temperature_L[mean_RL.argmax(axis=1)], [0.025, 0.975])
    return float(low), float(high)
