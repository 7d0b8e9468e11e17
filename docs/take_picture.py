"""Take the pictures of a report for the documentation: docs/report-light.png, report-dark.png, report-slices.png.

With --failure, docs/report-failure.png of a traced run that has a failed line. With --terminal, docs/azure-plan.png of
what `phi3flow azure plan` printed, whose text then stands in place of the report.

phi3flow report quickstart-base quickstart-fine-tuned --by kind --by language --output report.html
python docs/take_picture.py report.html

Needs Chromium and ``pip install playwright pillow``. Two parts of one page stand under each other: the verdict with
the first metrics, and the lines with one of them open; the slices have a picture of their own.
"""

from __future__ import annotations

import argparse
import html
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH, LINES = 1280, 640
MARGIN = 24
METRIC_ROWS = 5
FOLDER = Path(__file__).parent


def take(page: Page, report: Path, output: Path) -> None:
    """Write the picture of ``report`` to ``output``."""
    page.set_viewport_size({"width": WIDTH, "height": LINES})
    page.goto(report.resolve().as_uri())
    rows = page.locator("#metrics .metrics tbody tr")
    last = rows.nth(min(METRIC_ROWS, rows.count() - 1)).bounding_box()
    assert last, f"{report} shows no metrics"
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": round(last["y"] + last["height"])}
    top = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
    page.evaluate("document.getElementById('lines').scrollIntoView()")
    page.keyboard.press("j")
    page.evaluate("document.getElementById('lines').scrollIntoView()")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(200)
    lines = Image.open(io.BytesIO(page.screenshot()))
    picture = Image.new("RGB", (WIDTH, top.height + lines.height))
    picture.paste(top, (0, 0))
    picture.paste(lines, (0, top.height))
    save(picture, output)


def take_slices(page: Page, report: Path, output: Path) -> None:
    """Write the picture of the report's slices to ``output``."""
    page.set_viewport_size({"width": WIDTH, "height": LINES})
    page.goto(report.resolve().as_uri())
    box = page.locator("#slices").bounding_box()
    assert box, f"{report} shows no slices: make it with --by COLUMN"
    clip = {"x": 0, "y": box["y"] - MARGIN, "width": WIDTH, "height": box["height"] + 2 * MARGIN}
    save(Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True))), output)


def take_failure(page: Page, report: Path, output: Path) -> None:
    """Write the picture of the first failure of a traced run: where it failed, and what the nodes of its line did."""
    page.set_viewport_size({"width": WIDTH, "height": 4 * LINES})
    page.goto(report.resolve().as_uri())
    page.locator("#failures a").first.click()
    page.locator("#failures details").first.click()
    page.locator(".open .trace > summary").click()
    parts = [Image.open(io.BytesIO(page.locator(place).screenshot())) for place in ("#failures", "#lines .open")]
    picture = Image.new("RGB", (WIDTH, sum(part.height + MARGIN for part in parts)), parts[0].getpixel((0, 0)))
    picture.paste(parts[0], (MARGIN, MARGIN))
    picture.paste(parts[1], (MARGIN, parts[0].height + MARGIN))
    save(picture, output)


def take_terminal(page: Page, printed: Path, output: Path) -> None:
    """Write the picture of a text that a command printed."""
    font = "font: 14px/1.4 monospace; width: 122ch; white-space: pre-wrap"
    style = f"margin: 0; padding: 24px; background: #16191d; color: #e4e7eb; {font}"
    text = "\n".join(line.rstrip() for line in printed.read_text(encoding="utf-8").splitlines()).strip("\n")
    page.set_content(f'<body style="margin: 0"><pre style="{style}">{html.escape(text)}</pre></body>')
    save(Image.open(io.BytesIO(page.locator("pre").screenshot())), output)


def save(picture: Image.Image, output: Path) -> None:
    """Write a picture with few colours, so that it stays small."""
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(output, optimize=True)


def main() -> None:
    """Take one picture in light and one in dark colours, and one of the slices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, metavar="REPORT.html")
    parser.add_argument("--failure", action="store_true", help="take the first failure, of a run with --trace")
    parser.add_argument("--terminal", action="store_true", help="take what azure plan printed into a file")
    args = parser.parse_args()
    report = args.report
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        if args.failure:
            take_failure(browser.new_page(color_scheme="light"), report, FOLDER / "report-failure.png")
            return
        if args.terminal:
            take_terminal(browser.new_page(), report, FOLDER / "azure-plan.png")
            return
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            take(page, report, FOLDER / f"report-{scheme}.png")
        take_slices(browser.new_page(color_scheme="light"), report, FOLDER / "report-slices.png")
        browser.close()


if __name__ == "__main__":
    main()
