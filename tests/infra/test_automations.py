"""The automations as they are sent to the server, on the loaded module of infra/prefect."""

import sys
from pathlib import Path
from typing import Any

import pytest

from flows.runs.deployment_file import Retries

sys.path.insert(0, str(Path(__file__).parents[2] / "infra" / "prefect"))
import automations


def documents(block: str | None = None, **retries: int) -> dict[str, Any]:
    made = automations.documents(Retries(**retries), "retrain-id", block, "stego")
    return {document["name"]: document for document in made}


class TestDocuments:
    def test_lists_of_states_are_joined(self) -> None:
        for document in documents().values():
            assert all(isinstance(state, str) for state in document["trigger"]["expect"])
        expected = documents()["a run lost its heartbeat"]["trigger"]["expect"]
        assert {"prefect.flow-run.heartbeat", "prefect.flow-run.Late"} <= set(expected)

    def test_values_of_the_deployment_keep_their_types(self) -> None:
        again = documents(times=2, delay_seconds=30)["try a run again"]
        assert again["trigger"]["within"] == 30
        assert again["trigger"]["match"]["prefect.run-count"] == ["1", "2"]
        assert again["trigger"]["match_related"][1]["prefect.resource.name"] == "stego"
        assert "after 30 s, 2 times at most" in again["description"]

    def test_no_run_is_tried_again_where_the_file_says_so(self) -> None:
        again = documents(times=0)["try a run again"]
        assert again["trigger"]["match"]["prefect.run-count"] == ["never"]

    def test_placeholders_of_prefect_stay(self) -> None:
        (start,) = documents()["retrain on drift"]["actions"]
        assert start["parameters"]["workspace"]["template"] == "{{ event.payload.workspace }}"
        (notify,) = documents("block-id")["a run failed"]["actions"]
        assert notify["block_document_id"] == "block-id"
        assert "{{ flow_run|ui_url }}" in notify["body"]

    def test_nobody_is_notified_without_a_block(self) -> None:
        assert documents()["a run failed"]["actions"] == [{"type": "do-nothing"}]


@pytest.mark.parametrize("value", [["b", "a"], {"x": ["b", "a"]}, [{"x": ["b", "a"]}]])
def test_the_order_of_names_makes_no_other_mark(value: Any) -> None:
    def turned(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: turned(each) for name, each in part.items()}
        return [turned(each) if isinstance(each, dict) else each for each in part][::-1]

    assert automations.mark({"a": value}) == automations.mark({"a": turned(value)})
