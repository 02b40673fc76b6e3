"""What endpoints share: parameters that are checked, errors as JSON, pictures that may be kept."""

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from flows.explorer.guard import READING
from stego_core.errors import ImageError, InputError, OptionError, StegoError
from tasks.log import Log
from tasks.workspace import keys

log = Log(__name__)
Endpoint: TypeAlias = Callable[[Request], Response]
AsyncEndpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
B = TypeVar("B", bound="Body")
FRESH = {"cache-control": "no-store"}
KEPT = "private, max-age=86400, immutable"
"""Of a picture whose address tells of which state of the workspace it is."""


class Body(BaseModel):
    """A change that was sent."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Missing(InputError):
    """What was asked for is not there."""


class Forbidden(OptionError):
    """What this server was not started for."""


def answering(endpoint: Callable[[Request], Any]) -> Endpoint:
    """An endpoint whose errors are sentences; runs in a thread, as it may block."""

    @wraps(endpoint)
    def answer(request: Request) -> Response:
        return _answer(request, lambda: endpoint(request))

    return answer


def changing(model: type[B], endpoint: Callable[[B], Any]) -> AsyncEndpoint:
    """An endpoint that a change is sent to."""

    async def answer(request: Request) -> Response:
        try:
            content = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)

        def work() -> Any:
            return endpoint(parsed(model, content))

        return await run_in_threadpool(_answer, request, work)

    return answer


def _answer(request: Request, work: Callable[[], Any]) -> Response:
    try:
        found = work()
    except StegoError as error:
        sentence = str(error).encode("utf-8", "backslashreplace").decode()  # half characters
        return JSONResponse({"error": sentence}, status(error, request.method), FRESH)
    except Exception as error:  # not the user's to mend
        log.warning("the explorer failed", path=request.url.path, cause=repr(error))
        log.info("traceback", exc_info=True)
        sentence = "something failed that should not; the log has the cause"
        return JSONResponse({"error": sentence}, 500, FRESH)
    return found if isinstance(found, Response) else JSONResponse(found, headers=FRESH)


def status(error: StegoError, method: str) -> int:
    """The HTTP status of an error: 404 what is not there, 400 what cannot be, 409 what clashes,
    403 what is not allowed.
    """
    if isinstance(error, Forbidden):
        return 403
    if isinstance(error, Missing | ImageError):
        return 404
    if isinstance(error, InputError):
        return 404 if method in READING else 400
    return 400 if isinstance(error, OptionError) else 409


def whole(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 0 to `most`.

    Raises:
        OptionError: something else was given.
    """
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= most):
        raise OptionError(f"{name} is {text[:40]!r}; expected a whole number from 0 to {most}")
    return int(text)


def share(parameters: Mapping[str, str], name: str) -> float:
    """A number from 0 to 1.

    Raises:
        OptionError: something else was given.
    """
    text = parameters.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise OptionError(f"{name} is {text[:40]!r}; expected a number from 0 to 1")
    return value


def choice(parameters: Mapping[str, str], name: str, offered: Mapping[str, Any]) -> Any:
    """What one of several words stands for; the first of them where none is given.

    Raises:
        OptionError: another word was given.
    """
    text = parameters.get(name, next(iter(offered)))
    if text not in offered:
        words = ", ".join(word or "nothing" for word in offered)
        raise OptionError(f"{name} is {text[:40]!r}; expected one of {words}")
    return offered[text]


def parsed(model: type[B], content: bytes) -> B:
    """A change from its JSON.

    Raises:
        OptionError: it is something else.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the change"
        raise OptionError(f"{place}: {first['msg']}") from None


def kept(request: Request, version: str, kind: str, make: Callable[[], bytes]) -> Response:
    """A picture of a state of the workspace, made only if the browser has not got it."""
    tag = f'"{keys.digest(f"{version}{request.url.path}".encode())[:24]}"'
    current = request.query_params.get("v") == version
    headers = {"etag": tag, "cache-control": KEPT if current else "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=kind, headers=headers)
