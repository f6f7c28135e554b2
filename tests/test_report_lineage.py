"""Datenfluss, Datenqualität and Vergleich say what the public file says: figures, orders, sources, failed checks."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.audit.release_report import check_report
from pipelines.intake.rules import RULES
from pipelines.marts.models import Models
from pipelines.project import load_project
from pipelines.report import comparison, lineage, links, quality
from pipelines.report.cache import Cache
from pipelines.report.comparison_charts import spread
from pipelines.report.facts import Facts, Stamp
from pipelines.report.graph import wrapped
from pipelines.report.site import Renderer
from tests.conftest import run_night
from tests.test_history import NOW, put
from tests.test_marts import indicator, measure, source, text
from tests.town import CITY, LEVELS, RESIDENTS, deliver, topic, town, write_topic

OTHER_CITY = "99998000"
EQUAL = [RESIDENTS[0], 4000, 3000, 900, 4000, 1200]
"""Residents with a tie between the second and the fifth district."""
REASON = "Seit 2022 wird anders gezählt."
CORRECTION = {
    "delivery": "melderegister-0001",
    "line": 2,
    "column": "einwohner",
    "expected": "2300",
    "value": "2310",
    "reason": "Zahlendreher",
    "reported_on": "2026-02-01",
    "status": "confirmed",
}
RELEASE = "20260302T040000Z-0001"


class Html(HTMLParser):
    """Tables as rows of cells, links, ids and marked figures of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.figures: list[tuple[str, str, str]] = []
        self.links: list[str] = []
        self.current: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self._cell = self._marked = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if "aria-current" in given:
            self.current.append(given.get("href", ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        if "data-f" in given:
            self.figures.append((given["data-f"], given.get("href", given.get("data-k", "")), ""))
            self._marked = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        if tag in ("a", "span"):
            self._marked = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data
        if self._marked:
            column, key, before = self.figures[-1]
            self.figures[-1] = (column, key, before + data)


def documents() -> list[dict[str, Any]]:
    """The constructed town with another city, a formed measure, a break, and a source nobody delivered in time."""
    whole = dict.fromkeys(LEVELS, "counts")
    cities = {"area": {"name": "Stadt", "level": "stadt"}, "period": {"column": "Zeit", "type": "jahresdurchschnitt"}}
    rate = [{"column": "quote", "measure": "quote_staedte"}]
    broken = [{"measure": "quote_staedte", "since": "2022-jd", "reason": text(REASON)}]
    elsewhere = {"publication": "public_elsewhere", "origin": "open_data", "address": "https://example.org/staedte"}
    women = {"measure": "hilfen", "category": "weiblich"}
    known = topic(list(LEVELS), {})
    register = next(one["attributes"] for one in known if one["attributes"]["id"] == "melderegister")
    register["corrections"] = [CORRECTION]
    return [
        *known,
        source("staedte", "jahresdurchschnitt", [], layout={**cities, "values": rate}, breaks=broken, **elsewhere),
        source("spaet", "stichtag", ["verspaetet"], due={"days": ["01-31"]}),
        measure("verspaetet", "stichtag", "spaet"),
        measure(
            "quote_staedte",
            "jahresdurchschnitt",
            "staedte",
            kind="rate",
            unit="percent",
            levels={"stadt": ["staedte"]},
        ),
        measure("einwohner_2j", "stichtag", "", levels={}, formed={"measure": "einwohner", "periods": 2}),
        indicator("frauenanteil", "percent", numerator=women, denominator={"measure": "hilfen"}, levels=whole),
        indicator("einwohnerzahl", "persons", numerator={"measure": "einwohner"}, levels=whole, decimals=0),
        indicator("einwohner_zwei_jahre", "persons", numerator={"measure": "einwohner_2j"}, levels=whole),
        indicator("quote_staedte", "percent", levels={"stadt": {"rate": "quote_staedte"}}),
    ]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Models]:
    """Public file and declarations of the town after one night with a good year, another, and a bad file."""
    folder = town(tmp_path_factory.mktemp("datenfluss") / "Stadt")
    with (folder / "assets/areas/areas.csv").open("a", encoding="utf-8") as file:
        file.write(f"{OTHER_CITY},Nachbarort,stadt,,,,99,,konstruiert\n")
    write_topic(folder, documents())
    earlier = [9, 1, 12, 10, 25, 9]
    deliver(folder, women=earlier, day="31.12.2021", name="a.csv", residents=[2300, 4100, 3000, 950, 4000, 1100])
    deliver(folder, day="31.12.2022", name="b.csv", residents=EQUAL)
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\nBezirk 99;31.12.2022;9;9;18\n", "c.csv", "jugendamt")
    rates = ["Musterstadt;2021;7,5", "Musterstadt;2022;7,1", "Nachbarort;2021;6,25", "Nachbarort;2022;8"]
    put(folder, "Stadt;Zeit;quote\n" + "\n".join(rates) + "\n", "staedte.csv", "staedte")
    night = run_night(folder, NOW)
    assert night.publication
    return folder / "data/releases/current/sozialraum.duckdb", Models(load_project(folder)).declared()


def written(public: tuple[Path, Models], cache: Path) -> dict[str, str]:
    """Pages of these modules by address."""
    facts = Facts.read(*public, Stamp(RELEASE, NOW))
    with Cache(cache) as kept:
        renderer = Renderer(facts, kept)
        modules = (comparison, lineage, quality)
        made = [page for module in modules for page in module.pages(facts)]
        pages = {page.path: text for page, text in renderer.texts(made)}
    facts.close()
    return pages


@pytest.fixture(scope="module")
def pages(public: tuple[Path, Models], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(public, tmp_path_factory.mktemp("cache") / "seiten.sqlite")


@pytest.fixture
def con(public: tuple[Path, Models]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(public[0]), read_only=True) as connection:
        yield connection


def in_german(value: float, decimals: int) -> str:
    rounded = Decimal(repr(value)).quantize(Decimal(10) ** -decimals, ROUND_HALF_UP)
    text = f"{abs(rounded):,}".replace(",", "\u202f").replace(".", ",")
    return f"\u2212{text}" if rounded < 0 else text


# ---------------------------------------------------------------- Vergleich


def test_every_figure_of_the_comparison_is_that_of_the_mart(
    pages: dict[str, str], con: duckdb.DuckDBPyConnection
) -> None:
    rows = con.execute(
        "SELECT v.indicator_id, v.area_level, v.area_id, v.period, v.value, v.change, i.decimals "
        "FROM mart.indicator_value v JOIN mart.indicator i USING (indicator_id)"
    ).fetchall()
    known = {(i, a, p): {"value": v, "change": c, "decimals": d} for i, _, a, p, v, c, d in rows}
    areas: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one, level, area, *_ in rows:
        areas[one, level].add(area)
    seen = 0
    for one, level in (key for key, several in areas.items() if len(several) > 1):
        page = Html(pages[links.comparison_page(one, level)])
        shown = {(c, k): t for c, k, t in page.figures if c in ("value", "change")}
        wanted = {(i, a, p) for i, of, a, p, *_ in rows if i == one and (of == level or a == CITY)}
        found = set()
        for (column, address), figure in shown.items():
            area, period = re.fullmatch(rf"\.\./herkunft/{one}/(.+)\.html#(.+)", address).groups()  # type: ignore[union-attr]
            value = known[one, area, period]
            found |= {(one, area, period)} if column == "value" else set()
            expected = value[column]
            assert figure == ("g" if expected is None else in_german(expected, value["decimals"])), (address, column)
            seen += 1
        assert found == wanted
    assert seen > 60


def test_orders_are_by_the_newest_period_with_ties_as_listed_and_the_missing_last(
    pages: dict[str, str], con: duckdb.DuckDBPyConnection
) -> None:
    def listed(indicator_id: str, order: str) -> list[str]:
        rows = Html(pages[links.comparison_page(indicator_id, "bezirk", order)]).rows
        return [row[0] for row in rows if row and row[0].startswith("Bezirk")]

    def expected(indicator_id: str, column: str) -> list[str]:
        query = (
            f"SELECT a.name FROM mart.indicator_value v JOIN mart.area a USING (area_id) WHERE indicator_id = ? "
            f"AND area_level = 'bezirk' AND period = '2022-12-31' ORDER BY {column} DESC NULLS LAST, a.sort_key"
        )
        return [name for (name,) in con.execute(query, [indicator_id]).fetchall()]

    assert listed("einwohnerzahl", "") == [f"Bezirk {n}" for n in range(1, 7)]
    assert listed("einwohnerzahl", "wert") == [f"Bezirk {n}" for n in (2, 5, 3, 1, 6, 4)]
    assert listed("einwohnerzahl", "veraenderung") == expected("einwohnerzahl", "v.change")
    assert listed("frauenanteil", "veraenderung") == expected("frauenanteil", "v.change"), "also below none"
    by_share = listed("frauenanteil", "wert")
    assert by_share == expected("frauenanteil", "v.value")
    withheld = con.execute(
        "SELECT count(*) FROM mart.indicator_value WHERE indicator_id = 'frauenanteil' AND area_level = 'bezirk' "
        "AND period = '2022-12-31' AND value IS NULL"
    ).fetchone()
    assert withheld and withheld[0] > 0


def test_prebuilt_orders_lead_to_each_other_and_say_which_one_is_shown(pages: dict[str, str]) -> None:
    for order in comparison.ORDERS:
        address = links.comparison_page("einwohnerzahl", "bezirk", order)
        page = Html(pages[address])
        assert f"../{address}" in page.current
        others = {f"../{links.comparison_page('einwohnerzahl', 'bezirk', other)}" for other in comparison.ORDERS}
        assert others <= set(page.links)


def test_city_stands_beside_other_cities_with_its_break(pages: dict[str, str]) -> None:
    page = Html(pages[links.CITIES])
    table = {row[0]: row[1:] for row in page.rows if row}
    assert [cell.strip()[:3] for cell in table["Musterstadt"]] == ["7,1", "7,5"]
    assert [cell.strip()[:3] for cell in table["Nachbarort"]] == ["8,0", "6,3"], "newest period first"
    assert REASON in page.text
    assert f"../{links.comparison_page('quote_staedte', 'stadt', 'wert')}" in page.links
    drawing = pages[links.CITIES].split("<svg", 1)[1].split("</svg>")[0]
    assert ">Musterstadt</text>" in drawing and ">Nachbarort</text>" in drawing, "lines carry their names"


def test_list_of_comparisons_leads_to_every_page(pages: dict[str, str]) -> None:
    listed = {address.removeprefix("../") for address in Html(pages[links.COMPARISONS]).links}
    first = {p for p in pages if p.startswith("vergleich/") and not re.search("-(wert|veraenderung).html$", p)}
    assert first - {links.COMPARISONS} <= listed


@pytest.mark.parametrize("wishes", [[10, 12, 14], [100, 100, 100, 100], [270, 275, 280], [0, 140, 280]])
def test_labels_at_the_ends_of_lines_do_not_overlap(wishes: list[float]) -> None:
    places = list(spread({str(n): float(wish) for n, wish in enumerate(wishes)}, 15, 280).values())
    assert all(b - a >= 15 for a, b in pairwise(places))
    assert max(places) <= 280 and min(places) >= 0


# ---------------------------------------------------------------- Datenfluss


def test_lineage_of_each_indicator_names_exactly_the_sources_of_its_figures(
    pages: dict[str, str], con: duckdb.DuckDBPyConnection
) -> None:
    query = (
        "SELECT DISTINCT regexp_replace(lieferung, '-[0-9]+$', '') FROM api.herkunft_aller_zahlen WHERE indikator = ?"
    )
    for (one,) in con.execute("SELECT indicator_id FROM mart.indicator").fetchall():
        page = Html(pages[links.lineage_page(one)])
        named = {name.removeprefix("quelle-") for name in page.ids if name.startswith("quelle-")}
        assert named == {name for (name,) in con.execute(query, [one]).fetchall()}, one
        drawn = {link.removeprefix("#quelle-") for link in page.links if link.startswith("#quelle-")}
        assert drawn == named, "every box leads to its entry"
        assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "quelle-melderegister" in Html(pages[links.lineage_page("hilfenanteil")]).ids


def test_formed_measures_stand_between_the_delivered_one_and_the_indicator(pages: dict[str, str]) -> None:
    page = Html(pages[links.lineage_page("einwohner_zwei_jahre")])
    assert {"kennzahl-einwohner", "kennzahl-einwohner_2j", "indikator"} <= page.ids
    assert "einwohner über 2 Zeiträume" in page.text
    assert "Gebildete Kennzahlen" in page.text
    assert "Gebildete Kennzahlen" not in Html(pages[links.lineage_page("einwohnerzahl")]).text


def test_each_column_is_led_back_to_figures_and_settings(pages: dict[str, str]) -> None:
    rows = {row[1]: row for row in Html(pages[links.LINEAGE]).rows if len(row) == 5}
    assert "Wert" in rows["value"][3]
    assert "Faktor" in rows["value"][4]
    assert "verglichen" in rows["benchmark_id"][4] and rows["benchmark_id"][3] == "–"
    assert not [row for row in rows.values() if "_in" in row[3] + row[4]], "inputs go by German names"


def test_failed_check_shows_in_the_flow_and_in_the_quality_of_the_data(pages: dict[str, str]) -> None:
    found = RULES["gebiet_bekannt"].title
    flow = Html(pages[links.lineage_page("hilfenanteil")])
    row = next(row for row in flow.rows if row and row[0] == found)
    assert sorted(row[1:]) == ["✓ nichts gefunden", "✗ gefunden"], "of two sources one delivered an unknown area"
    assert "jugendamt-0003, eingegangen am 02.03.2026, zurückgewiesen" in flow.text
    assert "jugendamt-0002, eingegangen am 02.03.2026, angenommen" in flow.text, "what is in force instead"
    page = Html(pages[links.QUALITY])
    assert f"{found}: jugendamt" in page.text
    assert "zurückgewiesen: 1" in page.text
    assert "✗ Prüfungen nicht bestanden" in Html(pages[links.LINEAGE]).text


def test_words_of_the_machinery_do_not_appear(pages: dict[str, str]) -> None:
    for address, page in pages.items():
        words = Html(page).text.lower()
        assert not re.search(r"\b(assets?|jobs?|materiali[sz]e\w*|dagster|pipeline)\b", words), address


# ---------------------------------------------------------------- Datenqualität


def test_quality_names_what_is_late_withheld_broken_and_not_approved(
    pages: dict[str, str], con: duckdb.DuckDBPyConnection
) -> None:
    page = Html(pages[links.QUALITY])
    rows = {row[0]: row[1:] for row in page.rows if row}
    late = next(row for row in page.rows if row and row[0] == "spaet")
    assert late[1:] == ["noch keine", "jährlich bis 31.01.", "überfällig"]
    cells = con.execute("SELECT cells, suppressed FROM meta.release_protection WHERE area_level = 'insgesamt'")
    assert rows["insgesamt"] == [str(number) for number in cells.fetchone() or ()]
    assert f"Ab 31.12.2022: {REASON} Betrifft: quote_staedte." in page.text
    assert "Titel hilfenanteil (verantwortet von Sozialplanung)" in page.text
    query = "SELECT count(*), count(*) FILTER (obs_status = 'Q') FROM mart.indicator_value WHERE indicator_id = ?"
    counts = con.execute(query, ["frauenanteil"]).fetchone()
    assert counts and counts[1] > 0
    shown = next(row for row in page.rows if row and row[0] == "Titel frauenanteil")
    assert tuple(map(int, shown[1:3])) == counts
    assert "Keine schon veröffentlichte Zahl hat sich geändert." in page.text
    assert "in der Datei steht »2300«, statt dessen gilt »2310«. Grund: Zahlendreher" in page.text


def test_quality_shows_revisions_with_cause(public: tuple[Path, Models], tmp_path: Path) -> None:
    folder = tmp_path / "ausgabe"
    shutil.copytree(public[0].resolve().parent, folder)
    file = folder / "sozialraum.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute(
            """
            INSERT INTO mart.revision BY NAME
            SELECT indicator_id, area_id, period_type, reference_date, area_level, period, 'R-2' AS release_id,
                'R-1' AS previous_release_id, 3900 AS value_before, 4000 AS value_now, 100 AS difference,
                'delivery' AS cause
            FROM mart.indicator_value
            WHERE indicator_id = 'einwohnerzahl' AND area_id LIKE '%BZ-2' AND period = '2022-12-31'
            """
        )
    text_of_page = written((file, public[1]), tmp_path / "cache.sqlite")[links.QUALITY]
    page = Html(text_of_page)
    row = ["Titel einwohnerzahl", "Bezirk 2", "31.12.2022", "3\u202f900", "4\u202f000", "andere Lieferung", "R-2"]
    assert row in page.rows
    (folder / "bericht").mkdir()
    (folder / "bericht" / links.QUALITY).write_text(text_of_page, encoding="utf-8")
    assert check_report(folder, public[1]) == []


def test_audit_of_the_release_finds_every_figure_of_these_pages_in_its_tables(
    public: tuple[Path, Models], pages: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "ausgabe"
    shutil.copytree(public[0].resolve().parent, folder)
    for address, page in pages.items():
        path = folder / "bericht" / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    assert check_report(folder, public[1]) == []
    address = links.comparison_page("einwohnerzahl", "bezirk")
    (folder / "bericht" / address).write_text(pages[address].replace("4\u202f000", "4\u202f001"), encoding="utf-8")
    assert check_report(folder, public[1])


# ---------------------------------------------------------------- drawing


def test_text_in_boxes_loses_no_letter_and_long_words_are_divided() -> None:
    lines = wrapped("Donaudampfschifffahrtsgesellschaftskapitänsmütze und Kinderarmut", 120)
    assert len(lines) > 3
    assert "".join(line.removesuffix("-") if line.endswith("-") else f"{line} " for line in lines).split() == [
        "Donaudampfschifffahrtsgesellschaftskapitänsmütze",
        "und",
        "Kinderarmut",
    ]


def test_pages_are_the_same_on_another_day_but_for_the_stamp(
    public: tuple[Path, Models], pages: dict[str, str], tmp_path: Path
) -> None:
    facts = Facts.read(*public, Stamp("R-9", NOW + dt.timedelta(days=1)))
    with Cache(tmp_path / "cache.sqlite") as kept:
        renderer = Renderer(facts, kept)
        page = next(iter(lineage.pages(facts)))
        [(_, later)] = renderer.texts([page])
    facts.close()
    assert "03.03.2026" in later
    assert later.replace("R-9", RELEASE).replace("03.03.2026", "02.03.2026") == pages[links.LINEAGE]
