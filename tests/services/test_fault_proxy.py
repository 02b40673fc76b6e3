"""The proxy passes requests on unchanged, and each of its faults reaches the client."""

import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from fault_proxy import ALL, Fault, FaultProxy
from swift_server import SwiftServer

BODY = os.urandom(100_000)


@pytest.fixture(scope="module")
def bucket(s3: SwiftServer) -> str:
    name = s3.bucket()
    s3.client().put_object(Bucket=name, Key="there", Body=BODY)
    return name


@pytest.fixture
def through(s3: SwiftServer) -> Iterator[Callable[..., tuple[FaultProxy, Any]]]:
    """Start a proxy; it and a client of it."""
    with ExitStack() as stack:

        def start(
            rate: float, *kinds: Fault, seed: int = 0, **options: Any
        ) -> tuple[FaultProxy, Any]:
            proxy = FaultProxy(
                s3.endpoint, rate, seed, kinds or ALL, stall=options.pop("stall", 0.5), slow=0.6
            )
            stack.enter_context(proxy)
            return proxy, s3.client(proxy.endpoint, **options)

        yield start


class TestNothingInjected:
    def test_all_kinds_of_requests_pass(self, through: Any, bucket: str) -> None:
        proxy, client = through(0.0)
        target = {"Bucket": bucket, "Key": "a/b c+é"}
        client.put_object(**target, Body=BODY)
        assert client.get_object(**target)["Body"].read() == BODY
        assert client.get_object(**target, Range="bytes=-7")["Body"].read() == BODY[-7:]
        upload = client.create_multipart_upload(**target)["UploadId"]
        parts = []
        for number in (1, 2):
            part = client.upload_part(**target, UploadId=upload, PartNumber=number, Body=BODY)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        client.complete_multipart_upload(
            **target, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        assert client.head_object(**target)["ContentLength"] == 2 * len(BODY)
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": target["Key"]}]})
        listing = client.list_objects_v2(Bucket=bucket)
        assert [entry["Key"] for entry in listing["Contents"]] == ["there"]
        with pytest.raises(ClientError, match="NoSuchKey"):
            client.get_object(**target)
        assert proxy.methods == {"PUT": 3, "GET": 4, "POST": 3, "HEAD": 1}
        assert proxy.requests == 11
        assert not proxy.injected

    def test_bytes_are_equal_in_both_directions(self) -> None:
        request = (
            b"PUT /x%20y?a=b&c HTTP/1.1\r\nhOsT: name:1\r\nA:  b \r\nContent-Length: 3\r\n\r\n012"
        )
        answer = b"HTTP/1.1 200 Fine\r\nX-y:z\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer += b"3;e\r\nabc\r\n0\r\nT: u\r\n\r\n"
        with socket.create_server(("127.0.0.1", 0)) as upstream:
            address = f"http://127.0.0.1:{upstream.getsockname()[1]}"
            with (
                FaultProxy(address, 0.0, 0) as proxy,
                socket.create_connection(("127.0.0.1", proxy.port)) as client,
            ):
                for _ in range(2):  # the client's connection is kept
                    client.sendall(request)
                    served, _ = upstream.accept()
                    with served:
                        assert take(served, len(request)) == request
                        served.sendall(answer)
                        assert take(client, len(answer)) == answer

    def test_requests_at_the_same_time(self, through: Any, bucket: str) -> None:
        proxy, client = through(0.0, max_pool_connections=8)

        def get(_: int) -> bool:
            return client.get_object(Bucket=bucket, Key="there")["Body"].read() == BODY

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(get, range(40)))
        assert proxy.requests == 40

    def test_a_wrong_secret_is_refused(self, s3: SwiftServer, bucket: str) -> None:
        with FaultProxy(s3.endpoint, 0.0, 0) as proxy:
            stranger = SwiftServer(s3.folder, proxy.port, s3.access_key, "guessed").client()
            with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
                stranger.put_object(Bucket=bucket, Key="there", Body=BODY)


class TestEachFault:
    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [(Fault.SLOW_DOWN, "SlowDown", 503), (Fault.INTERNAL_ERROR, "InternalError", 500)],
    )
    def test_errors(self, through: Any, bucket: str, kind: Fault, code: str, status: int) -> None:
        proxy, client = through(1.0, kind)
        for request in (
            lambda: client.get_object(Bucket=bucket, Key="there"),
            lambda: client.put_object(Bucket=bucket, Key="never", Body=BODY),
        ):
            with pytest.raises(ClientError, match=code) as raised:
                request()
            assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        with pytest.raises(ClientError, match=str(status)):
            client.head_object(Bucket=bucket, Key="there")
        assert proxy.injected == {kind: 3}
        proxy.rate = 0.0
        assert client.list_objects_v2(Bucket=bucket, Prefix="never")["KeyCount"] == 0

    def test_refused(self, through: Any, bucket: str) -> None:
        proxy, client = through(1.0, Fault.REFUSED)
        with pytest.raises(ConnectionClosedError):
            client.get_object(Bucket=bucket, Key="there")
        assert proxy.injected == {Fault.REFUSED: 1}

    def test_truncated(self, through: Any, bucket: str) -> None:
        proxy, client = through(1.0, Fault.TRUNCATED)
        answer = client.get_object(Bucket=bucket, Key="there")
        assert answer["ContentLength"] == len(BODY)
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            answer["Body"].read()
        with pytest.raises(ConnectionClosedError):
            client.head_object(Bucket=bucket, Key="there")
        assert proxy.injected == {Fault.TRUNCATED: 2}

    def test_half_of_a_truncated_body_arrives(self, s3: SwiftServer, bucket: str) -> None:
        # A client that does not count what it gets sees the first half and a regular end.
        with FaultProxy(s3.endpoint, 1.0, 0, [Fault.TRUNCATED]) as proxy:
            url = s3.client(proxy.endpoint).generate_presigned_url(
                "get_object", {"Bucket": bucket, "Key": "there"}
            )
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
            connection.request("GET", url.removeprefix(proxy.endpoint))
            with pytest.raises(http.client.IncompleteRead) as raised:
                connection.getresponse().read()
            connection.close()
        assert raised.value.partial == BODY[: len(BODY) // 2]

    def test_stalled(self, through: Any, bucket: str) -> None:
        proxy, client = through(1.0, Fault.STALLED, stall=0.5)
        start = time.monotonic()
        with pytest.raises(ConnectionClosedError):
            client.get_object(Bucket=bucket, Key="there")
        assert time.monotonic() - start >= 0.5
        proxy, client = through(1.0, Fault.STALLED, stall=60.0, read_timeout=0.3)
        with pytest.raises(ReadTimeoutError):
            client.get_object(Bucket=bucket, Key="there")
        assert proxy.injected == {Fault.STALLED: 1}

    def test_slow(self, through: Any, bucket: str) -> None:
        proxy, client = through(1.0, Fault.SLOW)
        start = time.monotonic()
        assert client.get_object(Bucket=bucket, Key="there")["Body"].read() == BODY
        assert time.monotonic() - start >= 0.5
        assert proxy.injected == {Fault.SLOW: 1}

    def test_lost_answer(self, through: Any, s3: SwiftServer, bucket: str) -> None:
        proxy, client = through(1.0, Fault.LOST_ANSWER)
        with pytest.raises(ConnectionClosedError):
            client.put_object(Bucket=bucket, Key="lost", Body=BODY)
        assert s3.client().get_object(Bucket=bucket, Key="lost")["Body"].read() == BODY
        client.delete_object(Bucket=bucket, Key="lost")  # only PUT loses its answer
        assert proxy.injected == {Fault.LOST_ANSWER: 1}


def test_a_seed_gives_the_same_faults_at_the_given_rate(through: Any, bucket: str) -> None:
    def outcomes(seed: int) -> tuple[list[str], dict[Fault, int]]:
        proxy, client = through(0.4, Fault.SLOW_DOWN, Fault.INTERNAL_ERROR, seed=seed)
        seen = []
        for _ in range(30):
            try:
                client.head_bucket(Bucket=bucket)
                seen.append("fine")
            except ClientError as error:
                seen.append(error.response["Error"]["Code"])
        return seen, dict(proxy.injected)

    first, counts = outcomes(1)
    assert (first, counts) == outcomes(1)
    assert first != outcomes(2)[0]
    assert sum(counts.values()) == 30 - first.count("fine")
    assert 5 <= sum(counts.values()) <= 20
    assert len(counts) == 2


def test_retries_of_a_client_overcome_all_faults(through: Any, bucket: str) -> None:
    proxy, client = through(
        0.3,
        *(kind for kind in ALL if kind not in (Fault.STALLED, Fault.SLOW)),
        retries={"total_max_attempts": 10},
        max_pool_connections=4,
    )

    def write(index: int) -> None:
        client.put_object(Bucket=bucket, Key=f"many/{index}", Body=BODY[: 1000 * index])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(12)))
    assert proxy.injected.total() > 0
    proxy.rate = 0.0
    listing = client.list_objects_v2(Bucket=bucket, Prefix="many/")["Contents"]
    sizes = {entry["Key"]: entry["Size"] for entry in listing}
    assert sizes == {f"many/{index}": 1000 * index for index in range(12)}


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = FaultProxy("http://127.0.0.1:1", 0.0, 0, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"), proxy:
            pass


def take(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += connection.recv(count - len(data))
    return data
