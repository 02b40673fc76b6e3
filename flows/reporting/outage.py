"""How a flow run ends: recorded, and in a state of its own where Prefect may start it again."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from prefect.states import Failed

from flows.reporting import run_record
from stego_core.errors import BusyError, OutageError

STATE = "Outage"
"""Name of the failed state; the automation "try a run again" waits for it."""
TRANSIENT = (OutageError, BusyError)
Flow = TypeVar("Flow", bound=Callable[..., Any])


def distinguish_outages(function: Flow) -> Flow:
    """Below `@flow`: record the run, and fail in the state "Outage" where trying again may help.

    The exception is raised all the same for whoever called the flow.
    """

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        given = signature(function).bind(*arguments, **named).arguments
        try:
            with run_record.recorded(function.__name__, str(given.get("workspace", ""))):
                return function(*arguments, **named)
        except TRANSIENT as error:
            return Failed(name=STATE, message=f"{type(error).__name__}: {error}", data=error)

    return called  # type: ignore[return-value]
