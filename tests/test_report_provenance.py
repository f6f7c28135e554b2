"""Herkunft: every formula of a report can be done again by hand and gives its figure; sources say what they may."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.night import Night
from pipelines.report.pdf import CHROMIUM, OFF
from tests.conftest import run_night
from tests.test_history import NOW, put
from tests.test_marts import indicator, measure, source, text
from tests.town import CITY, LEVELS, deliver, topic, town, write_topic

WOMEN, MEN = [7, 2, 12, 9, 30, 8], [5, 0, 4, 11, 25, 9]
BREAK = "Seit Ende 2022 zählt das Register Nebenwohnungen nicht mehr."
CORRECTED = "Im Amt verzählt."
VOID = {"meta", "link", "br", "hr", "col", "wbr"}


def town_with_report(folder: Path) -> Path:
    """A town with a public register, withheld counts, a break, a correction and a published rate, after one night."""
    town(folder)
    settings = folder / "assets/release/defs.yaml"
    document = yaml.safe_load(settings.read_text(encoding="utf-8"))
    document["attributes"]["report"] = {"written": True}
    settings.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    write_topic(folder, _topic())
    for day, name in (("31.12.2021", "a.csv"), ("31.12.2022", "b.csv")):
        deliver(folder, WOMEN, MEN, day=day, name=name)
    rates = [f"Bezirk {n};31.12.2022;{rate}\n" for n, rate in enumerate(("2,75", "*", "0", "12,5", "3", "1,04"), 1)]
    put(folder, "Bezirk;Zeit;quote\n" + "".join(rates), source="presse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHROMIUM, OFF)
        assert run_night(folder, NOW).publication is not None
    return folder


def later_night(folder: Path) -> Night:
    """The night after: one district has reported more women for the last day."""
    deliver(folder, [*WOMEN[:4], 35, WOMEN[5]], MEN, day="31.12.2022", name="c.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHROMIUM, OFF)
        return run_night(folder, NOW + dt.timedelta(days=1))


def _topic() -> list[dict[str, Any]]:
    documents = topic(list(LEVELS), {})
    register = next(d["attributes"] for d in documents if d["attributes"]["id"] == "melderegister")
    register["breaks"] = [{"measure": "einwohner", "since": "2022-12-31", "reason": text(BREAK)}]
    wrong = {"delivery": "melderegister-0002", "line": 5, "column": "einwohner", "expected": "900", "value": "9000"}
    register["corrections"] = [wrong | {"reason": CORRECTED, "status": "confirmed", "reported_on": "2023-02-01"}]
    counted = {"numerator": {"measure": "hilfen"}, "levels": dict.fromkeys(LEVELS, "counts")}
    women = {"numerator": {"measure": "hilfen", "category": "weiblich"}, "denominator": {"measure": "hilfen"}}
    elsewhere = {"publication": "public_elsewhere", "origin": "secondary", "address": "https://example.org/presse"}
    return [
        *documents,
        source("presse", "stichtag", ["quote"], symbols={"*": "missing"}, **elsewhere),
        measure("quote", "stichtag", "presse", kind="rate", unit="percent"),
        indicator("hilfen_anzahl", "persons", **(counted | {"decimals": 0})),
        indicator("hilfen_je_1000", "per_1000", **counted, denominator={"measure": "einwohner"}),
        indicator("frauenanteil", "percent", **(women | {"levels": dict.fromkeys(LEVELS, "counts")})),
        indicator("quote_presse", "percent", levels={"bezirk": {"rate": "quote"}}),
    ]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return town_with_report(tmp_path_factory.mktemp("herkunft") / "stadt") / "data/releases/current"


@pytest.fixture(scope="module")
def mart(release: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
        yield con


# ---------------------------------------------------------------- reading a page as a person would


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)

    def all(self, name: str = "", **attributes: str) -> list[Element]:
        inside = [child for child in self.children if isinstance(child, Element)]
        found = [c for c in inside if c.name.startswith(name) and attributes.items() <= c.attributes.items()]
        return found + [e for c in inside for e in c.all(name, **attributes)]

    def classed(self, name: str) -> list[Element]:
        return [e for e in self.all() if name in e.attributes.get("class", "").split()]


class Tree(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__()
        self.open = [Element("", {})]
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(release: Path, indicator_id: str, area_id: str) -> Element:
    file = release / f"bericht/herkunft/{indicator_id}/{area_id}.html"
    return Tree(file.read_text(encoding="utf-8")).open[0]


def section(page: Element, period: str) -> Element:
    (found,) = page.all("section", id=period)
    return found


def number(shown: str) -> Decimal:
    return Decimal(re.sub(r"[\u202f\u00a0%]", "", shown).replace("\u2212", "-").replace(",", ".").strip())


def as_printed(value: float, decimals: int) -> Decimal:
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def by_hand(formula: str) -> tuple[Decimal, Decimal]:
    """Left and right side of a formula as printed: `100 × 2 312 / 4 346 = 53,2 %`."""
    left, right = formula.split("=")
    factor, _, fraction = left.rpartition("×")
    numerator, denominator = fraction.split("/")
    exact = number(factor or "1") * number(numerator) / number(denominator)
    shown = number(right.replace("\u202fje\u202f1\u202f000", ""))
    return exact.quantize(Decimal(1).scaleb(shown.as_tuple().exponent), rounding=ROUND_HALF_UP), shown  # type: ignore[arg-type]


# ---------------------------------------------------------------- figures


def test_every_figure_has_its_place_and_every_formula_gives_its_figure(
    release: Path, mart: duckdb.DuckDBPyConnection
) -> None:
    done = dict.fromkeys(("formula", "Anzahl", "Wie geliefert", "withheld"), 0)
    rows = mart.execute(
        "SELECT v.indicator_id, area_id, period, value, decimals FROM mart.indicator_value v "
        "JOIN mart.indicator i ON i.indicator_id = v.indicator_id"
    ).fetchall()
    for indicator_id, area_id, period, value, decimals in rows:
        here = section(read(release, indicator_id, area_id), period)
        sums = [e.text() for e in here.classed("rechnung")]
        if value is None:
            assert not sums and not here.classed("wert"), (indicator_id, area_id, period)
            done["withheld"] += 1
            continue
        (formula,) = sums
        expected = as_printed(value, decimals)
        assert number(here.all("span", **{"data-f": "value"})[0].text()) == expected
        if "=" in formula:
            exact, shown = by_hand(formula)
            assert exact == shown == expected, formula
            done["formula"] += 1
        else:
            words, _, rest = formula.partition(":")
            assert as_printed(float(number(rest.partition(";")[0])), decimals) == expected
            done[words] += 1
    assert min(done.values()) > 0, done


def test_parts_of_a_sum_add_up(release: Path) -> None:
    here = section(read(release, "hilfenanteil", CITY), "2022-12-31")
    numerator, denominator = here.classed("woraus")[0].all("div")
    for inputs, parts in ((numerator, 6), (denominator, 6)):
        whole, *rest = [number(b.text()) for b in inputs.all("b")]
        signs = [a.text() for a in inputs.all("abbr")]
        assert len(rest) + len(signs) == parts
        assert sum(rest) == whole or (signs and sum(rest) < whole)
    assert "Summe aus 6 Gebieten" in denominator.text()


def test_a_withheld_figure_says_why_and_shows_no_number(release: Path, mart: duckdb.DuckDBPyConnection) -> None:
    area, period = f"{CITY}-BZ-2", "2022-12-31"
    query = "SELECT value, numerator FROM mart.indicator_value WHERE indicator_id = ? AND area_id = ? AND period = ?"
    assert mart.execute(query, ["hilfenanteil", area, period]).fetchall() == [(None, None)]  # 2 of 4,000
    here = section(read(release, "hilfenanteil", area), period)
    assert "Zähler oder Nenner ist geheim zu halten" in here.text()
    numerator, denominator = here.classed("woraus")[0].all("div")
    assert not numerator.all("b") and numerator.all("abbr", title="geheim zu halten")[0].text() == "g"
    assert number(denominator.all("b")[0].text()) == 4000  # the register is public anyway


# ---------------------------------------------------------------- sources


def test_a_public_source_is_followed_to_its_raw_line(release: Path) -> None:
    raw = (release.parents[1] / "raw/melderegister/b.csv").read_text(encoding="utf-8").splitlines()
    here = section(read(release, "hilfenanteil", f"{CITY}-BZ-5"), "2022-12-31")
    place = here.classed("woraus")[0].all("small")[0].text()
    line, column, heading, cell = re.fullmatch(r"Zeile (\d+), Spalte (\d+) »(.*)«, Zelle »(.*)«", place).groups()  # type: ignore[union-attr]
    assert raw[int(line) - 1].split(";")[int(column) - 1] == cell == "5000"
    assert raw[0].split(";")[int(column) - 1] == heading == "einwohner"


def test_other_sources_tell_neither_line_nor_text(release: Path) -> None:
    page = read(release, "hilfen_anzahl", f"{CITY}-BZ-5")
    assert not page.all("small")
    (delivery,) = [e for e in page.all("article") if e.attributes["id"].endswith("-0002")]
    assert "jugendamt-0002, eingegangen 02.03.2026" in delivery.text()
    assert "bleiben in der Stadt" in delivery.text() and "bestanden" in delivery.text()
    public = read(release, "hilfenanteil", f"{CITY}-BZ-5").all("article", id="melderegister-0002")[0]
    assert public.all("a", href="https://example.org/einwohner") and "bleiben in der Stadt" not in public.text()


def test_correction_and_break_are_told_where_they_act(release: Path) -> None:
    page = read(release, "hilfenanteil", f"{CITY}-BZ-4")
    new, old = section(page, "2022-12-31"), section(page, "2021-12-31")
    assert CORRECTED in new.text() and "statt dessen gilt »9000«" in new.text()
    assert CORRECTED not in old.text()
    assert "Hier beginnt ein neuer Abschnitt" in new.text() and BREAK in new.text()
    assert "Hier beginnt ein neuer Abschnitt" not in old.text()
    assert BREAK in page.all("section", **{"aria-labelledby": "brueche"})[0].text()
    assert BREAK not in read(release, "hilfen_anzahl", f"{CITY}-BZ-4").text()


def test_a_section_can_be_cited_and_leads_to_its_benchmark(release: Path) -> None:
    page = read(release, "hilfen_je_1000", f"{CITY}-BZ-5")
    assert [e.attributes["id"] for e in page.classed("herkunft")] == ["2022-12-31", "2021-12-31"]
    here = section(page, "2022-12-31")
    address = f"herkunft/hilfen_je_1000/{CITY}-BZ-5.html#2022-12-31"
    assert f"Veröffentlichung {release.resolve().name}, {address}" in here.classed("zitat")[0].text()
    assert here.all("a", href=f"../../herkunft/hilfen_je_1000/{CITY}.html#2022-12-31")


def test_links_within_provenance_lead_somewhere(release: Path) -> None:
    ids: dict[Path, set[str]] = {}
    for file in sorted((release / "bericht/herkunft").rglob("*.html")):
        page = Tree(file.read_text(encoding="utf-8")).open[0]
        for link in page.all("a"):
            address = link.attributes.get("href", "")
            if not address or ":" in address:
                continue
            path, _, anchor = address.partition("#")
            target = (file.parent / path).resolve() if path else file.resolve()
            if target not in ids:
                there = Tree(target.read_text(encoding="utf-8")).open[0]
                ids[target] = {e.attributes["id"] for e in there.all() if "id" in e.attributes}
            assert not anchor or anchor in ids[target], f"{file.name}: {address}"
