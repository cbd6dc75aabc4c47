"""Is this still the sweep that was started? Its definition is kept beside its trials."""

import json
from collections.abc import Iterator
from typing import Any

import optuna

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.ledger import Ledger

_DEFINITION = "definition"
_SHOWN = 3


def check_definition(ledger: Ledger, accept: bool) -> None:
    """Writes the definition where there is none yet, or where a change is accepted: trials that the
    new one still asks for are kept, because each cell is named by what its trials depend on.

    Raises: UserError that says what changed.
    """
    study = optuna.create_study(
        storage=ledger.storage, study_name=ledger.name, direction="maximize", load_if_exists=True
    )
    now = json.loads(json.dumps(ledger.objective.definition()))
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


def changes(before: Any, now: Any) -> Iterator[str]:
    """trials: 3 before, 4 now; methods.ASFT.space...: only before; one text for each leaf."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for path in dict.fromkeys([*old, *new]):
        if path not in new:
            yield f"{path}: only before"
        elif path not in old:
            yield f"{path}: only now"
        elif old[path] != new[path]:
            yield f"{path}: {json.dumps(old[path])} before, {json.dumps(new[path])} now"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    inner = value if isinstance(value, dict) else dict(enumerate(value))
    for name, each in inner.items():
        where = f"{path}.{name}" if path else str(name)
        is_nested = isinstance(each, list) and any(isinstance(one, dict | list) for one in each)
        if is_nested or (each and isinstance(each, dict)):
            yield from _leaves(each, where)
        else:  # a list of plain values is one leaf
            yield where, each
