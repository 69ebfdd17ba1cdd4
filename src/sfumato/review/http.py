"""What a request must show before it is answered, and what every answer carries.

The server listens on this machine, where any web page that the reviewer visits can send requests to it.
Three things keep them out: a secret in a cookie that is sent to no other site, the name that the request was
sent to (a hostile name may be made to mean 127.0.0.1: DNS rebinding), and what the browser says about who
asks.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from io import BufferedIOBase
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Host names that mean this machine, and no other."""

MOST_BODY = 1 << 20
"""Bytes of a request's body at most; a thousand boxes take a tenth of it."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",  # faces stay out of the browser's files
}
"""Headers of every answer, errors included."""


class Refused(Exception):
    """A request that is not answered; the message is for the person who reads the answer.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Guard:
    """Which requests come from our own page.

    Attributes:
        scheme: "http" or "https".
        port: that the server listens on.
        names: host names, in lower case, that a request may be sent to.
        any_address: whether a request may be sent to any address written as a number; set where the server
            listens on all of them. A number cannot be made to mean another machine.
    """

    scheme: str
    port: int
    names: frozenset[str] = LOOPBACK
    any_address: bool = False

    def check(self, method: str, path: str, headers: Message) -> None:
        """Let a request pass.

        Args:
            method: "GET" or "POST".
            path: without its query.
            headers: of the request.

        Raises:
            Refused: it was sent to another name (421), or comes from another site (403).
        """
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise Refused(421, "this server is not called that; open the link that sfumato review printed")
        if not self._is_same_origin(method, path, headers):
            raise Refused(403, "a request from another site is not answered")

    def _is_ours(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[self.scheme]
        except ValueError:
            return False
        if parts.netloc != host or parts.username is not None or port != self.port:
            return False
        return name in self.names or (self.any_address and _is_address(name))

    def _is_same_origin(self, method: str, path: str, headers: Message) -> bool:
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if origin is not None and origin.lower() != f"{self.scheme}://{headers['Host']}".lower():
            return False
        if method != "GET" and origin is None and site is None:
            return False  # every browser says where a POST comes from
        if site in (None, "same-origin", "none"):
            return True
        # A link somewhere else may lead to the front door, as a page of its own.
        entry = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        return entry and method == "GET" and path == "/"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def cookie_of(headers: Message, name: str) -> str:
    """Value of a cookie of the request; empty where there is none."""
    try:
        cookies = SimpleCookie(headers.get("Cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def read_json_body(headers: Message, stream: BufferedIOBase) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        Refused: another media type (415), no length (411), too long (413), or no JSON object (400).
    """
    if headers.get_content_type() != "application/json" or "Content-Type" not in headers:
        raise Refused(415, "send JSON, as application/json")
    length = headers.get("Content-Length", "")
    if "Transfer-Encoding" in headers or not (length.isascii() and length.isdigit()):
        raise Refused(411, "say the length of the body")
    if int(length) > MOST_BODY:
        raise Refused(413, f"a body may have {MOST_BODY} bytes, not {length}")
    try:
        value = json.loads(stream.read(int(length)), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise Refused(400, "expected a JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
