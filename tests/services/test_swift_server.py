"""The local S3 server does what the project asks of an S3 server."""

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.exceptions import ClientError
from swift_server import SwiftServer, free_ports, run, swift_server


@pytest.fixture
def client(s3: SwiftServer) -> Iterator[Any]:
    client = s3.client(max_pool_connections=16)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: SwiftServer) -> str:
    return s3.bucket()


@pytest.fixture(scope="module")
def digits(s3: SwiftServer) -> str:
    bucket = s3.bucket()
    s3.client().put_object(Bucket=bucket, Key="digits", Body=b"0123456789")
    return bucket


def test_put_get_head_delete(client: Any, bucket: str) -> None:
    body = os.urandom(300_000)
    client.put_object(Bucket=bucket, Key="a/b c+é.bin", Body=body)
    assert client.get_object(Bucket=bucket, Key="a/b c+é.bin")["Body"].read() == body
    assert client.head_object(Bucket=bucket, Key="a/b c+é.bin")["ContentLength"] == len(body)
    client.delete_object(Bucket=bucket, Key="a/b c+é.bin")
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket=bucket, Key="a/b c+é.bin")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("0-0", b"0"), ("2-4", b"234"), ("8-20", b"89"), ("-3", b"789"), ("-20", b"0123456789")],
)
def test_ranges_count_from_either_end(
    client: Any, digits: str, asked: str, expected: bytes
) -> None:
    answer = client.get_object(Bucket=digits, Key="digits", Range=f"bytes={asked}")
    assert answer["Body"].read() == expected
    assert answer["ContentRange"].endswith("/10")


def test_a_range_behind_the_end_is_refused(client: Any, digits: str) -> None:
    with pytest.raises(ClientError, match="InvalidRange"):
        client.get_object(Bucket=digits, Key="digits", Range="bytes=10-12")


def test_parts_become_one_object(client: Any, bucket: str) -> None:
    target = {"Bucket": bucket, "Key": "parts"}
    bodies = [os.urandom(20_000) for _ in range(3)]
    upload = client.create_multipart_upload(**target)["UploadId"]
    parts = []
    for number, body in enumerate(bodies, start=1):
        part = client.upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
    assert client.get_object(**target)["Body"].read() == b"".join(bodies)
    across = client.get_object(**target, Range="bytes=-30000")["Body"].read()
    assert across == b"".join(bodies)[-30_000:]


def test_listings_have_prefixes_and_pages(client: Any, bucket: str) -> None:
    for key in ("a/1", "a/2", "b", "c"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    top = client.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Key"] for entry in top["Contents"]] == ["b", "c"]
    assert [entry["Prefix"] for entry in top["CommonPrefixes"]] == ["a/"]
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 3}
    )
    keys = [[entry["Key"] for entry in page["Contents"]] for page in pages]
    assert keys == [["a/1", "a/2", "b"], ["c"]]


def test_many_keys_are_deleted_at_once(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="there", Body=b"")
    names = [{"Key": "there"}, {"Key": "never there"}]
    assert "Errors" not in client.delete_objects(Bucket=bucket, Delete={"Objects": names})
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_wrong_checksum_is_refused(client: Any, bucket: str) -> None:
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=bucket, Key="x", Body=b"1", ChecksumCRC32="AAAAAA==")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_what_was_written_is_listed_at_once_under_load(client: Any, bucket: str) -> None:
    def write_and_list(index: int) -> bool:
        key = f"{index:03d}"
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        listing = client.list_objects_v2(Bucket=bucket, Prefix=key)
        return [entry["Key"] for entry in listing.get("Contents", [])] == [key]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write_and_list, range(40)))


def test_a_wrong_secret_is_refused(s3: SwiftServer, bucket: str) -> None:
    stranger = SwiftServer(s3.folder, s3.port, s3.access_key, "guessed").client()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=bucket)


def test_file_systems_find_the_bucket_through_the_environment(s3_environment: str) -> None:
    with fsspec.open(f"{s3_environment}/folder/file", "wb") as file:
        file.write(b"text")
    assert fsspec.filesystem("s3").find(s3_environment) == [
        f"{s3_environment.removeprefix('s3://')}/folder/file"
    ]


def test_only_loopback_is_served(s3: SwiftServer) -> None:
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, port = words[1].split(":")
        if words[3] == "0A" and int(port, 16) in range(s3.port, s3.port + 4):
            listening.add(address)
    assert listening == {"0100007F"}


def test_start_again_changes_nothing_but_adds_buckets(s3: SwiftServer) -> None:
    pids = (s3.folder / "server.json").read_text()
    again = run("start", s3.folder, "--bucket", "one-more", "--bucket", "stego")
    assert again.returncode == 0
    assert f"AWS_ENDPOINT_URL={s3.endpoint}" in again.stdout
    assert (s3.folder / "server.json").read_text() == pids
    names = [bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]]
    assert {"one-more", "stego"} <= set(names)
    other = run("start", s3.folder, "--port", str(free_ports()))
    assert other.returncode == 1
    assert f"on port {s3.port} already" in other.stderr


def test_data_survive_a_restart_on_another_port(tmp_path: Path) -> None:
    with swift_server(tmp_path) as server:
        server.client().put_object(Bucket="stego", Key="kept", Body=b"kept")
        first, bucket = server.port, server.bucket()
        assert bucket == "test-1"
        assert run("status", tmp_path).stdout.startswith(f"running on {server.endpoint}")
        os.kill(json.loads((tmp_path / "server.json").read_text())["pids"]["object"], 9)
        assert "without its object" in run("status", tmp_path).stderr
    assert "not running" in run("status", tmp_path).stderr
    with swift_server(tmp_path) as server:
        assert server.port != first
        assert server.bucket() == "test-2"
        assert server.client().get_object(Bucket="stego", Key="kept")["Body"].read() == b"kept"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    port = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 2))
        taken.listen()
        refused = run("start", tmp_path, "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port + 2} cannot be used" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_stop_leaves_other_processes_alone(tmp_path: Path) -> None:
    # The number of a process that ended long ago now belongs to another one: this one.
    (tmp_path / "server.json").write_text(f'{{"port": 1, "pids": {{"proxy": {os.getpid()}}}}}')
    assert run("stop", tmp_path).returncode == 0
