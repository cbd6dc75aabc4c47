"""`recsys-posttrain advise`: what to do with a reward model as good as yours, in five lines, and
the evidence: the log itself, and the committed studies whose reward models were as good, the one
with the most similar log first."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_posttrain.config import require
from recsys_posttrain.data.table_file import FileRules
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.evaluation.support import support
from recsys_posttrain.report.answer import TEMPERATURES, OwnGains, answer, is_known, own_lines
from recsys_posttrain.report.findings import Finding, finding, is_evidence
from recsys_posttrain.report.nearest import Log, distance, log_in, logs_of
from recsys_posttrain.report.study_folder import StudyFolder, has_results, study_folder
from recsys_posttrain.reward_scale import Thresholds
from recsys_posttrain.rewards.noise import RewardNoise
from recsys_posttrain.seeding import derived_seed
from recsys_posttrain.stats.bootstrap import RESAMPLES, bootstrap, interval
from recsys_posttrain.stats.columns import COLUMNS, OFF_POLICY_COLUMNS
from recsys_posttrain.stats.runs import per_user
from recsys_posttrain.studies.overridden import overridden
from recsys_posttrain.studies.own_files import OwnFiles
from recsys_posttrain.studies.pipeline import Pipeline
from recsys_posttrain.studies.run import Run
from recsys_posttrain.studies.setup import Setup
from recsys_posttrain.untrained import Pretrained, Tilt
from recsys_posttrain.worlds.catalog import dataset_named

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"  # of a checkout
LIKED = next(column for column in COLUMNS if column.name == "NDCG@10 liked")
DOUBLY_ROBUST = next(
    column for column in OFF_POLICY_COLUMNS if column.source == "reward/adjusted-dr"
)
IN_FULL = 2  # of the studies that are near


def advise_on(
    dataset: str,
    data_root: str | None,
    studies: Path | None,
    output: Path,
    device: str,
    rules: FileRules = FileRules(),
    thresholds: Thresholds = Thresholds(),
    changes: Sequence[str] = (),
    own: OwnFiles = OwnFiles(),
) -> str:
    """Trains a policy, a judge and the default reward model on the dataset (stages, reused), tilts
    the one by the other, and reads every study in `studies`, by default the checkout's results.

    rules, thresholds, changes, own: of the log, of fields of the setup as `--set` has them, and a
    reward model and a policy of one's own.

    Raises: UserError for an unknown dataset, a reward model that does not score the whole
    catalogue, or where there is no such study.
    """
    folder = RESULTS if studies is None else studies
    ended = [study_folder(path) for path in sorted(folder.glob("*")) if has_results(path)]
    known = [study for study in ended if is_evidence(study)]
    require(
        known,
        f"{folder} holds no study that compares methods; give --studies experiments/results of a "
        "checkout, or run make study.",
    )
    setup = Setup(dataset=dataset_named(dataset, data_root, rules), split=UserHoldout())
    setup = replace(setup, thresholds=thresholds)
    run = overridden(tuple(own.changed([Run(Tilt(TEMPERATURES[0]), setup)])), changes)[0]
    setup, pipeline = run.setup, Pipeline(run.setup, output, device)
    why = "" if pipeline.rewards.missing else pipeline.refusal(run)
    require(not why, f"advise weighs what tilting by the reward model does, and {why}.")
    quality = pipeline.rewards.measure()
    require(
        quality is not None,
        f"{setup.dataset.name} has no rewards to learn: {pipeline.rewards.missing}; give "
        "a dataset with rewards.",
    )
    assert quality is not None
    axis = pd.Series(pipeline.rewards.measure_axis(RewardNoise()), dtype=float)
    model = pd.concat([quality.iloc[-1], axis])
    mine = _log_of(pipeline)
    found = findings(ended, known, model, mine)
    if not is_known(quality):
        why = "how good your model is, is not known."
        found = [(log, each._replace(is_near=False, verdict=why)) for log, each in found]
    gains = own_gains(pipeline)
    lines = [
        f"Advice for {pipeline.data.corpus.name}: {mine.line}",
        *answer(quality, gains, [each for _, each in found]),
        "",
        *own_lines(gains),
        "",
        f"Studies in {folder}, nearest log first; 95% intervals, not corrected for their number",
        *_studies(found),
        "",
        _next(pipeline, dataset, own),
    ]
    return "\n".join(lines)


def findings(
    studies: list[StudyFolder], known: list[StudyFolder], model: pd.Series, mine: Log
) -> list[tuple[Log | None, Finding]]:
    """Of the known ones, with the log of each, the one most like `mine` first. studies: all, since
    an old one has its log from a newer one."""
    logs = logs_of(study.record for study in studies)
    pairs = [
        (log_in(study.record) or logs.get(study.dataset), finding(study, model)) for study in known
    ]
    return sorted(pairs, key=lambda pair: distance(mine, pair[0]))


def own_gains(pipeline: Pipeline) -> OwnGains:
    """By the doubly robust estimate, where the log has propensities that allow it, otherwise by
    what users chose and liked."""
    setup, scale = pipeline.setup, pipeline.data.corpus.reward_scale
    base = pipeline.evaluate(Run(Pretrained(), setup))
    rows = {each: pipeline.evaluate(Run(Tilt(each), setup)) for each in TEMPERATURES}
    has_propensities = DOUBLY_ROBUST.source in base
    distrust = ""
    if has_propensities:
        warnings = {each: support(frame).warning for each, frame in rows.items()}
        distrust = support(base).warning or min(warnings.values(), key=len)
        rows = rows if distrust else {each: rows[each] for each in rows if not warnings[each]}
    column = DOUBLY_ROBUST if has_propensities and not distrust else LIKED
    values_CMSN, weights_CN = per_user(
        {"": [base], **{str(each): [frame] for each, frame in rows.items()}}, [column], scale
    )
    drawn = bootstrap(
        values_CMSN[0, 1:] - values_CMSN[0, :1],
        weights_KN=weights_CN,
        resamples=RESAMPLES,
        rng=np.random.default_rng(derived_seed(setup.seed, "advice")),
    )
    ends = (interval(value, drawn.draws_RK[:, place]) for place, value in enumerate(drawn.mean_K))
    gains = {each: (end.value, end.low, end.high) for each, end in zip(rows, ends, strict=True)}
    return OwnGains(column.name, gains, has_propensities, distrust)


def _log_of(pipeline: Pipeline) -> Log:
    corpus = pipeline.data.corpus
    events, users = len(corpus.sequences.items_E), int((corpus.sequences.lengths_N > 0).sum())
    return Log(corpus.num_items, events / (users * corpus.num_items))


def _studies(found: list[tuple[Log | None, Finding]]) -> Iterator[str]:
    """One line each; the first that are near with their evidence."""
    near = [each for _, each in found if each.is_near]
    for log, each in found:
        about = log.line if log is not None else "its log is not known"
        yield f"  {each.study} ({about}): {each.verdict}"
        yield from each.lines if each in near[:IN_FULL] else ()


def _next(pipeline: Pipeline, dataset: str, own: OwnFiles) -> str:
    """What serves the tilt, from the stages that this left; parts of one's own are in none."""
    if own.options:
        given = shlex.join(["--dataset", dataset, *own.options])
        return f"To tilt, and to compare methods: recsys-posttrain run movielens_main {given}"
    policy, reward = pipeline.pretrain(), pipeline.rewards.train()
    return (
        f"To tilt: recsys-posttrain recommend {policy} --reward {reward} --tilt TEMPERATURE "
        "--users IDS"
    )
