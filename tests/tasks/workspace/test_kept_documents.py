"""The only writer reads a document once; everybody else, and who lost the lease, reads it anew."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.storage.storage import Storage
from tasks.workspace import kept_documents, lease
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths that are read, until the end of the block."""
    asked, read = list[str](), Storage.read

    def noting(storage: Storage, path: str) -> bytes:
        asked.append(path)
        return read(storage, path)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "read", noting)
        yield asked


def change(storage: Storage, path: str, **document: object) -> None:
    """What another process writes."""
    storage.write(path, json.dumps(document).encode())


def test_the_writer_reads_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    change(storage, "a.json", n=1)
    with lease.writing(storage), reads(monkeypatch) as asked:
        first = kept_documents.document(storage, "a.json")
        assert first == {"n": 1}
        first["n"] = 2  # its own
        assert kept_documents.document(storage, "a.json") == {"n": 1}
        assert asked == ["a.json"]


def test_others_read_anew(storage: Storage) -> None:
    for n in (1, 2):
        change(storage, "a.json", n=n)
        assert kept_documents.document(storage, "a.json") == {"n": n}
        with lease.writing(storage):
            assert kept_documents.document(storage, "a.json") == {"n": n}


def test_what_is_not_there_is_asked_for_again(storage: Storage) -> None:
    with lease.writing(storage):
        assert kept_documents.document(storage, "a.json") is None
        change(storage, "a.json", n=1)
        assert kept_documents.document(storage, "a.json") == {"n": 1}


def test_what_is_written_is_read_no_more(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease.writing(storage), reads(monkeypatch) as asked:
        for n in (1, 2):
            kept_documents.write(storage, "a.json", b'{"n": %d}' % n)
            assert kept_documents.document(storage, "a.json") == {"n": n}
        assert asked == []


def test_a_write_that_fails_leaves_nothing_kept(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease.writing(storage):
        kept_documents.write(storage, "a.json", b'{"n": 1}')
        change(storage, "a.json", n=2)  # as a write does that arrives, and whose answer does not

        def failing(*_: object) -> None:
            raise TimeoutError

        with monkeypatch.context() as patched:
            patched.setattr(Storage, "write", failing)
            with pytest.raises(TimeoutError):
                kept_documents.write(storage, "a.json", b'{"n": 2}')
        assert kept_documents.document(storage, "a.json") == {"n": 2}


def test_what_was_read_before_a_write_is_not_kept(storage: Storage) -> None:
    with lease.writing(storage):
        kept = lease.kept(storage)
        assert kept is not None
        before = kept.changes
        kept_documents.write(storage, "a.json", b'{"n": 2}')
        kept.add("a.json", b'{"n": 1}', before)
        assert kept_documents.document(storage, "a.json") == {"n": 2}


def test_who_lost_the_lease_reads_anew(storage: Storage) -> None:
    with lease.writing(storage):
        kept_documents.write(storage, "a.json", b'{"n": 1}')
        change(storage, "a.json", n=2)
        next(iter((lease._held.get() or {}).values())).lost.set()
        assert kept_documents.document(storage, "a.json") == {"n": 2}


def test_a_folder_that_is_cleared_is_not_finished(storage: Storage) -> None:
    folder, beside = Folder(storage, "masks/k/day"), Folder(storage, "masks/k/day-2")
    with lease.writing(storage):
        folder.finish({"n": 1})
        beside.finish({"n": 2})
        folder.clear()
        assert not folder.finished
        assert beside.manifest() == {"n": 2}


def test_what_is_kept_is_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "KEPT_BYTES", 30)
    with lease.writing(storage), reads(monkeypatch) as asked:
        for name in ("a.json", "b.json", "c.json"):
            kept_documents.write(storage, name, b'{"n": 12345}')
        kept_documents.write(storage, "d.json", b'{"n": "%s"}' % (b"1" * 40))
        names = ["d.json", "c.json", "b.json", "a.json"]
        assert all(kept_documents.document(storage, name) for name in names)
        assert asked == ["d.json", "a.json"]


def test_the_last_run_is_read_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.create(storage.uri)
    with lease.writing(storage), reads(monkeypatch) as asked:
        workspace.update_last_run(keys={"head": "a"}, dumps=["x"])
        workspace.update_last_run(keys={"head": "b"})
        assert workspace.last_run() == {"keys": {"head": "b"}, "dumps": ["x"]}
        assert asked.count("current.json") == 1  # before there is one
