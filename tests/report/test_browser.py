"""The page as a person sees it: headless Chromium, no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=WIDTHS)
def opened(request: pytest.FixtureRequest, browser: Browser, page: Path) -> Iterator[tuple[Page, list[str]]]:
    """The report at one width, with everything that the browser complained about."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    complaints: list[str] = []

    def only_files(route: object) -> None:
        url = route.request.url  # type: ignore[attr-defined]
        if url.startswith(("file:", "data:")):
            route.continue_()  # type: ignore[attr-defined]
        else:
            complaints.append(f"asked for {url}")
            route.abort()  # type: ignore[attr-defined]

    context.route("**/*", only_files)
    context.set_offline(True)
    shown = context.new_page()
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("requestfailed", lambda failed: complaints.append(f"failed: {failed.url[:80]}"))
    shown.goto(page.as_uri())
    yield shown, complaints
    context.close()


def test_all_pictures_and_plots_are_seen(opened: tuple[Page, list[str]]) -> None:
    page, complaints = opened
    sizes = page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width,"
        " i.getBoundingClientRect().height, i.src.slice(0, 18)])"
    )
    assert sum(kind == "data:image/svg+xml" for *_, kind in sizes) == 5
    assert sum(kind == "data:image/jpeg;ba" for *_, kind in sizes) == 12
    for complete, natural, width, height, kind in sizes:
        assert complete
        assert natural > 0
        assert width > 40, kind
        assert height > 40, kind
    assert complaints == []


def test_nothing_is_wider_than_the_window(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    wide, window = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= window
    # Tables may be wider, inside their own container, which then can be scrolled.
    outside = page.evaluate(
        "[...document.querySelectorAll('table')].filter(t => !t.closest('.scroll')).length"
    )
    assert outside == 0


def test_our_style_is_in_force_and_hostile_names_are_not(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).fontWeight") == "600"
    assert page.locator("td", has_text="onerror=alert(1)").count() >= 1
    assert page.locator("img[onerror]").count() == 0


def test_the_page_prints(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    assert len(page.pdf()) > 10_000
