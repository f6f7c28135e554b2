"""Decides what may become public, and hands the release its inputs.

Until counts can be protected, a project publishes only what is public elsewhere or constructed. Any other source
stops the publication as a whole: leaving its figures out would let them be worked out from those that remain.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import replacing
from pipelines.intake.run import SourceState
from pipelines.project import Project

Row = tuple[Any, ...]


class NotPublic(Exception):
    """The project holds figures that must not be published without protection."""


@dataclass(frozen=True)
class PublicInputs:
    """Everything the public edition is made of, besides YAML and SQL."""

    observation: Path
    delivery_rows: list[Row]


def public_inputs(project: Project, states: dict[str, SourceState], observation: Path, target: Path) -> PublicInputs:
    """Copy the observation for the public edition if all of it may be public.

    Raises:
        NotPublic: a source with figures in force is neither public elsewhere nor constructed.
    """
    refused = [s.source for s in states.values() if s.in_force and s.source.publication == "internal"]
    if refused:
        places = []
        for source in refused:
            file, line = project.place(source, "publication")
            places.append(
                f"{file}:{line}: Quelle {source.id} ({source.title.de}) ist weder anderswo öffentlich noch konstruiert"
            )
        raise NotPublic(
            "Nichts veröffentlicht, denn ungeschützte Zahlen dürfen nicht hinaus:\n  "
            + "\n  ".join(places)
            + "\n  Abhilfe: publication: public_elsewhere mit address, wenn die Zahlen schon öffentlich sind; "
            "internal: true in assets/release, wenn das Projekt nichts veröffentlichen soll."
        )
    with replacing(target) as temporary:
        shutil.copyfile(observation, temporary)
    return PublicInputs(target, delivery_rows(states))


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
