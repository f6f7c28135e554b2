"""What may become public: small counts, small remainders, rates and sums of a constructed town."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.clearance import Unsafe
from pipelines.disclosure.problem import NotAdditive
from pipelines.disclosure.protection import CannotProtect
from pipelines.night import Night
from pipelines.paths import Paths
from tests.conftest import run_night
from tests.test_history import NOW, edit, put, release_locks
from tests.test_marts import indicator, measure, source
from tests.town import CITY, MEN, RESIDENTS, WOMEN, deliver, district, planning_area, public, topic, town, write_topic

Figures = dict[tuple[str, str], float | None]


def protected(folder: Path) -> Figures:
    run_night(folder, NOW)
    return public(folder)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The town after the night of its first delivery, to look at only: women of district 2 are 1, men of 3 are 2."""
    root = town(tmp_path_factory.mktemp("nur ansehen") / "Stadt Süd")
    deliver(root)
    run_night(root, NOW)
    return root


def withheld(figures: Figures) -> set[tuple[str, str]]:
    return {key for key, value in figures.items() if value is None}


def explanations(figures: Figures, largest: int = 15) -> list[dict[tuple[str, str], int]]:
    """Every way to fill the withheld cells of the town with counts from 1 on: the attacker, by trying all of them.

    Independent of the solver: only sums of districts, planning areas and sexes, and whole numbers.
    """
    unknown = withheld(figures)
    lines = [line for line in LINES if unknown & set(line)]
    found: list[dict[tuple[str, str], int]] = []

    def fill(known: dict[tuple[str, str], float], open_lines: list[tuple[tuple[str, str], ...]]) -> None:
        if not open_lines:
            found.append({key: int(known[key]) for key in unknown})
            return
        line = min(open_lines, key=lambda cells: sum(cell not in known for cell in cells))
        left = [cell for cell in line if cell not in known]
        rest = [other for other in open_lines if other != line]
        for guess in itertools.product(range(1, largest + 1), repeat=max(len(left) - 1, 0)):
            filled = known | dict(zip(left, guess, strict=False))
            if left:
                sign = -1 if left[-1] != line[0] else 1
                value = sum(filled[c] for c in line[1:] if c in filled) - (filled[line[0]] if sign < 0 else 0)
                filled[left[-1]] = sign * value
                if not 1 <= filled[left[-1]] <= 10 * largest:
                    continue
            if filled[line[0]] == sum(filled[cell] for cell in line[1:]):
                fill(filled, rest)

    fill({key: value for key, value in figures.items() if value is not None}, lines)
    return found


AREAS = [*map(district, range(1, 7)), planning_area(1), planning_area(2), CITY]
SEXES = ("weiblich", "maennlich")
LINES: list[tuple[tuple[str, str], ...]] = [
    *[(("insgesamt", area), *[(sex, area) for sex in SEXES]) for area in AREAS],
    *[
        ((category, total), *[(category, part) for part in parts])
        for category in (*SEXES, "insgesamt")
        for total, parts in (
            (planning_area(1), [district(n) for n in (1, 2, 3)]),
            (planning_area(2), [district(n) for n in (4, 5, 6)]),
            (CITY, [planning_area(1), planning_area(2)]),
        )
    ],
]
"""Totals with their parts: all that adds up in the town."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return town(tmp_path / "Stadt Süd")


# ---------------------------------------------------------------- P1 and the sums around it


def test_no_withheld_count_can_be_shown_to_be_small(delivered: Path) -> None:
    figures = public(delivered)
    assert {("weiblich", district(2)), ("maennlich", district(3))} <= withheld(figures)
    ways = explanations(figures)
    for key in [("weiblich", district(2)), ("maennlich", district(3))]:
        assert max(way[key] for way in ways) >= 3, key
        assert min(way[key] for way in ways) < max(way[key] for way in ways), key


def test_starring_only_the_small_ones_would_tell_both(delivered: Path) -> None:
    """Why secondary suppression is needed at all: the same attacker on the same town."""
    figures = public(delivered)
    naive = true_figures(delivered) | dict.fromkeys([("weiblich", district(2)), ("maennlich", district(3))])
    assert len(withheld(figures)) == 4
    assert explanations(naive) == [{("weiblich", district(2)): 1, ("maennlich", district(3)): 2}]


def true_figures(folder: Path) -> Figures:
    with duckdb.connect(str(Paths.of(folder).internal_mart), read_only=True) as con:
        rows = con.execute(
            "SELECT category, area_id, value FROM mart.observation WHERE measure_id = 'hilfen'"
        ).fetchall()
    return {(category, area): value for category, area, value in rows}


def test_published_figures_are_the_true_ones_and_the_inside_knows_all(delivered: Path) -> None:
    figures, inside = public(delivered), true_figures(delivered)
    assert None not in inside.values()
    assert {k: v for k, v in inside.items() if k not in withheld(figures)} == {
        k: v for k, v in figures.items() if v is not None
    }


def test_a_withheld_figure_has_one_sign_whoever_withholds_it(folder: Path) -> None:
    edit(folder, lambda s: s.update(symbols={"*": "suppressed"}), topic="hilfen")
    deliver(folder)
    path = folder / "data/raw/jugendamt/lieferung.csv"
    text = path.read_text(encoding="utf-8").replace("Bezirk 6;31.12.2022;8;9;17", "Bezirk 6;31.12.2022;*;*;17")
    path.write_text(text, encoding="utf-8")
    run_night(folder, NOW)
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        signs = con.execute(
            "SELECT DISTINCT obs_status, conf_status, suppression_reason FROM mart.observation WHERE is_suppressed"
        ).fetchall()
        stars = con.execute(
            "SELECT area_id FROM mart.observation WHERE is_suppressed AND category = 'weiblich'"
        ).fetchall()
    assert signs == [("Q", "C", "confidential")]
    assert {(district(6),), (district(2),)} <= set(stars)


def test_star_of_a_source_is_never_filled_though_its_line_would_tell(folder: Path) -> None:
    """District 6: one star, total and the other sex printed. The office forgot the second star; we do not."""
    edit(folder, lambda s: s.update(symbols={"*": "suppressed"}), topic="hilfen")
    deliver(folder)
    path = folder / "data/raw/jugendamt/lieferung.csv"
    text = path.read_text(encoding="utf-8").replace("Bezirk 6;31.12.2022;8;9;17", "Bezirk 6;31.12.2022;*;15;17")
    path.write_text(text, encoding="utf-8")
    figures = protected(folder)
    ways = explanations({**figures, ("insgesamt", CITY): figures["insgesamt", CITY]}, largest=20)
    assert len({way["weiblich", district(6)] for way in ways}) > 1
    assert max(way["weiblich", district(6)] for way in ways) >= 3


def test_public_figures_are_never_withheld(folder: Path) -> None:
    deliver(folder, residents=[20, 4000, 14, 900, 5000, 1200])
    run_night(folder, NOW)
    assert None not in public(folder, "einwohner").values()


def test_where_hardly_anybody_lives_nothing_is_shown_not_even_a_zero(folder: Path) -> None:
    """Of two residents, a star would tell that at least one is counted; so a zero gets the same star."""
    deliver(folder, residents=[2, 4000, 1, 900, 5000, 1200], women=[1, 9, 0, 9, 30, 8], men=[0, 6, 0, 11, 25, 9])
    figures = protected(folder)
    assert {figures["insgesamt", district(n)] for n in (1, 3)} == {None}


def test_zeros_are_shown_unless_the_source_hides_them(tmp_path: Path) -> None:
    women = [0, 1, 12, 0, 30, 8]
    for zeros in ("published", "hidden"):
        folder = town(tmp_path / zeros, zeros=zeros)
        deliver(folder, women=women)
        figures = protected(folder)
        if zeros == "published":
            assert figures["weiblich", district(1)] == figures["weiblich", district(4)] == 0
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        assert con.execute("SELECT zeros FROM mart.measure WHERE measure_id = 'hilfen'").fetchall() == [("hidden",)]


@pytest.mark.parametrize("threshold", [3, 5, 10])
def test_threshold_is_the_sources(tmp_path: Path, threshold: int) -> None:
    folder = town(tmp_path, threshold=threshold)
    deliver(folder)
    figures = protected(folder)
    small = {("weiblich", district(n)) for n, v in enumerate(WOMEN, 1) if 0 < v < threshold}
    small |= {("maennlich", district(n)) for n, v in enumerate(MEN, 1) if 0 < v < threshold}
    assert small <= withheld(figures)


# ---------------------------------------------------------------- P2 to P5


def test_small_remainder_of_a_public_whole_is_not_given_away(folder: Path) -> None:
    residents = [*RESIDENTS[:3], 21, *RESIDENTS[4:]]  # district 4: 20 of 21 get help; the one who does not is known
    deliver(folder, residents=residents)
    figures = protected(folder)
    assert figures["insgesamt", district(4)] is None
    ways = explanations(figures, largest=24)
    remainders = {21 - way["insgesamt", district(4)] for way in ways if way["insgesamt", district(4)] <= 21}
    assert max(remainders) >= 3
    assert len(remainders) > 1


def test_whole_small_group_is_withheld_if_the_source_asks_for_it(tmp_path: Path) -> None:
    residents = [*RESIDENTS[:3], 20, *RESIDENTS[4:]]  # all 20 of district 4
    for size, shown in ((0, True), (30, False)):
        folder = town(tmp_path / str(size), whole_group=size)
        deliver(folder, residents=residents)
        assert (protected(folder)["insgesamt", district(4)] is not None) is shown


def test_few_contributing_units_withhold_a_large_count(tmp_path: Path) -> None:
    folder = town(tmp_path)
    documents = topic(["bezirk", "bereich", "stadt"], {"units": {"measure": "haushalte", "threshold": 3}})
    documents[0]["attributes"]["layout"]["values"].append({"column": "haushalte", "measure": "haushalte"})
    documents.append(measure("haushalte", "stichtag", "jugendamt"))
    write_topic(folder, documents)
    deliver(folder)
    path = folder / "data/raw/jugendamt/lieferung.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    households = ["haushalte", 5, 3, 6, 2, 20, 7]  # the 20 people of district 4 live in two households
    path.write_text("".join(f"{a};{b}\n" for a, b in zip(lines, households, strict=True)), encoding="utf-8")
    figures = protected(folder)
    assert figures["insgesamt", district(4)] is None
    assert figures["insgesamt", CITY] == 125


def test_rate_on_a_small_base_is_not_formed_but_its_count_stays(tmp_path: Path) -> None:
    folder = town(tmp_path, small_base=1000)
    deliver(folder)
    run_night(folder, NOW)
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT value, numerator, obs_status, suppression_reason FROM mart.indicator_value WHERE area_id = ?",
            [district(4)],
        ).fetchall()
    assert rows == [(None, 20.0, "M", "denominator_small")]


def test_singletons_know_of_themselves(tmp_path: Path) -> None:
    """The one woman of district 2 must not be able to tell that there are only 1 or 2 others."""
    folder = town(tmp_path, singletons=True)
    deliver(folder)
    ways = explanations(protected(folder))
    assert max(way["weiblich", district(2)] for way in ways) >= 4


# ---------------------------------------------------------------- linked tables


def test_second_geography_is_protected_together_with_the_first(tmp_path: Path) -> None:
    """District 3 alone = planning area 1 - school district 1: as soon as both are shown, it has to be hidden twice."""
    folder = town(tmp_path, school_districts=True)
    deliver(folder, women=[7, 9, 2, 9, 30, 8], men=[5, 6, 4, 11, 25, 9])
    figures = protected(folder)
    assert figures["weiblich", district(3)] is None
    between = [("weiblich", planning_area(1)), ("weiblich", f"{CITY}-SB-1")]
    assert any(figures[key] is None for key in between) or any(figures["weiblich", district(n)] is None for n in (1, 2))


def test_halved_district_is_protected_in_the_estimates_too(tmp_path: Path) -> None:
    """School district 1 = districts 1 and 2 and half of 3; the estimate tells the half of a small count."""
    folder = town(tmp_path, school_districts=True)
    path = folder / "assets/areas/memberships.csv"
    rows = path.read_text(encoding="utf-8")
    half = f"{district(3)},{CITY}-SB-2,,,1,"
    rows = rows.replace(
        half, f"{district(3)},{CITY}-SB-1,,,0.5,confirmed,konstruiert\n{district(3)},{CITY}-SB-2,,,0.5,"
    )
    path.write_text(rows, encoding="utf-8")
    deliver(folder, women=[7, 9, 1, 9, 30, 8], men=[5, 6, 14, 11, 25, 9])
    figures, inside = protected(folder), true_figures(folder)
    assert inside["weiblich", f"{CITY}-SB-1"] == 16.5
    assert figures["weiblich", district(3)] is None
    told = [("weiblich", f"{CITY}-SB-1"), ("weiblich", district(1)), ("weiblich", district(2))]
    assert any(figures[key] is None for key in told)  # 16.5 - 7 - 9 = 0.5 would be half of 1


def test_area_that_consists_of_one_other_shares_its_fate(tmp_path: Path) -> None:
    folder = town(tmp_path)
    path = folder / "assets/areas/memberships.csv"
    path.write_text(
        path.read_text(encoding="utf-8").replace(f"{district(4)},{planning_area(2)}", f"{district(4)},{CITY}-BE-3")
        + f"{CITY}-BE-3,{CITY},,,1,confirmed,konstruiert\n",
        encoding="utf-8",
    )
    path = folder / "assets/areas/areas.csv"
    path.write_text(
        path.read_text(encoding="utf-8") + f"{CITY}-BE-3,Bereich 3,bereich,3,,,9,,konstruiert\n", encoding="utf-8"
    )
    deliver(folder, women=[7, 5, 12, 1, 30, 8], men=[5, 6, 9, 11, 25, 9])
    figures = protected(folder)
    assert figures["weiblich", district(4)] is None
    for category in ("weiblich", "maennlich", "insgesamt"):
        one, other = figures[category, district(4)], figures[category, f"{CITY}-BE-3"]
        assert one == other, category


def test_derived_figures_of_withheld_ones_are_withheld_too(folder: Path) -> None:
    deliver(folder, residents=[*RESIDENTS[:3], 21, *RESIDENTS[4:]])
    run_night(folder, NOW)
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            """
            SELECT v.value, v.numerator, v.obs_status, v.suppression_reason, p.hilfenanteil__value
            FROM mart.indicator_value v JOIN mart.area_profile p USING (area_id)
            JOIN mart.observation o ON o.measure_id = 'hilfen' AND o.category = 'insgesamt' AND o.area_id = v.area_id
            WHERE o.is_suppressed
            """
        ).fetchall()
    assert rows
    assert set(rows) == {(None, None, "Q", "inherited", None)}


def test_sums_that_do_not_add_up_are_refused_with_the_place_and_no_value(tmp_path: Path) -> None:
    folder = town(tmp_path)
    documents = topic(["bezirk", "bereich", "stadt"], {})
    documents[2]["attributes"]["levels"]["stadt"] = ["landesamt"]
    documents.append(city_office(publication="internal"))
    write_topic(folder, documents)
    deliver(folder)
    put(folder, "Bezirk;Zeit;frauen\nMusterstadt;31.12.2022;68\n", "amt.csv", "landesamt")  # the districts say 67
    with pytest.raises(NotAdditive, match=rf"hilfen/weiblich, {CITY}, 2022-12-31") as refused:
        run_night(folder, NOW)
    release_locks()
    assert "Summe (der Teilgebiete)" in str(refused.value)
    assert "tolerance" in str(refused.value)
    assert "68" not in str(refused.value)
    edit(folder, lambda m: m.update(tolerance=1), topic="hilfen", document="Measure")
    assert ("weiblich", district(2)) in withheld(protected(folder))


def city_office(**more: Any) -> dict[str, Any]:
    """A source that tells the women of the whole city."""
    office = source("landesamt", "stichtag", [], origin="open_data", address="https://example.org", **more)
    office["attributes"]["layout"] |= {"area": {"name": "Bezirk", "candidate_levels": ["bezirk", "stadt"]}}
    office["attributes"]["layout"]["values"] = [{"column": "frauen", "measure": "hilfen", "category": "weiblich"}]
    return office


def test_tolerance_of_a_sum_protects_nothing(tmp_path: Path) -> None:
    """The city's women are delivered, too, and may differ by 2; as they do not, every reader subtracts."""
    folder = town(tmp_path)
    documents = topic(["bezirk", "bereich", "stadt"], {})
    documents[2]["attributes"] |= {"tolerance": 2}
    documents[2]["attributes"]["levels"] = {"bezirk": ["jugendamt"], "stadt": ["landesamt"]}
    documents.append(city_office(publication="internal"))
    write_topic(folder, documents)
    deliver(folder, men=[5, 6, 7, 11, 25, 9])  # one small count only: the women of district 2
    put(folder, "Bezirk;Zeit;frauen\nMusterstadt;31.12.2022;67\n", "amt.csv", "landesamt")
    figures = protected(folder)
    women = {("weiblich", area) for area in [*map(district, range(1, 7)), CITY]}
    assert ("weiblich", district(2)) in withheld(figures)
    assert len(withheld(figures) & women) > 1


def test_public_denominator_as_large_as_the_threshold_stops_nothing(folder: Path) -> None:
    deliver(folder, residents=[*RESIDENTS[:3], 3, *RESIDENTS[4:]], women=[7, 9, 12, 1, 30, 8], men=[5, 6, 9, 1, 25, 9])
    assert protected(folder)["insgesamt", district(4)] is None


def test_remainder_of_public_figures_is_named_with_what_to_do(tmp_path: Path) -> None:
    """The women of the city are public elsewhere, all districts but one show a zero: nothing is left to hide behind."""
    folder = town(tmp_path)
    documents = topic(["bezirk", "bereich", "stadt"], {})
    documents[2]["attributes"]["levels"] = {"bezirk": ["jugendamt"], "stadt": ["landesamt"]}
    documents.append(city_office(publication="public_elsewhere"))
    write_topic(folder, documents)
    deliver(folder, women=[0, 0, 0, 0, 0, 2])
    put(folder, "Bezirk;Zeit;frauen\nMusterstadt;31.12.2022;2\n", "amt.csv", "landesamt")
    with pytest.raises(CannotProtect, match=rf"hilfen/weiblich, {district(6)}, 2022-12-31") as refused:
        run_night(folder, NOW)
    release_locks()
    assert "public_elsewhere" in str(refused.value)


# ---------------------------------------------------------------- delivered rates


def with_rate(folder: Path, rates: list[str], *, declared: bool, residents: list[int]) -> Callable[[], dict[str, Any]]:
    documents = topic(["bezirk", "bereich", "stadt"], {})
    rate_of = {"numerator": {"measure": "kranke"}, "denominator": {"measure": "einwohner"}}
    documents += [
        source("gesundheitsamt", "stichtag", ["krankenquote"], publication="internal", origin="open_data"),
        measure("kranke", "stichtag", "gesundheitsamt", levels={"stadt": ["landesamt"]}),
        source(
            "landesamt",
            "stichtag",
            ["kranke"],
            publication="public_elsewhere",
            origin="open_data",
            address="https://x.org",
        ),
        measure(
            "krankenquote",
            "stichtag",
            "gesundheitsamt",
            kind="rate",
            unit="percent",
            maximum=100,
            **({"rate_of": rate_of} if declared else {}),
        ),
        indicator("krankenanteil", "percent", levels={"bezirk": {"rate": "krankenquote"}}),
    ]
    write_topic(folder, documents)
    deliver(folder, residents=residents)
    rows = "".join(f"Bezirk {n};31.12.2022;{rate}\n" for n, rate in enumerate(rates, 1))
    put(folder, f"Bezirk;Zeit;krankenquote\n{rows}", "quoten.csv", "gesundheitsamt")

    def run() -> dict[str, Any]:
        night = run_night(folder, NOW)
        return {area[-4:]: value for (_, area), value in public(folder, "krankenquote").items()} | {
            "notes": night.notes
        }

    return run


def test_rate_of_a_known_denominator_is_the_count_behind_it(folder: Path) -> None:
    # 2 of 400 = 0.5 and 40 of 400 = 10.0; the rate 0.5 lets only 2 through (0.45 to 0.55 % of 400 = 1.8 to 2.2)
    run = with_rate(folder, ["0,5", "10,0", "5,0", "10,0", "0,0", "7,5"], declared=True, residents=[400] * 6)
    found = run()
    assert found["BZ-1"] is None
    assert found["BZ-2"] == 10.0
    assert found["BZ-5"] == 0.0  # 0 of 400: no one, and zeros are shown


def test_coarse_rate_that_leaves_a_small_count_possible_is_withheld(folder: Path) -> None:
    # 0.0 % of 4,000 may be one person (0.025 %): 0 or 1, and nobody may learn which
    run = with_rate(folder, ["0,0", "10,0", "5,0", "10,0", "3,0", "7,5"], declared=True, residents=[4000] * 6)
    assert run()["BZ-1"] is None


def test_rate_that_says_not_what_it_is_a_rate_of_is_not_published(folder: Path) -> None:
    found = with_rate(folder, ["10,0"] * 6, declared=False, residents=[400] * 6)()
    assert {v for k, v in found.items() if k != "notes"} == {None}
    assert any("rate_of" in note and "krankenquote" in note for note in found["notes"])


# ---------------------------------------------------------------- every night


def test_small_count_that_stands_openly_stops_the_publication(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primary rule that fails leaves no star to attack; the audit looks at what is shown, too."""
    deliver(folder)
    monkeypatch.setattr("pipelines.disclosure.problem._Marks._primary", lambda *_: ("", 0.0))
    with pytest.raises(Unsafe, match=rf"{district(2)}.*kleine Zahl") as stopped:
        run_night(folder, NOW)
    release_locks()
    assert {leak.kind for leak in stopped.value.audit.leaks} == {"kleine_zahl"}
    assert not Paths.of(folder).current.exists()


def test_same_night_twice_gives_the_same_pattern(tmp_path: Path) -> None:
    patterns = []
    for name in ("eins", "zwei"):
        folder = town(tmp_path / name, school_districts=True)
        deliver(folder)
        patterns.append(protected(folder))
    assert patterns[0] == patterns[1]


def test_report_inside_names_the_reason_of_every_withheld_figure(delivered: Path) -> None:
    figures = public(delivered)
    text = (Paths.of(delivered).internal / "geheimhaltung.csv").read_text(encoding="utf-8-sig")
    rows = [line.split(";") for line in text.splitlines()[1:]]
    assert {(row[1], row[2]) for row in rows} == withheld(figures)
    assert {row[5] for row in rows} == {"kleine Anzahl", "zum Schutz einer anderen Zahl"}


def test_release_tells_what_was_protected_and_against_whom(delivered: Path) -> None:
    figures = public(delivered)
    with duckdb.connect(str(delivered / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT area_level, cells, suppressed, weight, bound, attacker FROM meta.release_protection ORDER BY cells"
        ).fetchall()
    assert [row[:3] for row in rows] == [
        ("stadt", 3, 0),
        ("bereich", 6, 0),
        ("bezirk", 18, len(withheld(figures))),
        ("insgesamt", 27, len(withheld(figures))),
    ]
    assert rows[-1][3] == rows[-1][4] == 2.0  # two more districts, proven to be the fewest
    assert "ganze Zahlen" in rows[-1][5]


def test_project_that_is_internal_protects_and_publishes_nothing(folder: Path) -> None:
    edit(folder, lambda release: release.update(internal=True), topic="release", document="Release")
    deliver(folder)
    night = run_night(folder, NOW)
    assert night.publication is None
    assert not (Paths.of(folder).history / "veroeffentlicht").exists()


def test_summary_never_names_a_withheld_value(folder: Path) -> None:
    deliver(folder, women=[7, 1, 12, 9, 30, 7919])
    night: Night = run_night(folder, NOW)
    assert "7919" not in "".join(night.said + night.notes)  # type: ignore[attr-defined]
