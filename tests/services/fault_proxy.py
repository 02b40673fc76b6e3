"""An HTTP proxy in front of an S3 server that spoils a given share of the requests.

What it does not spoil passes unchanged, byte for byte; so signatures stay valid.
Usage: python tests/services/fault_proxy.py --upstream URL --rate 0.1 --port 5600
"""

import argparse
import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

BLOCK = 1 << 16
PIECES = 20
"""A slow answer comes in this many pieces."""


class Fault(StrEnum):
    """What can happen to a request."""

    SLOW_DOWN = "slow_down"  # 503 SlowDown, upstream never sees the request
    INTERNAL_ERROR = "internal_error"  # 500 InternalError, upstream never sees the request
    REFUSED = "refused"  # closed before any answer, upstream never sees the request
    TRUNCATED = "truncated"  # closed in the middle of the answer's body, or before its head
    STALLED = "stalled"  # no answer for `stall` seconds, then closed
    SLOW = "slow"  # the body arrives whole, but takes `slow` seconds
    LOST_ANSWER = "lost_answer"  # a PUT that succeeded upstream, closed without an answer


ALL = tuple(Fault)
ERRORS = {
    Fault.SLOW_DOWN: (503, "Slow Down", "SlowDown", "Please reduce your request rate."),
    Fault.INTERNAL_ERROR: (500, "Internal Server Error", "InternalError", "Please try again."),
}
"""Status and reason of the answer, code and message of S3."""


class Closed(Exception):
    """The connection with the client ends here."""


@dataclass(frozen=True)
class Head:
    """The first lines of a request or an answer, as they came and as far as the proxy cares."""

    raw: bytes
    first: list[str]
    fields: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Self:
        """Read up to the empty line; Closed if the other side has ended instead."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Closed from error
        first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return cls(raw, first.split(" ", 2), fields)

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.first[1])

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks that announce their lengths."""
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """The bytes of the body that the head announces."""
        return int(self.fields["content-length"]) if "content-length" in self.fields else None

    @property
    def last(self) -> bool:
        """Whether the connection ends after this message."""
        return self.fields.get("connection", "").lower() == "close" or "HTTP/1.0" in self.first


async def copy(
    reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]], head: Head
) -> None:
    """Pass the body that belongs to `head` on, as it arrives; Closed if it ends too early."""

    async def some(count: int) -> None:
        while count:
            try:
                block = await reader.read(min(count, BLOCK))
            except ConnectionError:
                block = b""
            if not block:
                raise Closed
            count -= len(block)
            await write(block)

    if not head.chunked:
        await some(head.length or 0)
        return
    size = 1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        await write(line)
        await some(size + 2 if size else 0)  # a chunk ends with an empty line
    while line != b"\r\n":  # trailing fields, then an empty line
        line = await reader.readuntil(b"\r\n")
        await write(line)


class FaultProxy:
    """Listens on 127.0.0.1 in a thread of its own while its context is entered.

    `rate` is the share of requests to spoil, in [0, 1]; it may be changed at any time. Which
    requests, and how, is drawn from `seed` in the order in which requests arrive. `stall` and
    `slow` are seconds. Counts: `requests`, `methods` by name and `injected` by kind.
    """

    def __init__(
        self,
        upstream: str,
        rate: float,
        seed: int,
        kinds: Iterable[Fault] = ALL,
        *,
        port: int = 0,
        stall: float = 20.0,
        slow: float = 2.0,
    ) -> None:
        self.rate, self.kinds, self.port = rate, tuple(kinds), port
        self.stall, self.slow = stall, slow
        self.requests = 0
        self.methods: Counter[str] = Counter()
        self.injected: Counter[Fault] = Counter()
        address = urlsplit(upstream)
        self._upstream = address.hostname or "127.0.0.1", address.port or 80
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def endpoint(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start to listen; OSError if the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._connection, "127.0.0.1", self.port, limit=1 << 20, backlog=1024
            )
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    def _draw(self, method: str) -> Fault | None:
        """Decide the fate of the next request; two draws for each, whatever they say."""
        with self._lock:
            self.requests += 1
            self.methods[method] += 1
            chance, choice = self._random.random(), self._random.random()
        fit = [kind for kind in self.kinds if kind != Fault.LOST_ANSWER or method == "PUT"]
        return fit[int(choice * len(fit))] if fit and chance < self.rate else None

    def _count(self, fault: Fault) -> None:
        with self._lock:
            self.injected[fault] += 1

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of one client connection, one after another."""
        with suppress(Closed, ConnectionError, asyncio.IncompleteReadError), closing(writer):
            while True:
                head = await Head.read(reader)
                fault = self._draw(head.first[0])
                if fault in ERRORS:
                    await self._answer_error(fault, head, reader, writer)
                elif fault in (Fault.REFUSED, Fault.STALLED):
                    self._count(fault)
                    if fault == Fault.STALLED:
                        await self._stall(reader)
                    return
                else:
                    await self._forward(fault, head, reader, writer)
                if head.last:
                    return

    async def _stall(self, reader: asyncio.StreamReader) -> None:
        """Take what the client sends and say nothing, until it gives up or time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.stall):
                while await reader.read(BLOCK):
                    pass

    async def _answer_error(
        self,
        fault: Fault,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take the request's body, then answer an error of S3 instead of the upstream."""

        async def ignore(block: bytes) -> None:
            del block

        if "expect" in head.fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await copy(reader, ignore, head)
        status, reason, code, message = ERRORS[fault]
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
            f"<Message>{message}</Message><RequestId>injected</RequestId></Error>"
        )
        lines = (
            f"HTTP/1.1 {status} {reason}",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
            "x-amz-request-id: injected",
        )
        answer = "\r\n".join((*lines, "", "" if head.first[0] == "HEAD" else body))
        self._count(fault)
        writer.write(answer.encode())
        await writer.drain()

    async def _forward(
        self,
        fault: Fault | None,
        head: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass the request on and its answer back, through a new connection with the upstream.

        A kept one might be closed by the upstream at any time, which would be one more fault.
        """
        up_reader, up_writer = await asyncio.open_connection(*self._upstream, limit=1 << 20)
        up_writer.write(head.raw)

        async def send(block: bytes) -> None:
            up_writer.write(block)
            await up_writer.drain()

        async def feed() -> None:
            try:
                await copy(reader, send, head)
            except (Closed, asyncio.IncompleteReadError):
                up_writer.transport.abort()  # or the upstream would wait for the rest

        body = asyncio.create_task(feed())
        try:
            with closing(up_writer):
                answer = await Head.read(up_reader)
                while answer.status < 200:  # 100 Continue: the client sends its body only then
                    writer.write(answer.raw)
                    answer = await Head.read(up_reader)
                if fault == Fault.LOST_ANSWER and answer.status < 300:
                    self._count(fault)
                    raise Closed
                await self._pass_back(fault, head, answer, up_reader, writer)
            _, unread = await asyncio.wait([body], timeout=0.05)
            # Answered before the body was read: the client may send it or not, so the end.
            if answer.last or unread:
                raise Closed
        finally:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)

    async def _pass_back(
        self,
        fault: Fault | None,
        head: Head,
        answer: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass the answer on: whole, cut in its middle, or in pieces with pauses."""
        bare = head.first[0] == "HEAD" or answer.status in (204, 304) or answer.length == 0
        sent, length = 0, answer.length or 1

        async def send(block: bytes) -> None:
            nonlocal sent
            if fault == Fault.TRUNCATED and sent + len(block) > length // 2:
                writer.write(block[: length // 2 - sent])
                await writer.drain()
                raise Closed
            pieces = PIECES * len(block) // length + 1 if fault == Fault.SLOW else 1
            step = -(-len(block) // pieces)
            for start in range(0, len(block), step):
                piece = block[start : start + step]
                writer.write(piece)
                await writer.drain()
                if fault == Fault.SLOW:
                    await asyncio.sleep(self.slow * min(1, len(piece) / length))
            sent += len(block)

        if fault in (Fault.TRUNCATED, Fault.SLOW):
            self._count(fault)
        if bare and fault == Fault.TRUNCATED:
            raise Closed
        if fault == Fault.SLOW and (bare or answer.length is None):
            await asyncio.sleep(self.slow)
            fault = None
        writer.write(answer.raw)
        await writer.drain()
        if bare:
            return
        if not answer.chunked and answer.length is None:  # the body ends with the connection
            while block := await reader.read(BLOCK):
                await send(block)
            raise Closed
        await copy(reader, send, answer)


def main() -> None:
    """Run a proxy until it is interrupted; say every ten seconds what was injected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--upstream", required=True, help="address of the S3 server")
    parser.add_argument("--rate", type=float, default=0.1, help="share of requests to spoil")
    parser.add_argument("--port", type=int, default=5600, help="port on 127.0.0.1")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--stall", type=float, default=20.0, help="seconds without an answer")
    choices = ", ".join(ALL)
    parser.add_argument("--kind", type=Fault, action="append", help=f"{choices}; repeatable")
    options = parser.parse_args()
    kinds = options.kind or ALL
    proxy = FaultProxy(
        *(options.upstream, options.rate, options.seed, kinds),
        port=options.port,
        stall=options.stall,
    )
    with proxy, suppress(KeyboardInterrupt):
        print(f"export AWS_ENDPOINT_URL={proxy.endpoint}", flush=True)  # noqa: T201
        while True:
            time.sleep(10)
            counts = ", ".join(f"{kind} {count}" for kind, count in proxy.injected.items())
            print(f"# {proxy.requests} requests; {counts}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
