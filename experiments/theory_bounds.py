"""The theory of reward-weighted post-training, reproduced in worlds small enough to be exact.

    make theory
    python experiments/theory_bounds.py [--output FOLDER]

A plain script, not a study: it defines no RUNS and trains on no dataset. Each claim is computed
without approximation over policies (recsys_posttrain/worlds/tabular.py), by simulation over reward
errors, and compared with what the theory says. Writes results.json, table.md and a PNG per claim.
Exit code 1, with the sentence, when a claim does not hold.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from theory import pictures
from theory.bounds import clean, noisy
from theory.catalogue import scaling
from theory.claims import Claim, markdown
from theory.laws import over_optimisation
from theory.normaliser import state_blind
from theory.temperature import inverted_u

from recsys_posttrain.files import write_json, write_text
from recsys_posttrain.provenance import git_commit, package_versions

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python experiments/theory_bounds.py"


@dataclass(frozen=True)
class Sizes:
    """How much of each claim; the tests run a smaller one."""

    clean_worlds: int = 200
    noisy_draws: int = 4000
    catalogues: tuple[int, ...] = (10, 32, 100, 316, 1_000, 3_162, 10_000, 31_623, 100_000)
    catalogue_draws: int = 600
    temperature_draws: int = 1000
    temperatures: int = 61
    blind_temperatures: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    law_worlds: int = 20
    law_draws: int = 20


Part = tuple[str, Callable[[], Claim], Callable[[Claim, Path], None]]


def parts(sizes: Sizes) -> list[Part]:
    """(name of the files, the claim, its figure)."""
    return [
        ("clean", lambda: clean(sizes.clean_worlds), pictures.draw_clean),
        ("noisy", lambda: noisy(sizes.noisy_draws), pictures.draw_noisy),
        (
            "catalogue",
            lambda: scaling(sizes.catalogues, sizes.catalogue_draws),
            pictures.draw_scaling,
        ),
        (
            "temperature",
            lambda: inverted_u(sizes.temperature_draws, sizes.temperatures),
            pictures.draw_inverted_u,
        ),
        ("state_blind", lambda: state_blind(sizes.blind_temperatures), pictures.draw_state_blind),
        (
            "laws",
            lambda: over_optimisation(sizes.law_worlds, sizes.law_draws),
            pictures.draw_laws,
        ),
    ]


def reproduce(folder: Path, sizes: Sizes) -> list[str]:
    """Writes everything into `folder`; the sentences that do not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    # Before a committed picture is written over, which would be a change of the checkout.
    head = {"command": COMMAND, "commit": git_commit(), "versions": package_versions()}
    sections, record, broken = ["# Theory, reproduced"], {}, []
    for name, compute, draw in parts(sizes):
        started = time.monotonic()
        claim = compute()
        draw(claim, folder / f"{name}.png")
        seconds = round(time.monotonic() - started, 1)
        sections.append(markdown(claim, f"{name}.png"))
        record[name] = {
            "seconds": seconds,
            **claim._asdict(),
            "checks": [check._asdict() | {"holds": bool(check.holds)} for check in claim.checks],
        }
        print(f"{claim.title} ({seconds} s)")
        for check in claim.checks:
            print(f"  {'holds' if check.holds else 'FAILS'}: {check.claim}. {check.measured}")
        broken += [f"{check.claim}. {check.measured}" for check in claim.checks if not check.holds]
    write_json(folder / "results.json", {**head, "sizes": asdict(sizes), "claims": record})
    sections.append(f"Made by `{COMMAND}`, commit {head['commit']}.")
    write_text(folder / "table.md", "\n\n".join(sections) + "\n")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "experiments" / "results" / "theory_bounds"
    parser.add_argument("--output", type=Path, default=default, help="folder for the results")
    broken = reproduce(parser.parse_args().output, Sizes())
    for sentence in broken:
        print(f"error: this does not hold: {sentence}", file=sys.stderr)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
