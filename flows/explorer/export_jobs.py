"""Exports that the page asks for: one at a time, in a thread, with progress."""

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from flows.explorer.answers import Change, Forbidden
from stego_core.errors import InputError, OptionError, StegoError, WorkspaceError
from tasks.engine.progress import Event
from tasks.log import Log
from tasks.storage.storage import Storage
from tasks.storage.subfolder import inside
from tasks.storage.threads import context_thread
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


class Request(Change):
    """An export: its format, its folder below one of the roots, and which dumps; none means all."""

    kind: str = Field(max_length=40)
    name: str = Field(max_length=500)
    root: int = Field(default=0, ge=0, le=100)
    dumps: list[Annotated[str, Field(max_length=100)]] = Field(default_factory=list, max_length=999)


@dataclass(frozen=True)
class Roots:
    """The folders below which exports may go, one or more, and whether anything is exported."""

    folders: tuple[Storage, ...]
    allowed: bool = True

    def target(self, request: Request) -> Storage:
        """The folder of an export.

        Raises:
            Forbidden: nothing is exported.
            OptionError: there is no such root, or the name leads out of it.
            InputError: a link in it leads out of it.
        """
        if not self.allowed:
            raise Forbidden(FORBIDDEN)
        if request.root >= len(self.folders):
            last = len(self.folders) - 1
            raise OptionError(f"there is no place {request.root}; expected 0 to {last}")
        return inside(self.folders[request.root], request.name)


class Exporting:
    """The last export."""

    def __init__(self, workspace: Workspace, roots: Roots) -> None:
        """Of this workspace, below these folders."""
        self.workspace = workspace
        self.roots = roots
        self.lock = threading.Lock()
        self.state: dict[str, Any] = {"state": "none", "sentence": "", "done": 0, "total": 0}

    def router(self) -> APIRouter:
        """Where exports are requested, and how far they are."""
        router = APIRouter(prefix="/export")
        router.add_api_route("", self.document, methods=["GET"])
        router.add_api_route("", self.begin, methods=["POST"])
        return router

    def document(self) -> dict[str, Any]:
        """How far the export is, which formats there are, and where exports go."""
        roots = [folder.uri for folder in self.roots.folders]
        return {**self.state, "formats": FORMATS, "roots": roots, "allowed": self.roots.allowed}

    def begin(self, request: Request) -> dict[str, Any]:
        """Start an export.

        Raises:
            WorkspaceError: another one is under way.
            OptionError, InputError: there is no such format, or no such dump.
            Forbidden, OptionError, InputError: as `Roots.target`.
        """
        out = self.roots.target(request)
        _check("format", [request.kind], FORMATS, OptionError)
        _check("dump", request.dumps, self.workspace.dumps(), InputError)
        with self.lock:
            if self.state["state"] == "running":
                raise WorkspaceError("an export is under way; wait for its end")
            self._say("running", f"exporting to {out.uri}")
        context_thread(partial(self._run, request, out), "export").start()
        return self.state

    def _run(self, request: Request, out: Storage) -> None:
        def progress(event: Event) -> None:
            self._say("running", f"exporting to {out.uri}", event.done, event.total)

        from tasks.exports import export  # slow to import, and not always needed

        try:
            export(self.workspace, request.kind, out, request.dumps or None, progress=progress)
        except Exception as error:
            log.warning("the export failed", kind=request.kind, cause=error)
            if not isinstance(error, StegoError):
                log.info("traceback", exc_info=True)
            self._say("failed", str(error) or type(error).__name__)
        else:
            self._say("done", f"exported to {out.uri}")

    def _say(self, state: str, sentence: str, done: int = 0, total: int = 0) -> None:
        self.state = {"state": state, "sentence": sentence, "done": done, "total": total}


def _check(
    what: str, names: Iterable[str], known: Collection[str], error: type[StegoError]
) -> None:
    if unknown := [name for name in names if name not in known]:
        raise error(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
