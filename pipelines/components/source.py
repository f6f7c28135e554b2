"""A source: the delivery an office sends (external) and the checked figures made of it."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import dagster as dg

from pipelines.components.base import YamlComponent, delivery_key, reading_key, spec
from pipelines.project import Project
from schemas.documents import Due, Source

CONTRACT_CHECK = "Vertrag"


class SourceComponent(YamlComponent[Source]):
    """One office's series of deliveries and its contract."""

    model = Source


def delivery_spec(project: Project, source: Source) -> dg.AssetSpec:
    """The delivery, materialised only when one is accepted: else its freshness would always look fine."""
    policy = dg.FreshnessPolicy.time_window(fail_window=_longest_gap(source.schedule)) if source.schedule else None
    return spec(
        project,
        source,
        delivery_key(source.id),
        kinds=["csv"],
        tags={"herkunft": source.origin, "oeffentlich": source.publication},
        description=f"Lieferung: {source.title.de}. {source.description.de} Herausgeber: {source.publisher}.",
        freshness_policy=policy,
        metadata={"herausgeber": source.publisher, "lizenz": source.licence, "fundstelle": source.address or "-"},
    )


def reading_spec(project: Project, source: Source) -> dg.AssetSpec:
    """The checked figures of all deliveries in force."""
    return spec(
        project,
        source,
        reading_key(source.id),
        deps=[delivery_key(source.id)],
        kinds=["parquet", "pandera"],
        tags={"herkunft": source.origin},
        description=f"Geprüfte Zählwerte: {source.title.de}. Jede Angabe behält Zeile und Spalte der Lieferung.",
    )


def contract_check(source: Source) -> dg.AssetCheckSpec:
    """One check per source; its rules stand as a table in the metadata of the result."""
    return dg.AssetCheckSpec(
        CONTRACT_CHECK,
        asset=reading_key(source.id),
        description="Ist die neueste Lieferung angenommen und der Liefertermin eingehalten?",
    )


def _longest_gap(due: Due) -> dt.timedelta:
    """Longest time between two due dates, with the grace days: after that an acceptance is overdue."""
    days = sorted(dt.date(2023, *map(int, day.split("-"))) for day in due.days)
    days.append(days[0].replace(year=2024))
    return max(later - earlier for earlier, later in pairwise(days)) + dt.timedelta(days=due.grace_days)
