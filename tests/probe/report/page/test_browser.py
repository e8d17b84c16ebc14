"""The page in a real headless browser: no errors, no requests, sorting, point clouds, links, widths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.skips import NO_BROWSER

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

SECONDS = 60
"""How long anything may take on a machine under load."""

pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=NO_BROWSER)

WATCH = """
window.failures = [];
window.addEventListener("load", () => { window.loaded = true; });
window.addEventListener("error", (event) => window.failures.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => window.failures.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => window.failures.push("policy: " + event.blockedURI));
"""
COLUMN = "return [...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]].dataset.sort ?? '')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless chromium that records its console and all requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    words = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900")
    for word in (
        *words,
        f"--user-data-dir={profile}",
        "--disable-background-networking",
        "--no-first-run",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(SECONDS)
    driver.set_script_timeout(SECONDS)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    yield driver
    driver.quit()


def resize(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait_until(browser: Any, met: Callable[[], Any]) -> None:
    """Return as soon as `met()`; what follows from an event of the page comes when the browser gets to it."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, SECONDS, poll_frequency=0.02).until(lambda _: met())


def load(browser: Any, page: Path) -> None:
    """Open a page at 1280 pixels, with empty logs, and wait for its own load event, which its scripts come before."""
    resize(browser, 1280)
    browser.get("about:blank")  # not the browser's start page, which sends requests of its own
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    loaded = "return window.loaded === true && location.href === arguments[0]"
    wait_until(browser, lambda: browser.execute_script(loaded, page.as_uri()))


def requests_of(browser: Any, page: Path) -> list[str]:
    """Addresses that a page asked for since it was opened, its own first; those of other documents aren't counted."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    urls = [each["request"]["url"] for each in sent if each["documentURL"] == page.as_uri()]
    return [url for url in urls if not url.startswith(("data:", "about:"))]


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page, freshly loaded at 1280 pixels."""
    load(browser, page)
    return browser


def test_no_error_and_no_request(opened: Any, page: Path) -> None:
    opened.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))")
    assert opened.execute_script("return window.failures") == []
    assert opened.get_log("browser") == []
    assert requests_of(opened, page) == [page.as_uri()]


def test_an_error_and_a_request_would_be_noticed(browser: Any, tmp_path: Path) -> None:
    page, picture = tmp_path / "wrong page.html", tmp_path / "picture.png"
    page.write_text(f"<title>wrong</title><img src='{picture.as_uri()}'><script>throw new Error('wrong')</script>")
    load(browser, page)
    assert "wrong" in browser.execute_script("return window.failures")[0]
    assert len(browser.get_log("browser")) == 2
    assert requests_of(browser, page) == [page.as_uri(), picture.as_uri()]


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_does_not_scroll_sideways(opened: Any, width: int) -> None:
    resize(opened, width)
    opened.execute_script("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
    wide, inner = opened.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner == width and wide <= width
    cut = opened.execute_script("""
        return [...document.querySelectorAll("main :is(p, h2, h3, figure, svg.chart, canvas, select)")]
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .rows"))
        .map((e) => e.outerHTML.slice(0, 80))""")
    assert cut == []
    small = opened.execute_script("""return [...document.querySelectorAll("svg.chart text")]
        .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 9).length""")
    assert small == 0


def test_tables_sort_by_click(opened: Any) -> None:
    table = opened.find_element("css selector", "#main table.sortable")
    heading = table.find_elements("css selector", "thead tr:last-child th")[2]
    place = opened.execute_script("return arguments[0].cellIndex", heading)
    before = opened.execute_script(COLUMN, table, place)
    button = heading.find_element("css selector", "button")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    down = [float(value) for value in opened.execute_script(COLUMN, table, place)]
    assert down == sorted(map(float, before), reverse=True) and down != [float(value) for value in before]
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in opened.execute_script(COLUMN, table, place)] == down[::-1]
    assert "ascending" in opened.find_element("id", "announce").get_attribute("textContent")


def test_tables_sort_by_keyboard_and_keep_missing_values_last(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    table = opened.find_element("css selector", "#classes table.sortable")
    buttons = table.find_elements("css selector", "thead button")
    opened.execute_script("arguments[0].focus()", buttons[-2])
    opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element == buttons[-1]
    for key in (Keys.ENTER, Keys.SPACE):
        opened.switch_to.active_element.send_keys(key)
        values = opened.execute_script(COLUMN, table, len(buttons) - 1)
        assert values[-1] == "" and "" not in values[:-1]
    assert [float(v) for v in values[:-1]] == sorted(float(v) for v in values[:-1])
    sorted_headings = table.find_elements("css selector", "th[aria-sort]")
    assert len(sorted_headings) == 1
    first = buttons[0]
    opened.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.ENTER)
    assert opened.execute_script(COLUMN, table, 0) == ["bed", "chair", "lamp"]


def test_links_lead_to_what_they_name(opened: Any) -> None:
    broken = opened.execute_script("""return [...document.querySelectorAll("a[href]")]
        .filter((link) => !link.hash || !document.getElementById(decodeURIComponent(link.hash.slice(1))))
        .map((link) => link.outerHTML)""")
    assert broken == []
    link = opened.find_element("css selector", "#main td a.value")
    target = link.get_attribute("href").split("#")[1]
    assert not opened.find_element("id", target).is_displayed()
    opened.execute_script("arguments[0].click()", link)  # the page may still be scrolling: no place to point at
    wait_until(opened, opened.find_element("id", target).is_displayed)  # the folded table opened
    opened.execute_script("arguments[0].click()", opened.find_element("css selector", f"[id='{target}'] a"))
    assert opened.execute_script("return location.hash").startswith("#run-")


def picture(browser: Any, canvas: Any) -> list[int]:
    """Count of pixels per colour class that are not background, and a checksum of all."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))")
    found: list[int] = browser.execute_script(
        """const data = new Uint32Array(arguments[0].getContext("2d")
            .getImageData(0, 0, arguments[0].width, arguments[0].height).data.buffer);
        let drawn = 0, sum = 0;
        data.forEach((value, i) => { if (value !== 0xff181410) { drawn++; sum = (sum * 31 + value + i) >>> 0; } });
        return [drawn, sum];""",
        canvas,
    )
    return found


def test_point_clouds_are_drawn_and_turn(opened: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    truth, predicted = opened.find_elements("css selector", "#pictures .scene")[0].find_elements(
        "css selector", "canvas"
    )
    first = picture(opened, truth)
    assert first[0] > 1000
    assert picture(opened, predicted)[0] > 200
    ActionChains(opened).move_to_element(truth).click_and_hold().move_by_offset(60, 25).release().perform()
    dragged = picture(opened, truth)
    assert dragged != first
    assert picture(opened, predicted)[1] != 0
    opened.execute_script("arguments[0].focus()", predicted)
    predicted.send_keys(Keys.ARROW_LEFT)
    turned = picture(opened, truth)
    assert turned != dragged  # both turn together
    predicted.send_keys("+++++")
    assert picture(opened, truth)[0] > turned[0]
    predicted.send_keys("0")
    assert picture(opened, truth) == first


def test_wheel_zooms_only_a_chosen_picture(opened: Any) -> None:
    canvas = opened.find_element("css selector", "#pictures canvas")
    before = picture(opened, canvas)
    wheel = """return !arguments[0].dispatchEvent(new WheelEvent("wheel", {deltaY: -300, cancelable: true}))"""
    assert opened.execute_script(wheel, canvas) is False
    assert picture(opened, canvas) == before
    opened.execute_script("arguments[0].focus()", canvas)
    assert opened.execute_script(wheel, canvas) is True
    assert picture(opened, canvas)[0] > before[0]


def test_another_prediction_and_hidden_paths(opened: Any) -> None:
    from selenium.webdriver.support.select import Select

    scene = opened.find_element("css selector", "#pictures .scene")
    truth, predicted = scene.find_elements("css selector", "canvas")
    before = picture(opened, predicted)
    Select(scene.find_element("css selector", "select")).select_by_index(3)
    after = picture(opened, predicted)
    assert after != before and "Oracle <all>" in predicted.get_attribute("aria-label")
    with_paths = picture(opened, truth)
    scene.find_element("css selector", "input[type=checkbox]").click()
    assert picture(opened, truth)[0] < with_paths[0]


def test_without_a_canvas_the_page_says_where_the_points_are(browser: Any, page: Path) -> None:
    script = {"source": "HTMLCanvasElement.prototype.getContext = () => null;"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        load(browser, page)
        scene = browser.find_element("css selector", "#pictures .scene")
        assert scene.find_element("css selector", ".fallback").is_displayed()
        assert "PLY" in scene.text and not scene.find_elements("css selector", "canvas")
        assert browser.execute_script("return window.failures") == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(opened: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    ratio = opened.execute_script("""
        const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        const light = (colour) => {
          pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
          const part = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
        };
        const ground = (e) => { for (; e; e = e.parentElement) {
          const colour = getComputedStyle(e).backgroundColor;
          if (!/, 0\\)$|transparent/.test(colour)) return colour; } return "white"; };
        const texts = document.querySelectorAll(
          "p, li, th, td, .detail, .value, .tag, nav a, summary, figcaption, small");
        return Math.min(...[...texts].filter((e) => e.checkVisibility()).map((e) => {
          const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));""")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert ratio >= 4.5  # WCAG 2.2 AA


def test_the_page_prints(opened: Any) -> None:
    content = opened.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    assert len(content) > 20_000
