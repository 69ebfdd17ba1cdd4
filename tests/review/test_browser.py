"""The page as people use it: headless Chromium, a server in a process of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.data import read_dataset
from sfumato.faces import Faces, FaceTable, read_faces
from sfumato.records import write_json
from sfumato.review import ReviewSettings, Session
from sfumato.review.log import read_records
from sfumato.review.server import ReviewServer, ServerOptions
from tests.conftest import drawn
from tests.review.people import Hands, Keyboard, Known, Mouse, Server, Touch, as_faces, correct, write_faces

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

WIDE, NARROW = (1280, 800), (400, 800)
SIZE = (160, 120)
FACE = (40.0, 30.0, 80.0, 80.0)
HOSTILE = "<script>alert(1)<"  # a folder cannot be called </script>: the next one below it is "script>"


def write_photos(root: Path, count: int) -> list[str]:
    """Images in two categories, one of which has a hostile name; their ids."""
    ids = []
    for number in range(count):
        folder = f"{HOSTILE}/script>" if number % 2 else "people"
        path = root / folder / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(SIZE[1], SIZE[0], seed=number)).save(path, quality=90)
        ids.append(path.relative_to(root).as_posix())
    return ids


@contextmanager
def review(
    tmp_path: Path,
    found: Mapping[str, Faces],
    names: tuple[str, ...] = ("Ada",),
    options: tuple[str, ...] = (),
) -> Iterator[Server]:
    """A server over `photos` with these faces."""
    write_faces(tmp_path / "faces", read_dataset(tmp_path / "photos"), found)
    server = Server(tmp_path / "faces", tmp_path / "photos", ("--audit-share", "0", *options))
    server.start(*names)
    try:
        yield server
    finally:
        if server.process is not None:
            server.stop()


@contextmanager
def person(
    browser: Browser, link: str, size: tuple[int, int] = WIDE, *, touch: bool = False, quiet: bool = True
) -> Iterator[Page]:
    """A page that a person has open; whatever the browser complains about fails the test."""
    context: BrowserContext = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, has_touch=touch
    )
    context.set_default_timeout(8000)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    page.goto(link)
    try:
        yield page
    finally:
        context.close()
    if quiet:
        assert complaints == []


def shown(page: Page) -> str:
    """Id of the image on the stage, once its picture is there."""
    page.wait_for_selector("#stage img[src]")
    return page.locator("#image-id").inner_text()


def open_image(page: Page, image_id: str) -> None:
    """Open an image by its address."""
    page.evaluate("id => { location.hash = '#image=' + encodeURIComponent(id) }", image_id)
    page.wait_for_function(
        "id => document.getElementById('image-id').innerText === id"
        " && document.querySelector('#stage img[src]')",
        arg=image_id,
    )


def leave(hands: Hands) -> None:
    """Go on, and wait until the next image, or the end, is shown."""
    before = shown(hands.page)
    hands.next()
    hands.page.wait_for_function(
        "id => document.getElementById('review-screen').hidden"
        " || (document.getElementById('image-id').innerText !== id"
        " && document.querySelector('#stage img[src]'))",
        arg=before,
    )


def is_done(page: Page) -> bool:
    return page.locator("#done-screen").is_visible()


def merged(tmp_path: Path) -> FaceTable:
    """The face table that comes of the review."""
    faces, out = str(tmp_path / "faces"), tmp_path / "merged"
    assert main(["faces", "merge", faces, "--reviews", f"{faces}-review", "--out", str(out)]) == 0
    return read_faces(out)


def assert_equal(table: FaceTable, truth: Mapping[str, Known]) -> None:
    """The same boxes and kinds, to a pixel of the image: a hand is no more exact."""
    assert set(table.status) == set(truth)
    for image_id, known in truth.items():
        faces = table.of(image_id)
        order = np.lexsort(faces.xyxy.T[::-1])
        known = sorted(known)
        assert [faces.kind[row] for row in order] == [kind for _, kind in known], image_id
        assert faces.xyxy[order] == pytest.approx(np.array([box for box, _ in known]), abs=1.0), image_id


def planted(ids: list[str]) -> tuple[dict[str, Known], dict[str, Known]]:
    """What is wrong with ten images, and what is right: each of five faults twice."""
    found: dict[str, Known] = {}
    truth: dict[str, Known] = {}
    faults: list[tuple[Known, Known]] = [
        ([(FACE, "face")], [(FACE, "face"), ((100.0, 50.0, 130.0, 90.0), "face")]),  # a face was missed
        ([(FACE, "face")], [((52.0, 43.0, 92.0, 93.0), "face")]),  # moved aside
        ([(FACE, "face")], [((40.0, 30.0, 93.0, 101.0), "face")]),  # too small
        ([(FACE, "face"), ((100.0, 20.0, 140.0, 60.0), "face")], [(FACE, "face")]),  # a false alarm
        ([(FACE, "face")], [(FACE, "photo")]),  # of the wrong kind
    ]
    for number, image_id in enumerate(ids):
        found[image_id], truth[image_id] = faults[number % len(faults)]
    return found, truth


@pytest.mark.parametrize("how", [Mouse, Keyboard, Touch])
def test_ten_images_are_put_right(browser: Browser, tmp_path: Path, how: type[Hands]) -> None:
    found, truth = planted(write_photos(tmp_path / "photos", 10))
    faces = {image_id: as_faces(known) for image_id, known in found.items()}
    touch = how is Touch
    with (
        review(tmp_path, faces) as server,
        person(browser, server.links["Ada"], NARROW if touch else WIDE, touch=touch) as page,
    ):
        assert "token" not in page.url
        hands = how(page)
        seen = []
        while not is_done(page):
            seen.append(shown(page))
            correct(hands, found[seen[-1]], truth[seen[-1]])
            leave(hands)
    assert sorted(seen) == sorted(truth)
    assert_equal(merged(tmp_path), truth)


def test_a_wrong_answer_costs_a_life_and_the_last_one_a_restart(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 8)
    right = (100.0, 50.0, 140.0, 90.0)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    box = dict(zip(("x0", "y0", "x1", "y1"), right, strict=True))
    write_json(tmp_path / "gold.json", {"images": {image_id: {"faces": [box]} for image_id in ids[::2]}})
    gold = ("--truth", str(tmp_path / "gold.json"), "--gold-share", "0.5")
    with (
        review(tmp_path, faces, options=gold) as server,
        person(browser, server.links["Ada"]) as page,
    ):
        hands = Mouse(page)
        first = shown(page)
        assert page.locator("#lives").inner_text() == "♥♥ 2 lives"
        while shown(page) not in ids[::2]:
            leave(hands)
        failed = shown(page)
        hands.next()
        page.get_by_role("heading", name="Not quite right").wait_for()
        assert "one life is left" in page.locator("dialog").inner_text()
        assert page.locator("dialog .mark.right").count() == page.locator("dialog .mark.mine").count() == 1
        page.get_by_role("button", name="Try again").click()
        assert shown(page) == failed
        assert page.locator("#lives").inner_text() == "♥ 1 life"
        page.reload()  # which helps nobody
        assert shown(page) == failed
        hands.next()
        page.get_by_role("heading", name="No life is left").wait_for()
        page.keyboard.press("Escape")  # there is no way around it
        page.wait_for_function("() => document.getElementById('lives').innerText === '♥♥ 2 lives'")
        # Begun again: this time everything is answered right.
        assert page.locator("#position").inner_text().startswith("Image 1 of")
        seen = [shown(page)]
        while not is_done(page):
            if shown(page) in ids[::2]:
                hands.delete(FACE)
                hands.draw(right)
            leave(hands)
            seen += [] if is_done(page) else [shown(page)]
    assert first in seen
    assert set(ids[1::2]) <= set(seen)
    records = list(read_records(tmp_path / "faces-review/reviews.jsonl"))
    passed = [record.gold.passed for record in records if record.gold is not None]
    assert passed[:2] == [False, False]
    assert all(passed[2:])
    assert len(passed) > 2


def test_thirty_false_alarms_are_thrown_out(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 20)
    alarms = [(100.0, 10.0, 130.0, 45.0), (105.0, 60.0, 145.0, 110.0)]
    faces = {}
    for number, image_id in enumerate(ids):
        wrong = alarms[: 2 if number < 10 else 1]
        faces[image_id] = Faces.of(
            [FACE, *wrong], [0.95] + [0.1 + 0.01 * number] * len(wrong), source="detector"
        )
    with (
        review(tmp_path, faces) as server,
        person(browser, server.links["Ada"] + "#faces") as page,
    ):
        tiles = page.locator(".tile")
        page.wait_for_selector(".tile img")
        assert tiles.count() == 50
        tiles.nth(0).click()
        tiles.nth(9).click(modifiers=["Shift"])
        assert page.locator("#marked").inner_text() == "10"
        # A rectangle from the middle of one to the middle of another: all that it touches.
        last = next(index for index in range(10, 50) if not same_row(page, 10, index)) - 1
        middle = [centre(page, index) for index in (10, last)]
        Mouse(page).drag(middle[0], middle[1])
        assert page.locator("#marked").inner_text() == str(last + 1)
        # The rest by keyboard; one mark too many is taken away again.
        tiles.nth(last).focus()
        page.keyboard.press("ArrowRight")
        for _ in range(last + 1, 30):
            page.keyboard.press("Shift+ArrowRight")
        assert page.locator(".tile[aria-selected=true]").count() == 31
        page.keyboard.press(" ")
        assert page.locator("#marked").inner_text() == "30"
        page.keyboard.press("x")
        page.get_by_text("30 thrown out.").wait_for()
        assert page.locator(".tile.rejected").count() == 30
        # Second thoughts: all come back, and go again.
        page.keyboard.press("z")
        page.get_by_text("30 put back.").wait_for()
        assert page.locator(".tile.rejected").count() == 0
        tiles.nth(0).click()
        tiles.nth(29).click(modifiers=["Shift"])
        page.get_by_role("button", name="Throw out 30").click()
        page.get_by_text("30 thrown out.").wait_for()
        page.locator("#order").select_option("likeness")
        page.wait_for_function("() => document.querySelectorAll('.tile.rejected').length === 30")
    assert_equal(merged(tmp_path), {image_id: [(FACE, "face")] for image_id in ids})


def centre(page: Page, index: int) -> tuple[float, float]:
    frame = page.locator(".tile").nth(index).bounding_box()
    assert frame is not None
    return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2


def same_row(page: Page, first: int, second: int) -> bool:
    return centre(page, first)[1] == centre(page, second)[1]


def test_two_people_and_one_image(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 4)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    with (
        review(tmp_path, faces, names=("Ada", "Bo")) as server,
        person(browser, server.links["Ada"]) as ada,
        person(browser, server.links["Bo"]) as bo,
    ):
        both = shown(ada)
        assert both != shown(bo)  # leases keep them apart
        leave(Mouse(ada))
        for page in (ada, bo):
            open_image(page, both)
        extra = [(100.0, 20.0, 130.0, 60.0), (90.0, 70.0, 150.0, 110.0)]
        Mouse(ada).draw(extra[0])
        Mouse(bo).draw(extra[1])
        leave(Mouse(ada))
        # Bo comes too late, and is shown both versions.
        Mouse(bo).next()
        bo.get_by_role("heading", name="was saved in the meantime").wait_for()
        assert bo.locator("dialog figure").count() == 2
        assert bo.locator("dialog .mark").count() == 4
        bo.get_by_role("button", name="Keep theirs").click()
        bo.wait_for_selector("dialog", state="hidden")
        assert bo.locator(".box").count() == 2
        Mouse(bo).draw(extra[1])
        leave(Mouse(bo))
    truth: dict[str, Known] = {image_id: [(FACE, "face")] for image_id in ids}
    assert_equal(merged(tmp_path), truth | {both: [(box, "face") for box in (FACE, *extra)]})


def test_who_is_too_late_or_elsewhere_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 4)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    table = write_faces(tmp_path / "faces", read_dataset(tmp_path / "photos"), faces)
    settings = ReviewSettings(audit_share=0, lease_seconds=3600)
    with served(table, tmp_path, settings) as (session, links), person(browser, links["Ada"]) as page:
        hands = Mouse(page)
        first = shown(page)
        hands.draw((100.0, 20.0, 130.0, 60.0))
        bo = session.reviewers.named("Bo")
        assert bo is not None
        # Ada's time ran out, and Bo has the image now.
        session._parts.leases.release_all("Ada")
        item = session.next(bo)
        assert item is not None
        assert item.image_id == first
        hands.next()
        page.get_by_text("Somebody else has").wait_for()
        assert shown(page) != first
        # While an answer is on its way Ada opens another image: she stays there.
        second = shown(page)
        third = next(image_id for image_id in ids if image_id not in (first, second))
        hands.draw((100.0, 20.0, 130.0, 60.0))
        drafts = "id => Object.keys(localStorage).some(key => key.endsWith(id))"
        assert page.evaluate(drafts, second)
        session._lock.acquire()
        hands.next()
        page.evaluate("id => { location.hash = '#image=' + encodeURIComponent(id) }", third)
        page.wait_for_timeout(200)
        session._lock.release()
        page.wait_for_function(f"id => !({drafts})(id)", arg=second)
        page.wait_for_timeout(200)
        assert shown(page) == third
        assert page.evaluate(drafts, first)
        # Whoever is set aside is told so, at once and after coming back.
        session.set_aside("Ada")
        for _ in range(2):
            page.evaluate("location.hash = '#review'")
            page.reload()
            page.get_by_text("Your work is set aside").wait_for()
        page.evaluate("location.hash = '#status'")
        page.get_by_role("cell", name="set aside").wait_for()
        assert "Known answers right" in page.locator("#figures").inner_text()


def test_known_answers_are_counted_for_arbiters_only(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 4)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    table = write_faces(tmp_path / "faces", read_dataset(tmp_path / "photos"), faces)
    truth = {ids[0]: as_faces([(FACE, "face")])}
    with served(table, tmp_path, ReviewSettings(), truth) as (_, links):
        for name, sees in (("Ada", False), ("owner", True)):
            with person(browser, f"{links[name]}#status") as page:
                page.get_by_role("columnheader", name="Agreement").wait_for()
                assert page.get_by_role("columnheader", name="Known answers right").count() == sees


@contextmanager
def served(
    table: FaceTable, tmp_path: Path, settings: ReviewSettings, truth: Mapping[str, Faces] | None = None
) -> Iterator[tuple[Session, dict[str, str]]]:
    """A review in this process, whose clocks and locks the test can reach."""
    session = Session.open(table, read_dataset(tmp_path / "photos"), tmp_path / "review", settings, truth)
    with closing(session), ReviewServer(session, ServerOptions()) as server:
        people = {"Ada": False, "Bo": False, "owner": True}
        links = {name: server.link(session.add_reviewer(name, arbiter=role)) for name, role in people.items()}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield session, links
        finally:
            server.shutdown()
            thread.join()


def test_a_killed_server_and_a_killed_page_lose_nothing(browser: Browser, tmp_path: Path) -> None:
    found, truth = planted(write_photos(tmp_path / "photos", 5))
    faces = {image_id: as_faces(known) for image_id, known in found.items()}
    with (
        review(tmp_path, faces) as server,
        person(browser, server.links["Ada"], quiet=False) as page,
    ):
        hands = Mouse(page)
        for _ in range(2):
            correct(hands, found[shown(page)], truth[shown(page)])
            leave(hands)
        third = shown(page)
        correct(hands, found[third], truth[third])
        boxes = page.locator(".box").evaluate_all("all => all.map(b => b.ariaLabel)")
        page.reload()
        assert shown(page) == third
        page.get_by_text("Work that was not sent yet is back.").wait_for()
        assert page.locator(".box").evaluate_all("all => all.map(b => b.ariaLabel)") == boxes
        server.stop(signal.SIGKILL)
        hands.next()
        page.get_by_text("The server does not answer.").wait_for()
        port = page.url.split(":")[2].split("/")[0]
        server.start("Ada")
        assert f":{port}/" in server.links["Ada"]
        # Nobody does anything: the page sends what it has, with the link from before.
        page.wait_for_function("id => document.getElementById('image-id').innerText !== id", arg=third)
        assert page.locator("#banner").is_hidden()
        while not is_done(page):
            correct(hands, found[shown(page)], truth[shown(page)])
            leave(hands)
        assert server.stop(signal.SIGINT) == 0
    assert_equal(merged(tmp_path), truth)


def test_everything_else_that_hands_do(browser: Browser, tmp_path: Path) -> None:
    """Undo, redo, zoom to 10, pinch, hide, flag, comment, skip, back, and the list of keys."""
    ids = write_photos(tmp_path / "photos", 3)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    with (
        review(tmp_path, faces) as server,
        person(browser, server.links["Ada"], touch=True) as page,
    ):
        first = shown(page)
        boxes, hands = page.locator(".box"), Touch(page)
        page.locator("#stage").focus()
        for key, count in (("b", 2), ("Delete", 1), ("Control+z", 2), ("z", 1), ("Control+z", 1)):
            page.keyboard.press(key)
            assert boxes.count() == count, key
        page.keyboard.press("Control+Shift+z")
        assert boxes.count() == 2
        page.keyboard.press("z")
        assert boxes.count() == 1
        # A small box in a large one is drawn with Ctrl, and can be reached although the other is selected.
        page.keyboard.down("Control")
        Mouse(page).draw((50, 40, 60, 50))
        page.keyboard.up("Control")
        Mouse(page).select((40, 60, 80, 80))
        assert "Box 1 of 2" in page.locator("#selection").inner_text()
        Mouse(page).select((50, 40, 60, 50))
        assert "Box 2 of 2" in page.locator("#selection").inner_text()
        page.keyboard.press("Backspace")
        page.keyboard.press("h")
        assert boxes.count() == 0
        page.keyboard.press("h")
        for _ in range(30):
            page.keyboard.press("+")
        assert page.locator("#zoom").inner_text() == "1000 %"
        page.keyboard.press("0")
        hands.pinch((500, 300), (60, 180))
        assert page.locator("#zoom").inner_text() == "300 %"
        assert boxes.count() == 1  # the first finger drew nothing
        page.mouse.move(400, 300)
        page.mouse.wheel(0, -400)
        page.wait_for_function("() => parseInt(document.getElementById('zoom').innerText) > 400")
        page.keyboard.press("f")
        page.keyboard.press("c")
        page.keyboard.type("a statue? d")  # letters are letters in a comment
        page.keyboard.press("Control+Enter")
        page.wait_for_function("id => document.getElementById('image-id').innerText !== id", arg=first)
        second = shown(page)
        page.keyboard.press("s")
        page.wait_for_function("id => document.getElementById('image-id').innerText !== id", arg=second)
        third = shown(page)
        page.keyboard.press("a")
        page.wait_for_function("id => document.getElementById('image-id').innerText === id", arg=second)
        page.keyboard.press("?")
        listed = page.locator("dialog").inner_text()
        for words in ("Undo", "Zoom in", "Next page", "New box", "Delete the selected box", "Flag"):
            assert words in listed
        page.keyboard.press("Escape")
        page.keyboard.press("e")
        page.get_by_text("0 images without faces").wait_for()
        page.keyboard.press("t")
        page.locator("#figures").get_by_text("Ada").wait_for()
    states = {record.image_id: record for record in read_records(tmp_path / "faces-review/reviews.jsonl")}
    assert states[first].state == "flagged"
    assert states[first].comment == "a statue? d"
    assert states[second].state == "skipped"
    assert third not in states


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_every_screen_fits_and_hostile_names_are_text(
    browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    ids = write_photos(tmp_path / "photos", 6)
    name = "<img src=x onerror=alert(1)>"
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids[:4]}
    with (
        review(tmp_path, faces, names=(name, "Bo")) as server,
        person(browser, server.links.get(name, ""), size) as page,
    ):
        open_image(page, ids[1])
        assert HOSTILE in page.locator("#category").inner_text()
        assert name in page.locator("#who").inner_text()
        for key in ("r", "g", "e", "t", "?"):
            page.keyboard.press(key)
            page.wait_for_load_state("networkidle")
            wide, window = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
            assert wide <= window, key
            unnamed = page.evaluate(
                "[...document.querySelectorAll('button, a, [role=option], input, select, textarea')]"
                ".filter(e => e.checkVisibility())"
                ".filter(e => !(e.ariaLabel || e.innerText.trim() || e.labels?.length)).length"
            )
            assert unnamed == 0, key
        assert page.locator("script").count() == 1
        assert page.locator("img[onerror]").count() == 0


def facts(page: Page) -> Any:
    return page.evaluate("Object.keys(localStorage)")


def test_read_only_shows_and_saves_nothing(browser: Browser, tmp_path: Path) -> None:
    ids = write_photos(tmp_path / "photos", 3)
    faces = {image_id: as_faces([(FACE, "face")]) for image_id in ids}
    with (
        review(tmp_path, faces, options=("--read-only",)) as server,
        person(browser, server.links["Ada"]) as page,
    ):
        first = shown(page)
        assert "read only" in page.locator("#who").inner_text()
        Mouse(page).draw((100, 20, 130, 60))
        page.keyboard.press("b")
        assert page.locator(".box").count() == 1
        leave(Mouse(page))
        assert shown(page) != first
        assert facts(page) == []
    assert not list(read_records(tmp_path / "faces-review/reviews.jsonl"))


GEOMETRY = """async () => {
  const { moved, resized, spanned, changed, undone, redone } = await import('/page/boxes.js');
  const { View } = await import('/page/view.js');
  const wrong = [];
  const check = (holds, what) => holds || wrong.push(what);
  let seed = 7;
  const random = (limit) => (seed = (seed * 48271) % 2147483647) / 2147483647 * limit;
  for (let round = 0; round < 3000; round++) {
    const image = { width: 2 + Math.floor(random(400)), height: 2 + Math.floor(random(400)) };
    const inside = ([x0, y0, x1, y1]) => x0 >= 0 && y0 >= 0 && x1 <= image.width && y1 <= image.height;
    const corner = () => [random(900) - 250, random(900) - 250];
    const box = spanned(corner(), corner(), image);
    check(inside(box) && box[0] <= box[2] && box[1] <= box[3], `spanned ${box}`);
    const [dx, dy] = [random(900) - 450, random(900) - 450];
    const other = moved(box, dx, dy, image);
    check(inside(other), `moved ${other}`);
    check(Math.abs(other[2] - other[0] - box[2] + box[0]) < 1e-9, 'moved keeps its width');
    const beyond = moved([-30, -20, image.width + 9, 5], dx, dy, image);
    check(beyond[2] - beyond[0] === image.width + 39, 'a box beyond the image keeps its width');
    for (const handle of ['n', 'ne', 'e', 'se', 's', 'sw', 'w', 'nw']) {
      const start = [0, 0, image.width, image.height];
      const [x0, y0, x1, y1] = resized(start, handle, dx, dy, image);
      check(inside([x0, y0, x1, y1]) && x1 - x0 >= 2 && y1 - y0 >= 2, `resized ${handle}`);
      check(handle.includes('n') || y0 === 0, `${handle} leaves the top alone`);
      check(handle.includes('e') || x1 === image.width, `${handle} leaves the right alone`);
    }
    const view = new View(image, { width: 300, height: 200 });
    for (let step = 0; step < 4; step++) {
      const at = [random(300), random(200)];
      const before = view.toImage(at);
      view.zoomBy(0.5 + random(2), at);
      check(view.zoom >= 0.5 && view.zoom <= 10, `zoom ${view.zoom}`);
      view.pan(random(800) - 400, random(800) - 400);
      const [x, y] = view.toImage(view.toScreen(before));
      check(Math.hypot(x - before[0], y - before[1]) < 1e-6, 'there and back');
      const [x0, y0] = view.toScreen([0, 0]);
      const [x1, y1] = view.toScreen([image.width, image.height]);
      check(x0 < 300 && y0 < 200 && x1 > 0 && y1 > 0, 'some of the image stays in sight');
    }
  }
  let state = { boxes: [], past: [], future: [] };
  state = { ...state, ...changed(state, [1]) };
  state = { ...state, ...changed(state, [1, 2]) };
  state = { ...state, ...undone(state) };
  check(JSON.stringify(state.boxes) === '[1]', 'undone');
  state = { ...state, ...redone(state) };
  check(JSON.stringify(state.boxes) === '[1,2]' && redone(state) === null, 'redone');
  state = { ...state, ...undone(state) };
  state = { ...state, ...changed(state, [3]) };
  check(redone(state) === null, 'what was undone is gone after a change');
  return wrong.slice(0, 5);
}"""


def test_boxes_stay_in_the_image_and_the_image_in_sight(browser: Browser, tmp_path: Path) -> None:
    """Properties of the page's geometry, on random values."""
    ids = write_photos(tmp_path / "photos", 2)
    with (
        review(tmp_path, {image_id: as_faces([(FACE, "face")]) for image_id in ids}) as server,
        person(browser, server.links["Ada"]) as page,
    ):
        assert page.evaluate(GEOMETRY) == []
