"""Revisions tell earlier figures again, so they are compared with the release that showed those figures.

A value before that the earlier release does not show would be a channel no reading of today's figures finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipelines.audit.facts import Leak, Public, Row
from pipelines.gate import damaged_release
from pipelines.marts.previous import Previous, previous_schemas, read_previous
from pipelines.paths import RELEASE_ID

REVISION = "revision"
_KEY = ("indicator_id", "area_id", "period_type", "reference_date")
_COLUMNS = previous_schemas()["previous_revision_in"].names


@dataclass(frozen=True)
class Before:
    """The release that a release was compared with; None if it is not at hand, and then why (German)."""

    release: Previous | None
    reason: str = ""
    absent: bool = False


def previous_of(folder: Path, public: Public) -> Before:
    """Find the release that `meta.release` names, beside the folder that is audited."""
    name = public.previous_id
    if name is None:
        return Before(Previous())
    ours, theirs = RELEASE_ID.fullmatch(public.release_id), RELEASE_ID.fullmatch(str(name))
    if ours is None or theirs is None or int(theirs[1]) >= int(ours[1]):
        return Before(None, f"»{name}« ist keine frühere Veröffentlichung als »{public.release_id}«")
    beside = folder.parent / name
    if not beside.is_dir():
        return Before(None, f"der Ordner {name} fehlt neben dem geprüften", absent=True)
    damage = damaged_release(beside)
    if damage is not None:
        return Before(None, f"der Ordner {name} ist beschädigt ({damage})")
    try:
        previous = read_previous(beside)
    except duckdb.Error:
        return Before(None, f"die Datenbank im Ordner {name} ist nicht lesbar")
    if previous.release_id != name:
        return Before(None, f"der Ordner {name} enthält die Veröffentlichung »{previous.release_id}«")
    return Before(previous)


def check_revisions(folder: Path, public: Public, *, must: bool) -> list[Leak]:
    """Every revision says what this release and the one before it show, or stood in the one before already.

    Args:
        folder: the release.
        public: what it shows.
        must: the release before has to be there; a copy that somebody audits by itself goes without.
    """
    rows = public.rows(REVISION)
    if not rows:
        return []
    before = previous_of(folder, public)
    if before.absent and not must:
        return []
    if before.release is None:
        text = (
            f"{len(rows)} Einträge über frühere Werte sind nicht prüfbar: {before.reason}. "
            "Die frühere Veröffentlichung daneben legen (aus der Sicherung) und noch einmal prüfen."
        )
        return [Leak("widerspruch", f"mart.{REVISION}", text)]
    judge = _Judge(public, before.release)
    found = [(row, judge.wrong(row)) for row in rows]
    return [
        Leak("nicht_ableitbar", f"mart.{REVISION}, {', '.join(map(str, _key(row)))}", text)
        for row, text in found
        if text
    ]


class _Judge:
    """Compares revisions with this release and the one before."""

    def __init__(self, public: Public, before: Previous) -> None:
        self.release_id, self.before_id = public.release_id, before.release_id
        self.now = {_key(row): row["value"] for row in public.each("indicator_value")}
        self.then = {
            _key(row): (row["value"], row["numerator"], row["denominator"])
            for row in before.tables["previous_value_in"].to_pylist()
        }
        self.told = {_all(row) for row in before.tables["previous_revision_in"].to_pylist()}

    def wrong(self, row: Row) -> str:
        """What is wrong with a revision, in German; "" if nothing."""
        key = _key(row)
        if self.now.get(key) is None:
            return "Der Wert ist nicht mehr veröffentlicht; Eintrag entfernen."
        if row.get("release_id") != self.release_id:
            text = "Dieser Eintrag steht so nicht in der früheren Veröffentlichung; entfernen."
            return "" if _all(row) in self.told else text
        told = tuple(row.get(f"{name}_before") for name in ("value", "numerator", "denominator"))
        if row.get("previous_release_id") != self.before_id or told != self.then.get(key):
            return "Der alte Wert steht so nicht in der früheren Veröffentlichung; Eintrag entfernen."
        return "" if row.get("value_now") == self.now[key] else "Der neue Wert steht so nicht in mart.indicator_value."


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row.get(name) for name in _KEY)


def _all(row: Row) -> tuple[object, ...]:
    return tuple(row.get(name) for name in _COLUMNS)
