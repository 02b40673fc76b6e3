"""Opening the page in the user's browser, without the token in the browser's command line."""

import html
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    '<title>stego explore</title><meta http-equiv="refresh" content="0;url={address}">'
    '<p><a href="{address}">Open the explorer</a></p>\n'
)


@contextmanager
def opened(address: str) -> Iterator[Path]:
    """Open an address in the user's browser through a file that only this user can read.

    Everybody on a machine sees the arguments that a browser is started with. The file is removed
    at the end of the block.
    """
    with tempfile.TemporaryDirectory(prefix="stego-explore-") as folder:  # mode 0700
        file = Path(folder, "open.html")
        file.touch(mode=0o600)
        file.write_text(PAGE.format(address=html.escape(address)), encoding="utf-8")
        threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
        yield file
