"""Counts the requests to the object store that a process makes, by operation and object."""

from collections import Counter
from typing import Any, NamedTuple

from aiobotocore.client import AioBaseClient


class Requests(NamedTuple):
    """What was asked of the store.

    Attributes:
        asked: requests by (operation, key or prefix); one that is tried again counts again.
        received, sent: bytes of objects.
    """

    asked: Counter[tuple[str, str]]
    received: int
    sent: int


_asked: Counter[tuple[str, str]] = Counter()
_bytes: Counter[str] = Counter()
_original = AioBaseClient._make_api_call


async def _counted(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
    _asked[operation, str(parameters.get("Key") or parameters.get("Prefix") or "")] += 1
    body = parameters.get("Body")
    _bytes["sent"] += len(body) if isinstance(body, bytes | bytearray | memoryview) else 0
    answer = await _original(self, operation, parameters)
    if operation == "GetObject":
        _bytes["received"] += int(answer.get("ContentLength") or 0)
    return answer


def install() -> None:
    """Count from now on, in this process."""
    AioBaseClient._make_api_call = _counted


def taken() -> Requests:
    """What was counted since the last call."""
    found = Requests(Counter(_asked), _bytes["received"], _bytes["sent"])
    _asked.clear()
    _bytes.clear()
    return found


def merged(parts: list[Requests]) -> Requests:
    """Counts of several processes together."""
    asked: Counter[tuple[str, str]] = Counter()
    for part in parts:
        asked.update(part.asked)
    return Requests(asked, sum(p.received for p in parts), sum(p.sent for p in parts))
