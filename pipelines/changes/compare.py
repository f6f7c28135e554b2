"""Compares two public DuckDB files: values that changed, appeared or are no longer shown, with cause or reason.

The cause of a changed value is decided by the SQL of `mart.revision` and nowhere else: it runs over the tables of the
later file with the earlier one as the release before. Nothing but the two files is read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipelines.files import quoted
from pipelines.marts.edition import REVISION
from pipelines.marts.models import Models
from pipelines.marts.previous import read_previous
from pipelines.paths import DATABASE
from pipelines.session import connect
from schemas.codes import CODE_LISTS, label

CHANGED, NEW, GONE = "geändert", "neu", "nicht mehr gezeigt"
REASONS = {
    **{cause.code: label("cause", cause.code).split(" (")[0] for cause in CODE_LISTS["cause"]},
    "new_indicator": "neuer Indikator",
    "new_area": "neues Gebiet",
    "no_longer_withheld": "früher geheim zu halten",
    "no_longer_missing": "lag früher nicht vor",
    "new_figure": "neuer Zeitraum oder neu geliefert",
    "no_indicator": "Indikator entfallen",
    "no_area": "Gebiet entfallen",
    "withheld": "jetzt geheim zu halten",
    "small_base": "Nenner jetzt null oder zu klein",
    "missing": "liegt nicht mehr vor",
}
"""Causes of a change (the codes of `mart.revision`) and reasons why a value is new or gone, in German."""

Figure = tuple[str, str, str]
"""Indicator, area, period."""


class Incomparable(Exception):
    """Two files can't be compared; the text (German) says why."""


@dataclass(frozen=True)
class Change:
    """A value that is not the same in both releases.

    Args:
        kind: `CHANGED`, `NEW` or `GONE`.
        reason: key of `REASONS`.
        before, now: values in the unit of the indicator, not rounded; None where it is not shown. What is not shown
            any more is not told again either (it may be confidential by today's rules).
        shown_before, shown_now: the same, rounded as the release rounds them.
        decimals: decimals the indicator is shown with.
    """

    kind: str
    reason: str
    indicator_id: str
    area_id: str
    area_name: str
    area_level: str
    period_type: str
    period: str
    before: float | None
    now: float | None
    shown_before: float | None
    shown_now: float | None
    decimals: int

    @property
    def figure(self) -> Figure:
        """Which value."""
        return self.indicator_id, self.area_id, self.period

    @property
    def size(self) -> float:
        """Change relative to the earlier value; a value that was 0 changes infinitely, one not shown in both by 0."""
        if self.before is None or self.now is None:
            return 0.0
        return abs(self.now - self.before) / abs(self.before) if self.before else float("inf")


@dataclass(frozen=True)
class Changes:
    """All that differs between two releases.

    Args:
        before_id, now_id: the releases.
        rows: values that are not the same, by kind, indicator, area and period.
        shown: every value shown in the earlier release, with the later one (None: not shown any more).
        members: ids of indicators and areas that only one of them has, by (`indicator` or `area`, `NEW` or `GONE`).
    """

    before_id: str
    now_id: str
    rows: list[Change]
    shown: dict[Figure, tuple[float, float | None]]
    members: dict[tuple[str, str], list[str]]

    def of(self, kind: str) -> list[Change]:
        """Rows of one kind."""
        return [row for row in self.rows if row.kind == kind]

    def largest(self, number: int) -> list[Change]:
        """The values that changed most, relative to the earlier value."""
        return sorted(self.of(CHANGED), key=lambda row: (-row.size, row.figure))[:number]

    def counted(self, kind: str) -> list[tuple[str, int]]:
        """Number of rows of a kind by reason, most frequent first."""
        return Counter(row.reason for row in self.of(kind)).most_common()


def compare(models: Models, before: Path, now: Path) -> Changes:
    """Compare two public DuckDB files.

    Args:
        models: the marts as declared; the SQL of `mart.revision` is theirs.
        before: folder of the earlier release.
        now: DuckDB file of the later one, or of an edition that is not published yet.

    Raises:
        Incomparable: one of them was made by a program too old for that, or the project has no `mart.revision`.
    """
    revision = models.all.get(REVISION)
    if revision is None or revision.sql is None:
        raise Incomparable("das Projekt hat keine Tabelle mart.revision (assets/marts/revision)")
    try:
        previous = read_previous(before)
        with connect() as con:
            con.execute(f"ATTACH '{quoted(before / DATABASE)}' AS b (READ_ONLY)")
            con.execute(f"ATTACH '{quoted(now)}' AS n (READ_ONLY)")
            con.execute("USE n.mart")
            ((now_id, rules),) = con.execute("SELECT release_id, rules FROM n.meta.release").fetchall()
            for name, table in previous.inputs(now_id, rules).items():
                con.register(f"{name}_arrow", table)
                # Only what differs between these two: what earlier releases had told already is not carried along.
                rows = "LIMIT 0" if name == "previous_revision_in" else ""
                con.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {name}_arrow {rows}")
            con.execute("SET enable_external_access = false")  # the SQL of a project reaches no other file
            con.execute(f"CREATE TEMP TABLE told AS {revision.sql}")
            shown = {
                (indicator, area, period): (old, new)
                for indicator, area, period, old, new in con.sql(_SHOWN).fetchall()
            }
            if shown and not previous.tables["previous_value_in"].num_rows:
                raise Incomparable(f"in {before.name} fehlen Spalten, die der Vergleich braucht")
            found = [Change(*values) for values in con.sql(_ROWS).fetchall()]
            members = {(what, kind): ids for what, kind, ids in con.sql(_MEMBERS).fetchall()}
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise Incomparable(
            "eine der beiden ist mit einer älteren Fassung des Programms entstanden; es fehlen Tabellen oder Spalten, "
            "die der Vergleich braucht"
        ) from error
    return Changes(before.name, now_id, found, shown, members)


_SHOWN = """
    SELECT b.indicator_id, b.area_id, b.period, b.value, v.value
    FROM b.mart.indicator_value AS b
    LEFT JOIN n.mart.indicator_value AS v USING (indicator_id, area_id, period_type, reference_date)
    WHERE b.value IS NOT NULL
"""

_ROWS = f"""
    WITH found AS (
        SELECT
            '{CHANGED}' AS kind, cause AS reason, indicator_id, area_id, area_level, period_type, reference_date,
            period, value_before, value_now
        FROM told
        UNION ALL
        SELECT
            '{NEW}',
            CASE
                WHEN v.indicator_id NOT IN (SELECT indicator_id FROM b.mart.indicator) THEN 'new_indicator'
                WHEN v.area_id NOT IN (SELECT area_id FROM b.mart.area) THEN 'new_area'
                WHEN b.suppression_reason IN ('confidential', 'inherited') THEN 'no_longer_withheld'
                WHEN b.indicator_id IS NOT NULL THEN 'no_longer_missing'
                ELSE 'new_figure'
            END,
            v.indicator_id, v.area_id, v.area_level, v.period_type, v.reference_date, v.period, NULL, v.value
        FROM n.mart.indicator_value AS v
        LEFT JOIN b.mart.indicator_value AS b USING (indicator_id, area_id, period_type, reference_date)
        WHERE v.value IS NOT NULL AND b.value IS NULL
        UNION ALL
        SELECT
            '{GONE}',
            CASE
                WHEN b.indicator_id NOT IN (SELECT indicator_id FROM n.mart.indicator) THEN 'no_indicator'
                WHEN b.area_id NOT IN (SELECT area_id FROM n.mart.area) THEN 'no_area'
                WHEN v.suppression_reason IN ('confidential', 'inherited') THEN 'withheld'
                WHEN v.suppression_reason = 'denominator_small' THEN 'small_base'
                ELSE 'missing'
            END,
            b.indicator_id, b.area_id, b.area_level, b.period_type, b.reference_date, b.period, NULL, NULL
        FROM b.mart.indicator_value AS b
        LEFT JOIN n.mart.indicator_value AS v USING (indicator_id, area_id, period_type, reference_date)
        WHERE b.value IS NOT NULL AND v.value IS NULL
    ),

    places AS (
        SELECT area_id, name FROM n.mart.area
        UNION ALL
        SELECT area_id, name FROM b.mart.area WHERE area_id NOT IN (SELECT area_id FROM n.mart.area)
    ),

    decimals AS (
        SELECT indicator_id, decimals FROM n.mart.indicator
        UNION ALL
        SELECT indicator_id, decimals FROM b.mart.indicator
        WHERE indicator_id NOT IN (SELECT indicator_id FROM n.mart.indicator)
    )

    SELECT
        f.kind, f.reason, f.indicator_id, f.area_id, coalesce(p.name, f.area_id), f.area_level, f.period_type, f.period,
        f.value_before, f.value_now, round(f.value_before, d.decimals), round(f.value_now, d.decimals), d.decimals
    FROM found AS f
    LEFT JOIN places AS p ON p.area_id = f.area_id
    LEFT JOIN decimals AS d ON d.indicator_id = f.indicator_id
    ORDER BY f.kind, f.indicator_id, f.area_id, f.period_type, f.reference_date
"""

_ONLY = """
    SELECT '{what}', '{kind}', list({key} ORDER BY {key}) FROM {here}.mart.{what}
    WHERE {key} NOT IN (SELECT {key} FROM {there}.mart.{what}) HAVING count(*) > 0
"""
_MEMBERS = " UNION ALL ".join(
    _ONLY.format(what=what, kind=kind, key=f"{what}_id", here=here, there=there)
    for what in ("indicator", "area")
    for kind, here, there in ((NEW, "n", "b"), (GONE, "b", "n"))
)
