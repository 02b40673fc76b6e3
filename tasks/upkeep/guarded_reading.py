"""Reads files that may hold anything: whatever they make a library raise is a problem of theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stego_core.errors import CapacityError, DamageError, OutageError, StegoError, StoppedError
from tasks.upkeep.damage_findings import Damage

NOT_THEIRS = (OutageError, StoppedError, CapacityError)
"""Errors that say nothing about the files."""
DAMAGED = "is damaged"
LONGEST = 200
"""Characters of a library's message that are repeated."""


def problem_of(error: Exception) -> str:
    """What is wrong with a file that cannot be read; raises the error where it is not the file."""
    if isinstance(error, NOT_THEIRS):
        raise error
    if isinstance(error, FileNotFoundError):
        return "is not there"
    line = (str(error).strip().splitlines() or [""])[0][:LONGEST]
    if isinstance(error, DamageError):  # without the path and the advice, which findings have
        line = line.partition("; remove")[0]
        return line[line.find(DAMAGED) :] if DAMAGED in line else line
    return line if isinstance(error, StegoError) else f"cannot be read ({_named(error, line)})"


def _named(error: Exception, line: str) -> str:
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


@contextmanager
def collecting(damages: list[Damage], path: str) -> Iterator[None]:
    """Note whatever the block raises as a damage of the file."""
    try:
        yield
    except Exception as error:  # damaged bytes make libraries raise whatever they lead them to
        damages.append(Damage(path, problem_of(error)))


def damages_of(path: str, read: Callable[[], object]) -> list[Damage]:
    """What is wrong with a file that can be read thus."""
    damages = list[Damage]()
    with collecting(damages, path):
        read()
    return damages
