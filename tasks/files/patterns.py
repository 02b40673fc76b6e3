"""Patterns of names: `{000000..000099}`, `{a,b}`, `*`, `?`, `[ab]` and `**` for any folders."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

from stego_core.errors import InputError
from tasks.storage.redaction import is_http

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_NAMES = 100_000  # that the braces of one pattern stand for


def is_pattern(location: str) -> bool:
    """Whether a location stands for several names, and is not the name of something itself."""
    if not has_wildcards(location) and not BRACES.search(location):
        return False
    return "://" in location or not Path(location).expanduser().exists()


def has_wildcards(location: str) -> bool:
    """Whether names have to be looked for; the question mark of a web address is none."""
    return re.search(r"[*\[]" if is_http(location) else r"[*?\[]", location) is not None


def expanded(location: str) -> list[str]:
    """Every name that the braces stand for, in order; raises InputError for too many."""
    pieces = BRACES.split(location)  # text and content of braces by turns
    choices = [_choices(piece) if turn % 2 else [piece] for turn, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_NAMES:
        raise InputError(
            f"{location} stands for {count:,} names; expected at most {MOST_NAMES:,}: use *"
        )
    return list(dict.fromkeys("".join(names) for names in itertools.product(*choices)))


def _choices(content: str) -> list[str]:
    if numbers := RANGE.fullmatch(content):
        first, last = numbers.groups()
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        step = 1 if int(first) <= int(last) else -1
        if abs(int(last) - int(first)) >= MOST_NAMES:
            raise InputError(f"{{{content}}} stands for more than {MOST_NAMES:,} names: use *")
        return [f"{n:0{width}d}" for n in range(int(first), int(last) + step, step)]
    return content.split(",") if "," in content else [f"{{{content}}}"]


def split(location: str) -> tuple[str, Callable[[str], bool]]:
    """The folder that a pattern's names lie in, and whether a path below it is one of them."""
    parts = location.split("/")
    fixed = next(n for n, part in enumerate(parts) if re.search(r"[*?\[{]", part))
    root, rest = "/".join(parts[:fixed]) or "/", "/".join(parts[fixed:])
    forms = [re.compile(_regex(name)) for name in expanded(rest)]
    return root, lambda path: any(form.match(path) for form in forms)


def _regex(pattern: str) -> str:
    """A regular expression of a relative path's pattern."""
    *folders, name = pattern.split("/")
    text = ""
    for part in folders:
        text += r"(?:[^/]+/)*" if part == "**" else f"{_part(part)}/"
    return rf"{text}{'.*' if name == '**' else _part(name)}\Z"


def _part(pattern: str) -> str:
    """A regular expression of one part of a path; no wildcard stands for a slash."""
    pieces = re.split(r"(\[[!^]?[^\]]+\]|[*?])", pattern)
    return "".join(_piece(piece, wild=turn % 2 == 1) for turn, piece in enumerate(pieces))


def _piece(piece: str, wild: bool) -> str:
    if not wild:
        return re.escape(piece)
    if piece in "*?":
        return "[^/]*" if piece == "*" else "[^/]"
    inner = piece[1:-1].replace("\\", r"\\")
    return f"[^/{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"


def name_of(location: str) -> str:
    """The last part of a location that no pattern is in, for people."""
    plain = location.partition("?")[0] if is_http(location) else location
    for part in reversed(plain.rstrip("/").split("/")):
        bare = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|[*?]+", "", part)
        if bare == part or bare.partition(".")[0].strip("-_"):
            return bare
    return ""
