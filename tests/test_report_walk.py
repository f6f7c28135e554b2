"""A planner's walk through the report of the city we ship: five questions, each answered within three clicks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Page as Tab

from tests.browser import browser, released_kiel

AREA = "01002000-SZB-1"
INDICATOR = "kinderarmutsanteil"


@pytest.fixture(scope="module")
def release() -> Path:
    """Release of the project we ship, as `make nightly` left it."""
    return released_kiel()


@pytest.fixture
def tab() -> Iterator[Tab]:
    with browser() as running:
        yield running.new_context(offline=True, locale="de-DE", viewport={"width": 1100, "height": 900}).new_page()


def answers(release: Path) -> dict[str, tuple[list[str], str]]:
    """Question -> what is clicked on, one after the other, and what the last page then has to say.

    What it has to say is worked out here from the public tables, in words of this file.
    """
    with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT period, value, benchmark_value, ci_low, ci_high, numerator, denominator, comparison, trend, "
            "segment FROM mart.indicator_value WHERE indicator_id = ? AND area_id = ? ORDER BY reference_date",
            [INDICATOR, AREA],
        ).fetchall()
        title = con.execute("SELECT title_de FROM mart.indicator WHERE indicator_id = ?", [INDICATOR]).fetchone()
    assert title is not None
    new = rows[-1]
    value, city, low, high = (german(number) for number in new[1:5])
    assert new[7] == "worse" and new[8] == "improving"
    year = next(row for row in rows if row[0] == "2018-12-31")
    assert year[9] != new[9]
    anchor = f"main a[href='#{INDICATOR}']"
    area = f"main a[href='gebiete/{AREA}.html']"
    counts = f"100 × {thousands(new[5])} / {thousands(new[6])} = {value}"
    return {
        "warum": ([area], f"Ungünstiger als die Stadt.*{re.escape(title[0])}: {value} ?% k, Stadt {city} ?%"),
        "neu": ([area, anchor], "Über fünf Jahre: gesichert günstiger werdend"),
        "woher": ([area, f"#{INDICATOR} td a[href$='#{new[0]}']"], re.escape(counts)),
        "sicher": (
            [area, anchor],
            f"95 ?%: {low} bis {high}.*über dem Stadtwert von {city} ?%.*der Unterschied ist statistisch gesichert",
        ),
        "2018": (
            [area, anchor, f"#{INDICATOR} td a[href$='#2018-12-31']"],
            f"31.12.2018 {german(year[1])} ?%.*Bruch in der Zeitreihe ab 31.12.2019: .*nicht vergleichbar",
        ),
    }


def german(number: float) -> str:
    return f"{number:.1f}".replace(".", ",")


def thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def shown(tab: Tab) -> str:
    """Text of the page as it is read, blanks of any width as one."""
    return re.sub(r"\s+", " ", tab.locator("main").inner_text())


@pytest.mark.browser
@pytest.mark.parametrize("question", ["warum", "neu", "woher", "sicher", "2018"])
def test_question_is_answered_within_three_clicks(release: Path, tab: Tab, question: str) -> None:
    clicks, answer = answers(release)[question]
    assert len(clicks) <= 3
    tab.goto((release / "bericht/index.html").resolve().as_uri())
    for click in clicks:
        tab.locator(click).first.click()
    assert re.search(answer, shown(tab))
