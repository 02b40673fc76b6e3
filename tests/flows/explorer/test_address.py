"""The explorer's printed address, and what those who have it may send: in the real command."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from attacker import Answer, Running, Victim

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]
JSON = "application/json"


class TestTheAddress:
    def test_the_token_becomes_a_cookie(self, victim: Victim) -> None:
        answer = victim.running.ask(f"/?token={victim.running.token}")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        cookie, *flags = answer.headers["set-cookie"].split("; ")
        assert cookie.startswith(f"stego-explorer-{victim.running.port}=")
        assert {flag.lower() for flag in flags} == {"httponly", "samesite=strict", "path=/"}
        assert victim.running.token.encode() not in answer.raw
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert b'id="legend"' in victim.running.ask("/", cookie=cookie).body
        pasted = victim.running.ask(f"/?token=http://127.0.0.1/?token={victim.running.token}")
        assert pasted.status == 303

    def test_a_deep_link_leads_where_it_did(self, victim: Victim) -> None:
        for link in ("/api/image/train/3?v=1", "/static/main.js", "/api/page?dump=train&limit=2"):
            joint = "&" if "?" in link else "?"
            answer = victim.running.ask(f"{link}{joint}token={victim.running.token}")
            assert (answer.status, answer.headers["location"]) == (303, link)
        own = victim.running.cookie()  # an address of an earlier start, where one is let in already
        stale = victim.running.ask("/api/index?token=stale", cookie=own)
        assert (stale.status, stale.headers["location"]) == (303, "/api/index")
        assert "set-cookie" not in stale.headers

    @pytest.mark.parametrize("target", [
        "//evil.example/", "///evil.example", "/\\evil.example", "/%5cevil.example",
        "/%5C%5Cevil.example",
        "/%2fevil.example", "/%2F%2Fevil.example", "/./%2fevil.example", "/x/..//evil.example",
        "/.//evil.example", "/%09/evil.example", "/%0d%0aLocation:%20http://evil.example",
        "/;//evil.example",
        "/@evil.example", "/%00/evil.example", "/https://evil.example", "/%7f/evil.example",
    ])  # fmt: skip
    def test_it_never_leads_to_another_host(self, victim: Victim, target: str) -> None:
        for extra in ("", "&next=//evil.example", "&next=https://evil.example"):
            answer = victim.running.ask(f"{target}?token={victim.running.token}{extra}")
            if answer.status == 400:  # not even HTTP
                continue
            assert answer.status == 303
            location = answer.headers["location"]
            here = f"http://{victim.running.host}/"
            assert urlsplit(urljoin(here, location)).netloc == victim.running.host
            assert re.match(r"/(?![/\\])[^\\\s]*$", location)
            assert "//" not in location
            assert not re.search(r"%(0[0-9a-f]|2f2f|5c)", location.partition("?")[0], re.IGNORECASE)

    def test_it_lies_nowhere(self, victim: Victim) -> None:
        victim.running.ask(f"/nowhere?token={victim.running.token}x")
        found = [
            path for path in victim.folder.rglob("*")
            if path.is_file() and victim.running.token.encode() in path.read_bytes()
        ]  # fmt: skip
        assert found == []
        own = Path("/proc", str(victim.running.process.pid))
        for name in ("cmdline", "environ"):
            assert victim.running.token.encode() not in (own / name).read_bytes()


class TestHeaders:
    def test_no_answer_lacks_them(self, victim: Victim) -> None:
        cookie = victim.running.cookie()
        for target in ("/", "/static/main.js", "/api/overview", "/nowhere", "/api/thumb/train/0"):
            for given in ({}, {"cookie": cookie}, {"origin": "null"}, {"accept": "text/html"}):
                headers = victim.running.ask(target, **given).headers
                policy = headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["cross-origin-resource-policy"] == "same-origin"
                assert headers["referrer-policy"] == "no-referrer"
                assert "server" not in headers

    def test_a_browser_gets_a_page_that_says_where_the_address_is(self, victim: Victim) -> None:
        answer = victim.running.ask("/api/image/train/0", accept="text/html,*/*;q=0.8")
        victim.told_nothing(answer)
        assert answer.headers["content-type"].startswith("text/html")
        assert b"printed in its terminal" in answer.body
        script = b"<script>alert(1)</script>"
        host = victim.running.ask("/", accept="text/html", host=script.decode())
        assert script not in host.raw


def sent(running: Running, target: str, **body: Any) -> Answer:
    """A change by somebody who may."""
    content = json.dumps(body).encode()
    return running.ask(target, "POST", content, cookie=running.cookie(), content_type=JSON)


class TestNames:
    """What the page itself may send: nothing but a name below a place."""

    @pytest.mark.parametrize("name", [
        "", " ", ".", "..", "/", "/etc", "/tmp/owned", "../owned", "a/../../owned", "a/..", "./a",
        "a//b",
        "a/", "/a", "~", "~root/x", "$HOME/x", "..\\owned", "a\\..\\..\\owned",
        "\\\\server\\share", "C:", "C:\\x",
        "c:/x", "file:///tmp/owned", "s3://bucket/x", "http://evil.example/x", "a\x00b", "a\nb",
        "a\rb", "a\x1b[31m",
        "a?versionId=1", "a#b", "a*", "%2e%2e/owned", "%2fetc", "a" * 101, "ä" * 60, "a/b/c/d/e",
        ".hidden",
        "a/.hidden", "a.", "a ", " a", "con", "NUL.txt", "aux/x", "a:b", "\u202eevil",
        "..\u2215owned", "\uff0e\uff0e/x",
        "\u2024\u2024/x", "a\u200bb", "\ud800", "a|b", "a<b", "`id`", "$(id)", "-rf", "a;b",
        "export.json\x00",
    ])  # fmt: skip
    def test_names_that_lead_elsewhere(self, victim: Victim, name: str) -> None:
        answer = sent(victim.running, "/api/export", kind="masks", name=name)
        assert answer.status == 400, answer.raw
        assert len(json.loads(answer.body)["error"]) > 10

    def test_other_nonsense(self, victim: Victim) -> None:
        for body in (
            {"kind": "masks", "name": "a", "root": 1}, {"kind": "masks", "name": "a", "root": -1},
            {"kind": "masks", "name": "a", "root": True}, {"kind": "masks", "out": "/tmp/owned"},
            {"kind": "masks", "name": "a", "out": "/tmp/owned"}, {"kind": "x", "name": "a"},
            {"kind": "masks", "name": "a", "dumps": ["../.."]}, {"kind": "masks", "name": ["a"]},
            {"kind": "masks", "name": "a", "dumps": ["x"] * 3000}, {"kind": "masks", "name": None},
        ):  # fmt: skip
            answer = sent(victim.running, "/api/export", **body)
            assert answer.status == 400
            assert len(json.loads(answer.body)["error"]) > 10
        cookie = victim.running.cookie()
        for content in (b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 9000, b"null", b"1e999",
                        b'{"stamp":"x","id":1' + b"0" * 9000 + b',"name":"x"}'):  # fmt: skip
            for target in ("/api/export", "/api/classes/rename"):
                given = {
                    "cookie": cookie,
                    "content_type": JSON,
                    "content_length": str(len(content)),
                }
                assert victim.running.ask(target, "POST", content, **given).status == 400

    def test_class_names(self, victim: Victim) -> None:
        overview = victim.running.ask("/api/overview", cookie=victim.running.cookie())
        stamp = json.loads(overview.body)["stamp"]
        for name in (
            "a\x00b", "a\x1bb", "\u202eabc", "x" * 101, "x" * 30_000, "\ud800", "\x7f", "\u200b"
        ):  # fmt: skip
            answer = sent(victim.running, "/api/classes/rename", stamp=stamp, id=0, name=name)
            assert answer.status == 400, answer.raw
            assert len(answer.body) < 2000
        for target in ("/api/classes/merge", "/api/classes/ignore"):
            for ids in ([300], [-1], [0] * 300, "0", [True]):
                more = {"into": 1} if "merge" in target else {"ignored": True}
                assert sent(victim.running, target, stamp=stamp, ids=ids, **more).status == 400
