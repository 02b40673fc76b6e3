"""The explorer's web application: what each address answers."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flows.explorer import naming
from flows.explorer.answers import Missing, answering, choice, kept, share, whole
from flows.explorer.exporting import Exporting, Roots
from flows.explorer.searching import Searching
from tasks import gallery, pictures
from tasks.index import IndexReader
from tasks.pictures import THUMB_SIDE, VIEW_SIDE
from tasks.summary import Summary
from tasks.workspace import keys, remembered
from tasks.workspace.workspace import Workspace

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
JPEG, PNG = "image/jpeg", "image/png"
MOST_ITEMS, MOST_ROWS = 200, 2**31
LABELLED = {"": None, "yes": True, "no": False}
ORDERS = {order: order for order in ("doubtful", "index", "class")}
SAMPLE = 2000
"""Patches in the picture of the codes."""
Endpoint = Callable[[Request], Any]


class Explorer:
    """What the server shows: a workspace, with what goes on in the background.

    Attributes:
        workspace: which one.
        searching: the index of patches.
        exporting: exports.
        editable: whether the classes may be changed.
        version: of the workspace's state, as last looked at.
    """

    def __init__(
        self, workspace: Workspace, roots: Roots | None = None, editable: bool = True
    ) -> None:
        """Show this workspace; `searching` is to be started.

        Args:
            workspace: which one.
            roots: where exports may go; None for a folder inside the workspace.
            editable: whether the classes may be changed.
        """
        self.workspace = workspace
        self.searching = Searching(workspace)
        self.exporting = Exporting(workspace, roots or Roots((workspace.exports,)))
        self.editable = editable
        self.version = ""
        self.renew()

    def application(self) -> Starlette:
        """The web application; it lets everybody in, so it wants a guard."""
        reading: dict[str, Endpoint] = {
            "overview": self.overview,
            "index": lambda _: self.searching.document(),
            "page": self.page,
            "item/{dump}/{row}": self.item,
            "prepare/{dump}/{row}": self.prepare,
            "heat": self.heat,
            "neighbours": self.neighbours,
            "matches": self.matches,
            "codes": self.codes,
            "thumb/{dump}/{row}": self.picture(JPEG, photo, THUMB_SIDE),
            "image/{dump}/{row}": self.picture(JPEG, photo, VIEW_SIDE),
            "thumbmask/{dump}/{row}": self.picture(PNG, mask, THUMB_SIDE),
            "mask/{dump}/{row}": self.picture(PNG, mask, VIEW_SIDE),
            "margins/{dump}/{row}": self.picture(PNG, margins, VIEW_SIDE),
            "labels/{dump}/{row}": self.picture(PNG, labels, VIEW_SIDE),
        }
        routes = [Route(f"/api/{path}", answering(answer)) for path, answer in reading.items()]
        changes = [*naming.routes(self.workspace, self.editable), *self.exporting.routes()]
        return Starlette(routes=[*_static(), *routes, *changes])

    def renew(self) -> None:
        """Look at the workspace's state; what was remembered of another one is dropped.

        A backfill that ended, or a workspace made anew at the same place, is another state.
        """
        summary = Summary(self.workspace)
        dumps = {
            dump: [
                self.workspace.corpus(dump).manifest(),
                *(summary.folder(stage, dump) is not None for stage in ("features", "masks")),
            ]
            for dump in summary.dumps
        }
        self.version = keys.digest(keys.canonical([summary.current, dumps]))[:16]
        remembered.renew(self.version)

    def overview(self, _: Request) -> dict[str, Any]:
        """What there is to browse, as it is now."""
        self.renew()
        self.searching.look()
        found = gallery.overview(self.workspace)
        return {**found, "editable": self.editable, "version": self.version}

    def page(self, request: Request) -> dict[str, Any]:
        """Some images of the gallery."""
        asked = request.query_params
        dump = asked.get("dump") or None
        cls = whole(asked, "cls", 0, 255) if asked.get("cls") else None
        order = choice(asked, "order", ORDERS)
        total, items = gallery.page(
            self.workspace,
            dump if dump is None else self.dump(dump),
            cls,
            choice(asked, "labelled", LABELLED),
            order,
            whole(asked, "offset", 0, MOST_ROWS),
            whole(asked, "limit", 60, MOST_ITEMS),
        )
        self.searching.shown.set()
        return {"total": total, "items": [asdict(item) for item in items]}

    def item(self, request: Request) -> dict[str, Any]:
        """One image: where it is, how large, whether it is labelled, how sure its mask is."""
        dump, row = self.named(request)
        place, item = self.place(dump, row), gallery.item(self.workspace, dump, row)
        return {**place, **(asdict(item) if item else {})}

    def prepare(self, request: Request) -> dict[str, Any]:
        """Have an image's features ready before somebody clicks on it."""
        from tasks import correspondences  # torch takes seconds

        dump, row = self.named(request)
        self.place(dump, row)
        correspondences.prepare(self.workspace, dump, row)
        return {}

    def heat(self, request: Request) -> dict[str, Any]:
        """A point's cosines with the patches of its image."""
        from tasks import correspondences

        found = correspondences.heat(self.workspace, *self.asked(request))
        return {**pictures.cosines(found.values), "patch": found.asked._asdict()}

    def neighbours(self, request: Request) -> dict[str, Any]:
        """A point's cosines with the patches of its image's neighbours; null without a table."""
        from tasks import correspondences

        found = correspondences.neighbours(self.workspace, *self.asked(request))
        if found is None:
            return {"items": None}
        extra = [
            {"similarity": each.similarity, "heat": pictures.cosines(each.heat.values)}
            for each in found
        ]
        return {"items": self.placed(found, extra)}

    def matches(self, request: Request) -> dict[str, Any]:
        """The patches of all images that a point's resembles most."""
        from tasks import correspondences

        found = correspondences.matches(self.workspace, *self.asked(request))
        extra = [{"similarity": each.similarity, "patch": each.patch._asdict()} for each in found]
        return {"items": self.placed(found, extra)}

    def codes(self, _: Request) -> dict[str, Any]:
        """A sample of the patches and the centroids in the plane of codes."""
        from tasks import correspondences

        space = correspondences.code_space(self.workspace, SAMPLE)
        points = [{**each._asdict(), "patch": each.patch._asdict()} for each in space.points]
        centroids = space.centroids.tolist()
        return {"points": points, "centroids": centroids, "explained": space.explained}

    def picture(
        self, kind: str, make: Callable[[Workspace, str, int, int], bytes], side: int
    ) -> Endpoint:
        """An endpoint that answers with a picture of an image."""

        def answer(request: Request) -> Response:
            dump, row = self.named(request)
            drawn = partial(make, self.workspace, dump, row, side)
            return kept(request, self.version, kind, drawn)

        return answer

    def dump(self, name: str) -> str:
        """The name of a dump, if there is such a one.

        Raises:
            Missing: there is none.
        """
        dumps = self.workspace.dumps()
        if name not in dumps:
            raise Missing(f"there is no dump {name[:100]!r}; there are {', '.join(dumps)}")
        return name

    def named(self, request: Request) -> tuple[str, int]:
        """Dump and row of the image that an address names."""
        row = whole(request.path_params, "row", 0, MOST_ROWS)
        return self.dump(request.path_params["dump"]), row

    def asked(self, request: Request) -> tuple[str, int, float, float]:
        """The point that is asked about: dump, row, y and x in shares of height and width."""
        asked = request.query_params
        dump = self.dump(asked.get("dump", ""))
        row = whole(asked, "row", 0, MOST_ROWS)
        self.place(dump, row)
        return dump, row, share(asked, "y"), share(asked, "x")

    def place(self, dump: str, row: int) -> dict[str, Any]:
        """What the page needs to know of an image.

        Raises:
            Missing: there is no such image.
        """
        images = int(IndexReader(self.workspace, dump).manifest["images"])
        if row >= images:
            raise Missing(f"there is no image {row} in dump {dump}; they are 0 to {images - 1}")
        (found,) = self.placed([Place(dump, row)], [{}])
        return found

    def placed(self, found: Iterable[Any], extra: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Images, with what the page needs to know of them and something more of each."""
        pairs = list(zip(found, extra, strict=True))
        entries: dict[tuple[str, int], dict[str, Any]] = {}
        for dump in {each.dump for each, _ in pairs}:
            rows = sorted({each.row for each, _ in pairs if each.dump == dump})
            read = IndexReader(self.workspace, dump).entries(np.array(rows, np.int64))
            entries.update(((dump, row), entry) for row, entry in zip(rows, read, strict=True))
        return [
            {
                "dump": each.dump,
                "row": each.row,
                **{n: entries[each.dump, each.row][n] for n in ("path", "height", "width")},
                "labelled": entries[each.dump, each.row]["label_digest"] is not None,
                **more,
            }
            for each, more in pairs
        ]


class Place(NamedTuple):
    """Which image."""

    dump: str
    row: int


def photo(workspace: Workspace, dump: str, row: int, side: int) -> bytes:
    """An image as a JPEG."""
    return pictures.photo(gallery.image(workspace, dump, row), side)


def mask(workspace: Workspace, dump: str, row: int, side: int) -> bytes:
    """An image's stored cluster ids as a grey PNG."""
    return pictures.ids(gallery.mask(workspace, dump, row), side)


def margins(workspace: Workspace, dump: str, row: int, side: int) -> bytes:
    """An image's margins as a grey PNG."""
    return pictures.ids(gallery.margins(workspace, dump, row), side)


def labels(workspace: Workspace, dump: str, row: int, side: int) -> bytes:
    """An image's true class ids as a grey PNG, 255 where there is none.

    Raises:
        Missing: it has no label.
    """
    found = gallery.labels(workspace, dump, row)
    if found is None:
        raise Missing(f"image {row} of dump {dump} has no label")
    return pictures.ids(found, side)


def _static() -> list[Route]:
    """The page's own files, each by its name: no address names a path."""
    folder = files("flows.explorer").joinpath("static")
    routes = []
    for file in folder.iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is None:
            continue
        answer = partial(_file, file.read_bytes(), kind)
        routes.append(Route(f"/static/{file.name}", answer))
        if file.name == "index.html":
            routes.append(Route("/", answer))
    return routes


def _file(content: bytes, kind: str, _: Request) -> Response:
    tag = f'"{keys.digest(content)[:24]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=headers)
