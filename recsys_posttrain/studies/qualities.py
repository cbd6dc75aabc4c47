"""How good the reward models and judges of a study are, over its setups and seeds."""

from typing import NamedTuple

import pandas as pd

from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline


class Qualities(NamedTuple):
    """Of the reward models and the judges, one row each and for each naive baseline; None where
    there are none."""

    rewards: pd.DataFrame | None
    judges: pd.DataFrame | None


def measure_rewards(study: Study, pipeline: Pipeline) -> Qualities:
    models: dict[str, list[pd.DataFrame]] = {}
    judges: dict[str, list[pd.DataFrame]] = {}
    for name, _, setup in study.setups():
        stages = pipeline.at(setup).rewards
        for measured, frame in ((models, stages.measure()), (judges, stages.measure_judge())):
            if frame is not None:
                measured.setdefault(name, []).append(frame)
    return Qualities(_together(models), _together(judges))


def _together(by_setup: dict[str, list[pd.DataFrame]]) -> pd.DataFrame | None:
    """Means over the seeds of each setup; of setups that differ, each row with the setup's name."""
    means = {
        name: frames[0] if len(frames) == 1 else sum(frames[1:], frames[0]) / len(frames)
        for name, frames in by_setup.items()
    }
    first = next(iter(means.values()), None)
    if first is None or all(frame.equals(first) for frame in means.values()):
        return first
    named = [frame.set_axis(frame.index + name) for name, frame in means.items()]
    return pd.concat(named)


def quality_caption(study: Study, pipeline: Pipeline, is_judge: bool = False) -> str:
    seeds = f"Seed {pipeline.setup.seed}."
    if study.full_seeds:
        shown = ", ".join(map(str, study.seeds))
        seeds = f"Mean over seeds {shown}, of values and of ends of intervals."
    rewards = "logged reward"
    if is_judge and pipeline.keys.expected:
        rewards += ", and each answer to what was expected of an item,"
    return (
        f"{'Judge' if is_judge else 'Reward models'} on {pipeline.data.corpus.name}: each "
        f"{rewards} predicted from what the user did before it, for users that no model was "
        f"trained on. Bootstrap over users. {seeds}"
    )
