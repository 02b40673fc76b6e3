"""A run that an outage ended says so in its state, so that Prefect can start it again."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from stego_core.errors import BusyError, OutageError

STATE = "Outage"
"""Name of the failed state; the automation "try a run again" waits for it."""
TRANSIENT = (OutageError, BusyError)
Flow = TypeVar("Flow", bound=Callable[..., Any])


def told_apart(function: Flow) -> Flow:
    """Below `@flow`: end in the failed state "Outage" where trying again may help.

    The exception is raised all the same for whoever called the flow.
    """

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except TRANSIENT as error:
            from prefect.states import Failed

            return Failed(name=STATE, message=f"{type(error).__name__}: {error}", data=error)

    return called  # type: ignore[return-value]
