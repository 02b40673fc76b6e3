"""What a refused request gets: a page where a browser would show it, else JSON with a sentence."""

import base64
import hashlib
import html
import re
from dataclasses import dataclass, field
from importlib.resources import files

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response

UNKNOWN = (
    "this page opens with the address that `stego explore` printed in its terminal, which ends in "
    "?token=…; every start prints a new one"
)
ELSEWHERE = "requests of other sites are refused"
PAGE = files("flows.explorer").joinpath("refused.html").read_text(encoding="utf-8")
STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)
AGAIN = "again"
"""Parameter of an address that our own page has the browser load."""
RELOAD = f'location.replace("/?{AGAIN}" + location.hash)'
"""Loads the page from a page of its own. SameSite cookies stay behind where another site's link was
followed; so did the report's, which is a file. Its fragment names an image.
"""


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not answered, with the HTTP status and the reason."""

    status: int
    sentence: str
    headers: dict[str, str] = field(default_factory=dict)
    reload: bool = False  # the page that says so tries once more from itself

    def answer(self, headers: Headers) -> Response:
        """The answer to a request with these headers."""
        if "text/html" not in headers.get("accept", ""):
            return JSONResponse({"error": self.sentence}, self.status, self.headers)
        sentence = html.escape(self.sentence[:1].upper() + self.sentence[1:])
        script = f"<script>{RELOAD}</script>" if self.reload else ""
        page = PAGE.replace("{{ script }}", script).replace("{{ sentence }}", sentence)
        return HTMLResponse(page.replace("`", ""), self.status, self.headers)


def page_policy() -> str:
    """The page's Content-Security-Policy: its own style and script, and a form to this host."""
    (style,) = STYLE.findall(PAGE)
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(RELOAD)}; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
