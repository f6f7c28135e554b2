"""Which rules of confidentiality hold for a measure, resolved from the sources that may supply it. No data here."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.project import Project
from schemas.documents import Disclosure, Measure, Source, Units


@dataclass(frozen=True)
class MeasureRule:
    """Rules of one measure: of several sources the strictest of each."""

    threshold: int
    zeros_hidden: bool
    singletons: bool
    units: Units | None
    whole_group: int

    @property
    def need_high(self) -> int:
        """What an attacker's upper bound of a confidential count must reach."""
        return self.threshold + 1 if self.singletons else self.threshold


def base_of(project: Project, measure: Measure) -> Measure:
    """The delivered measure that a formed one is made of; a delivered one is its own."""
    return project.measures[measure.formed.measure] if measure.formed else measure


def protected_sources(project: Project, measure: Measure) -> list[Source]:
    """Sources of a measure whose figures are not public elsewhere."""
    ids = base_of(project, measure).source_ids()
    return [s for s in (project.sources[i] for i in ids) if s.publication != "public_elsewhere"]


def rule_of(project: Project, measure: Measure) -> MeasureRule | None:
    """Rules of a measure; None if all its figures are public elsewhere, so that nothing about it can be kept."""
    declared: list[Disclosure] = [s.disclosure for s in protected_sources(project, measure)]
    if not declared:
        return None
    units = [d.units for d in declared if d.units]
    return MeasureRule(
        threshold=max(d.threshold for d in declared),
        zeros_hidden=all(d.zeros == "hidden" for d in declared),
        singletons=any(d.singletons for d in declared),
        units=max(units, key=lambda u: u.threshold) if units else None,
        whole_group=max(d.whole_group for d in declared),
    )


def small_base(project: Project, measure: Measure) -> int:
    """Smallest base on which a rate with this measure as numerator may be formed."""
    return max((s.disclosure.small_base for s in protected_sources(project, measure)), default=0)
