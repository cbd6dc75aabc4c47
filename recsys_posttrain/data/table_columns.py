"""Which column of a table is the user, the item, the rating and so on."""

from collections.abc import Iterable, Mapping, Sequence

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError, did_you_mean, nearest

# Compared in lower case without "_", "-" and spaces, so userId, user_id and "User ID" are one.
ALIASES = {
    "user_id": ("userid", "user", "uid", "visitorid", "customerid"),
    "item_id": ("itemid", "item", "iid", "movieid", "movie", "productid", "asin"),
    "rating": ("rating", "ratings", "score", "reward", "stars", "value"),
    "propensity": (
        *("propensity", "propensities", "pscore", "propensityscore", "loggingpropensity"),
        *("actionprob", "actionprobability", "loggingprobability", "behaviorprobability"),
    ),
    "chosen": ("chosen", "ischosen", "waschosen"),
    "shown": ("shown", "isshown", "wasshown"),
    "slate": ("slate", "slateid", "session", "sessionid", "impressionid", "requestid"),
    "position": ("position", "slateposition", "rank"),
    "region": ("region",),
    "timestamp": ("timestamp", "ts", "time", "datetime", "date", "unixtime"),
}
OF_SLATES = ("slate", "position")  # read where a column says what was chosen
OPTIONAL = ("rating", "propensity", "chosen", "shown", *OF_SLATES, "region")
SHOWN, SHOWN_COLUMNS = 60, 20  # characters of a column's name, and columns, in a sentence
NEAR = 0.8  # of difflib: one letter of six wrong; "duration" is none
AS_IT_IS = "column/"  # before the name of a column that a formula reads


def plain(name: str) -> str:
    return "".join(c for c in name.lower() if c not in "_- ")


def mapping_of(text: str) -> dict[str, str]:
    """By one of our names, that of the file: of `user=uid, item=vid`."""
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        ours, _, theirs = (each.strip() for each in part.partition("="))
        matching = [name for name in ALIASES if plain(ours) in (plain(name), *ALIASES[name])]
        require(
            matching and theirs,
            f"--columns {text!r}: {part.strip()!r} is not NAME=COLUMN with a name of "
            f"{', '.join(ALIASES)}{did_you_mean(nearest(ours, ALIASES))}; give user=uid,item=vid.",
        )
        require(matching[0] not in found, f"--columns {text!r} names {ours} twice; give it once.")
        found[matching[0]] = theirs
    return found


def chosen_columns(
    path: str,
    names: Sequence[str],
    mapping: Mapping[str, str],
    read: Iterable[str],
    has_reward: bool,
) -> dict[str, int]:
    """Which column of a file, by place, is each of ours, and, as `column/NAME`, each of `read`.

    has_reward: whether a formula gives the rewards, so that there is no column of ratings.
    """
    shown = [" ".join(name.split())[:SHOWN] for name in names[:SHOWN_COLUMNS]]
    shown += ["..."] * (len(names) > SHOWN_COLUMNS)
    there = f"the columns found are {', '.join(shown)}"
    written = [name.strip() for name in names]
    alike = [plain(name) for name in names]

    def named(name: str) -> list[int]:
        return [place for place, each in enumerate(written) if each == name]

    columns = {}
    for wanted, aliases in ALIASES.items():
        is_unread = wanted in OF_SLATES and "chosen" not in columns and wanted not in mapping
        if is_unread or (wanted == "rating" and has_reward):
            continue
        found = named(mapping.get(wanted, wanted))
        if not found and wanted not in mapping:
            found = [place for place, text in enumerate(alike) if text in aliases]
        if len(found) > 1:
            raise UserError(
                f"{path} has several columns for {wanted}: "
                f"{', '.join(names[place] for place in found)}; "
                f"rename the right one to {wanted} and the others to something else."
            )
        if found:
            columns[wanted] = found[0]
        elif wanted in mapping:
            hint = did_you_mean(nearest(mapping[wanted], written))
            raise UserError(
                f"{path} has no column {mapping[wanted]!r}, given for {wanted}{hint} ({there})."
            )
    missing = [wanted for wanted in ALIASES if wanted not in (*columns, *OPTIONAL)]
    require(
        not missing,
        f"{path} has no column {', '.join(missing)}; {there}; rename them, or say which is which "
        f"with --columns {','.join(f'{wanted}=NAME' for wanted in missing)}.",
    )
    for name in dict.fromkeys(read):
        found = named(name)
        if len(found) != 1:
            hint = did_you_mean(nearest(name, written))
            count = "several columns" if found else "no column"
            raise UserError(f"{path} has {count} {name!r} for a formula to read{hint} ({there}).")
        columns[AS_IT_IS + name] = found[0]
    if "rating" not in columns and not has_reward:
        _check_unread(path, alike)
    return columns


def _check_unread(path: str, names: list[str]) -> None:
    """With a misspelled rating, a log that has ratings would be read as one without."""
    for name in names:
        if near := nearest(name, ALIASES["rating"], NEAR):
            raise UserError(
                f"{path} has a column {name[:SHOWN]!r}, which looks like {near}; "
                "rename it to rating, or to something else if it is none."
            )
