"""Which runs of a study the log or the reward model cannot serve, and why."""

from recsys_posttrain.config import require
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline


def refused(study: Study, pipeline: Pipeline) -> dict[str, str]:
    """By title, why the log, or the reward model, cannot serve a run.

    Raises: UserError where they serve none, or not one that was asked for by its label.
    """
    reasons = {
        study.title(run): why for run in study.rows if (why := pipeline.at(run.setup).refusal(run))
    }
    require(
        any(study.title(run) not in reasons for run in study.runs),
        f"{study.file}: none of its methods can be run on {pipeline.data.corpus.name}: "
        f"{by_reason(reasons)}; add BC or another that reads no rewards.",
    )
    asked = {
        study.title(run): reasons[study.title(run)]
        for run in study.rows
        if run.label in study.methods and study.title(run) in reasons
    }
    require(not asked, f"--methods {study.chosen}: not possible here: {by_reason(asked)}.")
    return reasons


def by_reason(left_out: dict[str, str]) -> str:
    """ASFT, DPO (no rewards to read); RWR (seed 0: ...)."""
    reasons = dict.fromkeys(left_out.values())
    labels = {
        why: ", ".join(name for name, each in left_out.items() if each == why) for why in reasons
    }
    return "; ".join(f"{names} ({why})" for why, names in labels.items())
