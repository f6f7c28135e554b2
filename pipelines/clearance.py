"""The last look before a publication: the finished files are attacked, and what is published is noted first."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.audit.facts import ABSENT as ABSENT_THEN
from pipelines.audit.facts import Change, Earlier, Leak
from pipelines.audit.facts import Key as TextKey
from pipelines.audit.facts import Need as AuditNeed
from pipelines.audit.release import Audit, audit_release
from pipelines.audit.release_rebuild import check_engine
from pipelines.disclosure.cells import Key
from pipelines.disclosure.protection import RULES_VERSION, Need, Protection
from pipelines.files import write_text
from pipelines.ledger import ABSENT, CellLedger, Entry, secret_of
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, Paths
from schemas.documents import LostKey

REPORT = "katalog/geheimhaltungspruefung_de.csv"
"""In the release: what was attacked, with how many relations, and what was found (nothing)."""
INTERNAL_REPORT = "geheimhaltungspruefung.csv"
SHOWN = 10


class Unsafe(Exception):
    """The release would give something away. Names places, no values: the message goes into logs."""

    def __init__(self, audit: Audit, report: str) -> None:
        """Name the first findings and where all stand."""
        self.audit = audit
        found = _lines(audit.leaks)
        more = f"\n  … und {len(found) - SHOWN} weitere" if len(found) > SHOWN else ""
        super().__init__(
            f"Nichts veröffentlicht: der Angriff auf die fertigen Dateien hatte {len(audit.leaks)}-mal Erfolg.\n  "
            + "\n  ".join(found[:SHOWN])
            + more
            + f"\n  (alle, mit dem, was sich errechnen lässt: {report})"
        )


def _lines(leaks: list[Leak]) -> list[str]:
    """A line per finding: those of pages first, checksums last and in one, since they follow from the others."""
    told = [leak for leak in leaks if leak.kind != "pruefsumme"]
    told.sort(key=lambda leak: not leak.where.startswith(_PAGES))
    found = [f"{leak.where}: {_LEAKS.get(leak.kind, leak.kind)}" for leak in told]
    sums = [leak.where for leak in leaks if leak.kind == "pruefsumme"]
    if len(sums) > 1:
        found.append(f"{len(sums)} Prüfsummen, die erste: {sums[0]}: {_LEAKS['pruefsumme']}")
    return found + [f"{where}: {_LEAKS['pruefsumme']}" for where in sums if len(sums) == 1]


_PAGES = "bericht/"
_LEAKS = {
    "errechenbar": "lässt sich errechnen oder als klein erkennen",
    "kleine_zahl": "ist eine kleine Zahl und stünde offen da",
    "bedarf": "ist enger eingegrenzt, als die Regeln erlauben",
    "nicht_ableitbar": "folgt nicht aus den veröffentlichten Grundzahlen",
    "unbekannte_datei": "gehört nicht zu dem, was veröffentlicht werden darf",
    "unbekannte_spalte": "gehört nicht zu dem, was veröffentlicht werden darf",
    "unbekannter_code": "steht in keiner Codeliste",
    "pruefsumme": "einfache Prüfsumme, lässt sich durch Probieren auflösen",
    "widerspruch": "widerspricht sich oder ließ sich nicht prüfen",
}


def clear(
    folder: Path, models: Models, ledger: CellLedger, entries: Mapping[Key, Entry], protection: Protection, engine: str
) -> Audit:
    """Attack a finished release folder; write what was found beside it (inside) and into it (that it is safe).

    Args:
        folder: the folder, complete but for its checksums.
        models: the marts as declared.
        ledger: earlier publications.
        entries: what this one publishes and withholds.
        protection: what must hold for confidential figures, and of which measures earlier publications tell too much.
        engine: name of the engine that computed the tables; the release must name the same.

    Raises:
        Unsafe: something can be worked out.
    """
    paths = models.project.paths
    needs = audit_needs(protection.needs)
    audit = audit_release(folder, models, earlier=earlier_of(ledger, entries), needs=needs)
    if protection.alone and audit.leaks:
        alone = audit_release(folder, models, needs=needs)
        audit = replace(audit, leaks=_of_this_release(audit, alone, protection))
    if not audit.leaks:  # else it may be unreadable, and is not published anyway
        audit = replace(audit, leaks=check_engine(folder / DATABASE, engine))
    _write_internal(paths, audit)
    if audit.leaks:
        raise Unsafe(audit, paths.relative(paths.internal / INTERNAL_REPORT))
    write_text(folder / REPORT, "\ufeff" + _public_report(audit, protection.attacker))
    return audit


def _of_this_release(union: Audit, alone: Audit, protection: Protection) -> list[Leak]:
    """What this release tells by itself, and what it tells with earlier ones of measures that were still secret."""
    given_away = {"errechenbar", "bedarf", "widerspruch", "kleine_zahl"}
    new = [leak for leak in union.leaks if leak.kind not in given_away or leak.measure not in protection.alone]
    return list(dict.fromkeys([*alone.leaks, *new]))


def earlier_of(ledger: CellLedger, entries: Mapping[Key, Entry]) -> Earlier:
    """The ledger as the audit reads it; marks of a lost key can't be compared and count as unknown."""

    def mark(entry: Entry) -> str | None:
        return None if entry.key_id in ledger.lost else entry.mark

    states: list[list[Change]] = [
        [
            (text_key(key), entry.value, ABSENT_THEN if entry.status == ABSENT else mark(entry))
            for key, entry in changed.items()
        ]
        for _, changed in ledger.releases
    ]
    marks = {text_key(key): mark(entry) for key, entry in entries.items() if entry.mark}
    names = [release_id for release_id, _ in ledger.releases]

    def mark_of(key: TextKey, value: float) -> str:
        return ledger.mark((*key[:4], dt.date.fromisoformat(key[4])), secret_of(value))

    return Earlier(states, marks, names, mark_of)


def earlier_of_release(paths: Paths, lost: Iterable[LostKey], release_id: str) -> Earlier:
    """The same for a release that is already noted: what came before it, and the marks it was noted with.

    Raises:
        KeyProblem: see `CellLedger.open`.
    """
    ledger = CellLedger.open(paths, lost)
    names = [name for name, _ in ledger.releases]
    if release_id not in names:
        return earlier_of(ledger, {})
    until = names.index(release_id)
    current: dict[Key, Entry] = {}
    for _, changed in ledger.releases[: until + 1]:
        current |= changed
    ledger.releases = ledger.releases[:until]
    return earlier_of(ledger, current)


def audit_needs(needs: list[Need]) -> list[AuditNeed]:
    """Needs by the audit's keys."""
    return [AuditNeed(text_key(need.key), need.high if need.high is not None else -math.inf, True) for need in needs]


def text_key(key: Key) -> TextKey:
    """A key with its date as text."""
    return (*key[:4], key[4].isoformat())


def _public_report(audit: Audit, attacker: str) -> str:
    rows: list[tuple[str, object]] = [
        ("geprüfte Zahlen", audit.cells),
        ("gesperrte Zahlen", audit.withheld),
        ("davon errechenbar oder sicher kleiner als die Schwelle", 0),
        ("davon errechenbar, aber nicht klein (zusätzlich gesperrte)", audit.exact_but_large),
        *[(f"angegriffen über: {kind}", number) for kind, number in audit.kinds_in_words()],
        ("Angreifer", attacker),
        ("Fassung der Regeln", RULES_VERSION),
    ]
    return _csv(["Merkmal", "Wert"], rows)


def _write_internal(paths: Paths, audit: Audit) -> None:
    rows = [(leak.kind, leak.where, leak.what) for leak in audit.leaks]
    write_text(paths.internal / INTERNAL_REPORT, "\ufeff" + _csv(["Art", "Ort", "Befund"], rows))


def _csv(header: list[str], rows: list[tuple[str, object]] | list[tuple[str, str, str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
