"""The ledger: what is on record is finished, the rest is still to do."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.errors import DamageError, WorkspaceError
from tasks.storage.storage import Storage
from tasks.workspace import ledger
from tasks.workspace.ledger import Folder, Record

RECORD = Record(
    2,
    (256, 300),
    1234,
    "0" * 32,
    seconds={"read": 0.5},
    invalid={257: "cannot be decoded: ‘x’", 299: "gone"},
    results={"pixels": 10, "problems": ["a"], "loss": 0.25},
)


@pytest.fixture
def folder(storage: Storage) -> Folder:
    return Folder(storage, "features/k/day-1")


class TestRecords:
    def test_come_back_whole(self, folder: Folder) -> None:
        folder.record(replace(RECORD, shard=0))
        assert list(folder.records(1)) == [replace(RECORD, shard=0)]

    def test_come_in_the_order_of_shards(self, folder: Folder) -> None:
        for shard in (10, 2, 0, 1, 11, 3, 9, 8, 7, 6, 5, 4):
            folder.record(replace(RECORD, shard=shard))
        assert [record.shard for record in folder.records(12)] == list(range(12))

    def test_a_second_one_replaces_the_first(self, folder: Folder) -> None:
        folder.record(replace(RECORD, shard=0))
        folder.record(replace(RECORD, shard=0, bytes=7))
        assert next(folder.records(1)).bytes == 7

    def test_missing_ones_are_named(self, folder: Folder) -> None:
        for shard in (0, 2):
            folder.record(replace(RECORD, shard=shard))
        with pytest.raises(WorkspaceError, match=r"lacks 2 of 4 shards \(\[1, 3\]\); run the same"):
            list(folder.records(4))

    def test_missing_ones_behind_many_that_are_there(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ledger, "READ_TOGETHER", 2)
        for shard in (0, 1, 2, 3, 5):
            folder.record(replace(RECORD, shard=shard))
        with pytest.raises(WorkspaceError, match=r"lacks 2 of 7 shards \(\[4, 6\]\)"):
            list(folder.records(7))

    def test_many_missing_ones_are_counted(self, folder: Folder) -> None:
        with pytest.raises(WorkspaceError, match="lacks 5000 of 5000") as caught:
            list(folder.records(5000))
        assert len(str(caught.value)) < 200


class TestResume:
    def test_a_new_folder_lacks_everything(self, folder: Folder) -> None:
        assert folder.recorded() == set()
        assert folder.missing(3) == [0, 1, 2]

    @given(st.sets(st.integers(0, 30)), st.integers(0, 30))
    def test_expected_less_recorded(self, done: set[int], shards: int) -> None:
        folder = Folder(Storage.at(f"memory://{uuid4().hex}"), "f")
        for shard in done:
            folder.record(replace(RECORD, shard=shard))
        assert folder.recorded() == done
        assert folder.missing(shards) == sorted(set(range(shards)) - done)

    def test_a_million_shards_keep_their_numbers(self, folder: Folder) -> None:
        folder.record(replace(RECORD, shard=1_234_567))
        assert folder.recorded() == {1_234_567}

    def test_a_record_half_written_does_not_count(self, local: Storage) -> None:
        folder = Folder(local, "f")
        folder.record(replace(RECORD, shard=0))
        Path(local.uri, "f/records/.0a1b.partial").write_text("{")
        Path(local.uri, "f/records/000001 (conflicted copy).json").write_text("{")
        assert folder.recorded() == {0}


class TestManifest:
    def test_is_what_finishes_a_folder(self, folder: Folder) -> None:
        assert not folder.finished
        folder.record(replace(RECORD, shard=0))
        assert not folder.finished
        folder.finish({"rows": 3, "name": "Straße", "options": {"k": None}})
        assert folder.finished
        assert folder.manifest() == {"rows": 3, "name": "Straße", "options": {"k": None}}

    def test_readers_refuse_an_unfinished_folder(self, folder: Folder) -> None:
        folder.plan({"version": 1})
        with pytest.raises(WorkspaceError, match="is not finished") as caught:
            folder.manifest()
        assert "`stego features`" in str(caught.value)
        assert not isinstance(caught.value, DamageError)

    def test_a_person_can_read_it(self, folder: Folder) -> None:
        folder.finish({"b": "Straße", "a": 1})
        text = folder.storage.read(f"{folder.path}/manifest.json").decode()
        assert text.splitlines() == ["{", ' "a": 1,', ' "b": "Straße"', "}"]


class TestPlan:
    def test_the_same_pins_again_are_welcome(self, folder: Folder) -> None:
        folder.plan({"index": "a", "sizes": (1, 2), "labels": None})
        folder.plan({"labels": None, "sizes": [1, 2], "index": "a"})

    def test_other_pins_are_named(self, folder: Folder) -> None:
        folder.plan({"index": "a", "version": 1, "images": "x"})
        with pytest.raises(WorkspaceError, match="begun from another images and index;") as why:
            folder.plan({"index": "b", "version": 1, "images": "y"})
        assert "version" not in str(why.value)
        assert "remove that folder" in str(why.value)

    def test_a_pin_more_or_less_is_another_plan(self, folder: Folder) -> None:
        folder.plan({"index": "a", "old": 1})
        with pytest.raises(WorkspaceError, match="another plan"):
            folder.plan({"index": "a"})
        with pytest.raises(WorkspaceError, match="another new"):
            folder.plan({"index": "a", "old": 1, "new": 2})

    def test_a_refused_plan_changes_nothing(self, folder: Folder) -> None:
        folder.plan({"index": "a"})
        with pytest.raises(WorkspaceError):
            folder.plan({"index": "b"})
        folder.plan({"index": "a"})


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"3", b"[1]", b"null"])
    def test_json_that_is_not_an_object(self, folder: Folder, content: bytes) -> None:
        folder.storage.write(f"{folder.path}/manifest.json", content)
        folder.storage.write(f"{folder.path}/plan.json", content)
        with pytest.raises(DamageError, match=r"manifest\.json is damaged.*run again"):
            folder.manifest()
        with pytest.raises(DamageError, match=r"manifest\.json is damaged"):
            _ = folder.finished
        with pytest.raises(DamageError, match=r"plan\.json is damaged"):
            folder.plan({"a": 1})

    @pytest.mark.parametrize("content", [b"", b"{}", b'{"shard": 0, "invalid": 3, "rows": []}'])
    def test_a_record_that_is_none(self, folder: Folder, content: bytes) -> None:
        folder.storage.write(f"{folder.path}/records/000000.json", content)
        with pytest.raises(DamageError, match="run again"):
            list(folder.records(1))
