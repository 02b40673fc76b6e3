"""An attacker at the explorer's port: raw requests to the real command, which tells and writes
nothing.
"""

import json
import socket

import pytest
from attacker import Answer, Victim, received

from flows.explorer.guard import LONGEST_BODY
from flows.explorer.listening import MOST_CONNECTIONS

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(400)]
METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"
)  # fmt: skip
RENAME = json.dumps({"stamp": "", "id": 0, "name": "owned"}).encode()
EXPORT = json.dumps({"kind": "masks", "name": "owned"}).encode()
JSON = "application/json"


class TestWithoutTheToken:
    @pytest.mark.parametrize("method", METHODS)
    def test_no_address_answers(self, victim: Victim, method: str) -> None:
        assert len(victim.addresses) > 35
        for address in victim.addresses:
            body = RENAME if method in ("POST", "PUT", "PATCH") else b""
            answer = victim.running.ask(address, method, body, content_type=JSON)
            victim.told_nothing(answer)
            if method != "HEAD":
                assert "printed in its terminal" in json.loads(answer.body)["error"]

    @pytest.mark.parametrize(
        "target",
        [
            "/%2e%2e/", "/../ws/workspace.json", "//", "//api/overview", "/static/..%2f..%2fapp.py",
            "/static/%252e%252e%252fapp.py", "/static/", "/api/image/..%2f..%2f/0", "/api/./page",
            "/api/image/train%00/0", "/api/overview/", "/API/overview", "/api/overview;a=b",
            "/%61pi/page",
            "/api/thumb/train/0?v=1", "/nowhere", "/favicon.ico", "/robots.txt", "/.git/config",
            "/?token", "/?token=", "/?Token=x", "/?token[]=x", "/?token=%00", "/?token=%ff%fe",
            "/?" + "token=a&" * 3000, "/" + "a" * 60_000, "/api/image/" + "%41" * 9000 + "/0",
            "/?next=//evil.example", "/?again", "/api/page?again",
        ],
    )  # fmt: skip
    def test_odd_addresses(self, victim: Victim, target: str) -> None:
        for accept in ("*/*", "text/html"):
            answer = victim.running.ask(target, accept=accept)
            victim.told_nothing(answer)
            assert "location" not in answer.headers

    def test_a_wrong_token(self, victim: Victim) -> None:
        token = victim.running.token
        for wrong in (token[:-1], token + "x", token.swapcase(), token[::-1], f"{token}%00", "*"):
            for target in (f"/?token={wrong}", f"/api/overview?token={wrong}"):
                victim.told_nothing(victim.running.ask(target))
        for method in ("POST", "PUT", "OPTIONS"):  # the right one, but nothing is read by these
            target = f"/api/export?token={token}"
            victim.told_nothing(victim.running.ask(target, method, EXPORT, content_type=JSON))

    def test_a_wrong_cookie(self, victim: Victim) -> None:
        name, session = victim.running.cookie().split("=")
        wrong = [
            "", ";", "=", name, f"{name}=", f"{name}=x",
            f'{name}="', f"{name}={victim.running.token}",
            f"{name}={session[:-1]}", f"{name}={session}x", f"{name.upper()}={session}",
            f"x={session}",
            f"stego-explorer-{victim.running.port + 1}={session}", "; ".join([f"{name}=x"] * 900),
            f"{name}={name}={session}", f"x={name}={session}", f"\xff\xfe={session}",
        ]  # fmt: skip
        for cookie in wrong:
            victim.told_nothing(victim.running.ask("/api/overview", cookie=cookie))
        for header in ("authorization", "x-stego-token", "x-forwarded-for", "forwarded"):
            answer = victim.running.ask("/api/overview", **{header: f"Bearer {session}x"})
            victim.told_nothing(answer)

    @pytest.mark.parametrize("host", [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:80", "localhost.:{port}",
        "127.0.0.1.:{port}", "user@127.0.0.1:{port}", "127.0.0.1:{port}@evil.example",
        "[::ffff:7f00:1]:{port}",
        "[::1]", "[::1%25lo]:{port}", "127.1:{port}", "2130706433:{port}", "0.0.0.0:{port}",
        "[::]:{port}",
        "127.0.0.1:{port}.evil.example", "localhost:{port}, evil.example",
        "evil.example#localhost:{port}",
        "127.0.0.1:0{port}", "", "{port}", "localhost.evil.example:{port}", "localhost:{port}/",
        "\tx",
    ])  # fmt: skip
    def test_rebound_names(self, victim: Victim, host: str) -> None:
        """Not even with the cookie."""
        host = host.format(port=victim.running.port)
        cookie = victim.running.cookie()
        for given in ({}, {"cookie": cookie}):
            for target in ("/", "/api/overview", f"/?token={victim.running.token}"):
                answer = victim.running.ask(target, host=host, **given)
                victim.told_nothing(answer, 400, 421)
                assert "location" not in answer.headers

    def test_forms_of_the_host_and_of_the_target(self, victim: Victim) -> None:
        running, cookie = victim.running, victim.running.cookie()
        for host in ("LOCALHOST", "localhost", "[::1]", "127.0.0.1"):
            answer = running.ask("/api/index", host=f"{host}:{running.port}", cookie=cookie)
            assert answer.status == 200
        for target in ("http://evil.example/api/overview", f"http://{running.host}/api/overview",
                       "*", "api/overview", "?token=x", "evil.example:80", "\\api"):  # fmt: skip
            answer = running.ask(target, cookie=cookie)
            victim.told_nothing(answer, 400)
        twice = f"GET /api/overview HTTP/1.1\r\nHost: {running.host}\r\nHost: evil.example\r\n"
        for head in (twice, twice.replace("Host: evil", "hOsT: evil"), "GET / HTTP/1.1\r\n"):
            answer = running.send(f"{head}Cookie: {cookie}\r\n\r\n".encode())
            victim.told_nothing(answer, 400)


class TestOnTheWire:
    """With the cookie, so that only the form of the request is in the way."""

    def send(self, victim: Victim, lines: list[str], body: bytes = b"") -> Answer:
        given = [
            f"POST /api/export HTTP/1.1\r\nHost: {victim.running.host}",
            f"Cookie: {victim.running.cookie()}", f"Content-Type: {JSON}", *lines, "", "",
        ]  # fmt: skip
        return victim.running.send("\r\n".join(given).encode("latin-1") + body)

    def test_two_lengths(self, victim: Victim) -> None:
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(EXPORT), EXPORT)
        for lines in (
            ["Content-Length: 5", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", f"Content-Length: {len(chunked)}"],
            ["Transfer-Encoding: chunked"], ["Transfer-Encoding: gzip, chunked"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            ["Transfer-Encoding:\x0bchunked"], ["Transfer-Encoding: xchunked"],
            ["Content-Length: 5", "Content-Length: 6"], ["Content-Length: 5, 6"],
            ["Content-Length: -1"], ["Content-Length: +9"], ["Content-Length: 0x9"],
            ["Content-Length: 9 9"], ["Content-Length : 9"], ["Content-Length: " + "9" * 5000],
            [" Content-Length: 9"], ["Content-Length:\r\n 9"], ["X: a\x00b"], ["X: a\rb"],
        ):  # fmt: skip
            answer = self.send(victim, lines, chunked)
            victim.told_nothing(answer, 400, 413, 415, 501)
            assert b"HTTP/1.1 200 " not in answer.raw

    def test_a_request_in_the_body_of_another_is_not_answered(self, victim: Victim) -> None:
        inner = f"POST /api/export HTTP/1.1\r\nHost: {victim.running.host}\r\n\r\n".encode()
        outer = (
            f"GET /api/overview HTTP/1.1\r\nHost: {victim.running.host}\r\nConnection: close\r\n"
        )
        answer = victim.running.send(
            f"{outer}Content-Length: {len(inner)}\r\n\r\n".encode() + inner
        )
        victim.told_nothing(answer)
        assert answer.raw.count(b"HTTP/1.1") == 1
        both = f"{outer}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n".encode()
        answer = victim.running.send(both + inner)
        victim.told_nothing(answer, 400, 401)
        assert answer.raw.count(b"HTTP/1.1") == 1

    def test_pipelined_requests_are_each_asked(self, victim: Victim) -> None:
        cookie = victim.running.cookie()
        first = f"GET /api/index HTTP/1.1\r\nHost: {victim.running.host}\r\n"
        second = first.replace("index", "overview") + "Connection: close\r\n\r\n"
        answer = victim.running.send(f"{first}Cookie: {cookie}\r\n\r\n{second}".encode())
        assert answer.status == 200
        assert answer.raw.count(b"HTTP/1.1 401 ") == 1
        assert b'"classes"' not in answer.raw

    def test_other_protocols(self, victim: Victim) -> None:
        running = victim.running
        upgrade = {
            "connection": "Upgrade", "upgrade": "websocket", "sec_websocket_version": "13",
            "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==", "origin": "http://evil.example",
        }  # fmt: skip
        with running.connected() as connection:
            lines = [f"{name.replace('_', '-')}: {value}" for name, value in upgrade.items()]
            head = ["GET /api/index HTTP/1.1", f"host: {running.host}", *lines, "", ""]
            connection.sendall("\r\n".join(head).encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")
        for content in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /\r\n\r\n",
            b"\x00" * 1000, b"GET / HTTP/0.9\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 40_000,
            b"GET  /  HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"GET / HTTP/1.0\r\n\r\n",
        ):  # fmt: skip
            victim.told_nothing(running.send(content + b"\r\n\r\n"), 0, 400, 421)

    def test_more_than_anybody_needs(self, victim: Victim) -> None:
        running, cookie = victim.running, victim.running.cookie()
        victim.told_nothing(running.ask("/", x="a" * 200_000), 400, 0)
        victim.told_nothing(running.ask("/" + "a" * 200_000), 400, 0)
        many = {f"x{number}": "y" * 50 for number in range(3000)}
        victim.told_nothing(running.ask("/", **many), 400, 0)
        large = {"cookie": cookie, "content_type": JSON, "content_length": str(10**11)}
        with running.connected() as connection:  # refused before it is sent
            given = "\r\n".join(f"{n.replace('_', '-')}: {v}" for n, v in large.items())
            head = f"POST /api/export HTTP/1.1\r\nhost: {running.host}\r\n{given}\r\n\r\n"
            connection.sendall(head.encode())
            assert received(connection).startswith(b"HTTP/1.1 413 ")
        body = b" " * (LONGEST_BODY + 1)
        answer = running.ask("/api/export", "POST", body, cookie=cookie, content_type=JSON)
        victim.told_nothing(answer, 413)

    def test_a_flood_of_connections_is_survived(self, victim: Victim) -> None:
        flood: list[socket.socket] = []
        try:
            for number in range(3 * MOST_CONNECTIONS):
                flood.append(victim.running.connected())
                if number % 2:
                    flood[-1].sendall(b"GET / HTTP/1.1\r\nHost: slow")
            ended = sum(_is_ended(connection) for connection in flood[2 * MOST_CONNECTIONS :])
            assert ended == MOST_CONNECTIONS
        finally:
            for connection in flood:
                connection.close()


def _is_ended(connection: socket.socket) -> bool:
    """Whether the server ended it; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


class TestFromOtherSites:
    """Requests that other pages make the user's browser send, cookie and all."""

    @pytest.mark.parametrize("origin", [
        "http://evil.example", "null", "https://127.0.0.1:{port}", "http://localhost:{port}",
        "http://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:{port}.evil.example", "file://",
        "http://127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}", "",
    ])  # fmt: skip
    def test_foreign_origins(self, victim: Victim, origin: str) -> None:
        cookie = victim.running.cookie()
        given = {"cookie": cookie, "origin": origin.format(port=victim.running.port)}
        for target in ("/", "/api/overview", "/api/image/train/0", "/static/main.js"):
            victim.told_nothing(victim.running.ask(target, **given), 403)
        for target, body in (("/api/export", EXPORT), ("/api/classes/rename", RENAME)):
            for kind in (JSON, "text/plain"):
                answer = victim.running.ask(target, "POST", body, content_type=kind, **given)
                victim.told_nothing(answer, 403)
        asks = {"access_control_request_method": "POST", **given}
        victim.told_nothing(victim.running.ask("/api/export", "OPTIONS", **asks), 403)

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_without_an_origin(self, victim: Victim, site: str) -> None:
        """Pictures, scripts, frames and forms; a link to the page itself is followed."""
        running, cookie = victim.running, victim.running.cookie()
        given = {"cookie": cookie, "sec_fetch_site": site, "accept": "text/html"}
        for mode, dest in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"),
                           ("cors", "empty"), ("navigate", "object")):  # fmt: skip
            fetched = {"sec_fetch_mode": mode, "sec_fetch_dest": dest, **given}
            for target in ("/", "/api/image/train/0", f"/?token={running.token}"):
                victim.told_nothing(running.ask(target, **fetched), 403)
        followed = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document", **given}
        victim.told_nothing(running.ask("/api/overview", **followed), 403)
        form = {"content_type": "application/x-www-form-urlencoded", **followed}
        victim.told_nothing(running.ask("/", "POST", b"a=b", **form), 403)
        assert running.ask("/", **followed).status == 200
        strict = {**followed, "cookie": None}  # SameSite=Strict keeps it back; our page asks again
        answer = running.ask("/", **strict)
        victim.told_nothing(answer)
        assert b"location.replace" in answer.body
        assert b"location.replace" not in running.ask("/?again", **strict).body

    def test_forms_of_a_change(self, victim: Victim) -> None:
        running, cookie = victim.running, victim.running.cookie()
        for kind in (
            None, "", "text/plain", "text/plain; application/json",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded", "application/jsonx", "text/json",
            "x;application/json",
        ):  # fmt: skip
            for target, body in (("/api/export", EXPORT), ("/api/classes/rename", RENAME)):
                answer = running.ask(target, "POST", body, cookie=cookie, content_type=kind)
                victim.told_nothing(answer, 415)
        for method in sorted({*METHODS} - {"GET", "HEAD", "POST"}):
            answer = running.ask("/api/export", method, EXPORT, cookie=cookie, content_type=JSON)
            victim.told_nothing(answer, 400, 405)

    def test_cookies_of_other_ports_do_not_lock_out(self, victim: Victim) -> None:
        """Whoever serves another port of this host can set cookies of this name."""
        own = victim.running.cookie()
        name = own.split("=")[0]
        for cookie in (
            f"{name}=x; {own}",
            f"{own}; {name}=x",
            f"{name}=; a=b;{own} ;{name}",
            f";;{own}",
        ):
            assert victim.running.ask("/api/index", cookie=cookie).status == 200
