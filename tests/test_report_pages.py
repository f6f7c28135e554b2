"""The report as a whole: what is rendered again, what Start says, what sentences claim, how charts come out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import shutil
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import init
from pipelines.marts.models import Models
from pipelines.project import ConfigError, load_project
from pipelines.report import charts, links, profile, site, words
from pipelines.report.cache import Cache
from pipelines.report.drawing import Chart, Studio
from pipelines.report.facts import Facts, News, Stamp, Value
from pipelines.report.numbers import MINUS, THIN, figure
from pipelines.report.page import Page
from pipelines.report.pdf import CHROMIUM, OFF
from pipelines.report.words import Cells
from tests.browser import WITHHELD, declare_report, town_with_report
from tests.conftest import Quiet, run_night
from tests.test_history import NOW
from tests.town import CITY, deliver, district, planning_area

STAMP = Stamp("20230601T031500Z-0009", dt.datetime(2023, 6, 1, 3, 15, tzinfo=dt.UTC))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The constructed town after a first night."""
    return town_with_report(tmp_path_factory.mktemp("seiten") / "Stadt Süd", OFF)


@pytest.fixture(scope="module")
def facts(folder: Path) -> Facts:
    file = (folder / "data/warehouse/sozialraum.duckdb").resolve()
    return Facts.read(file, Models(load_project(folder)).declared(), STAMP)


def written(folder: Path, target: Path, cache: Path) -> site.Written:
    file = (folder / "data/warehouse/sozialraum.duckdb").resolve()
    return site.write_report(file, Models(load_project(folder)).declared(), STAMP, target, cache)


# ---------------------------------------------------------------- rendered again or not


def test_a_second_time_nothing_is_rendered_and_the_pages_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHROMIUM, OFF)
    first = written(folder, tmp_path / "eins", tmp_path / "cache.sqlite")
    second = written(folder, tmp_path / "zwei", tmp_path / "cache.sqlite")
    assert first.rendered == first.pages > 30
    assert (second.pages, second.rendered, second.drawn) == (first.pages, 0, 0)
    assert texts(tmp_path / "eins") == texts(tmp_path / "zwei")


def test_after_a_correction_kept_pages_are_those_that_would_be_written_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages have a key of their own for what they depend on; what a key forgets would leave an old page in force."""
    monkeypatch.setenv(CHROMIUM, OFF)
    copy = shutil.copytree(folder, tmp_path / "Stadt", symlinks=True)
    written(copy, tmp_path / "vorher", tmp_path / "cache.sqlite")
    deliver(copy, women=[9, 2, 15, 9, 44, 8], day="31.12.2023", name="berichtigt.csv")
    night = run_night(copy, NOW + dt.timedelta(days=3))
    assert night.publication is not None and night.publication.new
    kept = written(copy, tmp_path / "nachher", tmp_path / "cache.sqlite")
    anew = written(copy, tmp_path / "neu", tmp_path / "leer.sqlite")
    assert 0 < kept.rendered < anew.rendered
    assert text_of_all(tmp_path / "nachher") == text_of_all(tmp_path / "neu")
    assert text_of_all(tmp_path / "nachher") != text_of_all(tmp_path / "vorher")


def text_of_all(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.html"))}


def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHROMIUM, OFF)
    written(folder, tmp_path / "eins", tmp_path / "cache.sqlite")
    with (tmp_path / "cache.sqlite").open("r+b") as file:
        file.seek(0)
        file.write(b"keine Datenbank" * 100)
    again = written(folder, tmp_path / "zwei", tmp_path / "cache.sqlite")
    assert again.rendered == again.pages
    assert texts(tmp_path / "eins") == texts(tmp_path / "zwei")


def texts(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.html")}


def test_cache_forgets_what_nobody_asks_for_and_notices_damage(tmp_path: Path) -> None:
    with Cache(tmp_path / "c.sqlite") as cache:
        cache.put("a", "Text a")
        cache.put("b", "Text b")
        assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("Text a", "Text b", None)
    with Cache(tmp_path / "c.sqlite") as cache:
        assert cache.get("a") == "Text a"
        cache._connection.execute("UPDATE kept SET digest = x'00' WHERE key = 'a'")
        assert cache.get("a") is None
    with Cache(tmp_path / "c.sqlite") as cache:
        assert cache.get("b") is None


def test_a_changed_figure_is_told_on_the_first_page_and_renders_only_its_pages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixth district, 2023: more. Its own rows change, those of its planning area and the city, and lists of all."""
    monkeypatch.setenv(CHROMIUM, OFF)
    deliver(folder, women=[9, 2, 15, 9, 31, 28], day="31.12.2023", name="berichtigt.csv")
    night = run_night(folder, NOW + dt.timedelta(days=1))
    said = night.said  # type: ignore[attr-defined]
    assert night.publication is not None and night.publication.new
    counts = next(re.fullmatch(r"(\d+) Seiten, davon (\d+) neu geschrieben", line) for line in said if "Seiten" in line)
    assert counts is not None and 0 < int(counts[2]) < int(counts[1])
    start = (folder / "data/releases/current/bericht/index.html").read_text(encoding="utf-8")
    change = start.split('id="neu"')[1].split("<h2")[0]
    assert "geänderte Werte" in change and "vorher" in change and "Bezirk 6" in change
    unchanged = [p for p in night.changes.rows if p.area_id == district(1)]  # type: ignore[union-attr]
    assert not [p for p in unchanged if p.period == "2022-12-31"]


# ---------------------------------------------------------------- numbers


@given(st.floats(-1e9, 1e9), st.integers(0, 3))
def test_figures_read_back_as_the_rounded_number(number: float, decimals: int) -> None:
    text = figure(number, decimals)
    back = Decimal(text.replace(THIN, "").replace(MINUS, "-").replace(",", "."))
    assert back == Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    assert text not in (f"{MINUS}0", f"{MINUS}0,0", f"{MINUS}0,00", f"{MINUS}0,000")


# ---------------------------------------------------------------- what sentences claim


def value(facts: Facts, **more: object) -> Value:
    known = next(v for v in facts.series("hilfenanteil", district(1)) if v.value is not None)
    base = {
        "period": "1999-12-31", "reference_date": dt.date(1999, 12, 31),  # the city has no row then: ours is told
        "value": 58.4, "ci_low": 57.0, "ci_high": 59.8, "benchmark_id": facts.city.area_id, "benchmark_value": 26.8,
        "not_compared_reason": None, "origin": "published", "obs_status": "A", "is_suppressed": False,
    }  # fmt: skip
    return dataclasses.replace(known, **{**base, **more})  # type: ignore[arg-type]


def sentence(facts: Facts, **more: object) -> str:
    indicator = facts.indicators["hilfenanteil"]
    marked = Cells("", facts).satz(facts.areas[district(1)], value(facts, **more), indicator)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", str(marked)))


def test_sentences_assert_a_difference_only_where_the_interval_carries_it(facts: Facts) -> None:
    worse = sentence(facts, comparison="worse")
    claim = "der Unterschied ist statistisch gesichert."
    assert worse == f"Bezirk 1 liegt mit 58,4 % über dem Stadtwert von 26,8 % (ungünstiger); {claim}"
    similar = sentence(facts, comparison="similar", value=27.0)
    assert "über dem Stadtwert" in similar and "statistisch nicht gesichert" in similar
    unknown = sentence(facts, comparison="not_compared", not_compared_reason="rate_only", ci_low=None, ci_high=None)
    assert "lässt sich nicht sagen" in unknown and "statistisch gesichert" not in unknown
    level = sentence(facts, comparison="similar", value=26.84)
    assert "gleichauf mit dem Stadtwert" in level
    count = sentence(facts, comparison="not_compared", not_compared_reason="plain_number")
    assert "gesichert" not in count and "über" not in count


def test_withheld_figures_are_told_with_their_reason(facts: Facts) -> None:
    series = [v for key, values in facts.all_series() for v in values if key[0] == WITHHELD]
    hidden = next(v for v in series if v.is_suppressed)
    cell = str(Cells("", facts).zahl(hidden, "value", facts.indicators[WITHHELD]))
    assert ">g</abbr>" in cell and "geheim zu halten" in cell and "herkunft/" in cell
    assert not re.search(r">[^<]*\d[^<]*<", cell)


# ---------------------------------------------------------------- charts


def test_a_chart_comes_out_the_same_alone_and_among_others(facts: Facts, tmp_path: Path) -> None:
    drawn = []
    series = [with_years(facts, district(n), 4) for n in range(1, 7)]
    found = [charts.time_series(s, facts.indicators["hilfenanteil"], "Name", "Stadt") for s in series]
    pictures = [chart for chart in found if chart is not None]
    assert len(pictures) > 2
    for name, groups in (("alle", [pictures]), ("einzeln", [[one] for one in pictures])):
        with Cache(tmp_path / f"{name}.sqlite") as cache:
            studio = Studio(cache)
            drawn.append({key: svg for group in groups for key, svg in studio.draw(group).items()})
    together, alone = drawn
    assert [shown(svg) for svg in together.values()] == [shown(svg) for svg in alone.values()]


def with_years(facts: Facts, area_id: str, years: int) -> list[Value]:
    """A constructed series: the town has two years only, too few for a line."""
    first = next(v for v in facts.series("hilfenanteil", area_id) if v.value is not None)
    dates = [dt.date(2015 + year, 12, 31) for year in range(years)]
    return [
        dataclasses.replace(first, reference_date=date, period=date.isoformat(), value=(first.value or 0) + number)
        for number, date in enumerate(dates)
    ]


def test_lines_need_three_figures_and_stop_at_breaks_and_missing_years(facts: Facts) -> None:
    indicator = facts.indicators["hilfenanteil"]
    series = with_years(facts, district(1), 6)
    assert charts.time_series(series[:2], indicator, "Name", "Stadt") is None
    gap = [*series[:2], *series[3:]]
    stretches = [row["teil"] for row in points(charts.time_series(gap, indicator, "Name", "Stadt"))]
    assert stretches == [0, 0, 1, 1, 1]
    broken = [*series[:4], *(dataclasses.replace(one, segment=9) for one in series[4:])]
    chart = charts.time_series(broken, indicator, "Name", "Stadt")
    assert [row["teil"] for row in points(chart)] == [0, 0, 0, 0, 1, 1]
    assert chart is not None and "unterbrochen" in chart.label


def points(chart: Chart | None) -> list[dict[str, object]]:
    assert chart is not None
    return [row for row in chart.spec["data"]["values"] if "teil" in row]


def shown(svg: str) -> list[object]:
    """Texts and shapes of a drawing."""
    root = ElementTree.fromstring(svg)
    return [(part.tag, part.get("d"), part.text) for part in root.iter() if part.get("d") or (part.text or "").strip()]


def test_a_chart_says_in_words_what_it_shows_and_holds_nothing_for_scripts(facts: Facts, tmp_path: Path) -> None:
    chart = Chart({"data": {"values": [{"x": 1}]}, "mark": "point"}, 50, 50, 'Satz mit "Zeichen" & <mehr>')
    with Cache(tmp_path / "c.sqlite") as cache:
        svg = Studio(cache).draw([chart])[chart.key]
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == 'Satz mit "Zeichen" & <mehr>'
    roles = [part.get("role") for part in root.iter() if part is not root and part.get("role")]
    assert not roles and "graphics-" not in svg and "class=" not in svg


# ---------------------------------------------------------------- first page


def test_first_page_tells_a_first_release_from_one_without_changes(
    facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(previous: str | None, changes: News | None, number: int = 9) -> str:
        stamp = Stamp(f"20230601T031500Z-{number:04d}", STAMP.created, previous)
        monkeypatch.setenv(CHROMIUM, OFF)
        site.write_report(facts.file, facts.models, stamp, tmp_path / "b", tmp_path / "c.sqlite", changes)
        return (tmp_path / "b/index.html").read_text(encoding="utf-8")

    assert "erste Veröffentlichung" in start(None, None, number=1)
    assert "wird hier nicht verglichen" in start(None, None)
    assert "kein Wert geändert" in start("20230531T031500Z-0008", News((), (), ()))
    assert "nicht vergleichen" in start("20230531T031500Z-0008", None)
    assert "neue Werte" in start("20230531T031500Z-0008", News((("hilfenanteil", 3),), (), ()))


def test_a_project_may_do_without_pages(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "ohne", symlinks=True)
    declare_report(copy, written=False)
    night = run_night(copy, NOW + dt.timedelta(days=2))
    assert night.publication is not None and night.publication.new
    assert not (copy / "data/releases/current/bericht").exists()


def test_pages_may_speak_of_some_levels_only(folder: Path, tmp_path: Path) -> None:
    """A nation has more areas than anybody wants pages for: no page and no link of theirs, and the audit agrees."""
    copy = shutil.copytree(folder, tmp_path / "Ebenen", symlinks=True)
    declare_report(copy, levels=["bereiche"])
    with pytest.raises(ConfigError, match=r"»bereiche« gibt es nicht.*»bereich«"):
        load_project(copy)
    declare_report(copy, levels=["bereich"])
    night = run_night(copy, NOW + dt.timedelta(days=2))
    assert night.publication is not None and night.publication.new
    pages = list((copy / "data/releases/current/bericht").rglob("*.html"))
    names = {page.stem for page in pages if page.parent.name == "gebiete"}
    assert names == {"index", CITY, planning_area(1), planning_area(2)}
    assert not any(page.stem == district(1) for page in pages)
    addresses = [address for page in pages for address in re.findall(r'href="([^"]*)"', page.read_text("utf-8"))]
    assert not [address for address in addresses if district(1).removesuffix("1") in address]
    with duckdb.connect(str(copy / "data/releases/current/sozialraum.duckdb"), read_only=True) as con:
        levels = con.execute("SELECT DISTINCT area_level FROM mart.indicator_value ORDER BY ALL").fetchall()
    assert levels == [("bereich",), ("bezirk",), ("stadt",)], "tables hold all levels all the same"


@pytest.mark.parametrize(
    ("polarity", "trend", "low", "high", "against"),
    [
        ("higher_is_worse", "improving", 0.1, 4.3, True),
        ("higher_is_worse", "improving", -0.1, 4.3, False),
        ("higher_is_worse", "worsening", 0.1, 4.3, False),
        ("higher_is_better", "improving", -4.3, -0.1, True),
        ("higher_is_better", "improving", 0.1, 4.3, False),
        ("neutral", "increasing", -4.3, -0.1, True),
        ("neutral", "no_significant_change", -4.3, -0.1, False),
    ],
)
def test_a_last_year_against_the_trend_is_said(
    facts: Facts, polarity: str, trend: str, low: float, high: float, against: bool
) -> None:
    indicator = dataclasses.replace(facts.indicators["hilfenanteil"], polarity=polarity)
    one = value(facts, trend=trend, trend_reason=None, change=(low + high) / 2, change_low=low, change_high=high)
    assert ("läuft diesem Trend entgegen" in Cells("", facts).entwicklung(one, indicator)) == against


def test_a_release_that_must_not_tell_earlier_figures_is_published_with_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One count revised twice: earlier releases leave no safe pattern, so the third stands for itself."""
    monkeypatch.setenv(CHROMIUM, OFF)
    assert init.create_project(tmp_path / "Stadt", Quiet()) == 0
    file = tmp_path / "Stadt/data/raw/beispiel/beispiel.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    place = next(n for n, line in enumerate(lines) if ";Mühlenviertel;31.12.2023;" in line)
    for number, count in enumerate((330, 340, 345)):
        cells = lines[place].split(";")
        cells[3] = str(count)
        file.write_text("\n".join([*lines[:place], ";".join(cells), *lines[place + 1 :]]) + "\n", encoding="utf-8")
        night = run_night(tmp_path / "Stadt", NOW + dt.timedelta(days=number))
        assert night.publication is not None and night.publication.new
    assert night.protection is not None and night.protection.alone
    start = (tmp_path / "Stadt/data/releases/current/bericht/index.html").read_text(encoding="utf-8")
    assert "wird hier nicht verglichen" in start and "vorher" not in start.split('id="neu"')[1]


def test_a_misspelt_topic_of_a_chapter_is_named_and_a_removed_one_stops_nothing(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder / "assets", tmp_path / "Stadt/assets").parent
    (copy / "data").mkdir()
    shutil.copyfile(folder / "dagster.yaml", copy / "dagster.yaml")
    title = {"de": "Hilfe"}
    declare_report(copy, chapters=[{"title": title, "topics": ["hilfn"]}])
    with pytest.raises(ConfigError, match=r"»hilfn« gibt es nicht.*»hilfen«"):
        load_project(copy)
    declare_report(copy, chapters=[{"title": title, "topics": ["hilfen", "weggefallen"]}], book_level="bereich")
    assert load_project(copy).release.report.chapters[0].title.de == "Hilfe"
    declare_report(copy, book_level="bereiche")
    with pytest.raises(ConfigError, match=r"»bereiche« gibt es nicht.*»bereich«"):
        load_project(copy)


def test_a_changed_sign_of_the_citys_figure_reaches_the_pages_of_its_areas(facts: Facts, tmp_path: Path) -> None:
    """The sign stands beside the city's value on every profile, though nothing of the area itself has changed."""
    page = next(p for p in profile.pages(facts) if p.path == links.area_page(district(1)))
    series = facts._series["hilfenanteil", facts.city.area_id]
    before = list(series)
    with Cache(tmp_path / "c.sqlite") as cache:
        first = text_of(facts, cache, page)
        try:
            series[:] = [dataclasses.replace(one, origin="secondary") for one in before]
            second = text_of(facts, cache, page)
        finally:
            series[:] = before
    marks = [text.count('<abbr class="marke" title="Sekundärquelle (Presse, Dritte)">') for text in (first, second)]
    assert marks[0] == 0 < marks[1]


def text_of(facts: Facts, cache: Cache, page: Page) -> str:
    return next(text for _, text in site.Renderer(facts, cache).texts([page]))


def test_a_person_is_not_named() -> None:
    assert words.owner("team:sozialplanung") == "Sozialplanung"
    assert "@" not in words.owner("erika.muster@example.org")
