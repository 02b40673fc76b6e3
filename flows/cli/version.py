"""What `stego --version` prints: versions and the revision, without importing what they are of."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

NAME = "stego-flows"
BESIDE = ("torch", "prefect", "dask", "zarr")
ROOT = Path(__file__).resolve().parents[2]
GIT_SECONDS = 5


def text() -> str:
    """The version with its revision, then a line of the versions of what it stands on."""
    commit = revision()
    first = f"stego {_version(NAME)}" + (f" (revision {commit})" if commit else "")
    beside = [f"{name} {_version(name)}" for name in BESIDE]
    return f"{first}\n{', '.join([f'Python {platform.python_version()}', *beside])}"


def revision() -> str:
    """The commit this code is of: STEGO_REVISION, the checkout's, or the one pip installed."""
    return os.environ.get("STEGO_REVISION", "") or _of_checkout() or _of_installation()


def _of_checkout() -> str:
    """The checkout's commit, with a + where files differ from it; empty outside a checkout."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()


def _of_installation() -> str:
    try:
        direct = distribution(NAME).read_text("direct_url.json") or "{}"
    except PackageNotFoundError:
        return ""
    return str(json.loads(direct).get("vcs_info", {}).get("commit_id", ""))[:10]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
