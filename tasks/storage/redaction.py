"""Addresses without their secrets: what logs, manifests and reports show of a URI with a query."""

import re
from hashlib import blake2b
from urllib.parse import parse_qsl

SECRET = re.compile(
    r"sig(nature)?|.*(token|secret|passw|auth|cred|hmac|expire|policy|sas).*|x-(amz|goog|ms|oss)-.*"
    r"|(api|access|aws\w*|subscription|account|private|public|user)[-_]?key([-_]?id)?"
    r"|key-pair-id|googleaccessid|se|sp|sv|st|sr|spr|sks|skv|skt|ske|skoid|sktid|ex|is|hm",
    re.IGNORECASE,
)
"""Names of parameters that give access, or change whenever access is given anew."""
HIDDEN = "?…"  # stands for a query


def is_http(uri: str) -> bool:
    """Whether a URI is one of a web server."""
    return uri.lower().startswith(("http://", "https://"))


def redacted(uri: str) -> str:
    """An address as it may be shown and stored: no value of a query is in it.

    Addresses that differ in more than what gives access stay distinct, by a digest of the rest;
    those that differ in access alone become equal, so that a signature may be renewed.
    """
    plain = uri.partition("#")[0] if is_http(uri) else uri
    if not is_http(plain) or "?" not in plain:
        return plain
    start, query = plain.split("?", 1)
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if not is_secret(pair[0])]
    if not pairs:
        return start + HIDDEN
    text = "\0".join(f"{name}={value}" for name, value in pairs)
    return f"{start}{HIDDEN}{blake2b(text.encode(), digest_size=6).hexdigest()}"


def is_secret(parameter: str) -> bool:
    """Whether a parameter of a query gives access."""
    return SECRET.fullmatch(parameter) is not None


def has_secret(uri: str) -> bool:
    """Whether a parameter of an address's query gives access."""
    query = uri.partition("?")[2] if is_http(uri) else ""
    return any(is_secret(name) for name, _ in parse_qsl(query, keep_blank_values=True))
