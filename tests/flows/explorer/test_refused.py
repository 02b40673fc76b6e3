"""A refused request's answer: a page for a browser that shows it, JSON for everything else."""

import base64
import hashlib
import json
import re

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from flows.explorer.refused import RELOAD, Refusal, page_policy

SHOWN = Headers({"accept": "text/html,application/xhtml+xml"})


def text(answer: Response) -> str:
    return bytes(answer.body).decode()


@pytest.mark.parametrize("accepted", ["", "*/*", "application/json", "image/png"])
def test_scripts_and_pictures_get_json(accepted: str) -> None:
    refusal = Refusal(401, "who asks?", {"www-authenticate": "Token"})
    answer = refusal.answer(Headers({"accept": accepted} if accepted else {}))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Token")
    assert json.loads(answer.body) == {"error": "who asks?"}


def test_a_sentence_is_no_markup() -> None:
    answer = Refusal(421, "this server is not '<b>`x`'").answer(SHOWN)
    assert answer.status_code == 421
    assert "<p>This server is not &#x27;&lt;b&gt;x&#x27;.</p>" in text(answer)
    assert "<script>" not in text(answer)
    assert "{{" not in text(answer)


def test_a_page_that_tries_once_more() -> None:
    page = text(Refusal(401, "no cookie", reload=True).answer(SHOWN))
    assert page.count(f"<script>{RELOAD}</script>") == 1


def test_the_policy_lets_in_what_the_page_holds() -> None:
    page = text(Refusal(401, "no cookie", reload=True).answer(SHOWN))
    for part in ("style", "script"):
        (content,) = re.findall(f"<{part}>(.*?)</{part}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in page_policy()
    assert "unsafe" not in page_policy()
