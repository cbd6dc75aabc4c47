"""Where a result comes from: the commit of this package's checkout, and versions."""

import hashlib
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recsys_posttrain.config import require

_PACKAGES = (
    *("torch", "pytorch-lightning", "numpy", "pandas"),
    *("datasets", "scikit-learn", "scipy", "safetensors"),
)


@cache
def git_commit(file: Path = Path(__file__)) -> str:
    """Short commit of the checkout that `file`, by default this package, is a tracked part of.

    "-dirty" is added when tracked files differ; "unknown" where git or a commit is missing, and
    where the package is installed: the repository around an environment has no part in a result.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return "unknown"
    described = _git(file.parent, "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*")
    return described or "unknown"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or is missing."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@cache
def package_code() -> str:
    """Digest of the files of this package."""
    package = Path(__file__).resolve().parent
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        found.update(path.relative_to(package).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def check_same(versions: dict[str, str], code: str, here: str, there: str) -> None:
    """Raises UserError where another process, `there`, has other packages than this one, or other
    code of this package. here: what this one is called."""
    own = package_versions()
    for name, value in versions.items():
        require(
            own[name] == value,
            f"{here} has {name} {own[name]}, and {there} {value}: install the same.",
        )
    require(
        code == package_code(),
        f"{here} has other code of recsys_posttrain than {there}: install the same commit.",
    )
