"""Why a clip counts as broken: its header, its stretches, or its end."""

from typing import Any

import pytest

from tasks.video.broken_clips import _reason
from tasks.workspace.ledger import Record


def clip(seconds: float | None = None, exact: bool = True, reason: str | None = None) -> Any:
    return {"path": "a.mp4", "seconds": seconds, "exact": exact, "reason": reason}


def stretch(frames: int, end: float | None, *errors: str) -> Record:
    invalid = dict(enumerate(errors))
    return Record(0, (0, 1), 0, "", {}, invalid, {"frames": frames, "end": end})


@pytest.mark.parametrize(
    ("facts", "records", "expected"),
    [
        (clip(reason="not a video"), [], "not a video"),
        (clip(2.0), [stretch(2, 1.5)], None),
        (clip(), [stretch(2, 1.5)], None),
        (
            clip(9.0),
            [stretch(3, 3.0), stretch(1, 4.0)],
            "it ends at 4.00 s but states 9.00 s: it was cut off; 4 frames are kept",
        ),
        (clip(100.0, exact=False), [stretch(9, 95.5)], None),  # 5 % may be sound
        (clip(9.0), [], "it ends at 0.00 s but states 9.00 s: it was cut off"),
        (
            clip(9.0),
            [stretch(1, 3.0), stretch(0, None, "it is damaged")],
            "it is damaged; its one frame is kept",
        ),
    ],
)
def test_reasons(facts: Any, records: list[Record], expected: str | None) -> None:
    assert _reason(facts, records) == expected
