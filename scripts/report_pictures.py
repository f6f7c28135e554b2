"""Pictures of the report for the documents: kinds of pages at two widths, and a planner's walk through five questions.

    PYTHONPATH=. python scripts/report_pictures.py [RELEASE FOLDER [TARGET]]

Needs the development packages and a Chromium; every click is one on a link of the page before.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page as Tab

from tests.browser import browser
from tests.test_report_walk import answers

ROOT = Path(__file__).resolve().parents[1]
AREA, INDICATOR = "01002000-SZB-1", "kinderarmutsanteil"
KINDS = {
    "start": "index.html",
    "gebietsprofil": f"gebiete/{AREA}.html",
    "indikator": f"indikatoren/{INDICATOR}.html",
    "karte": f"karten/{INDICATOR}-stadtteil.html",
    "vergleich": f"vergleich/{INDICATOR}-stadtteil-wert.html",
    "staedte": "vergleich/staedte.html",
    "index": "index/soziale_lage.html",
    "datenfluss": f"datenfluss/{INDICATOR}.html",
    "herkunft": f"herkunft/{INDICATOR}/01002000-OT-16.html",
    "datenqualitaet": "datenqualitaet.html",
}
DESKTOP, PHONE = (1100, 1400), (360, 1400)


def main() -> None:
    """Take all pictures."""
    release = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "data/releases/current").resolve()
    target = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "docs/bilder")
    target.mkdir(parents=True, exist_ok=True)
    with browser() as running:
        tab = running.new_context(offline=True, locale="de-DE").new_page()
        for name, path in KINDS.items():
            for suffix, (width, height) in (("", DESKTOP), ("-telefon", PHONE)):
                tab.set_viewport_size({"width": width, "height": height})
                tab.goto((release / "bericht" / path).as_uri())
                tab.screenshot(path=target / f"{name}{suffix}.png")
        tab.set_viewport_size({"width": 1100, "height": 900})
        for question, (clicks, _) in answers(release).items():
            walk(tab, release, clicks, target / f"frage-{question}.png")


def walk(tab: Tab, release: Path, clicks: list[str], picture: Path) -> None:
    """Click from the first page on and picture the last one."""
    tab.goto((release / "bericht/index.html").as_uri())
    for click in clicks:
        tab.locator(click).first.click()
    tab.screenshot(path=picture)


if __name__ == "__main__":
    main()
