"""The audit of a release: an attacker who reads the very files that are to be published, and nothing else.

Every file is parsed back from disk; relations come from the public tables; everything ever published before counts.
Fails closed: what cannot be read, solved or explained is a leak.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.audit.facts import (
    ABSENT,
    REMAINDER,
    Earlier,
    Facts,
    Key,
    Leak,
    Need,
    Public,
    Reader,
    Unreadable,
    kept_open,
    load_public,
)
from pipelines.audit.public_relations import Template, all_templates, exactly, in_tiny_groups, remainder, remainders
from pipelines.audit.release_attack import Proof, prove
from pipelines.audit.release_discovery import discover
from pipelines.audit.release_files import check_containers, check_keys, check_names, file_checks
from pipelines.audit.release_provenance import check_provenance
from pipelines.audit.release_rebuild import check_codes, check_objects, check_package, check_reproduction, public_levels
from pipelines.audit.release_report import check_report
from pipelines.audit.release_revision import check_revisions
from pipelines.audit.release_rewrite import check_rewritten
from pipelines.audit.release_tokens import check_tokens
from pipelines.audit.release_union import NOW, Builder, History, Moment, Union, current_moment, history_of
from pipelines.marts.models import Models
from pipelines.paths import DATABASE

__all__ = ["ABSENT", "Audit", "Earlier", "Key", "Leak", "Need", "audit_release", "remainder"]

EXACT = 1e-6

KINDS_DE = {
    "enthalten": "Teile, die nicht größer als ihr Ganzes sind",
    "quoten": "Quoten, als Spannen der Anzahl dahinter",
    "gebiete": "Gebietssummen",
    "auspraegungen": "Summen über Ausprägungen",
    "kennzahlen": "Summen von Kennzahlen",
    "jahre": "Summen über Jahre",
    "teil_und_ganzes": "Teil und Ganzes",
    "entdeckt": "nicht erklärte, in den Zahlen entdeckte Summen",
}
"""Kinds of relations as people read them."""


@dataclass(frozen=True)
class Audit:
    """Outcome of an audit.

    Args:
        leaks: what must not be published; empty: safe against this attacker.
        cells: cells of the public observation.
        withheld: those without a value for confidentiality.
        exact_but_large: withheld cells that can be recomputed and are not small (secondary stars): no leak.
        relations: kind -> number of relations attacked.
        intervals: per withheld cell the smallest and largest possible value (stays inside).
        seconds: wall time.
    """

    leaks: list[Leak]
    cells: int
    withheld: int
    exact_but_large: int
    relations: dict[str, int]
    intervals: dict[Key, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def kinds_in_words(self) -> list[tuple[str, int]]:
        """What was attacked: kind of relation in German, and how many of it."""
        words = []
        for kind, number in sorted(self.relations.items()):
            now, _, past = kind.partition(", ")
            words.append((KINDS_DE.get(now, now) + (f" ({past})" if past else ""), number))
        return words

    def in_words(self) -> str:
        """One German sentence: what was attacked and with what success."""
        relations = sum(self.relations.values())
        return f"{self.withheld} gesperrte von {self.cells} Zahlen über {relations} Zusammenhänge angegriffen: " + (
            f"{len(self.leaks)} Befunde" if self.leaks else "keine ist als klein erkennbar"
        )


def audit_release(
    folder: Path, models: Models | None, *, earlier: Earlier | None = None, needs: list[Need] | None = None
) -> Audit:
    """Attack a release folder.

    Args:
        folder: the folder as it is to be published.
        models: the marts as declared; without them nothing is rebuilt and declarations are taken from the file.
        earlier: what was ever published before.
        needs: what inside knowledge asks of cells (they add no relation).
    """
    with kept_open(folder / DATABASE):
        return _audited(folder, models, earlier or Earlier(), needs or [])


def _audited(folder: Path, models: Models | None, earlier: Earlier, needs: list[Need]) -> Audit:
    started = time.perf_counter()
    database = folder / DATABASE
    leaks: list[Leak] = []
    try:
        public = load_public(database)
    except Unreadable as error:
        return Audit([_unreadable(error)], 0, 0, 0, {}, {}, time.perf_counter() - started)
    levels = [e.id for e in models.project.areas.levels] if models is not None else public_levels(public)
    checks: list[Callable[[], list[Leak]]] = [
        lambda: check_names(folder, levels),
        lambda: check_objects(database, models),
        lambda: check_codes(public, models),
        lambda: check_keys(folder, models),
        lambda: check_containers(folder),
        lambda: check_tokens(folder, models),
        lambda: check_report(folder, models),
        lambda: check_revisions(folder, public, must=models is not None),
        lambda: check_provenance(database, must=models is not None),
        lambda: check_reproduction(database, public, models) if models is not None else [],
        lambda: check_package(folder, models) if models is not None else [],
        lambda: check_rewritten(folder, models) if models is not None else [],
    ]
    for check in checks:
        leaks += _closed(check)
    reader = Reader(public)
    leaks += _closed(lambda: _read(folder, public, reader))
    attacked = _Attacked(public, reader, earlier, needs)
    leaks += _closed(attacked.run)
    return Audit(
        list(dict.fromkeys(leaks)),
        len(public.status),
        sum(status == "withheld" for status in public.status.values()),
        attacked.exact_but_large,
        dict(sorted(attacked.relations.items())),
        attacked.intervals,
        time.perf_counter() - started,
    )


def _closed(check: Callable[[], list[Leak]]) -> list[Leak]:
    """A check that cannot be finished is a leak: nobody knows what it would have found."""
    try:
        return check()
    except Unreadable as error:
        return [_unreadable(error)]
    except Exception as error:  # noqa: BLE001 - any file may be damaged in any way; the audit fails closed
        return [_unreadable(error)]


def _unreadable(error: Exception) -> Leak:
    name = "" if isinstance(error, Unreadable) else f"{type(error).__name__}: "
    text = "Nicht prüfbar, darum nicht zu veröffentlichen; Veröffentlichung neu bauen."
    return Leak("widerspruch", f"{name}{error}", text)


def _read(folder: Path, public: Public, reader: Reader) -> list[Leak]:
    """All facts of the folder: DuckDB tables, then every file."""
    for table in sorted(public.tables):
        reader.read_table(table, public.each(table), f"mart.{table}")
    leaks = [leak for check in file_checks(folder, public, reader) for leak in _closed(check)]
    reader.delivered_rates()
    reader.propagate()
    for key, one, other in reader.facts.conflicts:
        text = f"Zwei Stellen sagen Verschiedenes: {one} und {other}. Beide aus derselben Tabelle neu schreiben."
        leaks.append(Leak("widerspruch", public.words(key), text))
    return leaks + reader.problems


class _Attacked:
    """Relations, system, attack and judgement of one release."""

    def __init__(self, public: Public, reader: Reader, earlier: Earlier, needs: list[Need]) -> None:
        self.public = public
        self.facts: Facts = reader.facts
        self.ratios = reader.ratios
        self.earlier = earlier
        self.needs = needs
        self.relations: Counter[str] = Counter()
        self.intervals: dict[Key, tuple[float, float]] = {}
        self.exact_but_large = 0
        self.quiet: set[Key] = set()
        self.shown_before: set[tuple[Key, float]] = set()
        self.parts_of: dict[Key, tuple[Key, Key]] = {}

    def run(self) -> list[Leak]:
        """Attack, and say what must not be published."""
        extra = {key for changes in self.earlier.states for key, *_ in changes}
        self.shown_before = {(key, v) for changes in self.earlier.states for key, v, _ in changes if v is not None}
        self.parts_of = {remainder(n, d): (n, d) for n, d in remainders(self.public, self.public.status)}
        templates = all_templates(self.public, self.facts, self.ratios, extra)
        templates += discover(self.public, self.facts, templates)
        now, history = current_moment(self.public, self.facts, self.earlier), history_of(self.earlier)
        self.quiet = in_tiny_groups(self.public, self.facts, templates)
        union, proof = self._prove(templates, now, history)
        self.relations = Counter(relation.kind for relation in union.system.relations)
        leaks = [self._failed(label, reason) for label, reason in proof.failures]
        leaks += self._judge(union, proof)
        leaks += self._judge_shown()
        leaks += self._judge_past(union, proof, templates, history)
        return leaks + self._judge_needs(union, proof)

    def _prove(self, templates: list[Template], now: Moment, history: History) -> tuple[Union, Proof]:
        """Attack as if every sum held exactly, as a reader would; where that contradicts itself, with declared gaps."""
        for assumed in (exactly(templates, self.facts), templates):
            union = Builder(self.public, self.facts, now, history, self.quiet).build(assumed)
            proof = prove(union, self._targets(union))
            if not proof.failures:
                break
        return union, proof

    def _targets(self, union: Union) -> dict[int, float]:
        """Positions to attack, each with the upper bound that makes it safe."""
        wanted: dict[int, float] = {}
        for position in [*union.withheld.values(), *union.past, *union.hidden]:
            threshold = self._threshold(union.variables[position][0])
            if threshold is not None:
                wanted[position] = float(threshold)
        index = {variable: position for position, variable in enumerate(union.variables)}
        for need in self.needs:
            found = _current(union, index, need.cell)
            if found is not None:
                wanted[found] = max(wanted.get(found, 0.0), need.need_high)
        return wanted

    def _threshold(self, key: Key) -> int | None:
        info = self.public.measures.get(key[0].split(REMAINDER)[-1])
        return self.public.threshold(key[0]) if info is not None and info.kind == "count" else None

    # ------------------------------------------------------------ judgement

    def _judge(self, union: Union, proof: Proof) -> list[Leak]:
        leaks = []
        for key, position in sorted(union.withheld.items()):
            low, high = float(proof.low[position]), float(proof.high[position])
            self.intervals[key] = (low, high)
            threshold = self._threshold(key)
            if threshold is None or (key in self.quiet and low <= 0 < high):
                continue
            if high < threshold - EXACT and low <= 0:
                continue  # zeros may be withheld here, so that nobody is sure that there is anyone at all
            if high < threshold - EXACT:
                leaks.append(self._leak(key, (low, high), threshold, self._source(key, position, union, proof)))
            elif high - low <= EXACT:
                self.exact_but_large += 1
        for position, threshold in self._small_hidden(union, proof).items():
            key, version = union.variables[position]
            known = key in self.parts_of and self._told_anyway(*self.parts_of[key], union, proof)
            if version == NOW and not known:
                bounds = float(proof.low[position]), float(proof.high[position])
                leaks.append(self._leak(key, bounds, threshold, self._source(key, position, union, proof), hidden=True))
        return leaks

    def _small_hidden(self, union: Union, proof: Proof) -> dict[int, int]:
        """Figures that stand nowhere and are known to be small (position -> threshold), of any version."""
        found = {}
        for position in union.hidden:
            threshold = self._threshold(union.variables[position][0])
            if threshold is not None and proof.low[position] > 0 and proof.high[position] < threshold - EXACT:
                found[position] = threshold
        return found

    def _told_anyway(self, part: Key, whole: Key, union: Union, proof: Proof) -> bool:
        """A remainder that nothing here gives away: of two known figures, or of a whole of which no one is a part."""
        return (self._open(part) and self._open(whole)) or self._is_zero(part, union, proof)

    def _is_zero(self, key: Key, union: Union, proof: Proof) -> bool:
        if key in union.withheld:
            return float(proof.high[union.withheld[key]]) <= EXACT
        return self.facts.exact(key) and self.facts.high[key] <= EXACT

    def _judge_shown(self) -> list[Leak]:
        """Small counts that stand there openly, and are neither public anyway nor published before."""
        leaks = []
        for key, status in sorted(self.public.status.items()):
            threshold = self._threshold(key)
            if status != "value" or threshold is None or not self.facts.exact(key) or self._open(key):
                continue
            if 0 < self.facts.low[key] < threshold:
                text = f"Die Zahl liegt unter {threshold} und ist veröffentlicht. Sie ist zu sperren (disclosure)."
                leaks.append(Leak("kleine_zahl", self.public.words(key), text, _measure(key)))
        return leaks

    def _open(self, key: Key) -> bool:
        """Whether a shown figure is known anyway: public elsewhere, or shown before with the same value."""
        before = key in self.facts.low and (key, self.facts.low[key]) in self.shown_before
        return key in self.public.elsewhere or before

    def _leak(
        self, key: Key, bounds: tuple[float, float], threshold: int, source: str, hidden: bool = False, now: bool = True
    ) -> Leak:
        low, high = bounds
        what = f"{low:g}" if high - low <= EXACT else f"{low:g} bis {high:g}"
        kind = "Die nicht veröffentlichte Zahl" if hidden else "Die gesperrte Zahl"
        when = "" if now else " (in einer früheren Fassung)"
        text = (
            f"{kind}{when} lässt sich errechnen: {what}, also unter {threshold} ({source}). "
            "Weitere Zahlen derselben Summen sperren oder die Stelle, an der sie steht, entfernen."
        )
        return Leak("errechenbar", self.public.words(key), text, _measure(key))

    def _source(self, key: Key, position: int, union: Union, proof: Proof) -> str:
        """By what a cell is known: a place where it stands, or a relation it stands in."""
        if position in proof.by:
            return proof.by[position]
        if key in self.facts.place:
            return f"steht in {self.facts.place[key]}"
        labels = [relation.label for relation in union.system.relations if position in relation.cells]
        return f"aus mehreren Summen, darunter {labels[0]}" if labels else "folgt aus den Regeln"

    def _failed(self, label: str, reason: str) -> Leak:
        text = (
            f"Die Veröffentlichung widerspricht sich oder ließ sich nicht prüfen: {reason}. Zahlen und Summen prüfen."
        )
        cell = tuple(label.rsplit("@", 1)[0].split("|"))
        if len(cell) != 5:  # a relation, by its label
            return Leak("widerspruch", label, text)
        key: Key = cell
        return Leak("widerspruch", self.public.words(key), text, _measure(key))

    def _judge_past(self, union: Union, proof: Proof, templates: list[Template], history: History) -> list[Leak]:
        """Versions withheld earlier, or never shown, that can be computed now and could not before."""
        found = {
            union.variables[position]: (position, "", threshold)
            for position, threshold in self._small_hidden(union, proof).items()
            if union.variables[position][1] != NOW
        }
        for position, name in union.past.items():
            key = union.variables[position][0]
            threshold = self._threshold(key)
            quiet = key in self.quiet and proof.low[position] <= 0
            if threshold is not None and not quiet and proof.high[position] < threshold - EXACT:
                found[union.variables[position]] = (position, name, threshold)
        if not found:
            return []
        known = _provable_before(self.public, templates, history, found)
        leaks = []
        for variable, (position, name, threshold) in found.items():
            if variable not in known:
                bounds = float(proof.low[position]), float(proof.high[position])
                source = self._source(variable[0], position, union, proof)
                source = f"zusammen mit {name}; {source}" if name else source
                leaks.append(self._leak(variable[0], bounds, threshold, source, hidden=not name, now=False))
        return leaks

    def _judge_needs(self, union: Union, proof: Proof) -> list[Leak]:
        leaks = []
        index = {variable: position for position, variable in enumerate(union.variables)}
        for need in self.needs:
            position = _current(union, index, need.cell)
            if position is None:
                continue  # neither published nor in any relation: nothing can be learned about it
            low, high = float(proof.low[position]), float(proof.high[position])
            if high < need.need_high - EXACT or (need.open and high - low <= EXACT):
                text = f"Nach außen ist {low:g} bis {high:g} möglich, nötig ist mindestens {need.need_high:g}"
                text += " und mehr als ein Wert. " if need.open else ". "
                text += "Weitere Zahlen derselben Summen sperren."
                leaks.append(Leak("bedarf", self.public.words(need.cell), text, _measure(need.cell)))
        return leaks


def _measure(key: Key) -> str:
    """Measure of a cell; of a remainder that of the part."""
    return key[0].rpartition(REMAINDER)[2]


def _current(union: Union, index: dict[tuple[Key, str], int], key: Key) -> int | None:
    """Position of a cell as it stands in this release, also if it is hidden or published."""
    if key in union.withheld:
        return union.withheld[key]
    if (key, NOW) in index:
        return index[key, NOW]
    return index.get((key, union.now[key])) if key in union.now else None


def _provable_before(
    public: Public, templates: list[Template], history: History, wanted: dict[tuple[Key, str], tuple[int, str, int]]
) -> set[tuple[Key, str]]:
    """Earlier versions that the earlier releases alone give away: this release does not add to it."""
    before = Builder(replace(public, status={}), Facts(), Moment(NOW), history).build(templates)
    index = {variable: position for position, variable in enumerate(before.variables)}
    targets = {index[variable]: float(entry[2]) for variable, entry in wanted.items() if variable in index}
    proof = prove(before, dict(targets))
    return {before.variables[position] for position, need in targets.items() if proof.high[position] < need}
