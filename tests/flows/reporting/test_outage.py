"""A run that an outage ended is told apart from one that its user has to mend."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from flows.reporting.outage import STATE, distinguish_outages
from flows.runs import backfill
from stego_core.errors import BusyError, InputError, OutageError, StegoError
from tasks.options import CorpusOptions, InboxOptions


class TestToldApart:
    @pytest.mark.parametrize("kind", [OutageError, BusyError])
    def test_trying_again_may_help(self, kind: type[Exception]) -> None:
        @distinguish_outages
        def flow(given: int) -> int:
            raise kind("away")

        state: Any = flow(1)
        assert (state.name, state.message) == (STATE, f"{kind.__name__}: away")

    def test_a_mistake_is_raised(self) -> None:
        @distinguish_outages
        def flow() -> None:
            raise InputError("no images")

        with pytest.raises(InputError):
            flow()

    def test_a_result_is_returned(self) -> None:
        assert distinguish_outages(lambda value: value + 1)(2) == 3


class TestInbox:
    """Of several dumps one could not be labelled; the others are, whatever the reason."""

    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
        def begin(*errors: StegoError | None) -> tuple[Any, list[str]]:
            dumps = {f"d{index}": error for index, error in enumerate(errors)}
            met: list[str] = []

            def label(workspace: str, name: str, *rest: Any) -> None:
                met.append(name)
                if error := dumps[name]:
                    raise error

            found = [CorpusOptions(images=f"/{name}") for name in dumps]
            monkeypatch.setattr(backfill, "new_dumps", lambda *asked: found)
            monkeypatch.setattr(backfill, "label_new_dump", label)
            monkeypatch.setattr(backfill, "session", lambda *_: nullcontext(Opened()))
            monkeypatch.setattr(backfill, "Workspace", Opened)
            monkeypatch.setattr(backfill.stages, "report_flow", lambda workspace: "report")
            monkeypatch.setattr(backfill.artifacts, "run_pages", lambda *asked: None)
            inbox = InboxOptions(inbox="/inbox")
            return backfill.backfill.fn(str(tmp_path), inbox=inbox), met

        return begin

    def test_an_outage_of_one_is_tried_again(self, run: Any) -> None:
        state, met = run(None, OutageError("away"), InputError("broken"), None)
        assert met == ["d0", "d1", "d2", "d3"]
        assert state.name == STATE
        assert "d1: away; d2: broken" in state.message

    def test_a_mistake_is_not(self, run: Any) -> None:
        with pytest.raises(InputError, match="1 dumps of the inbox were not labelled: d1: broken"):
            run(None, InputError("broken"))


class Opened:
    """Stands for a workspace that has been trained."""

    @classmethod
    def open(cls, workspace: str) -> "Opened":
        return cls()

    def last_run(self) -> dict[str, Any]:
        return {"options": {}}
