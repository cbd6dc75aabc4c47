"""(c) How the loss and its bound grow with the number of actions: like sqrt(log V)."""

from collections.abc import Iterator

import numpy as np
from theory.bounds import DELTA, epsilon, losses
from theory.claims import Check, Claim
from theory.hard import gap_in_sigmas, hard_world

from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.worlds.tabular import Floats

HIDDEN = 2 * DELTA  # share of draws that hide the good action: the 95% quantile is one of them
GOOD_SHARE = 0.9
TEMPERATURE = 1e-3  # in sigmas: nearly greedy, where only the bound 2 eps says anything
ELEMENTS = 2_000_000  # errors held at once


def _blocks(draws: int, items: int, generator: np.random.Generator) -> Iterator[Floats]:
    rows = max(1, ELEMENTS // items)
    for start in range(0, draws, rows):
        yield generator.standard_normal((min(rows, draws - start), items))


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and R^2 of the least-squares line."""
    return float(np.polyfit(x, y, 1)[0]), float(np.corrcoef(x, y)[0, 1] ** 2)


def scaling(sizes: tuple[int, ...], draws: int) -> Claim:
    """Everything in units of sigma."""
    generator = np.random.default_rng(derived_seed("theory", "catalogue"))
    gap_K = np.array([gap_in_sigmas(items - 1, HIDDEN) for items in sizes])
    loss_KS, error_KS = np.empty((2, len(sizes), draws))
    for number, (items, gap) in enumerate(zip(sizes, gap_K, strict=True)):
        world = hard_world(items, gap, GOOD_SHARE, items - 1)
        blocks = [
            (losses(world, error_SV, TEMPERATURE), np.abs(error_SV).max(axis=1))
            for error_SV in _blocks(draws, items, generator)
        ]
        loss_KS[number], error_KS[number] = map(np.concatenate, zip(*blocks, strict=True))
    root_K, expected_K = np.sqrt(np.log(sizes)), GOOD_SHARE * gap_K
    eps_K = np.array([epsilon(1.0, items, DELTA) for items in sizes])
    loss_K, error_K = (np.quantile(each_KS, 1 - DELTA, axis=1) for each_KS in (loss_KS, error_KS))
    hidden_K = (loss_KS > expected_K[:, None] / 2).mean(axis=1)
    columns = {
        "V": list(sizes),
        "sqrt(log V)": root_K.tolist(),
        "largest error, 95%": error_K.tolist(),
        "eps": eps_K.tolist(),
        "loss, 95%": loss_K.tolist(),
        "closed form": expected_K.tolist(),
        "2 eps": (2 * eps_K).tolist(),
        "loss / 2 eps": (ratios := (loss_K / (2 * eps_K)).tolist()),
        "hidden": hidden_K.tolist(),
    }
    slope, r_squared = _line(root_K, loss_K)
    r_squared_in_log = _line(np.log(sizes), loss_K)[1]
    expected_slope, eps_slope = _line(root_K, expected_K)[0], _line(root_K, eps_K)[0]
    tolerance = 4 * np.sqrt(HIDDEN * (1 - HIDDEN) / draws)  # standard errors of a share
    return Claim(
        "The loss grows like the root of the log of the catalogue",
        f"V actions, {draws} draws of independent Gaussian errors each, lambda = {TEMPERATURE:g} "
        f"sigma; all in units of sigma. One good action with reference share {GOOD_SHARE}, worth "
        f"the gap that errors hide with probability {HIDDEN:g}, by quadrature; 'closed form' is "
        f"{GOOD_SHARE} of the gap, 'hidden' the share of draws that lost more than half of that. "
        "'largest error': in size, of all V.",
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        {"slope": slope, "closed form slope": expected_slope, "eps slope": eps_slope},
        [
            Check(
                f"errors hide the good action in {HIDDEN:.0%} of draws at every size",
                f"Between {hidden_K.min():.3f} and {hidden_K.max():.3f}.",
                (np.abs(hidden_K - HIDDEN) <= tolerance).all(),
            ),
            Check(
                "the 95% quantile of the loss is a straight line in sqrt(log V), and not in log V",
                f"Slope {slope:.3f} (closed form {expected_slope:.3f}), R² {r_squared:.5f}; in "
                f"log V R² {r_squared_in_log:.5f}.",
                r_squared > max(0.999, r_squared_in_log) and abs(slope / expected_slope - 1) < 0.01,
            ),
            Check(
                "2 eps is above the loss and within a factor of 3 of it at every size",
                f"The loss is {min(ratios):.2f} to {max(ratios):.2f} of 2 eps, whose slope is "
                f"{2 * eps_slope:.3f}.",
                min(ratios) > 1 / 3 and max(ratios) < 1,
            ),
            Check(
                "no more than a share d of draws has an error above eps",
                f"At most {(error_KS > eps_K[:, None]).mean(axis=1).max():.4f}, d = {DELTA}.",
                ((error_KS > eps_K[:, None]).mean(axis=1) <= DELTA).all(),
            ),
        ],
    )
