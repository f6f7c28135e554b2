"""Datenqualität: deliveries, checks, protection, known defects, revisions and what is provisional, in one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.report import links, words
from pipelines.report.checks import DUE, Check, checks_of, matrix
from pipelines.report.deliveries import DECISIONS, Origin, origins
from pipelines.report.facts import Facts, Indicator
from pipelines.report.numbers import figure, period_in_words
from pipelines.report.page import Page
from schemas.codes import label

SECTION = "datenqualitaet"
MOST = 200
"""Revisions and corrections shown one by one; all of them stand in the tables of the release."""
ALL = "insgesamt"
_WEAK = ("secondary", "inferred", "constructed")


@dataclass(frozen=True)
class Failed:
    """A check with a finding: source or table, and what was found."""

    subject: str
    title: str


def pages(facts: Facts) -> Iterator[Page]:
    """The one page about the quality of the data."""
    sources = list(origins(facts).values())
    of_tables = checks_of(facts, "tabelle")
    titles = {model.mart.id: model.mart.title.de for model in facts.models.of_schema("mart")}
    tables = [(titles.get(name, name), checks) for name, checks in of_tables.items()]
    context = {
        "sources": sources,
        "states": _states(sources),
        "failed": _failed([(s.title, s.checks) for s in sources]) + _failed(tables),
        "source_checks": matrix([source.checks for source in sources]),
        "tables": [title for title, _ in tables],
        "table_checks": matrix([checks for _, checks in tables]),
        "checked": sum(len(checks) for checks in [*(s.checks for s in sources), *of_tables.values()]),
        "protection": _protection(facts),
        "weak": [source for source in sources if source.origin in {label("origin", code) for code in _WEAK}],
        "breaks": _breaks(facts),
        "corrections": _corrections(facts),
        "values": _values(facts),
        "revisions": _revisions(facts),
        "not_approved": [(i, words.owner(i.owner)) for i in facts.indicators.values() if not i.approved_by],
        "indicators": len(facts.indicators),
        "most": MOST,
    }
    yield Page(links.QUALITY, "datenqualitaet.html.j2", "Datenqualität", context, SECTION)


def _states(sources: list[Origin]) -> list[tuple[str, int]]:
    """How many deliveries were decided how, and how many sources are overdue."""
    counts = Counter(delivery.decision for source in sources for delivery in source.deliveries)
    late = sum(not check.passed for source in sources for check in source.checks if check.rule == DUE)
    return [*((decision, counts[decision]) for decision in DECISIONS.values()), ("überfällig", late)]


def _failed(subjects: list[tuple[str, list[Check]]]) -> list[Failed]:
    return [Failed(title, check.title) for title, checks in subjects for check in checks if not check.passed]


def _protection(facts: Facts) -> dict[str, Any] | None:
    """How many figures were protected and withheld, by level and in all; None if there was nothing to protect."""
    rows = facts.rows("SELECT area_level, cells, suppressed, method, attacker FROM meta.release_protection")
    if not rows:
        return None
    names = {level.id: level.plural.de for level in facts.project.areas.levels}
    named = [{**row, "name": names.get(row["area_level"], row["area_level"])} for row in rows]
    return {"rows": named, "whole": next(row for row in rows if row["area_level"] == ALL)}


def _breaks(facts: Facts) -> list[tuple[str, str, list[str]]]:
    """Day, reason, and the measures whose series are broken there."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in facts.rows("SELECT * FROM mart.series_break ORDER BY reference_date DESC, measure_id, category"):
        titles = found.setdefault((f"{row['reference_date']:%d.%m.%Y}", row["reason_de"]), [])
        title = facts.project.measures[row["measure_id"]].title.de
        if title not in titles:
            titles.append(title)
    return [(day, reason, titles) for (day, reason), titles in found.items()]


def _corrections(facts: Facts) -> list[tuple[str, list[str]]]:
    """Corrections by source, in the words of the release; only sources that are public elsewhere have any there."""
    rows = facts.rows(
        "SELECT DISTINCT d.source_title, s.correction "
        "FROM meta.figure_source s JOIN meta.delivery d USING (delivery_id) "
        "WHERE s.correction IS NOT NULL ORDER BY ALL"
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["source_title"], []).append(row["correction"])
    return list(found.items())


@dataclass(frozen=True)
class Count:
    """Of an indicator: number of values, how many are withheld, missing, estimated, and by weak origin."""

    indicator: Indicator
    values: int
    withheld: int
    missing: int
    estimated: int
    weak: list[int]


def _values(facts: Facts) -> dict[str, Any]:
    """Counts of values by indicator."""
    rows = facts.rows(_COUNTS)
    by_id = {row["indicator_id"]: row for row in rows}
    counts = []
    for indicator in facts.indicators.values():
        row = by_id.get(indicator.indicator_id)
        if row:
            weak = [row[code] for code in _WEAK]
            numbers = (row["n"], row["withheld"], row["missing"], row["estimated"])
            counts.append(Count(indicator, *numbers, weak))
    return {"counts": counts, "weak": [label("origin", code) for code in _WEAK]}


def _revisions(facts: Facts) -> dict[str, Any]:
    """Figures that changed between releases: how many of each indicator and cause, and the newest one by one."""
    rows = facts.rows(
        "SELECT * FROM mart.revision ORDER BY release_id DESC, indicator_id, area_id, reference_date DESC, period_type"
    )
    counts = Counter((row["indicator_id"], label("cause", row["cause"])) for row in rows)
    shown = []
    for row in rows[:MOST]:
        indicator, area = facts.indicators[row["indicator_id"]], facts.areas[row["area_id"]]
        shown.append(
            {
                "indicator": indicator.title_de,
                "area": area.name,
                "when": period_in_words(row["period_type"], row["reference_date"]),
                "before": figure(row["value_before"], indicator.decimals),
                "now": figure(row["value_now"], indicator.decimals),
                "cause": label("cause", row["cause"]),
                "release": row["release_id"],
                "address": links.provenance(row["indicator_id"], row["area_id"], row["period"])
                if facts.has_figures(row["area_id"])
                else "",
            }
        )
    titles = facts.indicators
    by_indicator = [(titles[key].title_de, cause, number) for (key, cause), number in counts.items()]
    return {"all": len(rows), "counts": sorted(by_indicator), "shown": shown}


_COUNTS = f"""
    SELECT
        indicator_id,
        count(*) AS n,
        count(*) FILTER (obs_status = 'Q') AS withheld,
        count(*) FILTER (obs_status IN ('M', 'O')) AS missing,
        count(*) FILTER (obs_status = 'E') AS estimated,
        {", ".join(f"count(*) FILTER (origin = '{code}') AS {code}" for code in _WEAK)}
    FROM mart.indicator_value
    GROUP BY indicator_id
"""
