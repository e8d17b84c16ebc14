"""The picture of a report for the README: `python docs/make_report_picture.py [index.html] [report.jpg]`.

Needs a browser: `apt-get install chromium chromium-driver` and `pip install selenium`.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import time
from pathlib import Path

from PIL import Image

WIDTH, LARGEST = 1280, 300_000
SHOWN = """
const keep = {
  main: [".scroll"],
  layers: ["h3", ".legend", ".panels"],
  pictures: ["h3", ".scene", ".gallery"],
};
for (const section of document.querySelectorAll("main > section")) {
  if (!(section.id in keep)) { section.remove(); continue; }
  for (const child of [...section.children].slice(1)) {
    if (!keep[section.id].some((name) => child.matches(name))) child.remove();
  }
}
const first = (id, name) => [...document.querySelectorAll(`#${id} > ${name}`)];
first("layers", ":is(h3, .legend, .panels)").slice(3).forEach((e) => e.remove());
const places = [...document.querySelectorAll("#pictures > :is(h3, .scene, .gallery)")];
const heading = (text) => places.findIndex((e) => e.matches("h3") && e.textContent.startsWith(text));
const kept = new Set(["Points", "Instances"].map(heading).filter((i) => i >= 0).flatMap((i) => [i, i + 1]));
places.forEach((e, i) => { if (!kept.has(i)) e.remove(); });
document.querySelectorAll("nav, .facts, .warning ~ .warning, .scene .note").forEach((e) => e.remove());
"""


def main(report: Path, picture: Path) -> None:
    """Open a report, keep its main table, first layer curves and first pictures, and photograph them.

    Args:
        report: `index.html`.
        picture: JPEG to write, at most 300 kB.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        metrics = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(report.absolute().as_uri())
        browser.execute_script(SHOWN)
        time.sleep(1)  # canvases are drawn in the next frames
        height = browser.execute_script("return document.querySelector('main').getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height + 24, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    image = Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")
    for quality in range(88, 30, -6):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= LARGEST:
            picture.write_bytes(buffer.getvalue())
            print(f"{picture}: {image.width} x {image.height}, {buffer.tell() / 1000:.0f} kB")
            return
    sys.exit(f"{picture} would be larger than {LARGEST / 1000:.0f} kB")


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        Path(words[0] if words else "artifacts/report/index.html"),
        Path(words[1] if len(words) > 1 else Path(__file__).with_name("report.jpg")),
    )
