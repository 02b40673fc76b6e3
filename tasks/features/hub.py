"""Whether a model's weights can be had: checked in seconds, without importing torch."""

import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

from huggingface_hub import constants

from stego_core.errors import WeightsError

TIMM = "timm"
"""The value of `--weights` for those that timm knows by the backbone's name."""
PROBE_SECONDS = 3.0
"""How long the hub may take to answer."""
NAME_FLAGS = {"--weights": "--backbone", "--picie-weights": "--picie-network"}
"""The flag that names a model, by the flag of its weights."""


def require(name: str, flag: str = "--weights") -> None:
    """Check that timm's weights of a model can be had, before any work is done.

    One request shows whether the hub is there: its client's retries would take most of a minute.

    Raises:
        WeightsError: they are not on this machine and the hub does not answer.
    """
    if not available(name):
        raise WeightsError(
            f"the weights of {name} are not on this machine, and the hub at {constants.ENDPOINT} "
            f"did not answer within {PROBE_SECONDS:.0f} s; give a file with {flag}, or check "
            f"the name after {NAME_FLAGS[flag]}"
        )


def available(name: str) -> bool:
    """Whether timm's weights of a model are on this machine, or the hub answers at once."""
    return seems_cached(name) or answers(constants.ENDPOINT)


def seems_cached(name: str) -> bool:
    """Whether the local cache has a repository of timm's for this model."""
    return any(Path(constants.HF_HUB_CACHE).glob(f"models--timm--{name}*/snapshots/*/*"))


def answers(url: str) -> bool:
    """Whether a server at the URL answers at once, if only to refuse this request (401, 405, …).

    A server error (500 and above) does not count: a download would then wait for its end. The
    request is sent from a thread that may be left behind: looking up a name has no time limit.
    """
    statuses: list[int] = []

    def send() -> None:
        with suppress(OSError, ValueError):
            request = urllib.request.Request(url, method="HEAD")
            try:
                reply = urllib.request.urlopen(request, timeout=PROBE_SECONDS)
            except HTTPError as refusal:
                reply = refusal
            with reply:
                statuses.append(reply.status)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(PROBE_SECONDS)
    return any(status < 500 for status in statuses)
