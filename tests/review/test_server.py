"""The server as a hostile or clumsy client meets it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from PIL import Image

from sfumato.data import Dataset, Sample, read_dataset
from sfumato.errors import UsageError
from sfumato.review import ReviewSettings, Session
from sfumato.review.http import HEADERS, MOST_BODY
from sfumato.review.server import ReviewServer, ServerOptions, page_files, usual_port
from tests.conftest import drawn, face_table

BOX = [10.0, 8.0, 30.0, 40.0]
FIRST = "train/apple/0.jpg"
HOSTILE = "<script>alert(1)</script>"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass
class Client:
    """Sends what a browser on our page would send, unless told otherwise."""

    server: ReviewServer
    token: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, *, method: str = "GET", body: Any = None, **headers: str | None) -> Answer:
        port = self.server.guard.port
        sent: dict[str, str | None] = {
            "Host": f"127.0.0.1:{port}",
            "Cookie": f"{self.server.cookie}={self.token}",
            "Sec-Fetch-Site": "same-origin",
            **self.headers,
        }
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            sent |= {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
            sent |= {"Content-Length": str(len(data))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str | None) -> Answer:
        return self.ask(path, method="POST", body=body, **headers)


@contextmanager
def serving(
    dataset: Dataset,
    folder: Path,
    *,
    settings: ReviewSettings | None = None,
    boxes: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Client]:
    """A client of a running server; every image has the same face, where nothing else is said."""
    table = face_table(dataset, boxes or {sample.image_id: [BOX] for sample in dataset.samples})
    session = Session.open(table, dataset, folder, settings or ReviewSettings())
    with closing(session):
        token = session.add_reviewer("Ada")
        server = ReviewServer(session, ServerOptions(**options))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Client(server, token)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """For tests that change nothing: one server for all of them."""
    folder = tmp_path_factory.mktemp("server")
    for number in range(3):
        path = folder / "photos/train" / ("apple", "pear")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(seed=number)).save(path)
    with serving(read_dataset(folder / "photos"), folder / "reviews") as made:
        yield made


@pytest.fixture
def fresh(photos: Path, tmp_path: Path) -> Iterator[Client]:
    """A server of its own, over 20 images."""
    with serving(read_dataset(photos), tmp_path / "reviews") as made:
        yield made


def submission(client: Client, image_id: str = FIRST, **change: Any) -> dict[str, Any]:
    item = client.ask(f"/api/item?{urlencode({'id': image_id})}").json["item"]
    faces = [[*face["box"], face["kind"], face["source"]] for face in item["faces"]]
    return {
        "image_id": image_id,
        "base": item["base"],
        "faces": faces,
        "state": "done",
        "seconds": 1.5,
    } | change


def test_a_link_becomes_a_cookie_and_a_clean_address(client: Client) -> None:
    link = client.server.link(client.token)
    assert link.startswith(f"http://127.0.0.1:{client.server.guard.port}/?token=")
    answer = client.ask("/" + link.split("/")[-1], Cookie=None, Sec_Fetch_Site="none")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    page = client.ask("/", Cookie=cookie.split(";")[0], Sec_Fetch_Site="none")
    assert page.status == 200
    assert b"<title>Review" in page.data


def test_a_link_on_another_site_leads_in_without_a_redirect(client: Client) -> None:
    """A redirect after a step from another site would be followed without the cookie."""
    navigation = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    answer = client.ask(f"/?token={client.token}", Cookie=None, **navigation)
    assert answer.status == 200
    assert answer.headers["Set-Cookie"]
    assert b'content="0; url=/"' in answer.data


@pytest.mark.parametrize("cookie", [None, "", "nonsense", "sfumato_{port}=", "sfumato_{port}=wrong", '"; ='])
@pytest.mark.parametrize("path", ["/", "/page/main.js", "/api/start", f"/image?id={FIRST}", "/api/nothing"])
def test_nothing_is_shown_without_the_token(client: Client, cookie: str | None, path: str) -> None:
    sent = None if cookie is None else cookie.format(port=client.server.guard.port)
    answer = client.ask(path, Cookie=sent)
    assert answer.status == 401
    assert "link" in answer.json["error"]


def test_a_wrong_token_sets_no_cookie(client: Client) -> None:
    answer = client.ask("/?token=wrong", Cookie=None)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    assert client.post("/api/save", submission(client), Cookie=None).status == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "localhost:{port}@evil.example",
        "x@127.0.0.1:{port}",
        "192.168.0.1:{port}",
        "[::1",
        "127.0.0.1:{port}/",
        "",
        None,
    ],
)
def test_a_name_that_is_not_ours_is_refused(client: Client, host: str | None) -> None:
    sent = None if host is None else host.format(port=client.server.guard.port)
    assert client.ask("/api/start", Host=sent).status == 421


@pytest.mark.parametrize("host", ["localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_other_names_of_this_machine_are_fine(client: Client, host: str) -> None:
    assert client.ask("/api/start", Host=host.format(port=client.server.guard.port)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-site"},
        {"Origin": None, "Sec_Fetch_Site": None},
        {"Origin": None, "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
)
def test_a_post_from_elsewhere_is_refused(client: Client, headers: dict[str, str | None]) -> None:
    port = str(client.server.guard.port)
    sent = {name: value and value.replace("{port}", port) for name, value in headers.items()}
    before = client.ask("/api/status").json
    assert client.post("/api/save", submission(client), **sent).status == 403
    assert client.ask("/api/status").json == before


@pytest.mark.parametrize("path", [f"/image?id={FIRST}", "/api/start", "/page/main.js"])
def test_other_sites_cannot_take_parts_in(client: Client, path: str) -> None:
    for site in ("cross-site", "same-site"):
        answer = client.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image")
        assert answer.status == 403
    # Not even as a page of its own.
    navigation = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert client.ask(path, **navigation).status == 403


@pytest.mark.parametrize(
    "image_id",
    [
        "../secret.jpg",
        "../../etc/passwd",
        "/etc/passwd",
        "train/apple/../../../secret.jpg",
        "train/apple/./0.jpg",
        "train//apple/0.jpg",
        "train/apple/0.jpg\0",
        "train/apple",
        "train\\apple\\0.jpg",
        "file:///etc/passwd",
        "",
        "TRAIN/apple/0.jpg",
    ],
)
def test_only_ids_of_the_data_set_are_images(client: Client, image_id: str) -> None:
    Image.fromarray(drawn()).save(client.server.session.dataset.root.parent / "secret.jpg")
    for path in ("/image", "/thumbnail", "/crop", "/api/item"):
        query = urlencode({"id": image_id, "box": "1,2,30,40"})
        assert client.ask(f"{path}?{query}").status == 404
    work = submission(client) | {"image_id": image_id}
    assert client.post("/api/save", work).status == 404
    assert client.post("/api/reject", {"faces": [[image_id, 0, "x"]]}).status == 404


def test_a_table_from_elsewhere_leads_nowhere(photos: Path, tmp_path: Path) -> None:
    """Ids are taken from the face table, so a table with hostile ones opens nothing either."""
    secret = photos.parent / "secret.jpg"
    Image.fromarray(drawn()).save(secret)
    for hostile in ("../secret.jpg", str(secret)):
        dataset = read_dataset(photos)
        samples = (Sample(hostile, "train", 0), *dataset.samples)
        dataset = replace(dataset, samples=tuple(sorted(samples, key=lambda sample: sample.image_id)))
        with serving(dataset, tmp_path / f"r{len(hostile)}") as client:
            assert client.ask(f"/image?{urlencode({'id': FIRST})}").status == 200
            for path in ("/image", "/thumbnail", "/api/item"):
                assert client.ask(f"{path}?{urlencode({'id': hostile})}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/page/../server.py",
        "/page/..%2fserver.py",
        "/page//etc/passwd",
        "/page/%2e%2e/server.py",
        "/page/",
        "/train/apple/0.jpg",
        "/api/__init__",
        "/api/",
        "//evil.example/",
    ],
)
def test_only_the_pages_own_files_are_files(client: Client, path: str) -> None:
    assert client.ask(path).status == 404


def test_every_answer_carries_the_policy(client: Client) -> None:
    answers = [
        client.ask("/"),
        client.ask("/page/style.css"),
        client.ask("/api/start"),
        client.ask(f"/image?id={FIRST}"),
        client.ask("/nothing"),
        client.ask("/", Cookie=None),
        client.ask("/", Host="evil.example"),
        client.ask("/", method="DELETE"),
        client.post("/api/save", b"{"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 401, 421, 501, 400]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_all(name) == [value]
        assert "python" not in answer.headers["Server"].lower()
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    assert HEADERS["Referrer-Policy"] == "no-referrer"
    assert HEADERS["Cache-Control"] == "no-store"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    files = page_files()
    html = files["index.html"].data.decode()
    assert "<script>" not in html
    assert " style=" not in html
    assert " on" not in html.replace(" on-", "").split("<body>")[0]
    for name, file in files.items():
        text = file.data.decode()
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
        assert "https://" not in text, name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, name


def test_work_is_saved_and_counts(fresh: Client) -> None:
    work = submission(fresh, faces=[[1, 2, 20.5, 30, "photo", ""]], comment="a poster")
    answer = fresh.post("/api/save", work)
    assert (answer.status, answer.json["kind"]) == (200, "saved")
    again = fresh.post("/api/save", work | {"faces": []}).json
    assert again["kind"] == "stale"
    assert [face["box"] for face in again["theirs"]] == [[1, 2, 20.5, 30]]
    assert [face["kind"] for face in again["theirs"]] == ["photo"]
    assert again["mine"] == []


BAD_WORK: list[dict[str, Any]] = [
    {"faces": "none"},
    {"faces": None},
    {"faces": [[1, 2, 3, 4]]},
    {"faces": [[1, 2, 3, 4, "face"]]},
    {"faces": [[1, 2, 3, "4", "face", ""]]},
    {"faces": [[True, 2, 3, 4, "face", ""]]},
    {"faces": [[30, 2, 3, 4, "face", ""]]},
    {"faces": [[1, 2, 3, 1e300, "face", ""]]},
    {"faces": [[1, 2, 3, 10**400, "face", ""]]},
    {"faces": [[1, 2, 3, 2e6, "face", ""]]},
    {"faces": [[1, 2, 3, 4, HOSTILE, ""]]},
    {"faces": [[1, 2, 3, 4, "face", None]]},
    {"faces": [[1, 2, 3, 4, "face", ""]] * 2001},
    {"state": "finished"},
    {"state": ["done"]},
    {"comment": 5},
    {"comment": "x" * 4001},
    {"base": None},
    {"seconds": -1},
    {"seconds": "1"},
    {"seconds": True},
]


@pytest.mark.parametrize("change", BAD_WORK, ids=lambda change: str(change)[:50])
def test_work_that_is_none_is_refused_whole(client: Client, change: dict[str, Any]) -> None:
    before = submission(client)
    answer = client.post("/api/save", submission(client, **change))
    assert answer.status == 400, answer.data
    assert answer.json["error"]
    assert submission(client) == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'{"a": NaN}', {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{}", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content_Type": None}, 415),
        (b"{}", {"Content_Length": None}, 411),
        (b"{}", {"Content_Length": "-1"}, 411),
        (b"{}", {"Content_Length": "2, 2"}, 411),
        (b"{}", {"Transfer_Encoding": "chunked"}, 411),
        (b"{}", {"Content_Length": str(MOST_BODY + 1)}, 413),
        (b"{}", {"Content_Length": "9" * 30}, 413),
    ],
)
def test_a_body_that_cannot_be_is_refused(
    client: Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/api/save", body, **headers)
    assert answer.status == status
    assert answer.headers["Connection"] == "close"
    assert client.ask("/api/start").status == 200


@pytest.mark.parametrize(
    "query",
    ["order=name", "page=-1", "page=x", "size=0", "size=241", "page=" + "9" * 20, "page=٣"],
)
def test_a_page_of_the_grid_that_cannot_be_is_refused(client: Client, query: str) -> None:
    assert client.ask(f"/api/grid?{quote(query, safe='=&')}").status == 400


@pytest.mark.parametrize(
    "box", ["", "1,2,3", "1,2,3,x", "nan,0,1,1", "5,5,1,1", "0,0,1e9,1", "1,2,3,4,5,6,7,8"]
)
def test_a_crop_of_no_box_is_refused(client: Client, box: str) -> None:
    assert client.ask(f"/crop?{urlencode({'id': FIRST, 'box': box})}").status == 400


def test_faces_are_thrown_out(fresh: Client) -> None:
    cells = fresh.ask("/api/grid?order=score&size=5").json["cells"]
    rows = [[cell["image_id"], cell["index"], cell["base"]] for cell in cells[:3]]
    answer = fresh.post("/api/reject", {"faces": rows}).json
    assert (answer["kind"], answer["n_saved"], answer["stale"]) == ("saved", 3, [])
    assert submission(fresh, cells[0]["image_id"])["faces"] == []
    assert fresh.post("/api/reject", {"faces": rows[:1]}).json["stale"] == [cells[0]["image_id"]]
    for bad in ([], None, [["a", 1]], [[FIRST, "0", "x"]], [[FIRST, True, "x"]], [rows[0]] * 2001):
        assert fresh.post("/api/reject", {"faces": bad}).status == 400
    cells = fresh.ask("/api/grid?order=score&size=5").json["cells"]
    assert [cell["rejected"] for cell in cells] == [True, True, True, False, False]
    back = [[cell["image_id"], cell["row"], cell["base"]] for cell in cells[:2]]
    assert fresh.post("/api/restore", {"faces": back}).json["n_saved"] == 2
    assert [face["box"] for face in submission_faces(fresh, cells[0]["image_id"])] == [BOX]


def submission_faces(client: Client, image_id: str) -> list[dict[str, Any]]:
    faces: list[dict[str, Any]] = client.ask(f"/api/item?id={image_id}").json["item"]["faces"]
    return faces


def test_images_without_faces(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    with serving(dataset, tmp_path / "r", boxes={FIRST: [BOX]}) as client:
        images = client.ask("/api/grid?order=no-faces&size=5").json
        assert images["total"] == 19
        assert FIRST not in [cell["image_id"] for cell in images["cells"]]
        assert {cell["index"] for cell in images["cells"]} == {-1}


def test_likeness_shows_every_face_once(fresh: Client) -> None:
    pages = [fresh.ask(f"/api/grid?order=likeness&size=8&page={page}").json for page in range(4)]
    shown = [cell["image_id"] for page in pages for cell in page["cells"]]
    assert len(shown) == pages[0]["total"] == 20
    assert len(set(shown)) == 20


def test_read_only_refuses_every_write(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    with serving(dataset, tmp_path / "reviews") as client:
        token = client.token
    settings = ReviewSettings(read_only=True)
    with serving(dataset, tmp_path / "reviews", settings=settings) as client:
        client.token = token
        assert client.ask("/api/start").json["read_only"] is True
        assert client.ask("/api/next").json["item"]["faces"]
        for path in ("/api/save", "/api/reject"):
            assert client.post(path, submission(client)).status == 403


def test_pictures_are_named_so_that_they_are_sent_once(fresh: Client, photos: Path) -> None:
    for path in ("/image", "/thumbnail", "/crop"):
        address = f"{path}?{urlencode({'id': FIRST, 'box': '1,2,30,40'})}"
        answer = fresh.ask(address)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        tag = answer.headers["ETag"]
        again = fresh.ask(address, If_None_Match=tag)
        assert (again.status, again.data) == (304, b"")
    Image.fromarray(drawn(seed=9)).save(photos / FIRST, quality=50)
    assert fresh.ask(address, If_None_Match=tag).status == 200


def test_an_image_that_cannot_be_read_is_said_to_be_so(fresh: Client, photos: Path) -> None:
    (photos / FIRST).write_bytes(b"no picture")
    for path in ("/image", "/thumbnail", "/crop"):
        answer = fresh.ask(f"{path}?{urlencode({'id': FIRST, 'box': '1,2,30,40'})}")
        assert answer.status == 404
        assert "not a picture" in answer.json["error"]


def test_hostile_names_travel_as_json(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    dataset = replace(dataset, categories=(HOSTILE, "pear"))
    with serving(dataset, tmp_path / "reviews") as client:
        answer = client.ask(f"/api/item?id={FIRST}")
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json["item"]["category"] == HOSTILE


def test_a_connection_serves_one_request_after_the_other(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.server.guard.port, timeout=20)
    headers = {"Cookie": f"{client.server.cookie}={client.token}"}
    for path in ("/api/start", f"/image?id={FIRST}", "/nothing", "/api/status"):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        assert len(response.read()) == int(response.headers["Content-Length"])
        assert response.version == 11
    connection.close()


# Where the server listens


def test_other_machines_are_let_in_only_on_request(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.168.0.1", "example.org", "::"):
        with pytest.raises(UsageError, match="--allow-remote"):
            ServerOptions(host)
        assert "--certificate" in ServerOptions(host, allow_remote=True).warning
    assert ServerOptions("127.0.0.1").warning == ServerOptions("localhost").warning == ""
    assert ServerOptions("0.0.0.0", allow_remote=True, certificate=tmp_path / "c.pem").warning == ""
    with pytest.raises(UsageError, match="--certificate"):
        ServerOptions(key=tmp_path / "k.pem")


def test_on_all_addresses_numbers_are_fine_and_names_are_not(photos: Path, tmp_path: Path) -> None:
    with serving(read_dataset(photos), tmp_path / "r", host="0.0.0.0", allow_remote=True) as client:
        port = client.server.guard.port
        for host, status in (("192.168.0.7", 200), ("[fe80::1]", 200), ("evil.example", 421)):
            assert client.ask("/api/start", Host=f"{host}:{port}").status == status


def test_a_port_that_is_taken(client: Client, photos: Path, tmp_path: Path) -> None:
    port = client.server.guard.port
    with (
        pytest.raises(UsageError, match="cannot listen"),
        serving(read_dataset(photos), tmp_path / "other", port=port),
    ):
        pass
    with serving(read_dataset(photos), tmp_path / "third", port=port, or_any_port=True) as other:
        assert other.server.guard.port != port
        assert other.ask("/api/start").status == 200


def test_the_usual_port_is_that_of_the_folder(tmp_path: Path) -> None:
    ports = {usual_port(tmp_path / str(number)) for number in range(50)}
    assert len(ports) > 40
    assert all(20_000 <= port < 30_000 for port in ports)
    assert usual_port(tmp_path / "a") == usual_port(tmp_path / "b" / ".." / "a")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that this test made, with its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    try:
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                *curve,
                "-nodes",
                "-keyout",
                key,
                "-out",
                cert,
                "-days",
                "2",
                *subject,
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    return cert, key


def test_https(photos: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with serving(read_dataset(photos), tmp_path / "r", certificate=cert, key=key) as client:
        port = client.server.guard.port
        assert client.server.link("x") == f"https://127.0.0.1:{port}/?token=x"
        context = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        connection.request("GET", f"/?token={client.token}")
        response = connection.getresponse()
        assert response.status == 303
        assert "Secure" in response.headers["Set-Cookie"].split("; ")
        connection.close()


def test_a_certificate_that_is_none(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nothing")
    with (
        pytest.raises(UsageError, match=r"c\.pem"),
        serving(read_dataset(photos), tmp_path / "r", certificate=tmp_path / "c.pem"),
    ):
        pass


def upright_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(274, 1) == 1
        return image.size


def test_a_turned_photograph_is_sent_upright(photos: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(drawn(40, 80)).save(photos / FIRST, exif=exif)
    with serving(read_dataset(photos), tmp_path / "r") as client:
        item = client.ask(f"/api/item?id={FIRST}").json["item"]
        assert (item["width"], item["height"]) == (40, 80)
        assert upright_size(client.ask(f"/image?id={FIRST}").data) == (40, 80)


Ask = Callable[[int], None]


def test_many_at_once(client: Client) -> None:
    statuses: list[int] = []

    def ask(number: int) -> None:
        path = ("/api/next", f"/image?id={FIRST}", "/api/status", "/api/grid?size=20")[number % 4]
        statuses.append(client.ask(path).status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 24


@pytest.mark.parametrize("path", ["/api/start?" + "a=1&" * 20, "//[x/", "/%", "/?token=%ff", "/image?id=%ff"])
def test_odd_addresses(client: Client, path: str) -> None:
    assert client.ask(path).status in (400, 401, 404)


def test_a_comment_that_is_no_text_is_refused(client: Client) -> None:
    body = submission(client) | {"comment": "\ud800"}
    assert client.post("/api/save", body).status == 400


def test_silent_visitors_do_not_take_all_threads(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.review.server._MOST_CONNECTIONS", 3)
    with serving(read_dataset(photos), tmp_path / "reviews") as client:
        address = ("127.0.0.1", client.server.guard.port)
        silent = [socket.create_connection(address, timeout=20) for _ in range(3)]
        with socket.create_connection(address, timeout=20) as late:
            assert late.recv(1) == b""  # turned away at once
        silent.pop().close()
        wait_until(lambda: answers(client))
        for connection in silent:
            connection.close()


def answers(client: Client) -> bool:
    try:
        return client.ask("/").status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.02)
    pytest.fail("never")
