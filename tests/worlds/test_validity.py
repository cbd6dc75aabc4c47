"""experiments/validity.py in a reduced form, and how it ranks an axis."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from recsys_posttrain.algorithms import BC
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.models import SASRec
from recsys_posttrain.plan import Training
from recsys_posttrain.report.study_folder import StudyFolder
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.worlds.jester import Jester

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def validity(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import validity

    return validity


def test_every_table_has_its_rows(validity, small_jester, tmp_path: Path) -> None:
    plan, sizes = Training(epochs=1, batch_size=8), {"dim": 8, "blocks": 1, "max_length": 12}
    backbone = SASRec(**sizes, feed_forward=16)
    reward = RewardEnsemble(replace(backbone, history_rewards=True), 2, 4, training=plan)
    world = Jester(users=60, length=12, data_root=str(small_jester.path))
    split = UserHoldout(minimum_item_ratings=1)
    setup = Setup(world, split, backbone=backbone, pretraining=plan, reward=reward)
    base = Run(BC(), setup, posttraining=replace(plan, epochs=None, steps=2))
    lists, models, pairs = validity.measure(base, [0, 1], tmp_path)
    for label in validity.METHODS:
        (row,) = re.findall(rf"^\| {re.escape(label)} \|(.*)\|$", lists, re.M)
        assert len(re.findall(r"\d\.\d{4}", row)) >= 4
    assert re.findall(r"^\| (item mean|.*, before|.*, after) ", models, re.M) == [
        *("item mean", "RewardEnsemble, before", "RewardFactors, after")
    ]
    assert "projected correlation (truth)" in models
    (after,) = re.findall(r"^\| after, width .* \| .*% \| (.*)% \|$", pairs, re.M)
    (before,) = re.findall(r"^\| before, width 1 \| .*% \| (.*)% \|$", pairs, re.M)
    assert float(after) == 0 < float(before)


def test_an_axis_is_ranked_by_what_it_orders(validity) -> None:
    """The accuracy is the wrong way round, the projected correlation right."""
    conditions = [("", "", 0.0), ("model", "ItemBias", 1.0), ("model", "ItemBias", 2.0)]
    frame = pd.DataFrame(
        [
            ["PPO", "value", place, kind, level, 3 - level, 0.5 + level / 10, 0.9 - level / 4]
            for place, kind, level in conditions
        ],
        columns=[
            *("method", "column", "place", "kind", "level", "mean"),
            *("pairwise_accuracy", "projected_truth"),
        ],
    )
    study = StudyFolder(Path("drawn"), {}, frame, "BC", None, ())
    text = validity.axes(study)
    assert re.search(r"PPO +\| +3 \| +1\.00 \| +-1\.00", text)
    assert text.startswith("drawn: rank correlation with value")
