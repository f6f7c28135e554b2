"""The mass change: so many values change by so much in one night that an error is likelier than news."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipelines.changes.compare import REASONS, Changes, Figure
from schemas.documents import MassChange

K = TypeVar("K")
NAMED = 3


@dataclass(frozen=True)
class Mass:
    """Values that changed by more than a limit.

    Args:
        shown: number of values shown in the release in force.
        moved: those of them that changed by more than the limit or are no longer shown, the largest change first.
    """

    shown: int
    moved: list[Figure]

    @property
    def share(self) -> float:
        """Their share of the shown values (0 to 1)."""
        return len(self.moved) / self.shown


def is_moved(before: float, now: float | None, percent: float) -> bool:
    """Whether a value changed by more than `percent` per cent of the earlier one, or is no longer shown.

    Any change of a value that was 0 counts.
    """
    return now is None or _relative(before, now) > percent


def _relative(before: float, now: float) -> float:
    """Change in per cent of the earlier value; nine digits, so that 10 per cent of any value are 10."""
    if now == before:
        return 0.0
    return round(100 * abs(now - before) / abs(before), 9) if before else float("inf")


def implausible(shown: Mapping[K, tuple[float, float | None]], rule: MassChange) -> list[K]:
    """Keys of the values that moved, the largest change first, if they are too many; else none.

    Args:
        shown: every value shown in the release in force, with the value now (None: not shown any more).
        rule: what the project declares.
    """
    moved = [key for key, (before, now) in shown.items() if is_moved(before, now, rule.percent)]
    if len(shown) < rule.at_least or len(moved) <= rule.share * len(shown):
        return []
    return sorted(moved, key=lambda key: (-_size(*shown[key]), str(key)))


def _size(before: float, now: float | None) -> float:
    return 0.0 if now is None else _relative(before, now)


def judge(changes: Changes, rule: MassChange | None) -> Mass | None:
    """The mass change of an edition against the release in force; None if it is plausible or nothing is declared."""
    moved = implausible(changes.shown, rule) if rule else []
    return Mass(len(changes.shown), moved) if moved else None


def in_words(mass: Mass, changes: Changes, rule: MassChange, place: str) -> str:
    """How many values changed, against which limit, why and where most (German; ids and counts, no values)."""
    reasons = {row.figure: row.reason for row in changes.rows}
    # No cause is told for a value whose earlier count would be small by today's rules.
    causes = Counter(REASONS[reasons[f]] if f in reasons else "ohne Angabe" for f in mass.moved).most_common()
    most = "; ".join(f"{indicator} in {area} ({period})" for indicator, area, period in mass.moved[:NAMED])
    return (
        f"{len(mass.moved)} von {mass.shown} gezeigten Werten ({_percent(mass.share)}) haben sich gegenüber "
        f"{changes.before_id} um mehr als {_number(rule.percent)} % geändert oder werden nicht mehr gezeigt, erlaubt "
        f"sind {_percent(rule.share)} ({place}). Ursachen: {', '.join(f'{n} {cause}' for cause, n in causes)}. "
        f"Am stärksten: {most}."
    )


def _percent(share: float) -> str:
    return f"{_number(round(100 * share, 1))} %"


def _number(value: float) -> str:
    return f"{value:g}".replace(".", ",")
