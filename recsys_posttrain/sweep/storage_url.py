"""The address of a storage: checked, and never shown with its password."""

from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError

VARIABLE = (
    "RECSYS_POSTTRAIN_STORAGE"  # of the environment: every user of the machine can read arguments
)
FORM = "postgresql://user@host:port/database"
_SECRETS = ("password", "sslpassword", "oauth_client_secret")  # of a query
_HIDDEN = "***"


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def address(url: str) -> tuple[URL, dict[str, Any]]:
    """The URL without its secrets, and these as libpq's options, so that nothing that prints a URL
    prints them.

    Raises: UserError for another kind of database, or what is no URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        what = "its port is not a number; " if isinstance(error, ValueError) else ""
        raise UserError(f"--storage {shown(url)}: {what}write it as {FORM}") from None
    name = parsed.get_backend_name()
    require(
        name in ("postgresql", "sqlite"),
        f"--storage {shown(url)}: {name} is not supported; give a {FORM}, or leave it out",
    )
    require(
        parsed.port is None or 1 <= parsed.port <= 65_535,
        f"--storage {shown(url)}: port {parsed.port} is not from 1 to 65535; write it as {FORM}",
    )
    if name == "sqlite":
        return parsed, {}
    secrets = {key: parsed.query[key] for key in _SECRETS if key in parsed.query}
    if parsed.password is not None:
        secrets["password"] = parsed.password
    bare = parsed.set(drivername="postgresql+psycopg").difference_update_query(_SECRETS)
    return bare._replace(password=None), secrets  # set() takes None for "as it is"


def has_secret(url: str) -> bool:
    return bool(address(url)[1])


def shown(url: str) -> str:
    """For messages. Of a text that cannot be read as a URL little is left: anywhere in it may be
    what was meant as a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        before, found, after = url.partition("?")[0].rpartition("@")
        scheme, colon, _ = (before if found else after).partition(":")
        if found:
            return f"{scheme}://{_HIDDEN}@{after}" if colon else f"{_HIDDEN}@{after}"
        return f"{scheme}:{_HIDDEN}" if colon else scheme
    bare = parsed.difference_update_query(_SECRETS).render_as_string(hide_password=True)
    hidden = [f"{key}={_HIDDEN}" for key in _SECRETS if key in parsed.query]
    return bare + (("&" if "?" in bare else "?") + "&".join(hidden) if hidden else "")


def without_secrets(text: str, url: str) -> str:
    """What a driver said, should it quote them."""
    try:
        secrets = address(url)[1].values()
    except UserError:
        return text
    for secret in map(str, secrets):
        text = text.replace(secret, _HIDDEN) if secret else text
    return text
