"""What changes are sent as, and errors as JSON with one sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from flows.explorer.guard import READING
from stego_core.errors import InputError, OptionError, StegoError
from tasks.log import Log

log = Log(__name__)


class Change(BaseModel):
    """A change that the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Forbidden(HTTPException):
    """What this server was not started for."""

    def __init__(self, sentence: str) -> None:
        """Say why."""
        super().__init__(403, sentence)


def status(error: StegoError, method: str) -> int:
    """The HTTP status: 404 what is not there, 400 what cannot be, 409 what clashes."""
    if isinstance(error, InputError) and method in READING:
        return 404
    return 400 if isinstance(error, InputError | OptionError) else 409


def answer(sentence: str, code: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """One sentence as JSON."""
    text = sentence.encode("utf-8", "backslashreplace").decode()  # half characters
    return JSONResponse({"error": text}, code, headers)


def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """The answer to a parameter or a change that is not of the expected form."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"][1:])) or "the change"
    return answer(f"{name}: {first['msg']}", 400)


def failed(request: Request, error: Exception) -> JSONResponse:
    """The answer where something unexpected happened: the log has it, the page does not."""
    log.warning("the explorer failed", path=request.url.path, cause=repr(error))
    log.info("traceback", exc_info=error)
    return answer("something failed that should not; the log has the cause", 500)


HANDLERS: dict[Any, Callable[[Request, Any], Any]] = {
    StegoError: lambda request, error: answer(str(error), status(error, request.method)),
    AnyHTTPException: lambda _, error: answer(error.detail, error.status_code, error.headers),
    RequestValidationError: invalid,
    Exception: failed,
}
