"""The gallery: what the workspace holds, pages of images, one image, and its pictures."""

from dataclasses import asdict
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from flows.explorer.parameters import MOST_ROWS, Document, Image, Open, Row, described, known_dump
from stego_core.errors import InputError
from tasks.browse import gallery, pictures
from tasks.browse.pictures import THUMB_SIDE, VIEW_SIDE
from tasks.workspace import keys
from tasks.workspace.workspace import Workspace

router = APIRouter()
MOST_ITEMS = 200
"""Images of a page at most."""
LABELLED = {"": None, "yes": True, "no": False}
KEPT = "private, max-age=86400, immutable"
"""Of a picture whose address tells of which state of the workspace it is."""
Kind: TypeAlias = Literal["thumb", "image", "thumbmask", "mask", "margins", "labels"]
PHOTOS = ("thumb", "image")
IDS = {"margins": gallery.margins, "labels": gallery.labels}


@router.get("/overview")
def overview(explorer: Open) -> Document:
    """What there is to browse, as it is now."""
    explorer.renew()
    explorer.searching.look()
    document = gallery.overview(explorer.workspace)
    return {**document, "editable": explorer.editable, "version": explorer.version}


@router.get("/index")
def index(explorer: Open) -> Document:
    """How far the index of patches is."""
    return explorer.searching.document()


@router.get("/page")
def page(
    explorer: Open,
    dump: str = "",
    cls: Annotated[int | None, Query(ge=0, le=255)] = None,
    labelled: Literal["", "yes", "no"] = "",
    order: gallery.Order = "doubtful",
    offset: Annotated[int, Query(ge=0, le=MOST_ROWS)] = 0,
    limit: Annotated[int, Query(ge=0, le=MOST_ITEMS)] = 60,
) -> Document:
    """Some images of the gallery."""
    workspace = explorer.workspace
    chosen = known_dump(workspace, dump) if dump else None
    total, items = gallery.page(workspace, chosen, cls, LABELLED[labelled], order, offset, limit)
    explorer.searching.page_sent.set()
    return {"total": total, "items": [asdict(item) for item in items]}


@router.get("/merges")
def merges(explorer: Open, groups: Annotated[int | None, Query(ge=1, le=255)] = None) -> Document:
    """Which classes could be merged, and an image of each."""
    return gallery.suggested_merges(explorer.workspace, groups)


@router.get("/item/{dump}/{row}")
def item(explorer: Open, image: Image) -> Document:
    """One image: where it is, how large, whether it is labelled, how sure its mask is."""
    (document,) = described(explorer.workspace, [image])
    confidence = gallery.item(explorer.workspace, *image)
    return {**document, **(asdict(confidence) if confidence else {})}


@router.get("/{kind}/{dump}/{row}")
def picture(
    request: Request,
    explorer: Open,
    kind: Kind,
    dump: str,
    row: Row,
    v: str = "",
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """A picture of an image, made only if the browser has not got it; `v` is its version."""
    known_dump(explorer.workspace, dump)
    tag = f'"{keys.digest(f"{explorer.version}{request.url.path}".encode())[:24]}"'
    headers = {"etag": tag, "cache-control": KEPT if v == explorer.version else "no-cache"}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    media_type = "image/jpeg" if kind in PHOTOS else "image/png"
    return Response(encoded(explorer.workspace, kind, dump, row), 200, headers, media_type)


def encoded(workspace: Workspace, kind: Kind, dump: str, row: int) -> bytes:
    """A photo as JPEG; cluster ids, margins or true class ids (InputError if the image has no
    label) as grey PNG, 255 where is none.
    """
    side = THUMB_SIDE if kind.startswith("thumb") else VIEW_SIDE
    if kind in PHOTOS:
        return pictures.photo(gallery.image(workspace, dump, row), side)
    ids = IDS.get(kind, gallery.mask)(workspace, dump, row)
    if ids is None:
        raise InputError(f"image {row} of dump {dump} has no label")
    return pictures.ids(ids, side)
