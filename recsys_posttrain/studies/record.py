"""run.json of a study: what its rows are of, what they took, and the command that gives them."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recsys_posttrain.config import describe
from recsys_posttrain.data.never_shown import never_shown_ids
from recsys_posttrain.data.split import untrained_items
from recsys_posttrain.named import written
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.stats.undefined import undefined_values
from recsys_posttrain.store import read_stage
from recsys_posttrain.studies.execute import Options, Results
from recsys_posttrain.studies.load import Study
from recsys_posttrain.studies.pipeline import Pipeline

MAIN_STUDY = Path("experiments/movielens_main.py")  # of `make benchmark`


def record_of(study: Study, pipeline: Pipeline, results: Results) -> dict[str, Any]:
    """Everything needed to compute the rows again, and what it took."""
    shared, trained = _shared_stages(study, pipeline), results.trained
    targets = pipeline.data.targets(study.eval_split)
    steps = {read_stage(folder)["record"]["steps"] for folder in trained.values()}
    corpus = pipeline.data.corpus
    runs = [run for run in study.rows if study.title(run) not in results.left_out]
    return {
        "name": study.name,
        "eval_split": study.eval_split,
        "tuning": study.tuning,
        "chosen_by": study.rule,
        "commit": git_commit(),
        "versions": package_versions(),
        "dataset": corpus.name,
        "reward": getattr(pipeline.setup.dataset, "reward", ""),
        "split": pipeline.setup.split.label
        + ("" if study.eval_split == "test" else f", {study.eval_split} targets"),
        "content_hash": corpus.content_hash,
        "reward_scale": asdict(corpus.reward_scale),
        "events": len(corpus.sequences.items_E),
        "users": len(corpus.sequences),
        "num_items": corpus.num_items,
        "repeats": corpus.repeats,
        "targets": len(targets.items_N),
        "targets_unshowable": targets.unshowable,
        "never_shown": len(never_shown_ids(corpus)),
        "targets_never_shown": targets.masked,
        "targets_undefined": undefined_values(results.rows),
        "targets_of_untrained_items": int(untrained_items(pipeline.data, targets).sum()),
        "seeds": list(study.seeds),
        "full_seeds": study.full_seeds,
        "redraws_noise": study.redraws_noise,
        "equal_within": study.equal_within,
        "methods": list(study.methods),
        "steps": sorted(steps),
        "policies": len(trained),
        "runs": [
            {
                "title": study.title(run),
                "trained": run.is_trained,
                "family": run.family,
                **describe(run),
            }
            for run in runs
        ],
        "left_out": results.left_out,
        "noise": results.noise,
        "stages": {
            name: {
                "folder": folder.name,
                **{k: read_stage(folder)[k] for k in ("record", "seconds")},
            }
            for name, folder in {**shared, **trained}.items()
        },
    }


def _shared_stages(study: Study, pipeline: Pipeline) -> dict[str, Path]:
    """Of the models that post-training starts from, by name."""
    found = {}
    for name, seed, setup in study.setups():
        stages, end = pipeline.at(setup), f"{name}/{seed}" if study.full_seeds else name
        found[f"pretrained{end}"] = stages.pretrain()
        if not stages.rewards.missing:
            found[f"reward{end}"] = stages.rewards.train()
        if (judge := stages.rewards.train_judge()) is not None:
            found[f"judge{end}"] = judge
    return found


def seeds_text(record: Mapping[str, Any]) -> str:
    """For the caption: what the seeds of the table are of."""
    if "full_seeds" not in record:  # an older record
        return ""
    if record["full_seeds"]:
        return "of pretraining, reward model and post-training"
    return "of post-training, from one pretrained policy and one reward model"


def sums_text(record: Mapping[str, Any]) -> str:
    """For the caption: which sums over the catalogue were estimated; empty where none was."""
    num_items = record["num_items"]
    plans = [
        run.get("posttraining", {}) for run in record.get("runs", ()) if run.get("trained", True)
    ]
    drawn = {  # older records know of exact sums alone
        plan["sampled_items"] for plan in plans if num_items > plan.get("exact_items", num_items)
    }
    if not drawn:
        return ""
    counts = " or ".join(f"{count:,}" for count in sorted(drawn))
    return (
        f"sums of training over {num_items:,} items estimated from {counts} draws in each step, "
        "what is measured exact"
    )


def command_of(study: Study, options: Options) -> str:
    """How to get this table from a fresh clone, after `make setup` where it is not `make`."""
    overrides = options.overrides
    words = [*options.rules.options, *options.own.options]
    changes = words or options.thresholds.given or options.full_seeds or options.devices > 1
    if study.file == MAIN_STUDY and study.eval_split == "test" and not changes:
        chosen = shlex.quote(study.dataset or study.runs[0].setup.dataset.name)
        command = f"make benchmark DATASET={chosen} SEEDS={len(study.seeds)}"
        command += f" SPLIT={study.split}" if study.split else ""
        command += f" METHODS={shlex.quote(study.chosen)}" if study.methods else ""
        return command + (f" SET={shlex.quote(' '.join(overrides))}" if overrides else "")
    command = f"recsys-posttrain run {shlex.quote(written(study.file))}"
    command += f" --dataset {shlex.quote(study.dataset)}" if study.dataset else ""
    command += f" --seeds {len(study.seeds)}"
    command += " --full-seeds" if options.full_seeds else ""
    command += f" --devices {options.devices}" if options.devices > 1 else ""
    command += f" --split {study.split}" if study.split else ""
    command += f" --methods {shlex.quote(study.chosen)}" if study.methods else ""
    command += "".join(f" {option}" for option in options.thresholds.options)
    command += "".join(f" {shlex.quote(word)}" for word in words)
    command += "".join(f" --set {shlex.quote(assignment)}" for assignment in overrides)
    return command + ("" if study.eval_split == "test" else f" --eval-split {study.eval_split}")
