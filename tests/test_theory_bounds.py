"""The theory experiment in a reduced form: its claims hold, and one that does not is reported."""

import json
import math
import sys

import numpy as np
import pytest


@pytest.fixture
def theory_bounds(script):
    return script("experiments/theory_bounds.py")


def test_every_claim_holds_in_a_reduced_form(theory_bounds, tmp_path):
    sizes = theory_bounds.Sizes(
        clean_worlds=20,
        noisy_draws=400,
        catalogues=(10, 100, 1_000),
        catalogue_draws=400,
        temperature_draws=300,
        temperatures=21,
        blind_temperatures=(0.5, 2.0),
        law_worlds=20,
        law_draws=2,
    )
    assert theory_bounds.reproduce(tmp_path, sizes) == []
    record = json.loads((tmp_path / "results.json").read_text())
    assert record.keys() == {"command", "commit", "versions", "sizes", "claims"}
    table = (tmp_path / "table.md").read_text()
    for name, claim in record["claims"].items():
        assert f"![{claim['title']}]({name}.png)" in table
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert claim["checks"]
    assert "DOES NOT HOLD" not in table


def test_a_claim_that_fails_is_an_error(theory_bounds, monkeypatch, capsys, tmp_path):
    claims = sys.modules["theory.claims"]
    check = claims.Check("pigs fly", "Height 0 m.", False)
    claim = claims.Claim("Pigs", "One pig.", [{"pig": 1, "height": 0.0}], {}, [check])
    monkeypatch.setattr(
        theory_bounds, "parts", lambda sizes: [("pigs", lambda: claim, lambda claim, path: None)]
    )
    monkeypatch.setattr(sys, "argv", ["theory_bounds.py", "--output", str(tmp_path)])
    assert theory_bounds.main() == 1
    assert "error: this does not hold: pigs fly. Height 0 m." in capsys.readouterr().err
    assert "pigs fly: **DOES NOT HOLD**. Height 0 m." in (tmp_path / "table.md").read_text()
    assert not json.loads((tmp_path / "results.json").read_text())["claims"]["pigs"]["checks"][0][
        "holds"
    ]


def test_epsilon_by_hand(theory_bounds):
    """2V / d = e^2: sigma sqrt(2 * 2) = 2 sigma."""
    epsilon = sys.modules["theory.bounds"].epsilon
    assert epsilon(0.5, 10, 20 / math.e**2) == pytest.approx(1.0)


def test_the_bounds_by_hand(theory_bounds):
    """sigma such that 2 eps = log 2, at lambda 1: Rmax (2 - 1) and V(pi_ref) (1 - 1/2), with one
    action worth 4 that the reference takes with 1/4: Rmax 4, V(pi_ref) 1."""
    bounds = sys.modules["theory.bounds"]
    world = sys.modules["theory.hard"].hard_world(4, 4.0, 0.25, 3)
    sigma = math.log(2) / 2 / math.sqrt(2 * math.log(8 / bounds.DELTA))
    found = list(bounds.bounds(world, sigma, 1.0).values())
    assert found == pytest.approx([math.log(2), 4.0, 0.5])


def test_the_gap_by_hand(theory_bounds):
    """One rival: the difference of two standard normals has variance 2, so the gap that is passed
    with probability 10% is sqrt(2) * 1.2815516. Many rivals: by simulation, within 4 standard
    errors of the share."""
    gap_in_sigmas = sys.modules["theory.hard"].gap_in_sigmas
    assert gap_in_sigmas(1, 0.1) == pytest.approx(math.sqrt(2) * 1.2815516, rel=1e-6)
    error_SV = np.random.default_rng(0).standard_normal((20_000, 30))
    hidden = (error_SV[:, 1:].max(axis=1) - error_SV[:, 0] > gap_in_sigmas(29, 0.1)).mean()
    assert abs(hidden - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 20_000)
