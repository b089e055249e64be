"""The report in chromium: nothing is fetched, everything is drawn, the buttons work, and axe finds nothing to say."""

from __future__ import annotations

import itertools
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from eval.bench.cpu_results import SOURCE
from eval.bench.results import ROOT
from eval.report.comparison import Comparison
from eval.report.report_files import write_report
from tests.eval.report.synthetic_records import compared, synthetic_records
from tests.needs import CHROMIUM

pytestmark = pytest.mark.browser

OUT = ROOT / "out" / "browser"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MOST_BYTES = 3_000_000
WIDTHS = (400, 1600)
SCHEMES = ("light", "dark")


SOURCES = {"kept": lambda: Comparison.read(ROOT / SOURCE), "synthetic": lambda: compared(synthetic_records())}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=SOURCES)
def file(request) -> Path:
    """report.html of the kept and of the synthetic records."""
    folder = OUT / request.param
    command = f"prefillwall compare --out {folder.relative_to(ROOT)}"
    written = write_report(folder, SOURCES[request.param](), command=command)
    return written.with_suffix(".html")


@pytest.fixture
def opened(browser, file) -> Iterator[Page]:
    """The page, watched: what it asks for from without, and what it complains about, fails the test that opened it."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000}, color_scheme="light")
    complaints, asked = [], []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("blob:") else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert complaints == []
    assert asked == [file.as_uri()]


def chip(page: Page, number: int) -> Locator:
    return page.locator(f".chips button[data-layout='{number}']")


def shown_of(page: Page, number: int) -> int:
    """How many elements of this layout alone are to be seen."""
    seen = "one => one.checkVisibility() && one.getClientRects().length > 0"  # the first alone says yes to any SVG
    return page.locator(f"[data-v='{number}']").evaluate_all(f"all => all.filter({seen}).length")


def test_the_file_is_small(file):
    assert file.stat().st_size < MOST_BYTES


def test_every_figure_is_drawn(opened):
    drawn = opened.locator("figure svg.plot, figure svg.tile-map").evaluate_all(
        "all => all.map(svg => { const box = svg.getBoundingClientRect();"
        " const marks = [...svg.querySelectorAll('.mark, .seen')].filter(one => one.getBoundingClientRect().width > 0);"
        " return [svg.getAttribute('aria-label'), box.width, box.height, marks.length]; })"
    )
    layouts = opened.locator(".chips button[data-layout]").count()
    assert len(drawn) >= 4 * layouts
    assert all(label and width > 50 and height > 50 and marks > 0 for label, width, height, marks in drawn)
    assert opened.locator("figure[aria-label], figure[aria-labelledby]").count() == opened.locator("figure").count()


@pytest.mark.parametrize(("width", "height"), [(400, 900), (1024, 900), (1600, 1000)])
def test_the_picture_is_on_the_first_screen(opened, width, height):
    """Before any sentence, in letters that can be read."""
    opened.set_viewport_size({"width": width, "height": height})
    panels = opened.locator("#first svg.plot")
    assert panels.count() == 2
    assert panels.first.bounding_box()["y"] + panels.first.bounding_box()["height"] < height
    assert panels.last.bounding_box()["y"] < height - 200
    assert panels.last.bounding_box()["y"] < opened.locator(".told").bounding_box()["y"]
    scale, unit = (panels.first.evaluate(js) for js in (
        "svg => svg.getScreenCTM().a", "svg => parseFloat(getComputedStyle(svg.querySelector('.name')).fontSize)",
    ))  # fmt: skip
    assert scale * unit >= 10


@pytest.mark.parametrize("width", WIDTHS)
def test_every_line_and_point_has_its_name_and_none_lies_on_another(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    layouts = opened.locator(".chips button[data-layout]").count()
    panels = opened.locator("#first svg.plot, #pareto svg.plot, #position svg.plot").evaluate_all(
        "all => all.map(svg => [...svg.querySelectorAll('[data-v] > .name')].map(one => {"
        " const {left, right, top, bottom} = one.getBoundingClientRect(); return [left, right, top, bottom]; }))"
    )
    assert len(panels) == 5
    for boxes in panels:
        assert len(boxes) == layouts
        for (a, b, c, d), (e, f, g, h) in itertools.combinations(boxes, 2):  # letters fill the middle of their boxes
            assert min(b, f) - max(a, e) <= 1 or min(d, h) - max(c, g) <= 0.35 * (d - c)
        assert all(box[0] >= 0 and box[1] <= width for box in boxes)


def test_each_figure_can_be_saved_as_it_is_shown(opened, tmp_path):
    chip(opened, 1).click()
    figures = opened.locator("figure:visible")
    buttons = figures.locator(".save button")
    assert buttons.count() == 2 * figures.count()
    for place, name in ((0, "glance"), (buttons.count() - 2, None)):
        with opened.expect_download() as svg:
            buttons.nth(place).click()
        root = ET.parse(svg.value.path()).getroot()
        assert svg.value.suggested_filename.endswith(".svg") and name in (None, Path(svg.value.suggested_filename).stem)
        words = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
        fills = {one.get("fill") for one in root.iter("{http://www.w3.org/2000/svg}path")}
        assert opened.locator(".lede").inner_text() in words
        assert not any("var(" in fill for fill in fills if fill)
        if name:
            assert "full" in words and "rgb(0, 114, 178)" in fills
            hidden = opened.locator("#glance [data-v='1'] > .name").first.text_content()
            assert hidden not in words
        with opened.expect_download() as png:
            buttons.nth(place + 1).click()
        data = Path(png.value.path()).read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG") and len(data) > 10_000
        assert (width, height) == tuple(int(2 * float(root.get(key))) for key in ("width", "height"))


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_button_takes_its_layout_away_everywhere(opened, by):
    def press(button: Locator) -> None:
        button.focus()
        opened.keyboard.press("Space") if by == "keyboard" else button.click()

    opened.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    before, other = shown_of(opened, 1), shown_of(opened, 2)
    rows = opened.locator("tr[data-v='1']").count()
    assert before > rows > 3
    press(chip(opened, 1))
    assert (shown_of(opened, 1), shown_of(opened, 2)) == (0, other)
    assert chip(opened, 1).get_attribute("aria-pressed") == "false"
    press(chip(opened, 1))
    assert (shown_of(opened, 1), shown_of(opened, 2)) == (before, other)
    assert chip(opened, 1).get_attribute("aria-pressed") == "true"


def test_all_and_only_the_first(opened):
    opened.locator("[data-all=false]").click()
    states = opened.locator(".chips button[data-layout]").evaluate_all("all => all.map(one => one.ariaPressed)")
    assert states == ["true"] + ["false"] * (len(states) - 1)
    assert shown_of(opened, 0) > 0 == shown_of(opened, len(states) - 1)
    opened.locator("[data-all=true]").click()
    assert opened.locator(".chips button[aria-pressed=true]").count() == len(states)


def test_a_shared_map_goes_with_its_last_layout(opened):
    shared = opened.locator(".map[data-v*=' ']").first
    for number in shared.get_attribute("data-v").split():
        expect(shared).to_be_visible()
        chip(opened, int(number)).click()
    expect(shared).to_be_hidden()


def test_a_point_says_its_numbers_when_pointed_at_and_when_focused(opened):
    tip, plot = opened.locator("#tip"), opened.locator("#cost svg.plot").first
    assert not tip.is_visible()
    point = plot.locator(".pt").first
    point.evaluate(  # clear of the buttons; the event of it, which hides a tip, comes before the next frame
        "point => new Promise(done => { point.scrollIntoView({block: 'center', behavior: 'instant'});"
        " requestAnimationFrame(() => requestAnimationFrame(done)); })"
    )
    box = point.locator(".hit").bounding_box()
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(tip).to_be_visible()
    assert "tokens" in tip.inner_text()
    opened.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    stop = plot.locator(".pt[tabindex='0']")
    assert stop.count() == 1
    stop.focus()
    expect(tip).to_be_visible()
    first = tip.inner_text()
    assert first.replace("\n", "; ") == stop.get_attribute("aria-label")
    opened.keyboard.press("ArrowRight")
    opened.wait_for_function("first => document.querySelector('#tip').innerText !== first", arg=first)
    assert tip.is_visible()


def test_tab_reaches_the_buttons_and_the_figures(opened):
    reached = set()
    for _ in range(12 + 3 * opened.locator(".chips button, .save button, svg.plot").count()):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.getAttribute('class') + document.activeElement.tagName"))
    assert {"skipA", "ptg"} <= reached
    assert any(one.endswith("BUTTON") for one in reached)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_page(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    page, window = opened.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.scrollingElement)")
    assert page <= window == width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(opened, scheme, width):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 900})
    opened.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    found = Axe().run(opened, options={"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa"]}})
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]] == []
    assert found.response["passes"]


def test_print_shows_everything(opened):
    chip(opened, 1).click()
    assert shown_of(opened, 1) == 0
    opened.emulate_media(media="print")
    assert shown_of(opened, 1) == opened.locator("[data-v='1']").count() > 0
    heights = opened.locator("table").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert heights
    assert min(heights) > 0
    assert not opened.locator(".chips").is_visible()
    opened.set_viewport_size({"width": 1000, "height": 1000})
    page, window = opened.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.scrollingElement)")
    assert page <= window


def test_pictures_are_left_behind(opened, file):
    """For whoever wants to look: out/browser."""
    for name, width, media in (
        ("light", 1600, {"color_scheme": "light"}), ("dark", 1600, {"color_scheme": "dark"}),
        ("narrow", 400, {"color_scheme": "light"}), ("print", 1000, {"media": "print", "color_scheme": "light"}),
    ):  # fmt: skip
        opened.emulate_media(**media)
        opened.set_viewport_size({"width": width, "height": 1000})
        opened.screenshot(path=file.with_name(f"{name}.png"), full_page=True)
        assert file.with_name(f"{name}.png").stat().st_size > 10_000
