"""The ledger and what follows from it: receipt, rejection, supersession by slice, correction, retraction, due dates."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines import gate, history, lock
from pipelines.files import sha256_file
from pipelines.intake.run import RulesConflict
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.rollup import build_observation
from tests.conftest import Quiet, create_project, run_night, sozialraum

NOW = dt.datetime(2026, 3, 2, 4, 0, tzinfo=dt.UTC)
AREAS = {"1": "Altstadt", "2": "Mühlenviertel", "3": "Südhang"}
Cells = tuple[int | str, int | str]
FIRST: dict[tuple[str, str], Cells] = {
    ("1", "31.12.2022"): (120, 2400),
    ("2", "31.12.2022"): (300, 4000),
    ("3", "31.12.2022"): (45, 3000),
    ("1", "31.12.2023"): (110, 2500),
    ("2", "31.12.2023"): (330, 4100),
    ("3", "31.12.2023"): ("*", 2900),
}
HEADER = "Nummer;Bezirk;Stichtag;Arbeitslose;Einwohner 15-64\n"


def text_of(figures: dict[tuple[str, str], Cells], header: str = HEADER) -> str:
    rows = [f"{n};{AREAS[n]};{date};{u};{e}\n" for (n, date), (u, e) in figures.items()]
    return header + "".join(rows)


def put(root: Path, content: str, name: str = "beispiel.csv", source: str = "beispiel") -> Path:
    """Put a file into the inbox, as a person or a transfer program would."""
    path = root / "data/raw" / source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def edit(
    root: Path, change: Callable[[dict[str, Any]], None], topic: str = "beispiel", document: str = "Source"
) -> None:
    """Change the first YAML document of a kind in a topic."""
    path = root / "assets" / topic / "defs.yaml"
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    change(next(d["attributes"] for d in documents if document in d["type"]))
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")


def release_locks() -> None:
    for held in list(lock._HELD.values()):
        held.release()


def half_night(root: Path, now: dt.datetime = NOW) -> Night:
    """Intake and observation only: enough for what counts, without marts and release."""
    said: list[str] = []
    night = Night.begin(root, said.append, now)
    try:
        night.intake()
        night.gaps = build_observation(night.project, night.all_states(), night.observation)
    finally:
        release_locks()
    night.said = said  # type: ignore[attr-defined]
    return night


def seen(night: Night) -> dict[tuple[str, str, str], tuple[float | None, str, str]]:
    """(measure, number of the district, year) -> (value, status, delivery), districts only."""
    rows = duckdb.execute(
        "SELECT measure_id, area_id, period, value, obs_status, delivery_ids "
        f"FROM read_parquet('{night.observation}') WHERE area_level = 'bezirk'"
    ).fetchall()
    return {(m, a[-1], p[:4]): (v, s, d) for m, a, p, v, s, d in rows}


def unemployed(night: Night) -> dict[tuple[str, str], float | None]:
    return {(n, y): v for (m, n, y), (v, _, _) in seen(night).items() if m == "arbeitslose"}


def archive(root: Path, source: str = "beispiel") -> dict[str, bytes]:
    """Everything below a source's archive, receipts included."""
    folder = root / "data/history/deliveries" / source
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def receipts(root: Path, source: str = "beispiel") -> list[dict[str, Any]]:
    found = (root / "data/history/deliveries" / source).glob("*/receipt.json")
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(found)]


def no_completeness(source: dict[str, Any]) -> None:
    source["contract"]["complete"] = {}
    source["contract"]["severity"] = {"abdeckung": "warning"}


# ---------------------------------------------------------------- receiving


def test_receipt_says_what_arrived_and_what_was_decided(project: Path) -> None:
    night = half_night(project)
    raw = project / "data/raw/beispiel/beispiel.csv"
    digest = sha256_file(raw)
    folder = project / "data/history/deliveries/beispiel" / f"0001-{digest[:12]}"
    assert (folder / "bytes").read_bytes() == raw.read_bytes()
    receipt = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
    assert receipt == {
        "source": "beispiel",
        "name": "beispiel.csv",
        "sha256": digest,
        "sequence": 1,
        "first_seen": "2026-03-02T04:00:00+00:00",
        "night": 1,
        "decision": "accepted",
        "reasons": [],
        "rules": night.project.rules_of(night.project.sources["beispiel"]),
        "slices": [
            f"{measure}|{day}|bezirk"
            for measure in ("arbeitslose", "einwohner_15_64")
            for day in ("2022-12-31", "2023-12-31")
        ],
    }


def test_only_the_owner_can_look_into_history_and_true_values(project: Path) -> None:
    for folder in ("data/history", "data/warehouse/internal"):
        (project / folder).mkdir(parents=True, exist_ok=True)
        (project / folder).chmod(0o755)  # as a careless copy would leave them
    run_night(project)
    for folder in ("data/history", "data/warehouse/internal"):
        assert stat.S_IMODE((project / folder).stat().st_mode) == 0o700, folder


def test_inbox_is_neither_edited_nor_emptied(project: Path) -> None:
    put(project, text_of(FIRST) + "9;Nirgendwo;31.12.2023;1;2\n", "falsch.csv")
    inbox = project / "data/raw"
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in inbox.rglob("*") if p.is_file()}
    run_night(project)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in inbox.rglob("*") if p.is_file()} == before


def test_same_bytes_again_change_nothing(project: Path) -> None:
    first = half_night(project)
    before, values = archive(project), seen(first)
    raw = project / "data/raw/beispiel/beispiel.csv"
    raw.write_bytes(raw.read_bytes())  # a new file of the same content, other mtime
    os.utime(raw, (1, 1))
    shutil.copy(raw, raw.with_name("kopie von beispiel.csv"))
    second = half_night(project)
    assert archive(project) == before
    assert second.states["beispiel"].new == []
    assert seen(second) == values


def test_two_copies_in_the_first_night_are_one_delivery(project: Path) -> None:
    put(project, text_of(FIRST), "a.csv")
    put(project, text_of(FIRST), "b.csv")
    (project / "data/raw/beispiel/beispiel.csv").unlink()
    half_night(project)
    assert [r["name"] for r in receipts(project)] == ["a.csv"]


def test_name_counts_where_the_layout_reads_from_it(project: Path) -> None:
    def from_name(source: dict[str, Any]) -> None:
        source["layout"]["period"] = {"file_name": r"(\d{4})", "type": "stichtag", "day": "12-31"}

    edit(project, from_name)
    (project / "data/raw/beispiel/beispiel.csv").unlink()
    same = "Nummer;Bezirk;Arbeitslose;Einwohner 15-64\n1;Altstadt;1;10\n2;Mühlenviertel;2;10\n3;Südhang;3;10\n"
    put(project, same, "bestand_2021.csv")
    put(project, same, "bestand_2022.csv")
    night = half_night(project)
    assert [r["name"] for r in receipts(project)] == ["bestand_2021.csv", "bestand_2022.csv"]
    assert unemployed(night) == {(n, y): float(n) for n in "123" for y in ("2021", "2022")}
    half_night(project)
    assert len(receipts(project)) == 2


def test_vanished_inbox_file_stays_in_force(project: Path) -> None:
    before = seen(half_night(project))
    (project / "data/raw/beispiel/beispiel.csv").unlink()
    assert seen(half_night(project)) == before


def test_file_still_being_written_waits_without_stopping_the_night(project: Path, monkeypatch: Any) -> None:
    growing = put(project, text_of(FIRST), "waechst.csv")
    whole = history.hashlib.file_digest

    def while_writing(file: Any, kind: str) -> Any:
        digest = whole(file, kind)
        if os.fstat(file.fileno()).st_ino == inode:
            growing.write_text(growing.read_text(encoding="utf-8") + "x", encoding="utf-8")
        return digest

    inode = growing.stat().st_ino
    monkeypatch.setattr(history.hashlib, "file_digest", while_writing)
    night = half_night(project)
    assert [r["name"] for r in receipts(project)] == ["beispiel.csv"]
    assert any("waechst.csv" in line and "nächsten Nacht" in line for line in night.said)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fate", ["changes", "vanishes"])
def test_file_that_changes_or_vanishes_while_it_is_archived_waits(project: Path, monkeypatch: Any, fate: str) -> None:
    restless = put(project, text_of(dict.fromkeys(FIRST, (1, 9))), "unruhig.csv")
    copy = history.shutil.copyfileobj

    def meanwhile(source: Any, target: Any, *more: Any) -> None:
        if os.fstat(source.fileno()).st_ino == inode:
            if fate == "changes":
                restless.write_text("etwas anderes", encoding="utf-8")
            else:
                restless.unlink()
        copy(source, target, *more)

    inode = restless.stat().st_ino
    monkeypatch.setattr(history.shutil, "copyfileobj", meanwhile)
    night = half_night(project)
    assert [r["name"] for r in receipts(project)] == ["beispiel.csv"]
    assert any("unruhig.csv" in line for line in night.said)  # type: ignore[attr-defined]
    assert not list((project / "data/history").rglob(".neu-*"))


def test_unreadable_file_is_named_and_stops_nothing(project: Path, monkeypatch: Any) -> None:
    closed = put(project, text_of(FIRST), "verschlossen.csv")
    whole, opened = sha256_file, os.open

    def refuse(path: Path) -> str:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    def refuse_to_open(path: Any, *more: Any, **options: Any) -> int:
        if path == closed.name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **options)

    monkeypatch.setattr(history.os, "open", refuse_to_open)
    monkeypatch.setattr(gate, "sha256_file", refuse)
    night = half_night(project)
    assert [r["name"] for r in receipts(project)] == ["beispiel.csv"]
    assert night.exit_code == 3
    assert any("verschlossen.csv" in line and "nicht lesbar" in line for line in night.said)  # type: ignore[attr-defined]


def test_files_that_are_no_delivery_are_named(project: Path) -> None:
    put(project, "x", "liesmich.txt")
    put(project, "x", ".versteckt.csv")
    put(project, text_of(FIRST), "beispiel.csv", source="beispil")  # misspelt folder
    (project / "data/raw/beispiel/2024").mkdir()
    night = half_night(project)
    said = "\n".join(night.said)  # type: ignore[attr-defined]
    assert "liesmich.txt" in said
    assert "versteckt" not in said
    assert "data/raw/beispil" in said
    assert "meinten Sie »beispiel«" in said
    assert "data/raw/beispiel/2024" in said
    assert len(receipts(project)) == 1


# ---------------------------------------------------------------- supersession by slice


def test_overwritten_in_place_is_a_new_delivery_and_the_old_bytes_stay(project: Path) -> None:
    old = (project / "data/raw/beispiel/beispiel.csv").read_bytes()
    half_night(project)
    changed = FIRST | {("1", "31.12.2022"): (121, 2400)}
    put(project, text_of(changed))
    night = half_night(project)
    assert [r["sequence"] for r in receipts(project)] == [1, 2]
    kept = [content for name, content in archive(project).items() if name.endswith("/bytes")]
    assert kept == [old, text_of(changed).encode()]
    assert unemployed(night)["1", "2022"] == 121
    assert {d for _, _, d in seen(night).values()} == {"beispiel-0002"}


def test_row_missing_in_a_corrected_file_is_missing_not_inherited(project: Path) -> None:
    edit(project, no_completeness)
    half_night(project)
    put(project, text_of({k: v for k, v in FIRST.items() if k != ("1", "31.12.2023")}))
    night = half_night(project)
    expected = {(n, date[-4:]) for n, date in FIRST} - {("1", "2023")}
    assert set(unemployed(night)) == expected
    city = duckdb.execute(
        f"SELECT value, obs_status, suppression_reason FROM read_parquet('{night.observation}') "
        "WHERE area_level = 'stadt' AND measure_id = 'einwohner_15_64' AND period = '2023-12-31'"
    ).fetchall()
    assert city == [(None, "O", "missing_source")]


def test_delivery_with_one_new_year_leaves_the_other_years(project: Path) -> None:
    half_night(project)
    put(project, text_of({(n, "31.12.2024"): (int(n), 1000) for n in AREAS}), "neu2024.csv")
    night = half_night(project)
    values = seen(night)
    assert {y: {d for (_, _, year), (_, _, d) in values.items() if year == y} for y in ("2022", "2023", "2024")} == {
        "2022": {"beispiel-0001"},
        "2023": {"beispiel-0001"},
        "2024": {"beispiel-0002"},
    }
    assert unemployed(night)["2", "2022"] == 300
    assert unemployed(night)["2", "2024"] == 2


def test_whole_period_dropped_by_a_corrected_file_still_counts_from_the_earlier_one(project: Path) -> None:
    """The slice is absent from the new delivery, so the older one supplies it; only retraction removes it."""
    half_night(project)
    put(project, text_of({k: v for k, v in FIRST.items() if k[1] == "31.12.2023"}))
    values = seen(half_night(project))
    assert {d for (_, _, y), (_, _, d) in values.items() if y == "2022"} == {"beispiel-0001"}
    assert {d for (_, _, y), (_, _, d) in values.items() if y == "2023"} == {"beispiel-0002"}


def test_order_is_the_sequence_number_neither_clock_nor_mtime(project: Path) -> None:
    half_night(project, NOW)
    path = put(project, text_of(FIRST | {("1", "31.12.2022"): (7, 2400)}))
    os.utime(path, (0, 0))
    night = half_night(project, NOW - dt.timedelta(days=300))  # the clock was set back
    assert unemployed(night)["1", "2022"] == 7
    assert [r["sequence"] for r in receipts(project)] == [1, 2]


def test_going_back_to_old_bytes_is_a_hint_and_changes_nothing(project: Path) -> None:
    half_night(project)
    put(project, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    half_night(project)
    put(project, text_of(FIRST))
    night = half_night(project)
    assert unemployed(night)["1", "2022"] == 121
    assert len(receipts(project)) == 2
    notes = night.states["beispiel"].notes
    assert len(notes) == 1
    assert "beispiel-0001" in notes[0]
    assert "in Kraft bleibt die spätere beispiel-0002" in notes[0]


# ---------------------------------------------------------------- corrections, mended layout, retraction


def correct(root: Path, delivery: str, line: int, expected: str, value: str) -> None:
    entry = {
        "delivery": delivery,
        "line": line,
        "column": "Arbeitslose",
        "expected": expected,
        "value": value,
        "reason": "Zahlendreher, bestätigt",
        "reported_on": dt.date(2026, 3, 1),
        "status": "confirmed",
    }
    edit(root, lambda source: source.update(corrections=[entry]))


def test_yaml_correction_changes_the_value_and_no_byte(project: Path) -> None:
    first = seen(half_night(project))
    bytes_before = {n: b for n, b in archive(project).items() if n.endswith("/bytes")}
    correct(project, "beispiel-0001", 2, "120", "102")
    second = seen(half_night(project))
    corrected = ("arbeitslose", "1", "2022")
    assert first[corrected] == (120, "A", "beispiel-0001")
    assert second == first | {corrected: (102, "A", "beispiel-0001")}
    assert {n: b for n, b in archive(project).items() if n.endswith("/bytes")} == bytes_before
    receipt = receipts(project)[0]
    assert receipt["rules"] != receipt["earlier_decisions"][0]["rules"]


def test_correction_whose_expected_text_is_not_there_stops_the_night(project: Path) -> None:
    half_night(project)
    correct(project, "beispiel-0001", 2, "999", "102")
    with pytest.raises(RulesConflict, match="beispiel-0001"):
        run_night(project)
    assert receipts(project)[0]["decision"] == "accepted"


def test_mended_layout_accepts_a_file_once_rejected(project: Path) -> None:
    renamed = HEADER.replace("Arbeitslose", "Arbeitslose insg.")
    half_night(project)
    put(project, text_of({(n, "31.12.2024"): (int(n), 1000) for n in AREAS}, renamed), "neu.csv")
    assert half_night(project).exit_code == 3
    edit(project, lambda source: source["layout"]["values"][0].update(column="Arbeitslose insg."))
    put(project, text_of(FIRST, renamed))  # the office's other files carry the new heading too
    night = half_night(project)
    assert [(r["sequence"], r["decision"]) for r in receipts(project)] == [
        (1, "rejected"),
        (2, "accepted"),
        (3, "accepted"),
    ]
    assert receipts(project)[1]["earlier_decisions"][0]["decision"] == "rejected"
    assert unemployed(night)["3", "2024"] == 3
    assert night.exit_code == 0


def test_mended_contract_reads_a_rejected_file_again_without_a_new_one(project: Path) -> None:
    put(project, text_of({k: v for k, v in FIRST.items() if k[0] != "2"}))
    first = half_night(project)
    assert first.exit_code == 3
    assert seen(first) == {}
    edit(project, no_completeness)
    night = half_night(project)
    assert night.states["beispiel"].new == []
    assert night.exit_code == 0
    assert [r["decision"] for r in receipts(project)] == ["accepted"]
    assert unemployed(night) == {("1", "2022"): 120, ("3", "2022"): 45, ("1", "2023"): 110, ("3", "2023"): None}


def test_titles_and_retractions_change_no_reading(project: Path) -> None:
    first = half_night(project)
    rules = first.project.rules_of(first.project.sources["beispiel"])
    edit(project, lambda source: source.update(title={"de": "Anders"}, licence="dl-de/by-2-0"))
    retract(project, "beispiel-0007")
    second = half_night(project)
    assert second.project.rules_of(second.project.sources["beispiel"]) == rules
    assert any("beispiel-0007" in finding for finding in second.findings)  # a slip has no effect, and is said
    assert second.exit_code == 3


def retract(root: Path, *deliveries: str) -> None:
    entries = [{"delivery": d, "reason": "falscher Stand", "on": dt.date(2026, 3, 1), "by": "TT"} for d in deliveries]
    edit(root, lambda source: source.update(retracted=entries))


def test_after_retraction_the_previous_delivery_counts_again_and_the_receipt_stays(project: Path) -> None:
    before = seen(half_night(project))
    put(project, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    half_night(project)
    kept = archive(project)
    retract(project, "beispiel-0002")
    night = half_night(project)
    assert seen(night) == before
    assert archive(project) == kept
    retract(project)
    assert unemployed(half_night(project))["1", "2022"] == 121  # and a retraction can be taken back


def test_all_retracted_leaves_no_figures(project: Path) -> None:
    half_night(project)
    retract(project, "beispiel-0001")
    night = half_night(project)
    assert seen(night) == {}
    assert night.exit_code == 0


def test_old_bytes_after_a_retraction_need_no_hint(project: Path) -> None:
    half_night(project)
    put(project, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    half_night(project)
    put(project, text_of(FIRST))
    retract(project, "beispiel-0002")
    assert half_night(project).states["beispiel"].notes == []


# ---------------------------------------------------------------- rejection


BROKEN = FIRST | {("1", "31.12.2022"): ("viele", 2400)}


def test_rejected_file_changes_no_figure_and_the_state_is_not_well(project: Path) -> None:
    before = seen(half_night(project))
    put(project, text_of(BROKEN))
    night = run_night(project, NOW)
    assert seen(night) == before
    assert night.exit_code == 3
    assert "beispiel-0002 (beispiel.csv) zurückgewiesen" in night.findings[0]
    again = Quiet()
    assert gate.examine(Paths.of(project), NOW.date()).unchanged
    assert run_nightly(project, again, NOW + dt.timedelta(days=1)) == 3  # nothing new, still not well
    assert any("beispiel-0002" in line for line in again.lines)
    page = project / "data/warehouse/internal/rueckmeldungen/beispiel-0002.html"
    assert "viele" in page.read_text(encoding="utf-8")
    assert page.with_suffix(".csv").is_file()


def test_a_very_first_file_rejected_leaves_nothing_and_publishes_an_empty_table(project: Path) -> None:
    put(project, text_of(BROKEN))
    night = run_night(project)
    assert night.exit_code == 3
    assert seen(night) == {}
    assert night.publication is not None


def test_the_same_rejected_bytes_again_are_no_new_delivery(project: Path) -> None:
    half_night(project)
    put(project, text_of(BROKEN))
    half_night(project)
    put(project, text_of(BROKEN), "nochmal.csv")
    night = half_night(project)
    assert len(receipts(project)) == 2
    assert night.exit_code == 3


@pytest.mark.parametrize("way", ["replaced", "retracted", "newer accepted"])
def test_rejection_is_settled(project: Path, way: str) -> None:
    half_night(project)
    put(project, text_of(BROKEN))
    assert half_night(project).exit_code == 3
    if way == "replaced":
        put(project, text_of(FIRST | {("1", "31.12.2022"): (122, 2400)}))
    elif way == "retracted":
        retract(project, "beispiel-0002")
    else:
        put(project, text_of({(n, "31.12.2024"): (1, 1000) for n in AREAS}), "neu.csv")
    night = half_night(project)
    assert night.exit_code == 0
    assert night.findings == []
    assert [r["decision"] for r in receipts(project)][:2] == ["accepted", "rejected"]


def test_old_bytes_do_not_settle_a_rejection_and_the_hint_says_what_holds(project: Path) -> None:
    half_night(project)
    put(project, text_of(BROKEN))
    half_night(project)
    put(project, text_of(FIRST))
    night = half_night(project)
    assert night.exit_code == 3
    (note,) = night.states["beispiel"].notes
    assert "in Kraft bleibt die spätere" not in note  # the later one was rejected and was never in force
    assert "beispiel-0002" in note
    assert "retracted" in note


def test_accepted_and_rejected_in_one_night_is_not_well(project: Path) -> None:
    put(project, text_of(BROKEN), "kaputt.csv")
    night = half_night(project)
    assert night.exit_code == 3
    assert len(seen(night)) == 12


def second_source(root: Path) -> None:
    """A topic of its own beside the first: one folder and one raw file."""
    content = (root / "assets/beispiel/defs.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("id: beispiel", "id: zweite"),
        ("de: Arbeitslosenanteil an", "de: Zweiter Anteil an"),
        ("[beispiel]", "[zweite]"),
        ("arbeitslose", "leser"),
        ("einwohner_15_64", "personen"),
    ):
        content = content.replace(old, new)
    (root / "assets/zweite").mkdir()
    (root / "assets/zweite/defs.yaml").write_text(content, encoding="utf-8")
    put(root, text_of(FIRST), source="zweite")


def test_rejection_of_one_source_does_not_stop_the_others(project: Path) -> None:
    second_source(project)
    half_night(project)
    put(project, text_of(BROKEN))
    put(project, text_of(FIRST | {("2", "31.12.2023"): (333, 4100)}), source="zweite")
    night = run_night(project)
    assert night.exit_code == 3
    values = seen(night)
    assert values["leser", "2", "2023"] == (333, "A", "zweite-0002")
    assert values["arbeitslose", "2", "2023"] == (330, "A", "beispiel-0001")
    assert night.publication is not None


# ---------------------------------------------------------------- rebuilding


def eventful(root: Path) -> None:
    """Several nights: correction, replacement, retraction, rejection."""
    second_source(root)
    half_night(root, NOW)
    put(root, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    put(root, text_of({(n, "31.12.2024"): (5, 1000) for n in AREAS}), "neu.csv", "zweite")
    half_night(root, NOW + dt.timedelta(days=1))
    put(root, text_of(FIRST | {("1", "31.12.2022"): (9, 2400)}))
    half_night(root, NOW + dt.timedelta(days=2))
    retract(root, "beispiel-0003")
    correct(root, "beispiel-0002", 2, "121", "112")
    put(root, text_of(BROKEN), source="zweite")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:

    root = tmp_path_factory.mktemp("neu") / "stadt"
    create_project(root, Quiet())
    eventful(root)
    later = NOW + dt.timedelta(days=400)
    found: dict[str, Any] = {"first": run_night(root, NOW + dt.timedelta(days=3)), "root": root}
    found["values"] = seen(found["first"])
    for label, folders in (
        ("warehouse", ["warehouse"]),
        ("all but history", ["warehouse", "releases", "state"]),
        ("inbox too", ["warehouse", "raw"]),
    ):
        for folder in folders:
            shutil.rmtree(root / "data" / folder)
        (root / "data/raw").mkdir(exist_ok=True)
        found[label] = run_night(root, later)
        found[f"{label}: link"] = (root / "data/warehouse/sozialraum.duckdb").exists()
        found[f"{label}: gate"] = gate.examine(Paths.of(root), later.date())
    return found


@pytest.mark.parametrize("what", ["warehouse", "all but history", "inbox too"])
def test_rebuilt_from_history_to_the_same_content_hash(rebuilt: dict[str, Any], what: str) -> None:
    first, again = rebuilt["first"], rebuilt[what]
    assert again.internal.content_hash == first.internal.content_hash
    assert again.public.content_hash == first.public.content_hash
    assert again.publication.content_hash == first.publication.content_hash
    assert seen(again) == rebuilt["values"]
    assert again.exit_code == 3  # the rejection is in the ledger, so it is still outstanding
    assert rebuilt[f"{what}: link"], "data/warehouse/sozialraum.duckdb is not there again"
    assert rebuilt[f"{what}: gate"].unchanged, rebuilt[f"{what}: gate"].reason


def test_what_was_rebuilt_is_what_should_count(rebuilt: dict[str, Any]) -> None:
    values = rebuilt["values"]
    assert values["arbeitslose", "1", "2022"] == (112, "A", "beispiel-0002")
    assert values["leser", "1", "2022"] == (120, "A", "zweite-0001")
    assert values["leser", "1", "2024"] == (5, "A", "zweite-0002")


def test_deleting_only_the_warehouse_makes_no_new_release(rebuilt: dict[str, Any]) -> None:
    assert rebuilt["warehouse"].publication.new is False
    assert rebuilt["warehouse"].publication.release_id == rebuilt["first"].publication.release_id


def test_cached_reading_is_never_used_for_other_bytes(project: Path) -> None:
    """History restored from an older backup while the warehouse stayed: the sequence number comes twice."""
    half_night(project)
    put(project, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    half_night(project)
    (newest,) = (project / "data/history/deliveries/beispiel").glob("0002-*")
    shutil.rmtree(newest)
    put(project, text_of(FIRST | {("1", "31.12.2022"): (131, 2400)}))
    assert unemployed(half_night(project))["1", "2022"] == 131


def test_damaged_archive_stops_the_run_instead_of_changing_figures(project: Path) -> None:
    half_night(project)
    (folder,) = (project / "data/history/deliveries/beispiel").iterdir()
    bytes_before = (folder / "bytes").read_bytes()
    (folder / "bytes").write_bytes(bytes_before.replace(b"120", b"999"))
    shutil.rmtree(project / "data/warehouse")
    with pytest.raises(history.DamagedArchive, match="beispiel-0001"):
        half_night(project)
    (folder / "bytes").write_bytes(bytes_before)
    (folder / "receipt.json").write_text("{", encoding="utf-8")
    with pytest.raises(history.DamagedArchive, match=r"receipt\.json"):
        half_night(project)


def test_half_archived_delivery_of_a_killed_run_leaves_no_trace(project: Path) -> None:
    half = project / "data/history/deliveries/beispiel/.neu-0001-abc"
    half.mkdir(parents=True)
    (half / "bytes").write_bytes(b"halb")
    half_night(project)
    assert [r["sequence"] for r in receipts(project)] == [1]
    assert not half.exists()


# ---------------------------------------------------------------- due dates


def due(root: Path, *days: str, grace: int = 0) -> None:
    edit(root, lambda source: source.update(due={"days": list(days), "grace_days": grace}))


def at(date: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{date}T03:15:00+00:00")


def test_passed_due_date_makes_a_night_with_nothing_new_not_well(project: Path) -> None:
    due(project, "06-30")
    assert run_night(project, at("2026-06-01")).exit_code == 0
    paths = Paths.of(project)
    assert gate.examine(paths, dt.date(2026, 6, 30)).unchanged
    assert gate.examine(paths, dt.date(2026, 7, 1)).reason == "ein Liefertermin ist verstrichen (2026-07-01)"
    assert run_night(project, at("2026-07-01")).exit_code == 0  # delivered on 1 June, before the date
    assert gate.examine(paths, dt.date(2027, 6, 30)).unchanged
    assert not gate.examine(paths, dt.date(2027, 7, 1)).unchanged
    night = run_night(project, at("2027-07-01"))
    assert night.exit_code == 3
    assert night.findings == ["beispiel: Liefertermin 30.06.2027 verstrichen, nichts Neues angenommen"]
    assert gate.examine(paths, dt.date(2027, 7, 2)).unchanged
    assert run_nightly(project, Quiet(), at("2027-07-02")) == 3


@pytest.mark.parametrize(
    ("received", "today", "missed"),
    [
        ("2026-06-01", "2026-07-14", None),  # within grace nothing is missed
        (None, "2026-07-15", dt.date(2026, 6, 30)),  # nothing ever came
        ("2026-06-01", "2026-07-15", None),
        ("2025-06-20", "2026-07-15", dt.date(2026, 6, 30)),  # that was last year's
        ("2025-07-05", "2026-07-15", dt.date(2026, 6, 30)),  # last year's too, within its grace
        ("2025-07-05", "2026-07-14", None),
        ("2025-12-01", "2026-07-15", None),  # early
    ],
)
def test_overdue_with_grace(project: Path, received: str | None, today: str, missed: dt.date | None) -> None:
    due(project, "06-30", grace=14)
    if received is None:
        (project / "data/raw/beispiel/beispiel.csv").unlink()
    else:
        half_night(project, at(received))
    night = half_night(project, at(today))
    assert night.states["beispiel"].missed == missed
    assert night.exit_code == (3 if missed else 0)


def test_rejected_delivery_does_not_meet_a_due_date(project: Path) -> None:
    due(project, "06-30")
    half_night(project, at("2025-06-20"))
    put(project, text_of(BROKEN))
    night = half_night(project, at("2026-07-01"))
    assert night.states["beispiel"].missed == dt.date(2026, 6, 30)
    assert len(night.findings) == 2


def test_each_of_several_due_days_a_year_wants_its_delivery(project: Path) -> None:
    due(project, "01-31", "07-31")
    half_night(project, at("2026-01-20"))
    assert half_night(project, at("2026-02-01")).states["beispiel"].missed is None
    assert half_night(project, at("2026-08-01")).states["beispiel"].missed == dt.date(2026, 7, 31)
    put(project, text_of({(n, "30.06.2026"): (1, 1000) for n in AREAS}), "juni.csv")
    assert half_night(project, at("2026-08-02")).states["beispiel"].missed is None


# ---------------------------------------------------------------- rules that would lose accepted deliveries


def test_changed_rules_never_lose_accepted_figures(published: Path) -> None:
    first = os.readlink(published / "data/releases/current")
    yaml = published / "assets/beispiel/defs.yaml"
    good = yaml.read_text(encoding="utf-8")
    yaml.write_text(good.replace("name: Bezirk, level: bezirk", "name: Bezirke, level: bezirk"), encoding="utf-8")
    for _ in range(2):  # refused again as long as it stands so
        with pytest.raises(RulesConflict, match=r"(?s)beispiel/defs\.yaml:\d+: beispiel-0001.*Abhilfe"):
            run_night(published)
    assert (published / "data/releases/current").resolve().name == first
    yaml.write_text(good, encoding="utf-8")
    again = run_night(published)
    assert again.findings == []
    assert again.publication.release_id == first


def test_changed_rules_may_reject_what_is_retracted(published: Path) -> None:
    yaml = published / "assets/beispiel/defs.yaml"
    text = yaml.read_text(encoding="utf-8").replace("name: Bezirk, level: bezirk", "name: Gebiet, level: bezirk")
    retracted = "\n  retracted: [{delivery: beispiel-0001, reason: alter Aufbau, on: 2026-01-02, by: Datenteam}]\n---"
    yaml.write_text(text.replace("\n---", retracted, 1), encoding="utf-8")
    file = published / "data/raw/beispiel/beispiel.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("Bezirk;", "Gebiet;"), encoding="utf-8")
    assert run_night(published).findings == []


def test_command_says_what_changed_rules_would_lose(published: Path) -> None:
    yaml = published / "assets/beispiel/defs.yaml"
    yaml.write_text(yaml.read_text(encoding="utf-8").replace("Einwohner 15-64,", "Einwohner,"), encoding="utf-8")
    run = sozialraum("nightly", "--project", published)
    assert run.returncode == 1
    assert "beispiel-0001" in run.stderr
    assert "unverändert in Kraft" in run.stderr
    assert "Traceback" not in run.stderr + run.stdout


def test_release_counter_outlives_deleted_releases(published: Path) -> None:
    first = os.readlink(published / "data/releases/current")
    shutil.rmtree(published / "data/releases")
    second = run_night(published).publication.release_id
    assert int(second.split("-")[1]) == int(first.split("-")[1]) + 1
