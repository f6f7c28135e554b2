"""Rows of `meta` that a publication may hold about deliveries, checks and protection: ids, definitions, outcomes."""

from __future__ import annotations

from typing import Any

from pipelines.disclosure.protection import RULES_VERSION, Protection
from pipelines.intake.run import SourceState

Row = tuple[Any, ...]


def delivery_rows(states: dict[str, SourceState]) -> list[Row]:
    """Rows of `meta.delivery`: definitions, publisher, opaque id and day of receipt; no names, hashes or counts."""
    rows = []
    for state in states.values():
        source = state.source
        retracted = {r.delivery for r in source.retracted}
        for delivery in state.deliveries:
            decision = "retracted" if delivery.delivery_id in retracted else delivery.decision
            rows.append(
                (
                    delivery.delivery_id,
                    source.id,
                    source.title.de,
                    source.publisher,
                    source.address,
                    source.licence,
                    source.origin,
                    delivery.received_on,
                    source.publication == "public_elsewhere",
                    decision,
                )
            )
    return sorted(rows)


def check_rows(states: dict[str, SourceState], tables: list[str], failed: dict[str, set[str]]) -> list[Row]:
    """Rows of `meta.check_result`: rule ids with passed or failed, per source (newest delivery) and per table.

    Args:
        states: all sources.
        tables: names of the marts whose columns and key were checked while they were built.
        failed: further rules by table, with the rules that do not hold.
    """
    rows: list[Row] = []
    for state in states.values():
        broken = {rule for d in state.unsettled for rule in state.verdicts[d.delivery_id].broken()}
        rows += [("quelle", state.source.id, rule, rule not in broken) for rule in sorted({*RULES, *broken})]
        rows.append(("quelle", state.source.id, "termin_eingehalten", state.missed is None))
    rows += [
        ("tabelle", name, rule, True) for name in tables for rule in ("spalten_wie_vereinbart", "schluessel_eindeutig")
    ]
    for name, rules in TABLE_RULES.items():
        rows += [("tabelle", name, rule, rule not in failed.get(name, set())) for rule in rules if name in tables]
    return sorted(rows)


def protection_rows(protection: Protection | None) -> list[Row]:
    """Rows of `meta.release_protection`: per area level and in all; none for an edition with true values."""
    if protection is None:
        return []
    levels = [(level, cells, withheld) for level, cells, withheld in protection.rows]
    whole = ("insgesamt", sum(row[1] for row in levels), sum(row[2] for row in levels))
    relations = ", ".join(f"{kind} {number}" for kind, number in sorted(protection.relations.items()))
    gap = 0.0 if protection.weight == 0 else 1 - protection.bound / protection.weight
    facts = (protection.method, protection.weight, protection.bound, round(gap, 6), relations)
    common = (RULES_VERSION, protection.attacker)
    return [(*row, None, None, None, None, None, *common, None) for row in levels] + [
        (*whole, *facts, *common, round(protection.seconds, 1))
    ]


RULES = (
    "datei_lesbar",
    "zeichensatz",
    "spalte_fehlt",
    "gebiet_bekannt",
    "zeitangabe_lesbar",
    "zelle_lesbar",
    "ganze_zahl",
    "nicht_unter_minimum",
    "nicht_ueber_maximum",
    "schluessel_eindeutig",
    "gebiete_vollstaendig",
    "teil_nicht_ueber_ganzem",
)
"""Rules every delivery is checked against (further ones appear when they fail)."""

TABLE_RULES = {
    "observation": ("summe_gleich_gelieferter_zahl",),
    "indicator_value": ("zaehler_nicht_ueber_nenner",),
}
