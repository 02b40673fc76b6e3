"""How a command ends: an exit code and one sentence for whatever was raised."""

import errno
import os
from typing import NamedTuple

from flows.reporting import temporary_server
from flows.reporting.temporary_server import AGAIN
from stego_core.errors import DEFECT, INTERRUPTED, LATER, MEND, StegoError

REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENAMETOOLONG,
    errno.EADDRINUSE,  # of the metrics, most likely
}
"""What an operating system says that a person has to mend."""


class Ending(NamedTuple):
    """The exit code, and the sentence that is shown; empty where it was shown already."""

    code: int
    sentence: str


def ending(error: BaseException) -> Ending:
    """What a command that this error ends tells and returns."""
    match error:
        case SystemExit():
            return Ending(error.code if isinstance(error.code, int) else int(bool(error.code)), "")
        case StegoError():
            return Ending(error.exit_code, str(error))
        case KeyboardInterrupt():
            return Ending(INTERRUPTED, f"interrupted; {AGAIN}")
        case Exception():
            return _foreign(error)
    return Ending(INTERRUPTED, f"stopped by {type(error).__name__}; {AGAIN}")


def _foreign(error: Exception) -> Ending:
    """An error that is not of ours: the Prefect server, the operating system, or a defect."""
    if away := _server_is_away(error):
        return Ending(LATER, away)
    if isinstance(error, OSError) and error.errno in REFUSED:
        return Ending(MEND, f"{error}; see to the place and {AGAIN}")
    return Ending(DEFECT, f"a defect of stego-flows, {type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _server_is_away(error: Exception) -> str:
    """What to say if the Prefect server cannot be reached or fails; empty for another error."""
    import httpx

    text, address = str(error), os.environ.get(temporary_server.URL)
    fails = isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= 500
    fails = fails or "Failed to reach API" in text
    unreached = isinstance(error, httpx.TransportError)
    if not address or address == temporary_server.address():
        if fails or "ephemeral" in text or (address and unreached):
            return f"the temporary Prefect server did not answer ({_line(error)}); {AGAIN}"
        return ""
    if fails or unreached:
        return (
            f"the Prefect server at {address} does not answer; start it (`make server`) or unset "
            f"PREFECT_API_URL, and {AGAIN}"
        )
    return ""
