"""How the explorer is started: who may change what, where exports go, what a restart forgets."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attacker import Answer, Running, exploring, received, snapshot
from explorer_page import LOOK, Page

from flows.cli.main import main
from flows.explorer import listening, serve
from flows.explorer.login import Login
from stego_core.errors import InputError, OptionError
from tasks import exports
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.storage.threads import context_thread
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]
JSON = "application/json"


@pytest.fixture
def own(explored: Path, tmp_path: Path) -> Path:
    """A copy of the workspace, and something beside it."""
    shutil.copytree(explored / "ws", tmp_path / "ws")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "kept.txt").write_text("mine")
    return tmp_path / "ws"


def sent(running: Running, target: str, **body: Any) -> Answer:
    content = json.dumps(body).encode()
    return running.ask(target, "POST", content, cookie=running.cookie(), content_type=JSON)


def exported(running: Running, **wanted: Any) -> dict[str, Any]:
    """How an export ended."""
    answer = sent(running, "/api/export", kind="masks", **wanted)
    if answer.status != 200:
        return {"state": "refused", "status": answer.status, **json.loads(answer.body)}
    while True:
        state: dict[str, Any] = json.loads(running.ask("/api/export", cookie=running.cookie()).body)
        if state["state"] != "running":
            return state
        time.sleep(0.05)


def test_exports_go_below_the_places_that_were_named(own: Path, tmp_path: Path) -> None:
    beside = snapshot(tmp_path / "beside")
    first, second = tmp_path / "first", tmp_path / "second"
    with exploring(own, "--export-root", str(first), "--export-root", str(second)) as running:
        document = json.loads(running.ask("/api/export", cookie=running.cookie()).body)
        assert document["roots"] == [str(first), str(second)]
        assert not first.exists()
        assert exported(running, name="a/b", root=1)["state"] == "done"
        assert len(list((second / "a" / "b" / "masks" / "train").glob("*.png"))) == 6
        (second / "out").symlink_to(tmp_path / "beside")
        assert exported(running, name="out", root=1)["status"] == 400
        assert exported(running, name="out/new", root=1)["status"] == 400
        shutil.rmtree(second / "a" / "b" / "masks")
        (second / "a" / "b" / "masks").symlink_to(tmp_path / "beside")  # in an earlier export
        assert exported(running, name="a/b", root=1)["status"] == 400
        (second / "theirs").mkdir()
        (second / "theirs" / "x.txt").write_text("not an export's")
        assert exported(running, name="theirs", root=1)["state"] == "failed"
    assert not first.exists()
    assert not (own / "exports").exists()
    assert snapshot(tmp_path / "beside") == beside


def test_other_machines_read_only(own: Path) -> None:
    """Listening on all addresses; the printed address is loopback's all the same."""
    with exploring(own, "--host", "0.0.0.0") as running:
        warned = "".join(running.said)
        assert "whoever has the address below" in warned
        assert "can see these images;" in warned
        cookie = running.cookie()
        assert running.ask("/api/overview").status == 401
        overview = json.loads(running.ask("/api/overview", cookie=cookie).body)
        assert overview["editable"] is False
        stamp = overview["stamp"]
        for change, body in {
            "rename": {"id": 0, "name": "x"}, "recolour": {"id": 0, "colour": "#123456"},
            "merge": {"ids": [0], "into": 1}, "ignore": {"ids": [0], "ignored": True}, "undo": {},
            "merge-suggested": {"groups": 2},
        }.items():  # fmt: skip
            answer = sent(running, f"/api/classes/{change}", stamp=stamp, **body)
            assert answer.status == 403
            assert "--allow-changes" in json.loads(answer.body)["error"]
        refused = exported(running, name="a")
        assert refused["status"] == 403
        assert "--export-root" in refused["error"]
    assert not (own / "exports").exists()
    assert not list(own.glob("classes*"))


def test_what_allows_what(own: Path, tmp_path: Path) -> None:
    workspace, given = Workspace.open(str(own)), [str(tmp_path / "out")]
    inside = (workspace.exports,)
    assert serve.roots_of(workspace, [], trusted=True) == serve.Roots(inside, True)
    assert serve.roots_of(workspace, [], trusted=False) == serve.Roots(inside, False)
    assert serve.roots_of(workspace, given, trusted=False).allowed
    assert inside[0].uri == f"{own}/exports"
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is no folder"):
        serve.roots_of(workspace, [str(tmp_path / "file")], trusted=True)
    with pytest.raises(InputError, match="password"):
        serve.roots_of(workspace, ["s3://a:b@bucket/x"], trusted=True)
    with pytest.raises(InputError, match="Protocol not known"):
        serve.roots_of(workspace, ["nothing://bucket/x"], trusted=True)


def test_only_folders_below_exports_lie_in_a_workspace(own: Path) -> None:
    with run_cache.during("test"):
        workspace = Workspace.open(str(own))
        for place in ("exports", "masks/x", "exportsx/a", "exports/../x"):
            with pytest.raises(InputError, match="lies inside the workspace"):
                exports.export(workspace, "masks", Storage.at(f"{own}/{place}"))
        out = Storage.at(f"{own}/exports/a")
        assert exports.export(workspace, "masks", out)["images"] == 6


def test_a_restart_forgets(own: Path, tmp_path: Path) -> None:
    """On the same port; the second one opens a browser, whose arguments everybody sees."""
    script, seen = tmp_path / "browser.sh", tmp_path / "seen"
    script.write_text(
        f'#!/bin/sh\nf="${{1#file://}}"\n(echo "$1"; stat -c "%a %u" "$f"; '
        f'stat -c %a "$(dirname "$f")"; cat "$f") > {seen}.part && mv {seen}.part {seen}\n'
    )
    script.chmod(0o700)
    with exploring(own) as running:
        cookie, token, port = running.cookie(), running.token, running.port
    with exploring(own, "--port", str(port), browser=str(script)) as running:
        assert running.port == port
        assert running.token != token
        assert running.ask("/api/overview", cookie=cookie).status == 401
        assert running.ask(f"/?token={token}").status == 401
        assert running.cookie() != cookie
        while not seen.exists():
            assert running.process.poll() is None
            time.sleep(0.05)
        argument, modes, folder, *page = seen.read_text().splitlines()
        assert running.token not in argument
        assert (modes, folder) == (f"600 {os.getuid()}", "700")
        assert f"http://127.0.0.1:{port}/?token={running.token}" in "".join(page)
        file = Path(argument.removeprefix("file://"))
    assert not file.exists()
    assert running.token not in (own / "stego.log").read_text()


def test_a_wrong_host_is_one_sentence(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explore", "--workspace", str(own), "--export-root", str(own / "workspace.json")])
    assert re.search(
        r"error: --export-root \S+ is no folder; give a folder", capsys.readouterr().err
    )


def test_wrong_tokens_are_told_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    login = Login(1)
    for _ in range(1500):
        login._count()
    told = capsys.readouterr().err
    assert told.count("warning: ") == 2
    assert "1000 requests came with a wrong token" in told
    assert login.token not in repr(login)
    assert login.session not in repr(login)


class TestSlowRequests:
    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listening, "PATIENCE", 0.2)

    @pytest.mark.parametrize("content", [
        b"", b"GET / HTTP/1.1\r\nHost: x",
        b"POST /api/export HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ], ids=["nothing", "head", "body"])  # fmt: skip
    def test_they_are_ended(
        self, impatient: None, own: Path, content: bytes, served_by: Callable[[Path], Running]
    ) -> None:
        running = served_by(own)
        given = content.replace(b"{host}", running.host.encode())
        with running.connected() as connection:
            connection.sendall(given.replace(b"{cookie}", running.cookie().encode()))
            assert received(connection) == b""
        assert running.ask("/api/index", cookie=running.cookie()).status == 200


@pytest.fixture
def served_by() -> Iterator[Callable[[Path], Running]]:
    """A server in a thread of this process."""
    ending: list[Callable[[], None]] = []

    def start(workspace: Path) -> Running:
        explorer = serve.Explorer(Workspace.open(str(workspace)))
        server_socket = listening.listening("127.0.0.1", 0)
        login = Login(server_socket.getsockname()[1])
        server = serve.server(explorer, login, "127.0.0.1", "127.0.0.1")
        thread = context_thread(lambda: server.run([server_socket]), "server")
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join(10)
            server_socket.close()

        ending.append(end)
        return Running(None, login.port, login.token, [])  # type: ignore[arg-type]

    with run_cache.during("served by"):
        yield start
        for end in ending:
            end()


class TestInTheBrowser:
    def test_login_click_name_and_export(self, browser: Any, own: Path, tmp_path: Path) -> None:
        with exploring(own) as running:
            here = f"http://{running.host}/"
            page = Page(browser, here, Workspace.open(str(own)))
            browser.set_window_size(1280, 800)  # whatever a test before has left
            browser.get("about:blank")
            browser.delete_all_cookies()
            browser.get(f"{here}#/image/train/2")  # as in a fresh profile
            assert "printed in its terminal" in page.see("main p").text
            assert not browser.find_elements("css selector", "#legend")
            style = "return getComputedStyle(document.querySelector('main')).borderRadius"
            assert browser.execute_script(style) == "9px"  # its own style passed the policy
            page.see("#token").send_keys(running.token, "\ue007")
            page.until("return document.body.classList.contains('ready')")
            assert browser.current_url == f"{here}#/image/train/2"
            browser.delete_all_cookies()
            browser.get("about:blank")
            browser.get(f"{here}?token={running.token}#/image/train/3")
            page.until("return document.body.classList.contains('ready')")
            assert browser.current_url == f"{here}#/image/train/3"
            (cookie,) = browser.get_cookies()
            assert cookie["name"] == f"stego-explorer-{running.port}"
            assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
            assert page.until("return document.cookie === '' && 'hidden'") == "hidden"
            page.click_the_image()
            page.see("#heat")
            browser.execute_script(f"{LOOK}.click()", "#legend .edit")
            page.see("#legend input.rename")
            page.press("heaven", "\ue007")
            page.until("return document.querySelector('#revision').textContent == 'revision 1'")
            page.click("#export-open")
            assert f"goes to {own}/exports/masks " in page.until(
                "return document.querySelector('#export-target').textContent"
            )
            page.click("#export [type=submit]")
            page.until("return document.querySelector('#export-said').className == 'done'")
            assert len(list((own / "exports" / "masks").rglob("s00*.png"))) == 6
            page.click("#export-close")
            self.follow(page, tmp_path, f"{here}#/image/train/4")
            browser.delete_all_cookies()  # as after a restart
            page.press("\ue012")
            assert "opened anew" in page.see("#refused").text
            browser.get_log("browser")  # 401, as it should be

    def follow(self, page: Page, folder: Path, link: str) -> None:
        """A link of another page, such as the report's: SameSite keeps the cookie back at first."""
        (folder / "report.html").write_text(f'<a href="{link}">image</a>')
        page.browser.get((folder / "report.html").as_uri())
        page.click("a")
        page.until("return document.body.classList.contains('ready')")
        assert page.browser.current_url == link
