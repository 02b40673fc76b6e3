"""Who is let in: the token of the printed address, which becomes a cookie; all others are refused.

The address is for one person on one machine. It is printed once and lies nowhere else: not in the
address bar, the history or a referrer, since it is left at once for the same one without the token.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from flows.reporting import console

PARAMETER = "token"
LOCAL_PATH = re.compile(
    r"(?!.*//)/(?:[\w.~!$&'()*+,;=:@/-]|%(?!2f|5c|7f|[01])[0-9a-f]{2})*", re.ASCII | re.IGNORECASE
)
"""A path of this server: with "//" or a backslash in it, it may be taken for another host."""


@dataclass
class Login:
    """The server's port, one start's token, the value of the cookie that it is exchanged for, and
    the number of wrong tokens so far.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    wrong: int = 0

    @property
    def cookie(self) -> str:
        """The cookie's name; browsers send a host's cookies to all of its ports."""
        return f"stego-explorer-{self.port}"

    def admits(self, headers: Headers) -> bool:
        """Whether a request has the cookie.

        One is enough: what listens on another port of this host can add cookies of that name.
        """
        parts = [part for line in headers.getlist("cookie") for part in line.split(";")]
        values = (cookie_parser(part).get(self.cookie, "") for part in parts)
        return _any_equal(values, self.session)

    def entrance(self, scope: Scope, headers: Headers) -> Response | None:
        """What a request with a token in its address is sent to: the same address without it.

        None where it has no token, or a wrong one and no cookie either.
        """
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == PARAMETER]
        if not tokens or scope["method"] not in ("GET", "HEAD"):
            return None
        right = _any_equal((each.strip().rpartition("token=")[2] for each in tokens), self.token)
        if not right:
            self._count()
            if not self.admits(headers):
                return None
        answer = RedirectResponse(_without_token(scope, query), 303)
        if right:
            answer.set_cookie(self.cookie, self.session, path="/", httponly=True, samesite="strict")
        return answer

    def _count(self) -> None:
        """Tell of wrong tokens, ever more seldom: on the terminal, so that nothing grows by them.

        Nobody is locked out by others' tries: 256 random bits are not guessed.
        """
        self.wrong += 1
        if self.wrong in (10, 1000, 100_000):
            console.say(f"warning: {self.wrong} requests came with a wrong token so far")


def _any_equal(texts: Iterable[str], secret: str) -> bool:
    """Whether one of them is the secret, in a time that tells nothing of it: all are compared."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return sum(secrets.compare_digest(each, secret.encode()) for each in encoded) > 0


def _without_token(scope: Scope, query: list[tuple[str, str]]) -> str:
    """The address of a request without its token; "/" where it might lead to another host."""
    path = scope["raw_path"].decode("latin-1")
    if path == "/" or not LOCAL_PATH.fullmatch(path):
        return "/"
    rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
    return f"{path}?{rest}" if rest else path
