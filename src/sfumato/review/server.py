"""The server of the page: a few files, JSON, and the images of the data set by their ids."""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, gethostname, socket
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from sfumato.errors import ImageError, SfumatoError, UsageError
from sfumato.review.api import Api, box_of
from sfumato.review.crops import crop, thumbnail
from sfumato.review.http import HEADERS, LOOPBACK, Guard, Refused, cookie_of, read_json_body
from sfumato.review.model import Reviewer
from sfumato.review.pictures import Picture, encoded, entity_tag, upright_picture
from sfumato.review.session import Session

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_THUMBNAIL = 224
_FIRST_PORT, _PORTS = 20_000, 10_000  # registered for little, and given to no outgoing connection
_MOST_CONNECTIONS = 256  # each has a thread; browsers open about six
_YEAR = 365 * 24 * 3600
_ENTRY = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Review</title>'
    '<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Go to the review</a></p></html>'
)


@dataclass(frozen=True)
class ServerOptions:
    """Where the server listens.

    Attributes:
        host: name or address to listen on.
        port: number of the port; 0 takes a free one.
        or_any_port: take a free port where this one is taken.
        allow_remote: whether `host` may be another than this machine itself.
        certificate, key: files (PEM) for HTTPS.
    """

    host: str = "127.0.0.1"
    port: int = 0
    or_any_port: bool = False
    allow_remote: bool = False
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.allow_remote:
            raise UsageError(
                f"--host {self.host} lets other machines see the images; if that is meant, "
                "add --allow-remote, and --certificate and --key for HTTPS"
            )
        if self.key is not None and self.certificate is None:
            raise UsageError("--key needs --certificate, the certificate that it belongs to")

    @property
    def warning(self) -> str:
        """What the person who starts the server should know; empty where all is well."""
        if self.host in LOOPBACK or self.certificate is not None:
            return ""
        return (
            "without --certificate and --key everybody on the network can read links and images on their way"
        )


def usual_port(folder: Path) -> int:
    """A port that is the same for a review folder each time.

    Browsers keep unsent work by address and port, so it is found again after the server was started anew.
    """
    digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).digest()
    return _FIRST_PORT + int.from_bytes(digest[:4]) % _PORTS


class ReviewServer(ThreadingHTTPServer):
    """Serves one review until it is shut down; a thread for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, session: Session, options: ServerOptions) -> None:
        """Listen; requests are answered by `serve_forever`.

        Args:
            session: the review.
            options: where to listen.

        Raises:
            UsageError: the port is taken, the host is not ours, or the certificate cannot be read.
        """
        self.session = session
        self.api = Api(session)
        self.files = page_files()
        self._options = options
        self._free = BoundedSemaphore(_MOST_CONNECTIONS)
        self.address_family = AF_INET6 if ":" in options.host else AF_INET
        tls = _tls(options)
        self._listen(options.port)
        if tls is not None:
            # The handshake happens in the connection's own thread: a slow visitor holds up nobody.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.guard = self._make_guard()

    def _listen(self, port: int) -> None:
        host = self._options.host
        try:
            super().__init__((host, port), _Requests)
        except OSError as error:
            if port and self._options.or_any_port:
                return self._listen(0)
            raise UsageError(
                f"{host}:{port}: cannot listen there ({error.strerror}); give another --port or --host"
            ) from error

    def _make_guard(self) -> Guard:
        host = self._options.host.lower()
        everywhere = _is_wildcard(host)
        names = LOOPBACK | {host} | ({gethostname().lower()} if everywhere else set())
        scheme = "https" if self._options.certificate else "http"
        return Guard(scheme, int(self.server_address[1]), frozenset(names), any_address=everywhere)

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers share cookies between all ports of a machine."""
        return f"sfumato_{self.guard.port}"

    def link(self, token: str) -> str:
        """The address that a person opens."""
        host = self._options.host
        shown = gethostname() if _is_wildcard(host) else f"[{host}]" if ":" in host else host
        return f"{self.guard.scheme}://{shown}:{self.guard.port}/?token={quote(token, safe='')}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, as long as there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of one connection, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what is unexpected; connections that break off are not: people leave pages."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | ssl.SSLError):
            super().handle_error(request, client_address)


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def _tls(options: ServerOptions) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{options.certificate}: not a certificate with its key ({error})") from error
    return context


def page_files() -> dict[str, Picture]:
    """The page's own files by name, read once: no name from a request ever reaches the file system."""
    folder = resources.files("sfumato.review") / "page"
    return {
        entry.name: Picture(entry.read_bytes(), _TYPES[Path(entry.name).suffix])
        for entry in folder.iterdir()
        if Path(entry.name).suffix in _TYPES
    }


@dataclass(frozen=True)
class _Answer:
    data: bytes = b""
    media_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def _json(value: Any, status: int = 200) -> _Answer:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _Answer(text.encode("utf-8", "surrogatepass"), "application/json", status)


def _parts_of(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError as error:
        raise Refused(400, "not an address") from error


def _query_of(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=16))
    except ValueError as error:
        raise Refused(400, "too many fields") from error


class _Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    server: ReviewServer
    connection: socket
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sfumato", ""
    timeout = 60  # seconds that a silent connection is kept
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer goes out in one piece

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._respond(self._get)

    def do_POST(self) -> None:
        """Answer a POST request."""
        self._respond(self._post)

    def _respond(self, answer: Callable[[str, dict[str, str]], _Answer]) -> None:
        try:
            parts = _parts_of(self.path)
            self.server.guard.check(self.command, parts.path, self.headers)
            self._send(answer(parts.path, _query_of(parts.query)))
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except ImageError as error:
            self._refuse(404, str(error))
        except SfumatoError as error:
            self._refuse(400 if isinstance(error, UsageError) else 500, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except OSError as error:
            self._refuse(500, f"not done: {error.strerror} ({error.filename or 'no file'})")
        except Exception:
            self._refuse(500, "an unexpected error, which the terminal of sfumato review shows")
            raise

    def _refuse(self, status: int, message: str) -> None:
        # A body that was not read would be taken for the next request.
        self.close_connection = self.close_connection or self.command != "GET"
        self._send(_json({"error": message}, status))

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**HEADERS, **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.data)

    def send_error(self, code: int, message: str | None = None, _explain: str | None = None) -> None:
        """Refuse what is no request that we know, with the headers of every other answer."""
        self.close_connection = True
        self._send(_json({"error": message or HTTPStatus(code).phrase}, code))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep silent: the first line of a request may hold somebody's token."""

    # Questions

    def _get(self, path: str, query: dict[str, str]) -> _Answer:
        if path == "/" and "token" in query:
            return self._enter(query["token"])
        reviewer = self._reviewer()
        if path == "/":
            return self._file("index.html")
        if path.startswith("/page/"):
            return self._file(path.removeprefix("/page/"))
        if path.startswith("/api/"):
            ask = self.server.api.asked.get(path.removeprefix("/api/"))
            if ask is not None:
                return _json(ask(reviewer, query))
        if path in ("/image", "/thumbnail", "/crop"):
            return self._picture(path, query)
        raise Refused(404, "there is nothing here")

    def _post(self, path: str, _query: dict[str, str]) -> _Answer:
        reviewer = self._reviewer()
        write = self.server.api.written.get(path.removeprefix("/api/"))
        if write is None or not path.startswith("/api/"):
            raise Refused(404, "there is nothing here")
        if self.server.session.settings.read_only:
            raise Refused(403, "this review is read only")
        return _json(write(reviewer, read_json_body(self.headers, self.rfile)))

    def _reviewer(self) -> Reviewer:
        reviewer = self.server.session.reviewer(cookie_of(self.headers, self.server.cookie))
        if reviewer is None:
            raise Refused(401, "open the link that sfumato review printed; this browser is not known here")
        return reviewer

    def _enter(self, token: str) -> _Answer:
        """Take the token out of the address, where others may read it, into a cookie."""
        if self.server.session.reviewer(token) is None:
            raise Refused(401, "this link is not valid; open the one that sfumato review printed last")
        secure = "; Secure" if self.server.guard.scheme == "https" else ""
        cookie = f"{self.server.cookie}={token}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Strict{secure}"
        if self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            # After a link on another site a redirect goes without the cookie; a step of our own does not.
            return _Answer(_ENTRY.encode(), "text/html; charset=utf-8", 200, {"Set-Cookie": cookie})
        return _Answer(status=303, headers={"Set-Cookie": cookie, "Location": "/"})

    def _file(self, name: str) -> _Answer:
        file = self.server.files.get(name)
        if file is None:
            raise Refused(404, "there is nothing here")
        return _Answer(file.data, file.media_type)

    def _picture(self, path: str, query: dict[str, str]) -> _Answer:
        image_id = self.server.api.sample(query.get("id", "")).image_id
        file = self.server.session.dataset.path(image_id)
        tag = entity_tag(file, path, query.get("box"))
        if self.headers.get("If-None-Match") == tag:
            return _Answer(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        if path == "/image":
            picture = upright_picture(file)
        elif path == "/thumbnail":
            picture = encoded(thumbnail(file, side=_THUMBNAIL), quality=85)
        else:
            picture = encoded(crop(file, box_of(query.get("box", ""))), quality=85)
        return _Answer(picture.data, picture.media_type, headers={"ETag": tag})
