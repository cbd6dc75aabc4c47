"""Runs of a study, changed by `--set`."""

from collections.abc import Sequence

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override, suggestion
from recsys_posttrain.studies.run import Run

_OF_PRETRAINING = ("backbone", "pretraining", "pretraining_loss")  # fields of Setup


def overridden(runs: tuple[Run, ...], assignments: Sequence[str]) -> tuple[Run, ...]:
    """Each assignment changes every run that has the field; at least one must have it."""
    for assignment in assignments:
        changed, refusals = [], []
        for run in runs:
            try:
                changed.append(override(run, assignment))
            except UserError as refusal:
                if "has no field" not in str(refusal):  # it has it, and refuses the value
                    raise
                changed.append(run)
                refusals.append(refusal)
        if len(refusals) == len(runs):
            if len({str(refusal) for refusal in refusals}) == 1:
                raise refusals[0]
            labels = ", ".join(run.label for run in runs)
            raise UserError(
                f"--set {assignment}: no run of the study has this field"
                f"{suggestion(runs, assignment)} (its runs: {labels})"
            )
        runs = tuple(changed)
    _check_pretraining(runs, assignments)
    return runs


def _check_pretraining(runs: Sequence[Run], assignments: Sequence[str]) -> None:
    """Raises: UserError for `--set` of a field that nothing reads, where nothing is pretrained."""
    for each in assignments:
        name = each.partition("=")[0].strip()
        require(
            name.partition(".")[0] not in _OF_PRETRAINING
            or any(run.setup.pretrained is None for run in runs),
            f"--set {each}: nothing is pretrained here, the policy comes from elsewhere; leave it "
            "out.",
        )
