"""What `meta` may hold in a publication about deliveries, checks, protection and provenance: a list, not the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pipelines.disclosure.protection import RULES_VERSION, Protection
from pipelines.files import quoted, replacing
from pipelines.history import out_of_force
from pipelines.intake.run import SourceState
from pipelines.project import Project
from pipelines.provenance.files import FIGURE_KEY, provenance_beside
from pipelines.session import connect

Row = tuple[Any, ...]


def delivery_rows(states: dict[str, SourceState]) -> list[Row]:
    """Rows of `meta.delivery`: definitions, publisher, opaque id and day of receipt; no names, hashes or counts."""
    rows = []
    for state in states.values():
        source = state.source
        gone = out_of_force(source, state.deliveries)
        for delivery in state.deliveries:
            decision = "retracted" if delivery.delivery_id in gone else delivery.decision
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


def publish_provenance(project: Project, internal: Path, public: Path) -> None:
    """Write what may be public of the provenance of the internal observation beside the public one.

    What a received file says, and where in it, is told only of sources that are public elsewhere. Any other file may be
    sorted by secret figures, also by columns that nobody reads or by figures that were replaced since; then the place
    of a row, a column or a block bounds them. An order of areas, categories or days is no proof that it is not: whether
    a file happens to have one depends on the figures.
    """
    given, made = provenance_beside(internal), provenance_beside(public)
    with replacing(made["figure_part"]) as temporary:  # says which figures are added up, and nothing of them
        shutil.copyfile(given["figure_part"], temporary)
    elsewhere = [(s.id,) for s in project.sources.values() if s.publication == "public_elsewhere"]
    with replacing(made["figure_source"]) as temporary, connect() as con:
        con.execute("CREATE TABLE elsewhere (source_id VARCHAR)")
        if elsewhere:
            con.executemany("INSERT INTO elsewhere VALUES (?)", elsewhere)
        con.execute(f"CREATE VIEW cell AS FROM read_parquet('{quoted(given['figure_source'])}')")
        con.execute(f"COPY ({_PUBLIC_CELLS}) TO '{quoted(temporary)}' (FORMAT parquet, COMPRESSION zstd)")


_ONLY_ELSEWHERE = ("sheet", "line", "column_number", "column_name", "received_text", "correction")
"""What a file says itself, and where: public only where the figures of its source are."""

_PUBLIC_CELLS = f"""
    SELECT * EXCLUDE (open) REPLACE (
        {", ".join(f"CASE WHEN open THEN {name} END AS {name}" for name in _ONLY_ELSEWHERE)})
    FROM (SELECT *, split_part(delivery_id, '-', 1) IN (FROM elsewhere) AS open FROM cell)
    ORDER BY {", ".join(FIGURE_KEY)}
"""

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
