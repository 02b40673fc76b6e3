"""Exports that the page asks for: one at a time, in a thread, with progress."""

import threading
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from flows.explorer.answers import Body, Forbidden, answering, changing
from stego_core.errors import InputError, OptionError, StegoError, WorkspaceError
from tasks.log import Log
from tasks.progress import Event
from tasks.threads import context_thread
from tasks.workspace.inside import inside
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

log = Log(__name__)

FORMATS = {
    "masks": "palette PNGs of class ids with a legend",
    "coco": "COCO",
    "voc": "Pascal VOC",
    "cvat": "CVAT",
    "labelstudio": "Label Studio predictions",
    "geotiff": "GeoTIFF, georeferenced as the images",
    "geojson": "GeoJSON polygons",
    "video": "overlay videos of clips",
}
"""What is offered, with a word on each."""


FORBIDDEN = (
    "nothing is exported from here: this server is reached from other machines; start `stego "
    "explore` with --export-root or --allow-changes, or without --host"
)


class Wanted(Body):
    """An export: its format, the folder it goes to below one of the places that exports may go to,
    and which dumps; none means all.
    """

    kind: str = Field(max_length=40)
    name: str = Field(max_length=500)
    root: int = Field(default=0, ge=0, le=100)
    dumps: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=999)


@dataclass(frozen=True)
class Roots:
    """Where exports may go.

    Attributes:
        places: below which; one or more.
        allowed: whether anything is exported at all.
    """

    places: tuple[Storage, ...]
    allowed: bool = True

    def place(self, wanted: Wanted) -> Storage:
        """The folder of an export.

        Raises:
            Forbidden: nothing is exported.
            OptionError: there is no such place, or the name leads out of it.
            InputError: a link in it leads out of it.
        """
        if not self.allowed:
            raise Forbidden(FORBIDDEN)
        if wanted.root >= len(self.places):
            raise OptionError(
                f"there is no place {wanted.root}; expected 0 to {len(self.places) - 1}"
            )
        return inside(self.places[wanted.root], wanted.name)


class Exporting:
    """The last export that was asked for."""

    def __init__(self, workspace: Workspace, roots: Roots) -> None:
        """Of this workspace, to these places."""
        self.workspace = workspace
        self.roots = roots
        self.lock = threading.Lock()
        self.state: dict[str, Any] = {"state": "none", "sentence": "", "done": 0, "total": 0}

    def routes(self) -> list[Route]:
        """Where exports are asked for, and how far they are."""
        return [
            Route("/api/export", answering(lambda _: self.document()), methods=["GET"]),
            Route("/api/export", changing(Wanted, self.begin), methods=["POST"]),
        ]

    def document(self) -> dict[str, Any]:
        """How far the export is, which formats there are, and where exports go."""
        places = [place.uri for place in self.roots.places]
        return {**self.state, "formats": FORMATS, "roots": places, "allowed": self.roots.allowed}

    def begin(self, wanted: Wanted) -> dict[str, Any]:
        """Start an export.

        Raises:
            WorkspaceError: another one is under way.
            OptionError: there is no such format, or the name is none.
            InputError: there is no such dump, or a link is in the way.
            Forbidden: nothing is exported from here.
        """
        out = self.roots.place(wanted)
        if wanted.kind not in FORMATS:
            raise OptionError(f"there is no format {wanted.kind!r}; there are {', '.join(FORMATS)}")
        dumps = self.workspace.dumps()
        if unknown := [dump for dump in wanted.dumps if dump not in dumps]:
            raise InputError(f"there is no dump {unknown[0]!r}; there are {', '.join(dumps)}")
        with self.lock:
            if self.state["state"] == "running":
                raise WorkspaceError("an export is under way; wait for its end")
            self._say("running", f"exporting to {out.uri}")
        context_thread(partial(self._run, wanted, out), "export").start()
        return self.state

    def _run(self, wanted: Wanted, out: Storage) -> None:
        def progress(event: Event) -> None:
            self._say("running", f"exporting to {out.uri}", event.done, event.total)

        from tasks.exports import export  # slow to import, and not always asked for

        try:
            export(self.workspace, wanted.kind, out, wanted.dumps or None, progress=progress)
        except Exception as error:
            log.warning("the export failed", kind=wanted.kind, cause=error)
            if not isinstance(error, StegoError):
                log.logger.info("traceback", exc_info=True)
            self._say("failed", str(error) or type(error).__name__)
        else:
            self._say("done", f"exported to {out.uri}")

    def _say(self, state: str, sentence: str, done: int = 0, total: int = 0) -> None:
        self.state = {"state": state, "sentence": sentence, "done": done, "total": total}
