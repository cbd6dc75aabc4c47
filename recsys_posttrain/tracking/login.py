"""Whether the user is logged in to W&B, without importing it, which is slow."""

import netrc
import os
import re
from pathlib import Path


def wandb_login() -> str | None:
    """How the user is logged in to W&B; None where not."""
    if os.environ.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    own_host = re.sub(r"^\w+://|/.*$", "", os.environ.get("WANDB_BASE_URL", ""))
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return None
    # For any host of the service: its name has changed before.
    is_there = any("wandb" in host or host == own_host for host in hosts)
    return "logged in" if is_there else None
