"""Results of the checks as people say them: what was looked for, in which source or table, and whether it was found."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pipelines.intake.rules import RULES
from pipelines.report.facts import Facts

DUE = "termin_eingehalten"
"""The one check of a source that no delivery can fail: something is missing."""
_FURTHER = {
    DUE: "Die Lieferung ist überfällig",
    "spalten_wie_vereinbart": "Spalten sind anders als vereinbart",
    "summe_gleich_gelieferter_zahl": "Eine Summe weicht von der gelieferten Zahl ab",
    "zaehler_nicht_ueber_nenner": "Ein Zähler ist größer als sein Nenner",
}
_ORDER = {rule: position for position, rule in enumerate([*RULES, *_FURTHER])}


@dataclass(frozen=True)
class Check:
    """One check: `title` names the defect that was looked for, `passed` says that there was none."""

    rule: str
    title: str
    passed: bool


def defect(rule: str) -> str:
    """What a rule looks for, in German; the id of a rule without words."""
    return RULES[rule].title if rule in RULES else _FURTHER.get(rule, rule)


def checks_of(facts: Facts, kind: str) -> dict[str, list[Check]]:
    """Checks by source (`quelle`) or table (`tabelle`), in the order in which a report to a sender names them."""
    rows = facts.rows("SELECT subject, rule, passed FROM meta.check_result WHERE subject_kind = ? ORDER BY ALL", kind)
    found: dict[str, list[Check]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["subject"], _ORDER.get(row["rule"], len(_ORDER)), row["rule"])):
        found[row["subject"]].append(Check(row["rule"], defect(row["rule"]), row["passed"]))
    return dict(found)


def matrix(subjects: list[list[Check]]) -> list[tuple[str, str, list[bool | None]]]:
    """Rows of a table: rule, what it looks for, and its result for each subject (None where it does not apply)."""
    rules = {check.rule: check.title for checks in subjects for check in checks}
    results = [{check.rule: check.passed for check in checks} for checks in subjects]
    ranked = sorted(rules, key=lambda rule: (_ORDER.get(rule, len(_ORDER)), rule))
    return [(rule, rules[rule], [one.get(rule) for one in results]) for rule in ranked]
