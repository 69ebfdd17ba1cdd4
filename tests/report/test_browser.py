"""The page as a person sees it: headless Chromium, no network."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sfumato.report import write_report
from tests.report.planted import LOSER, WINNER, make_planted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WIDTHS = (1280, 400)


@pytest.fixture(params=WIDTHS)
def opened(request: pytest.FixtureRequest, browser: Browser, page: Path) -> Iterator[tuple[Page, list[str]]]:
    """The report at one width, with everything that the browser complained about."""
    yield from _open(browser, page, request.param)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with every section."""
    folder = tmp_path_factory.mktemp("rich")
    return write_report(make_planted(folder), folder / "report")


@pytest.fixture
def wide(browser: Browser, rich: Path) -> Iterator[tuple[Page, list[str]]]:
    """That report on a large screen."""
    yield from _open(browser, rich, WIDTHS[0])


def _open(browser: Browser, page: Path, width: int) -> Iterator[tuple[Page, list[str]]]:
    context = browser.new_context(viewport={"width": width, "height": 900})
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
    assert sum(kind == "data:image/svg+xml" for *_, kind in sizes) == 8
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
    assert page.locator("tbody th", has_text="onerror=alert(1)").count() >= 1
    assert page.locator("img[onerror]").count() == 0


def test_the_page_prints(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.tall')).maxHeight") == "none"
    assert page.locator(".search:visible").count() == 0
    assert all(letters > 50 for letters in _letters_by_page(page.pdf(prefer_css_page_size=True)))


def test_a_long_report_prints_without_an_empty_page(wide: tuple[Page, list[str]]) -> None:
    page, complaints = wide
    pages = _letters_by_page(page.pdf(prefer_css_page_size=True))
    assert 5 < len(pages) < 30
    assert all(letters > 50 for letters in pages)
    assert complaints == []


def _letters_by_page(pdf: bytes) -> list[int]:
    """How much text each page of a PDF shows: bytes of the strings between brackets in its contents."""
    objects = dict(re.findall(rb"(?:^|\n)(\d+) 0 obj\n?(.*?)\nendobj", pdf, re.DOTALL))
    pages = [body for body in objects.values() if re.search(rb"/Type /Page\b", body)]
    contents = [objects[re.search(rb"/Contents (\d+) 0 R", body).group(1)] for body in pages]  # type: ignore[union-attr]
    streams = [zlib.decompress(body.split(b"stream\n", 1)[1].split(b"\nendstream")[0]) for body in contents]
    return [sum(map(len, re.findall(rb"<([0-9A-Fa-f]+)>", stream))) // 4 for stream in streams]


def test_searching_filters_the_table_and_the_plot(wide: tuple[Page, list[str]]) -> None:
    page, complaints = wide
    arm = page.locator("#categories .arm").first
    arm.locator("input[type=search]").fill("HUSKY")
    rows = arm.locator("tbody tr:visible th")
    assert rows.all_inner_texts() == [WINNER]
    assert arm.locator("output").inner_text() == "1 of 24"
    assert arm.locator("svg .found").count() == 1
    assert arm.locator("svg .faint").count() == 23
    arm.locator("input[type=search]").fill("")
    assert rows.count() == 24
    assert arm.locator("svg .faint").count() == 0
    assert complaints == []


def test_sorting_by_a_column_of_numbers_and_one_of_names(wide: tuple[Page, list[str]]) -> None:
    page, _ = wide
    table = page.locator("#categories .searched table").first
    heads = table.locator("thead th").all_inner_texts()
    column = next(place for place, head in enumerate(heads) if head.startswith("Change"))
    change = table.locator("thead th").nth(column)
    seen = []
    for _ in range(2):
        change.locator("button").click()
        texts = table.locator(f"tbody tr :nth-child({column + 1})").all_inner_texts()
        seen.append([float(text.replace("−", "-").rstrip("* \xa0")) for text in texts])
    assert seen[0] == sorted(seen[0])
    assert seen[1] == sorted(seen[0], reverse=True)
    assert len(set(seen[0])) > 5
    assert change.get_attribute("aria-sort") == "descending"
    table.locator("thead th button").first.click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    assert change.get_attribute("aria-sort") is None


def test_pointing_at_a_category_shows_its_name(wide: tuple[Page, list[str]]) -> None:
    page, complaints = wide
    plot = page.locator(".scatter .plot").first
    hint = plot.locator(".hint")
    assert not hint.is_visible()
    plot.locator(f'[data-name="{LOSER}"]').hover(force=True)
    assert hint.inner_text().startswith(f"{LOSER}: −")
    plot.focus()
    page.mouse.move(0, 0)
    plot.press("ArrowLeft")
    first = hint.inner_text()
    plot.press("ArrowRight")
    assert hint.is_visible()
    assert hint.inner_text() != first
    assert complaints == []


def test_without_script_everything_can_be_read(browser: Browser, rich: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(rich.as_uri())
    assert page.locator(".search:visible").count() == 0
    assert page.locator("#categories tbody tr:visible").count() == 24
    assert page.locator(f'.scatter [data-name="{LOSER}"] title').inner_html().startswith(LOSER)
    context.close()
