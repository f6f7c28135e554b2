"""What somebody asks for: indicator, area and period in ids or in free words, in three arguments or in one sentence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.areas import Area, plain
from pipelines.periods import parse_period
from pipelines.project import Project
from schemas.documents import Indicator
from schemas.yaml_source import nearest

_SMALL = {"in", "im", "am", "zum", "vom", "für", "fuer", "jahr", "stichtag"}
"""Words of a sentence that name nothing."""

Slot = tuple[str, str, str, dt.date, str]
"""Indicator, area, period type, reference date, key of the period: one row of `mart.indicator_value`."""


class NotUnderstood(Exception):
    """A word of the question is not known, or there is no such figure; the text says what comes nearest."""


@dataclass(frozen=True)
class Question:
    """The indicators and areas that the words can mean, and the words for the period."""

    indicators: list[Indicator]
    areas: list[Area]
    period: str

    def slots(self, known: Iterable[Slot]) -> list[Slot]:
        """The figures that are meant, of those there are.

        Raises:
            NotUnderstood: there is none; the periods there are stand in the text.
        """
        there = list(known)
        found = [slot for slot in there if _means(self.period, slot)]
        if found:
            return found
        names = f"{_names(self.indicators)}, {', '.join(a.name for a in self.areas[:4])}"
        if not there:
            raise NotUnderstood(f"Dazu gibt es keine Zahl: {names}. Was es gibt, nennt sozialraum catalogue.")
        periods = sorted({slot[4] for slot in there})
        near = nearest(self.period, periods, count=3, cutoff=0.5) or periods[-3:]
        raise NotUnderstood(f"Zu »{self.period}« gibt es keine Zahl ({names}); am nächsten: {', '.join(near)}")


def understand(project: Project, arguments: list[str]) -> Question:
    """Find out what is meant.

    Args:
        project: whose indicators and areas are known.
        arguments: as typed; three of them, or any division of a sentence into words.

    Raises:
        NotUnderstood: a part is not known, or one is missing.
    """
    if len(arguments) == 3:
        indicator, area, period = arguments
        return Question(_indicators(project, indicator), _areas(project, area), _trimmed(period))
    words = " ".join(arguments).split()
    end = next((n for n in (3, 1) if len(words) > n and _is_period(" ".join(words[-n:]))), 0)
    if not end or len(words) < end + 2:
        raise NotUnderstood(
            "Erwartet werden Indikator, Gebiet und Zeit, z. B.: sozialraum explain Kinderarmut Gaarden 2021"
        )
    period, words = " ".join(words[-end:]), words[:-end]
    splits = [(" ".join(words[:n]), " ".join(words[n:])) for n in range(1, len(words))]
    for exact in (True, False):
        for indicator, area in splits:
            named = _matching_areas(project, area, exact)
            meant = _matching_indicators(project, indicator)
            if named and meant:
                return Question(meant, named, period)
    indicator, area = next((s for s in reversed(splits) if _matching_indicators(project, s[0])), splits[0])
    if not _matching_indicators(project, indicator):
        indicator, area = next((s for s in splits if _matching_areas(project, s[1], exact=True)), splits[0])
    return Question(_indicators(project, indicator), _areas(project, area), period)


# ---------------------------------------------------------------- indicators


def _indicators(project: Project, text: str) -> list[Indicator]:
    found = _matching_indicators(project, text)
    if not found:
        raise NotUnderstood(f"Indikator »{text}« ist nicht bekannt; {_near_indicators(project, text)}")
    return found


def _matching_indicators(project: Project, text: str) -> list[Indicator]:
    """By id or title; else all whose title or id holds every word, those that begin with it first; else by topic."""
    wanted = plain(text)
    exact = [i for i in project.indicators.values() if wanted in (i.id, plain(i.title.de))]
    if exact:
        return exact
    words = wanted.split()
    found = [i for i in project.indicators.values() if words and all(word in _spelled(i) for word in words)]
    if not found:
        return [i for i in project.indicators.values() if plain(project.topic(i).replace("_", " ")) == wanted]
    return sorted(found, key=lambda i: not plain(i.title.de).startswith(wanted))


def _spelled(indicator: Indicator) -> str:
    return f"{plain(indicator.title.de)} {indicator.id} {indicator.id.replace('_', ' ')}"


def _near_indicators(project: Project, text: str) -> str:
    """The indicators with a name or a word most like a text."""
    spellings: dict[str, str] = {}
    for indicator in project.indicators.values():
        words = [indicator.id, *indicator.id.split("_"), *plain(indicator.title.de).replace("(", "").split()]
        for word in [plain(indicator.title.de), *[w for w in words if len(w) > 4]]:
            spellings.setdefault(word, indicator.id)
    near = dict.fromkeys(spellings[match] for match in nearest(plain(text), spellings, count=5))
    named = [f"{id_} ({project.indicators[id_].title.de})" for id_ in list(near)[:3]]
    return f"ähnlich: {', '.join(named)}" if named else "alle nennt sozialraum catalogue"


def _names(indicators: list[Indicator]) -> str:
    return ", ".join(i.title.de for i in indicators[:3]) + (" und andere" if len(indicators) > 3 else "")


# ---------------------------------------------------------------- areas


def _areas(project: Project, text: str) -> list[Area]:
    found = _matching_areas(project, text, exact=True) or _matching_areas(project, text, exact=False)
    if not found:
        names = {plain(a.name): f"{a.name} ({a.level})" for a in project.directory.areas.values()}
        names |= {a.area_id.lower(): a.area_id for a in project.directory.areas.values()}
        near = [names[match] for match in nearest(plain(_trimmed(text)), names, count=3)]
        hint = f"ähnlich: {', '.join(near)}" if near else "alle stehen in assets/areas"
        raise NotUnderstood(f"Gebiet »{text}« ist nicht bekannt; {hint}")
    return found


def _matching_areas(project: Project, text: str, exact: bool) -> list[Area]:
    """Areas with this id or name (not exact: with all its words in the name), of a level if one is named."""
    titles = {plain(name): e.id for e in project.areas.levels for name in (e.id, e.title.de)}
    words = plain(_trimmed(text)).split()
    levels = {titles[word] for word in words if word in titles}
    rest = [word for word in words if word not in titles] or words
    name = " ".join(rest)
    areas = [a for a in project.directory.areas.values() if not levels or a.level in levels or rest == words]
    if exact:
        return [a for a in areas if name in (a.area_id.lower(), *[plain(n) for n in (a.name, *a.aliases)])]
    return [a for a in areas if rest and all(word in plain(a.name).replace("-", " ") for word in rest)]


def _trimmed(text: str) -> str:
    """Without small words at both ends."""
    words = text.split()
    while len(words) > 1 and words[0].lower() in _SMALL:
        words = words[1:]
    while len(words) > 1 and words[-1].lower() in _SMALL:
        words = words[:-1]
    return " ".join(words)


# ---------------------------------------------------------------- periods


def _is_period(text: str) -> bool:
    words = text.removesuffix("-jd")
    return any(parse_period(words, kind) for kind in ("stichtag", "schuljahr", "kalenderjahr"))


def _means(text: str, slot: Slot) -> bool:
    """Whether a period is meant: by its key, its day, its year (a school year has two), or as a school year."""
    _, _, kind, date, key = slot
    year = parse_period(text, "kalenderjahr")
    if year is not None:
        return date.year == year.year or key.startswith(f"{year.year}-")
    school = kind == "schuljahr" and parse_period(text, "schuljahr") == date
    return text == key or parse_period(text, "stichtag") == date or school
