"""Berlin's Monitoring Soziale Stadtentwicklung 2013, 2015 and 2017: published shares in, published classes out.

Nothing is fitted to these editions: the method is that of the publications. Wrong ways are shown to miss.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipelines.night import Night
from tests.reference import mss, results
from tests.reference.mss import EDITIONS, WRONG_WAYS
from tests.reference.projects import Edit, query, rebuild, reference_data

VALID = {2013: 434, 2015: 435, 2017: 436}
MISSED = {  # areas in another status class, another dynamics class
    "Standardabweichung der Stichprobe (n - 1)": {2013: (1, 0), 2015: (0, 1), 2017: (0, 0)},
    "Mittel nach Einwohnern gewichtet": {2013: (36, 6), 2015: (37, 7), 2017: (30, 22)},
    "ohne zweite Standardisierung (Mittel der z-Werte)": {2013: (11, 62), 2015: (6, 54), 2017: (15, 42)},
    "nicht bewertete Gebiete bleiben mit 0 darin": {2013: (14, 4), 2015: (11, 4), 2017: (14, 4)},
}
NUMBERS = ["status_index", "status_class", "dynamics_index", "dynamics_class", "group_class"]
Missed = dict[str, dict[int, dict[str, int]]]
"""Way -> edition -> column -> areas that are classed wrongly."""


@pytest.fixture(scope="module")
def reference() -> Path:
    return reference_data()


@pytest.fixture(scope="module")
def night(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return mss.night_of(tmp_path_factory.mktemp("berlin") / "projekt", reference)


@pytest.fixture(scope="module")
def file(night: Night) -> Path:
    return night.project.paths.internal_mart


@pytest.fixture(scope="module")
def missed(night: Night, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Missed:
    folder = tmp_path_factory.mktemp("irrwege")
    return {way: mss.wrong_way(night, folder / str(n), reference, way) for n, way in enumerate(WRONG_WAYS)}


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_file_was_read_as_it_was_published(night: Night, reference: Path, edition: int) -> None:
    published = mss.file_of(reference, edition, "2-1")
    (delivery,) = [d for d in night.states["anteile"].deliveries if d.name == published.name]
    assert delivery.file.read_bytes() == published.read_bytes()


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_area_has_its_published_classes(file: Path, reference: Path, edition: int) -> None:
    published = mss.published_classes(reference, edition)
    found = mss.index_of(file, edition)
    assert len(published) == VALID[edition]
    assert set(found["universe_n"]) == {VALID[edition]}
    pd.testing.assert_frame_equal(
        found[list(published.columns)], published, check_dtype=False, check_names=False, check_index_type=False
    )


@pytest.mark.parametrize("edition", EDITIONS)
def test_classes_are_as_frequent_as_published(file: Path, reference: Path, edition: int) -> None:
    published = mss.published_classes(reference, edition)
    found = mss.index_of(file, edition)
    for column in published.columns:
        assert found[column].value_counts().to_dict() == published[column].value_counts().to_dict()


@pytest.mark.parametrize("edition", EDITIONS)
def test_areas_that_are_not_rated_have_no_class(file: Path, reference: Path, edition: int) -> None:
    rows = mss.index_of(file, edition, rated=False)
    assert list(rows.index) == mss.excluded(reference, edition)
    assert len(rows) == 447 - VALID[edition]
    assert rows[NUMBERS].isna().all(axis=None)
    assert set(rows["reason"]) == set(rows["dynamics_reason"]) == {"excluded"}


@pytest.mark.parametrize("edition", EDITIONS)
def test_z_values_and_indexes_are_those_worked_out_anew(file: Path, reference: Path, edition: int) -> None:
    assert mss.deviation(file, reference, edition) < 1e-5


@pytest.mark.parametrize("edition", EDITIONS)
def test_shares_without_counts_tell_nothing_about_the_certainty_of_a_class(file: Path, edition: int) -> None:
    found = mss.index_of(file, edition)
    assert found[["class_stability", "dynamics_stability", "one_case_flips"]].isna().all(axis=None)
    assert set(found["stability_reason"]) == {"rate_only"}


@pytest.mark.parametrize("way", WRONG_WAYS)
def test_wrong_ways_miss_published_classes(missed: Missed, way: str) -> None:
    found = {e: (areas["status_class"], areas["dynamics_class"]) for e, areas in missed[way].items()}
    assert found == MISSED[way]
    assert any(sum(areas) > 0 for areas in found.values())


def test_order_of_the_areas_changes_nothing(night: Night, file: Path, tmp_path: Path) -> None:
    _, *areas = (night.project.paths.root / "assets/areas/areas.csv").read_text(encoding="utf-8").splitlines(True)
    turned = Edit("assets/areas/areas.csv", "".join(areas), "".join(reversed(areas)))
    other = rebuild(night, tmp_path / "projekt", [turned])
    for table in ("social_index", "social_index_part"):
        sql = f"SELECT * FROM mart.{table} ORDER BY ALL"
        pd.testing.assert_frame_equal(query(other, sql), query(file, sql), check_exact=True)


def test_page_says_what_was_measured(night: Night, missed: Missed, reference: Path) -> None:
    rows = [row for edition in EDITIONS for row in results.of_mss(night, reference, edition)]
    lines = [row.line() for row in rows]
    lines += [
        results.wrong_line(way, {edition: areas["group_class"] for edition, areas in by_edition.items()})
        for way, by_edition in missed.items()
    ]
    assert all(row.matched == row.total for row in rows)
    assert results.page_holds(lines) == [], "run: python -m scripts.reproduction"
