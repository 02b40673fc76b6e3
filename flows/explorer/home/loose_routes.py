"""A single image to label, and its pictures; only from this machine, as runs are."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flows.explorer.home.home_routes import require_allowed
from flows.explorer.parameters import Document, Open

router = APIRouter(prefix="/loose", dependencies=[Depends(require_allowed)])


@router.post("")
async def send(explorer: Open, request: Request) -> Document:
    """Label the image file that the body is."""
    content = await request.body()
    return await run_in_threadpool(explorer.loose.label, content)


@router.get("/{number}/{kind}")
def picture(
    explorer: Open,
    number: Annotated[int, Path(ge=1, le=2**31)],
    kind: Literal["image", "mask", "file"],
) -> Response:
    """The image that was sent last, or its mask."""
    content = getattr(explorer.loose.get(number), kind)
    return Response(content, media_type="image/jpeg" if kind == "image" else "image/png")
