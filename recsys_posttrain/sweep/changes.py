"""Is this still the sweep that was started? Its definition is kept beside its trials."""

import json
from collections.abc import Iterator
from typing import Any

import optuna

from recsys_posttrain.config import describe
from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.ledger import Ledger

_DEFINITION = "definition"
_SHOWN = 3


def definition(ledger: Ledger) -> dict[str, Any]:
    """All that the results depend on, as JSON: the sweep, and digests of data and code.

    The dataset is its content's hash, so that a file may lie elsewhere on another machine.
    """
    sweep, keys = describe(ledger.sweep), ledger.pipeline.keys
    del sweep["base"]["setup"]["dataset"]
    sweep["methods"] = {method.label: describe(method) for method in ledger.sweep.methods}
    return {
        **sweep,
        "data": keys.corpus.content_hash,
        "code and data of": {
            "pretraining": keys.pretrain.folder.name,
            "the reward model": keys.reward().folder.name,
            **ledger.keys,
        },
    }


def check_definition(ledger: Ledger, accept: bool) -> None:
    """Writes the definition where there is none yet, or where a change is accepted: trials that the
    new one still asks for are kept, because each cell is named by what its trials depend on.

    Raises: UserError that says what changed.
    """
    study = optuna.create_study(
        storage=ledger.storage, study_name=ledger.name, direction="maximize", load_if_exists=True
    )
    now = json.loads(json.dumps(definition(ledger)))
    before = study.user_attrs.get(_DEFINITION)
    if before is not None and before != now and not accept:
        found = list(changes(before, now))
        # A changed method or base changes the digests too; they are news only on their own.
        news = [each for each in found if not each.startswith("code and data of")] or found
        more = f"; and {len(news) - _SHOWN} more" if len(news) > _SHOWN else ""
        raise UserError(
            f"{ledger.name} was started with another definition ({'; '.join(news[:_SHOWN])}{more}):"
            " add --accept-changes to go on with the new one and what still fits it, or change the "
            "definition back"
        )
    if before != now:
        study.set_user_attr(_DEFINITION, now)


def changes(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """trials: 3 before, 4 now; methods.ASFT.space...: only before; one text for each leaf."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = ({str(n): each for n, each in enumerate(side)} for side in (before, now))
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield f"{path}: {json.dumps(before)} before, {json.dumps(now)} now"
        return
    for name in dict.fromkeys([*before, *now]):
        inner = f"{path}.{name}" if path else name
        if name not in now:
            yield f"{inner}: only before"
        elif name not in before:
            yield f"{inner}: only now"
        else:
            yield from changes(before[name], now[name], inner)
