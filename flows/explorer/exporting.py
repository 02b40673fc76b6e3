"""Exports that the page asks for: one at a time, in a thread, with progress."""

import threading
from typing import Any

from pydantic import Field
from starlette.routing import Route

from flows.explorer.answers import Body, answering, changing
from stego_core.errors import OptionError, StegoError, WorkspaceError
from tasks.log import Log
from tasks.progress import Event
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


class Wanted(Body):
    """An export: its format, where it goes, and which dumps; none means all."""

    kind: str
    out: str
    dumps: list[str] = Field(default_factory=list)


class Exporting:
    """The last export that was asked for."""

    def __init__(self, workspace: Workspace) -> None:
        """Of this workspace."""
        self.workspace = workspace
        self.lock = threading.Lock()
        self.state: dict[str, Any] = {"state": "none", "sentence": "", "done": 0, "total": 0}

    def routes(self) -> list[Route]:
        """Where exports are asked for, and how far they are."""
        return [
            Route("/api/export", answering(lambda _: self.document()), methods=["GET"]),
            Route("/api/export", changing(Wanted, self.begin), methods=["POST"]),
        ]

    def document(self) -> dict[str, Any]:
        """How far the export is, and which formats there are."""
        return {**self.state, "formats": FORMATS}

    def begin(self, wanted: Wanted) -> dict[str, Any]:
        """Start an export.

        Raises:
            WorkspaceError: another one is under way.
            OptionError: no place was given.
        """
        if not wanted.out.strip():
            raise OptionError("no place was given; name a folder or a URI for the export")
        with self.lock:
            if self.state["state"] == "running":
                raise WorkspaceError("an export is under way; wait for its end")
            self._say("running", f"exporting to {wanted.out}")
        threading.Thread(target=self._run, args=(wanted,), name="export", daemon=True).start()
        return self.state

    def _run(self, wanted: Wanted) -> None:
        def progress(event: Event) -> None:
            self._say("running", f"exporting to {wanted.out}", event.done, event.total)

        from tasks.exports import export  # slow to import, and not always asked for

        try:
            out = Storage.at(wanted.out.strip())
            export(self.workspace, wanted.kind, out, wanted.dumps or None, progress=progress)
        except Exception as error:
            log.warning("the export failed", kind=wanted.kind, cause=error)
            if not isinstance(error, StegoError):
                log.logger.info("traceback", exc_info=True)
            self._say("failed", str(error) or type(error).__name__)
        else:
            self._say("done", f"exported to {wanted.out}")

    def _say(self, state: str, sentence: str, done: int = 0, total: int = 0) -> None:
        self.state = {"state": state, "sentence": sentence, "done": done, "total": total}
