"""What `recsys-posttrain posttrain` does: the continued policy is a stage, so it can be reused."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from recsys_posttrain import algorithms, store
from recsys_posttrain.algorithms.base import Algorithm
from recsys_posttrain.closure import code_digest
from recsys_posttrain.config import describe, require
from recsys_posttrain.errors import did_you_mean, nearest
from recsys_posttrain.files import check_writable, read_text, sha256_of, write_json
from recsys_posttrain.models.checkpoint import (
    CARD,
    POLICY_FILES,
    WEIGHTS,
    load_policy,
    save_policy,
)
from recsys_posttrain.models.new_items import add_items
from recsys_posttrain.override import override
from recsys_posttrain.plan import METRICS
from recsys_posttrain.progress import say
from recsys_posttrain.provenance import git_commit, package_versions
from recsys_posttrain.studies.saved_reward import beside, reward_of
from recsys_posttrain.tomorrow.go_on import Continuation, check_models, go_on
from recsys_posttrain.tomorrow.logs import Logs, source_of
from recsys_posttrain.tomorrow.reads import reads_model
from recsys_posttrain.training.processes import check_devices

RUN = "run.json"


class Asked(NamedTuple):
    """What the command line says; `posttrain_from` has the words."""

    policy: Path
    log: str
    method: str
    overrides: Sequence[str]
    past: str | None
    reward: Path | None
    judge: Path | None
    columns: Mapping[str, str]
    data_root: str | None
    output: Path
    device: str
    items: Path | None = None
    devices: int = 1


def method_named(name: str) -> Algorithm:
    """An exported algorithm with its defaults.

    Raises: UserError: there is none of this name; the nearest one is suggested.
    """
    known: dict[str, Any] = {
        label: kind
        for label, kind in vars(algorithms).items()
        if dataclasses.is_dataclass(kind) and hasattr(kind, "loss")
    }
    hint = did_you_mean(nearest(name, known, cutoff=0.4))
    require(
        name in known, f"--method {name}: there is no such method{hint} (one of {', '.join(known)})"
    )
    found: Algorithm = known[name]()
    return found


def continue_policy(asked: Asked) -> Path:
    """The folder of the continued policy; its table is printed.

    Raises: UserError as `posttrain_from`.
    """
    how = Continuation(method_named(asked.method))
    for assignment in asked.overrides:
        how = override(how, assignment)
    check_devices(asked.devices, asked.device)
    check_writable(asked.output)
    folder, saved = asked.policy, load_policy(asked.policy)
    of_policy, model = asked.reward or beside(folder), None
    reads = asked.reward or how.posttraining.guard.gap or reads_model(how.algorithm, saved.policy)
    require(
        asked.items is None or not (reads or asked.judge),
        f"--items {asked.items}: no reward model knows these titles, and {asked.method} is to read "
        "one; take a method that reads none, such as BC, without --reward, --judge and guard.gap.",
    )
    if reads:
        model = None if of_policy is None else reward_of(folder, saved, of_policy)
    judge = None if asked.judge is None else reward_of(folder, saved, asked.judge)
    check_models(how, saved, model, judge)
    if asked.items is not None:
        saved = add_items(saved, asked.items)
    sources = (
        None if each is None else source_of(saved, each, asked.columns, asked.data_root)
        for each in (asked.log, asked.past)
    )
    today, past = sources
    assert today is not None
    logs = Logs(saved, today, past)

    policy_hashes = {name: sha256_of(folder / name) for name in (WEIGHTS, CARD)}
    key: dict[str, Any] = {
        "policy": policy_hashes,
        "logs": [None if each is None else each.content_hash() for each in (logs.past, today)],
        "how": how,
        "judge": asked.judge and asked.judge.name,
        "code": code_digest([go_on, Logs.newest, save_policy], [how]),
    }
    if asked.items is not None:
        key["items"] = sha256_of(asked.items)
    elif of_policy is not None:  # for whoever goes on from here, or tilts
        here = of_policy.absolute().parent == (asked.output / "stages").absolute()
        key["reward"] = of_policy.name if here else str(of_policy.absolute())
    stage = store.stage_folder(asked.output, "posttrain", key)
    data = None if stage.exists() else logs.newest(how.replay, how.seed)

    def make(partial: Path) -> dict[str, Any]:
        news = logs.newest(how.replay, how.seed) if data is None else data
        found = go_on(saved, how, news, model, judge, partial, asked.device, asked.devices)
        corpus = replace(news.data.corpus, reward_scale=saved.reward_scale)
        backbone = found.policy.backbone.config
        hashed = saved.numbered_by
        save_policy(partial, found.policy, backbone, corpus, logs.dataset, hashed)  # type: ignore[arg-type]
        about = {
            "policy": str(folder),
            "policy_sha256": policy_hashes[WEIGHTS],
            "log": today.name,
            "past": logs.past and logs.past.name,
            "newest_before": saved.newest,
            **describe(how),
            **found.record,
            "devices": asked.devices,
            "commit": git_commit(),
            "versions": package_versions(),
        }
        write_json(partial / RUN, about)
        found.table.write(partial)
        return found.record

    files = (*POLICY_FILES, METRICS, RUN, "table.*", "pairs.*")
    built = store.build(stage, key, make, files)
    record = built.record
    print(read_text(stage / "table.md"))
    say(
        f"{record['new_events']:,} new events, {record['old_events']:,} before; KL to the saved "
        f"policy {record['kl']:.3f} nats on new targets; {record['steps']} steps"
        + (f"; guard: {record['guard']}" if record["guard"] else "")
    )
    say(f"policy: {stage}{' (reused)' if built.reused else ''}")
    return stage
