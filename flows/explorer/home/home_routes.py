"""The page's first view: what lies where it points, and the run on it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from flows.explorer.answers import Forbidden
from flows.explorer.home import folder_list
from flows.explorer.home.run_request import RunRequest
from flows.explorer.parameters import Document, Open

FORBIDDEN = (
    "nothing is started from here: this server is reached from other machines; start `stego "
    "explore` without --host, and use an SSH tunnel from others"
)


def require_allowed(explorer: Open) -> None:
    """Whoever may start runs can read any folder of this machine, so they come from here alone."""
    if not explorer.running.setup.allowed:
        raise Forbidden(FORBIDDEN)


router = APIRouter(prefix="/home")
started_here = [Depends(require_allowed)]


@router.get("")
def home(explorer: Open) -> Document:
    """Whether there are masks to show, what was asked for, how far the run is."""
    return explorer.running.document()


@router.get("/folders", dependencies=started_here)
def folders(path: Annotated[str, Query(max_length=2000)] = "") -> Document:
    """What a folder of this machine holds."""
    return folder_list.listing(path)


@router.post("/check", dependencies=started_here)
def check(explorer: Open, sent: RunRequest) -> Document:
    """What lies at a place; nothing is changed."""
    return explorer.running.look(sent).document()


@router.get("/estimate", dependencies=started_here)
def estimate(explorer: Open) -> Document:
    """How long a run on what was looked at last takes."""
    return explorer.running.estimates.document()


@router.post("/start", dependencies=started_here)
def start(explorer: Open, sent: RunRequest) -> Document:
    """Start a run, if the images can be used."""
    return explorer.running.start(sent)


@router.post("/resume", dependencies=started_here)
def resume(explorer: Open) -> Document:
    """Go on with the run that was asked for and is not done."""
    return explorer.running.resume()


@router.post("/stop", dependencies=started_here)
def stop(explorer: Open) -> Document:
    """Have the run end; what is finished is kept."""
    explorer.running.job.stop()
    return explorer.running.document()
