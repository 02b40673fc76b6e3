"""For the explorer's tests: a small finished workspace, its server, its page in a browser."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flags import QUICK, TINY

from flows.cli.main import main
from flows.explorer import serve
from flows.explorer.listening import listening
from flows.explorer.login import Login
from flows.explorer.state import Explorer
from tasks.storage import run_cache
from tasks.storage.threads import context_thread
from tasks.workspace.workspace import Workspace

IMAGES = 6


def pipeline_on(workspace: str, corpus: Path, command: str, dump: str) -> None:
    """`stego run` or `backfill` on a corpus of scenes."""
    given = ["--workspace", workspace, "--images", str(corpus / "images"), "--dump", dump]
    if command == "run":
        labels = ["--labels", str(corpus / "labels"), "--taxonomy", str(corpus / "taxonomy.json")]
        given += [*labels, "--neighbors", "4", *TINY, *QUICK]
        given += ["--steps", "6", "--no-baseline", "--no-linear-probe"]
    main([command, *given, "--executor", "loop"])


@pytest.fixture(scope="session")
def explored(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A folder with a corpus `train` of 6 scenes and its finished workspace `ws`."""
    folder = tmp_path_factory.mktemp("explored")
    train = make_corpus(folder / "train", IMAGES)
    pipeline_on(str(folder / "ws"), train, "run", "train")
    return folder


PATIENCE = 90
LOOK = "return document.querySelector(arguments[0])"


class Page:
    """The page in the browser, as a person uses it."""

    def __init__(self, browser: Any, address: str, workspace: Workspace) -> None:
        self.browser, self.address, self.workspace = browser, address, workspace

    def open(self, link: str = "", width: int = 1280, height: int = 800) -> "Page":
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        self.browser.get("about:blank")
        # Tests share the browser, and after some two hundred pages it goes back too far.
        self.browser.execute_cdp_cmd("Page.resetNavigationHistory", {})
        self.browser.get(f"{self.address}{link}")
        self.until("return document.body.classList.contains('ready')")
        return self

    def until(self, script: str, *arguments: Any) -> Any:
        """What a script returns, as soon as it is something."""
        for _ in range(PATIENCE * 20):
            found = self.browser.execute_script(script, *arguments)
            if found:
                return found
            time.sleep(0.05)
        address = self.browser.execute_script("return location.href")
        raise AssertionError(f"{script} {arguments} at {address}: {found!r}")

    def see(self, selector: str) -> Any:
        """The element, as soon as it is there and shown."""
        return self.until(
            "const e = document.querySelector(arguments[0]);return e?.checkVisibility() ? e : null",
            selector,
        )

    def text(self, selector: str) -> str:
        return str(self.browser.execute_script(f"{LOOK}.textContent", selector))

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])]", selector
        ))  # fmt: skip

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser)
        for key in keys:
            chain = chain.send_keys(key)
        chain.perform()

    def click(self, selector: str) -> None:
        self.see(selector).click()

    def click_the_image(self) -> None:
        """Its middle, once all is painted: before, the page still moves under the pointer."""
        self.until("return document.querySelector('#photo').naturalWidth")
        self.until("return document.querySelector('#mask').width > 1 && "
                   "document.querySelector('#mask').checkVisibility()")  # fmt: skip
        self.click("#stage")

    def back(self) -> None:
        """As the browser's button, from where the page is.

        The browser learns of the page's steps a moment later: asked before, it goes back from
        an entry that is left already.
        """
        here = self.browser.execute_script("return location.href")
        for _ in range(PATIENCE * 20):
            history = self.browser.execute_cdp_cmd("Page.getNavigationHistory", {})
            at = history["currentIndex"]
            if history["entries"][at]["url"] == here:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"the browser does not arrive at {here}: {history}")
        before = {"entryId": history["entries"][at - 1]["id"]}
        self.browser.execute_cdp_cmd("Page.navigateToHistoryEntry", before)

    def choose(self, selector: str, value: str) -> None:
        self.browser.execute_script(
            f"const s = {LOOK.removeprefix('return ')}; s.value = arguments[1];"
            "s.dispatchEvent(new Event('change', {bubbles: true}))",
            selector, value,
        )  # fmt: skip

    def pixel(self, selector: str, x: float, y: float) -> list[int]:
        """RGBA of a canvas, at shares of its sides."""
        script = (
            "const c = document.querySelector(arguments[0]);"
            "return [...c.getContext('2d').getImageData("
            "arguments[1] * c.width, arguments[2] * c.height, 1, 1).data]"
        )
        return list(self.browser.execute_script(script, selector, x, y))

    def names(self) -> list[str]:
        return list(self.browser.execute_script(
            "return [...document.querySelectorAll('#legend .text')].map(e => e.textContent)"
        ))  # fmt: skip

    def toast(self) -> str:
        return str(self.see(".toast span").text)

    def hash(self) -> str:
        return str(self.browser.execute_script("return location.hash"))


@pytest.fixture(scope="module")
def copied(explored: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the workspace that the module's tests may change, with an index of patches."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(explored / "ws", folder / "ws")
    return Workspace.open(str(folder / "ws"))


class Served(NamedTuple):
    """A running server: its address without the token, and what lets in."""

    explorer: Explorer
    address: str
    login: Login

    @property
    def printed(self) -> str:
        """The address as the command prints it."""
        return f"{self.address}?token={self.login.token}"


@pytest.fixture(scope="module")
def served(copied: Workspace) -> Iterator[Served]:
    with run_cache.during("served"):
        explorer = Explorer(copied)
        with listening("127.0.0.1", 0) as server_socket:
            port = server_socket.getsockname()[1]
            login = Login(port)
            server = serve.server(explorer, login, "127.0.0.1", "127.0.0.1")
            thread = context_thread(lambda: server.run([server_socket]), "server")
            thread.start()
            explorer.searching.start()
            yield Served(explorer, f"http://127.0.0.1:{port}/", login)
            server.should_exit = True
            thread.join(10)
            explorer.searching.stop()


@pytest.fixture
def page(browser: Any, served: Served, copied: Workspace) -> Iterator[Page]:
    """The page; afterwards nothing may have gone wrong in the browser, and names are as found."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get(served.printed)
    browser.get_log("browser")
    yield Page(browser, served.address, copied)
    severe = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    refused = [line for line in severe if "409" in line or "404" in line]  # told on purpose
    assert severe == refused, severe
    browser.get("about:blank")
