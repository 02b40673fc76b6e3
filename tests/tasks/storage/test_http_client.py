"""Requests to a web server that misbehaves: tried again, waited for, refused, never leaked."""

import logging
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from web_server import Web, serving

from stego_core.errors import OutageError
from tasks.storage import http_client, http_files, http_hosts
from tasks.storage.http_client import HostError
from tasks.storage.storage import Storage

BODY = random.Random(0).randbytes(300_000)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(http_hosts, "FIRST_WAIT", 0.01)
    with serving(files={"a.bin": BODY}) as server:
        yield server


def read(web: Web, path: str = "a.bin") -> bytes:
    return Storage(f"{web.url}/{path}").read("")


def test_a_file_and_its_ranges(web: Web) -> None:
    storage = Storage(web.url)
    assert storage.read("a.bin") == BODY
    assert storage.read_range("a.bin", 1000, 20) == BODY[1000:1020]
    assert storage.read_range("a.bin", len(BODY) - 5, 20) == BODY[-5:]
    with storage.opened("a.bin") as file:
        file.seek(250_000)
        assert file.read(10) == BODY[250_000:250_010]
    (file_,) = Storage(f"{web.url}/a.bin").files()
    assert (file_.path, file_.bytes) == (".", len(BODY))
    assert file_.version
    assert storage.exists("a.bin")
    assert not storage.exists("b.bin")


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "cut"])
def test_transient_faults_are_tried_again(web: Web, fault: object) -> None:
    web.faults["a.bin"] = [fault, fault]
    assert read(web) == BODY
    assert web.counts()["/a.bin"] == 3


def test_a_body_that_is_packed_on_the_way(web: Web) -> None:
    web.faults["a.bin"] = ["gzip"]
    assert read(web) == BODY


def test_a_cut_range_is_tried_again(web: Web) -> None:
    web.faults["a.bin"] = ["cut"]
    assert Storage(web.url).read_range("a.bin", 7, 5000) == BODY[7:5007]


@pytest.mark.parametrize(
    ("status", "kind"), [(404, FileNotFoundError), (410, FileNotFoundError), (403, PermissionError)]
)
def test_lasting_answers_are_not_tried_again(web: Web, status: int, kind: type[OSError]) -> None:
    web.always["a.bin"] = status
    with pytest.raises(kind, match=f"HTTP {status}"):
        read(web)
    assert web.counts()["/a.bin"] == 1


def test_given_up_with_the_status(web: Web) -> None:
    web.always["a.bin"] = 503
    with pytest.raises(HostError, match="requested 5 times, at last with HTTP 503"):
        read(web)
    assert issubclass(HostError, OutageError)


def test_a_host_that_is_down_is_asked_once_only(web: Web) -> None:
    web.always["a.bin"] = 503
    for _ in range(http_hosts.DOWN_AFTER + 1):
        with pytest.raises(HostError):
            read(web)
    asked = len(web.requests)
    with pytest.raises(HostError, match="requested once"):
        read(web)
    assert len(web.requests) == asked + 1
    web.always.clear()
    assert read(web) == BODY


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(web: Web, as_date: bool) -> None:
    when = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    web.faults["a.bin"] = [(429, {"Retry-After": when})]
    begun = time.monotonic()
    assert read(web) == BODY
    assert time.monotonic() - begun >= 0.95


def test_retry_after_of_hours_is_given_up(web: Web) -> None:
    web.always["a.bin"] = (429, {"Retry-After": "7200"})
    with pytest.raises(HostError, match="asks to come again in 7200 s"):
        read(web)
    assert web.counts()["/a.bin"] == 1


def test_few_requests_at_once(web: Web) -> None:
    web.seconds = 0.05
    with ThreadPoolExecutor(16) as pool:
        contents = list(pool.map(lambda _: read(web), range(16)))
    assert contents == [BODY] * 16
    assert 1 < web.most_at_once <= http_hosts.AT_ONCE


def test_redirects_are_followed_without_cookies(web: Web) -> None:
    with serving(files={"b.bin": b"other"}) as other:
        headers = {"Location": f"{other.url}/b.bin", "Set-Cookie": "key=secret"}
        web.always["r"] = (302, headers)
        assert read(web, "r") == b"other"
        assert read(web, "r") == b"other"
        for _, sent in (*web.requests, *other.requests):
            assert not {"Cookie", "Authorization", "Referer"} & set(sent)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher://x"])
def test_redirects_to_other_kinds_are_refused(web: Web, target: str) -> None:
    web.always["r"] = (302, {"Location": target})
    with pytest.raises(PermissionError, match="which is no web address"):
        read(web, "r")


def test_a_circle_of_redirects_is_refused(web: Web) -> None:
    web.always["r"] = (302, {"Location": "/r"})
    with pytest.raises(PermissionError, match="redirects more than 5 times"):
        read(web, "r")


def test_an_answer_that_drips_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "READ_SECONDS", 0.2)
    web.always["a.bin"] = "slow"
    with pytest.raises(HostError, match="less than 1024 bytes per second"):
        read(web)


def test_another_range_than_requested_is_refused(web: Web) -> None:
    web.always["a.bin"] = "wrong range"
    with pytest.raises(PermissionError, match="another range"):
        Storage(web.url).read_range("a.bin", 100, 20)


def test_a_server_without_ranges_gives_the_whole_file_once(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.ranges = False
    with caplog.at_level(logging.INFO):
        storage = Storage(web.url)
        parts = [storage.read_range("a.bin", offset, 100) for offset in range(0, 3000, 100)]
    assert b"".join(parts) == BODY[:3000]
    assert web.sent <= 2 * len(BODY) + 1  # the first request learns that there are no ranges
    assert sum("copied whole" in line for line in caplog.messages) == 1


def test_a_copy_is_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "MOST_COPIED", 1000)
    web.ranges = False
    with pytest.raises(PermissionError, match="more than the 1,000 bytes"):
        Storage(web.url).read_range("a.bin", 0, 10)


def test_a_file_in_memory_is_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "MOST_BYTES", 1000)
    with pytest.raises(PermissionError, match="more than the 1,000 bytes"):
        read(web)


def test_no_secret_in_errors_or_logs(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    web.faults["a.bin"] = [500, 404]
    with caplog.at_level(logging.DEBUG), pytest.raises(FileNotFoundError) as raised:
        Storage(f"{web.url}/a.bin?sig=hushhush&id=7").read("")
    assert web.requests[0][0].endswith("?sig=hushhush&id=7")
    assert "hushhush" not in str(raised.value) + caplog.text


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_hosts, "FIRST_WAIT", 0.01)
    with serving() as web:
        url = web.url
    with pytest.raises(HostError, match="ConnectError"):
        Storage(url).read("x.jpg")
