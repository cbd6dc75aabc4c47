"""The table of algorithms/PAPERS.md: a row of each algorithm, and what it reads, its strength and
its cost are what they are."""

import json
from functools import reduce
from pathlib import Path

import pytest
import torch
from everyone import EXPORTED, ITEMS, LENGTHS, is_same, run
from whole_field import FIELD

from recsys_posttrain.algorithms.base import family_of

ROOT = Path(__file__).resolve().parents[2]
PAPERS = (ROOT / "recsys_posttrain" / "algorithms" / "PAPERS.md").read_text(encoding="utf-8")
COSTS = ROOT / "benchmarks" / "results" / "posttrain_step.json"
COLUMNS = ["class", "loss per position", "reads", "stronger", "source", "our default", "step"]


def _table():
    """class -> its cells by column, and its family, in the order of the page."""
    lines = PAPERS[PAPERS.index("| class |") :].partition("\n\n")[0].splitlines()
    header, _, *body = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert header == COLUMNS
    rows, family = [], ""
    for name, *cells in body:
        assert len(cells) == len(COLUMNS) - 1, name
        if not any(cells):
            family = name.strip("*")
        else:
            rows.append(
                (name.strip("`"), {**dict(zip(COLUMNS[1:], cells, strict=True)), "": family})
            )
    assert len(rows) == len(dict(rows)), "one row each"
    return dict(rows)


TABLE = _table()
each = pytest.mark.parametrize(
    "algorithm", EXPORTED, ids=lambda algorithm: type(algorithm).__name__
)


def _row(algorithm):
    return TABLE[type(algorithm).__name__]


def test_every_exported_algorithm_has_its_row_and_no_other_has():
    assert set(TABLE) == {type(algorithm).__name__ for algorithm in EXPORTED}
    for name, row in TABLE.items():
        assert row["loss per position"], name
        assert "arXiv" in row["source"] or name in {"BC", "ASFT", "ExactPPO", "Pessimistic"}, name


@each
def test_it_stands_with_its_family(algorithm):
    assert _row(algorithm)[""] == family_of(algorithm)


def _other_rewards(batch, actors):
    """Others, logged and in the history."""
    mask = batch.mask_BT
    return batch._replace(
        rewards_BT=(7 - 2 * batch.rewards_BT) * mask,
        history_rewards_BT=(7 - 2 * batch.history_rewards_BT) * mask,
    )


def _other_model(batch, actors):
    with torch.no_grad():
        actors.reward.factor.mul_(-3)
    return batch


def _less_sure(batch, actors):
    for name in ("variance", "difference_spread"):
        old = getattr(actors.reward, name)
        setattr(actors.reward, name, lambda *given, old=old: 1e4 * old(*given))
    return batch


def _propensities(batch, actors):
    return batch._replace(propensities_BT=torch.full_like(batch.rewards_BT, 0.5))


def _no_next_state(batch, actors):
    other = batch._replace()
    other.is_last_N = torch.ones_like(batch.is_last_N)
    return other


CHANGES = {
    "r": _other_rewards,
    "r_hat": _other_model,
    "sd": _less_sure,
    "b": _propensities,
    "x'": _no_next_state,
}


@each
def test_it_reads_what_its_row_says(algorithm, small):
    """Each thing that can be read, changed: another loss, or it does not read it."""
    reads = []
    for thing, changed in CHANGES.items():
        batch, actors = small.batch(LENGTHS, ITEMS), small.actors(algorithm, ITEMS)
        before = run(algorithm, batch, actors)
        if not is_same(before, run(algorithm, changed(batch, actors), actors)):
            reads.append(thing)
    assert _row(algorithm)["reads"] == (", ".join(reads) or "-")


def _strength(row):
    name, arrow = row["stronger"].split()
    return name.strip("`"), arrow


@each
def test_its_strength_is_a_setting_and_goes_the_way_of_the_study(algorithm):
    """From the weakest to the strongest value of whole_field.py, which has all but ExactPPO."""
    name, arrow = _strength(_row(algorithm))
    ladders = [
        (method, list(method.strengths.values()))
        for method in FIELD
        if isinstance(next(iter(method.strengths.values())), type(algorithm))
    ]
    assert bool(ladders) == (type(algorithm).__name__ != "ExactPPO")
    if name == "steps":
        assert arrow == "↑"
        assert all(len(set(algorithms)) == 1 for _, algorithms in ladders)
        return
    assert hasattr(reduce(getattr, name.split(".")[:-1], algorithm), name.split(".")[-1])
    for method, (first, *_, last) in ladders:
        weak, strong = (reduce(getattr, name.split("."), each) for each in (first, last))
        assert (strong > weak) == (arrow == "↑"), method.name
        assert strong != weak, method.name


@each
def test_its_cost_is_the_measured_one(algorithm):
    """- where the committed benchmark has no such row."""
    costs = json.loads(COSTS.read_text(encoding="utf-8"))["ratio_to_bc_median"]
    name = type(algorithm).__name__
    label = {"Pessimistic": "Pessimistic(DPO)"}.get(name, name)
    assert _row(algorithm)["step"] == (f"{costs[label]:.2f}" if label in costs else "-")
