"""Makes the picture of the page in docs/annotate.md: parts of the example picture, and what the embedded model finds.

    python docs/images/annotate.py [--browser /usr/bin/chromium]

It needs playwright and a Chromium; nothing else of this project does.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageFilter
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "pictures" / "nuclei.png"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


def cut(folder: Path) -> None:
    """Pictures of one scan, for the list; without its noise, which would make this one large."""
    whole = Image.open(EXAMPLE).convert("L").filter(ImageFilter.MedianFilter(5))
    whole = whole.filter(ImageFilter.GaussianBlur(1))
    whole.save(folder / "field-01.png")
    width, height = whole.size
    for n in range(8):
        left, top = (n % 4) * width // 5, (n // 4) * height // 3
        whole.crop((left, top, left + width // 2, top + height // 2)).save(folder / f"field-{n + 2:02}.png")


def ready(page: Page) -> None:
    """Wait until the picture is there and the model has looked at it."""
    for _ in range(400):
        page.wait_for_timeout(50)
        if page.evaluate(
            "() => Boolean(window.delineate?.sheet && document.getElementById('engine').hidden)"
        ):
            return


def take(address: str, browser: str) -> bytes:
    """The page, with objects on the first pictures."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=FLAGS)
        page = started.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(address)
        for name in ("field-02", "field-03", "field-01"):
            ready(page)
            page.evaluate(
                f"() => delineate.open(delineate.folder.pictures.findIndex((one) => one[0] === '{name}.png'))"
            )
            page.wait_for_timeout(500)
            ready(page)
            page.click("#find")
            page.wait_for_timeout(2500)
            if name != "field-01":
                page.evaluate("() => delineate.done()")
                page.wait_for_timeout(500)
        page.evaluate("() => delineate.select([delineate.sheet.items[4].uid])")
        page.wait_for_timeout(5000)  # until the note is gone
        content = page.screenshot()
        started.close()
    return content


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--browser", default=shutil.which("chromium"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cut(Path(name))
        words = [sys.executable, "-m", "delineate", "annotate", name, "--port", "0"]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            picture = Image.open(io.BytesIO(take(server.stdout.readline().strip(), options.browser)))
        finally:
            server.terminate()
            server.wait()
    picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        HERE / "annotate.png", optimize=True
    )
