"""Every kind of thing that somebody is told about: who acts, what comes first, whether it may wait.

Standard library only. Each kind has a page `docs/runbook/<id>.md`. Messages to the outside are put together from this
table and from ids alone: no file name, no text of an exception and no figure can get into them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_NOT_WELL, EXIT_USAGE

DATA_TEAM = "Datenteam"
SENDER = "Absender der Lieferung; das Datenteam leitet ihm die Rückmeldung weiter"
MACHINE = "Betrieb des Rechners"


@dataclass(frozen=True)
class Kind:
    """One kind of incident.

    Args:
        id: also the name of its page in docs/runbook.
        title: what is the matter, in German.
        who: who has to act.
        first: what to do first.
        waits: whether it may wait until the morning.
        code: exit code of `sozialraum status` while it lasts.
        pattern: form of the findings of a night that belong to it; None for what is no finding.
    """

    id: str
    title: str
    who: str
    first: str
    waits: bool = True
    code: int = EXIT_NOT_WELL
    pattern: str | None = None


_SOURCE = r"(?P<source>[a-z][a-z0-9_]*): "
_DELIVERY = rf"{_SOURCE}Lieferung (?P<subject>[a-z0-9_]+-\d+) \(.*\) "
_PAGE = r", (?P<page>data/\S+)"

_ALL = (
    Kind(
        "eingang_nicht_gelesen",
        "Im Eingang liegt etwas, das nicht angenommen werden kann",
        SENDER,
        "den Befund mit »sozialraum status« lesen und die Datei neu ablegen lassen",
        pattern=rf"{_SOURCE}data/raw/.*",
    ),
    Kind(
        "lieferung_zurueckgewiesen",
        "Eine Lieferung ist zurückgewiesen; die früheren Zahlen bleiben in Kraft",
        SENDER,
        "die Rückmeldung lesen und dem Absender weiterleiten",
        pattern=rf"{_DELIVERY}zurückgewiesen{_PAGE}",
    ),
    Kind(
        "lieferung_widerspricht",
        "Eine angenommene Lieferung widerspricht anderen",
        DATA_TEAM,
        "die Rückmeldung lesen und entscheiden, welche Lieferung gilt",
        pattern=rf"{_DELIVERY}ist angenommen, widerspricht aber anderen Lieferungen{_PAGE}",
    ),
    Kind(
        "lieferung_unbekannt",
        "Eine Berichtigung oder Rücknahme nennt eine Lieferung, die es nicht gibt",
        DATA_TEAM,
        "die genannte Zeile der Beschreibung (assets) berichtigen",
        pattern=rf"{_SOURCE}[^:]+:\d+: die Lieferung .* gibt es nicht, .*",
    ),
    Kind(
        "liefertermin_verstrichen",
        "Ein Liefertermin ist verstrichen, ohne dass etwas angenommen wurde",
        SENDER,
        "beim Absender nachfragen, wann geliefert wird",
        pattern=rf"{_SOURCE}Liefertermin (?P<subject>[0-9.]+) verstrichen, .*",
    ),
    Kind(
        "zaehler_ueber_nenner",
        "Ein Zähler ist größer als sein Nenner; für das Gebiet wird kein Wert gebildet",
        DATA_TEAM,
        "die Lieferungen von Zähler und Nenner für Gebiet und Zeitraum vergleichen",
        pattern=r"(?P<subject>[a-z][a-z0-9_]*): in .* zum .* ist der Zähler größer als der Nenner, .*",
    ),
    Kind(
        "veroeffentlichung_zurueckgehalten",
        "Eine neue Veröffentlichung ist zurückgehalten; die vorige bleibt in Kraft",
        DATA_TEAM,
        "die Änderungen ansehen und entscheiden, ob sie stimmen",
        pattern=r"Nicht veröffentlicht, als Massenänderung zurückgehalten: .*",
    ),
    Kind(
        "veroeffentlichung_zurueckgezogen",
        "Eine Veröffentlichung ist zurückgezogen; ihr Inhalt wird nicht noch einmal veröffentlicht",
        DATA_TEAM,
        "berichtigen, weshalb sie zurückgezogen wurde; der nächste Lauf veröffentlicht dann wieder",
        pattern=r"Nicht veröffentlicht: .* wie die zurückgezogene Veröffentlichung (?P<subject>[0-9TZ-]+) .*",
    ),
    Kind(
        "befund_unbekannt",
        "Der Lauf meldet einen Befund, den diese Liste nicht kennt",
        DATA_TEAM,
        "den Befund mit »sozialraum status« lesen",
        pattern=r".*",
    ),
    Kind(
        "lauf_fehlgeschlagen",
        "Der Lauf ist fehlgeschlagen",
        DATA_TEAM,
        "das Protokoll des Laufs lesen: Es nennt Ort und Ursache",
        code=EXIT_FAILED,
    ),
    Kind(
        "beschreibung_ungueltig",
        "Die Beschreibung des Projekts (assets) ist nicht gültig",
        DATA_TEAM,
        "»sozialraum nightly« nennt Datei, Zeile und den nächsten gültigen Schlüssel",
        code=EXIT_FAILED,
    ),
    Kind(
        "schluessel",
        "Der Schlüssel des Verzeichnisses fehlt oder passt nicht; es wird nichts veröffentlicht",
        DATA_TEAM,
        "den Schlüssel aus seiner Sicherung zurückholen, keinen neuen anlegen",
        code=EXIT_FAILED,
    ),
    Kind(
        "archiv_beschaedigt",
        "Das Archiv (data/history) ist beschädigt",
        MACHINE,
        "data/history nicht verändern und die Sicherung bereitlegen",
        waits=False,
        code=EXIT_FAILED,
    ),
    Kind(
        "archiv_veraltet",
        "Das Archiv (data/history) ist älter als die Veröffentlichungen",
        DATA_TEAM,
        "keinen Lauf erzwingen; eine neuere Sicherung von data/history suchen",
        code=EXIT_FAILED,
    ),
    Kind(
        "regeln_verlieren_zahlen",
        "Geänderte Regeln würden Zahlen verwerfen, die schon angenommen sind",
        DATA_TEAM,
        "die letzte Änderung in assets zurücknehmen oder entscheiden",
        code=EXIT_FAILED,
    ),
    Kind(
        "geheimhaltung",
        "Die Geheimhaltung ist nicht gesichert; es wird nichts veröffentlicht",
        DATA_TEAM,
        "das Protokoll des Laufs lesen; nichts von Hand veröffentlichen",
        code=EXIT_FAILED,
    ),
    Kind(
        "datenbank",
        "Dagsters Datenbank antwortet nicht",
        MACHINE,
        "prüfen, ob Postgres läuft und die Zugangsdaten stimmen",
        code=EXIT_FAILED,
    ),
    Kind(
        "speicher_voll",
        "Der Speicherplatz ist fast oder ganz aufgebraucht",
        MACHINE,
        "Platz schaffen, z. B. mit einem kleineren keep; in data/history und data/releases nichts von Hand löschen",
        waits=False,
    ),
    Kind(
        "lauf_abgebrochen",
        "Ein Lauf oder ein Befehl ist abgebrochen, ohne fertig zu werden",
        MACHINE,
        "den Lauf noch einmal starten; er räumt selbst auf und bringt zu Ende, was begonnen ist",
        code=EXIT_FAILED,
    ),
    Kind(
        "lauf_steht_aus",
        "Der nächste Lauf steht aus; bis dahin fehlt die interne Auswertung, und Befunde sind nicht bekannt",
        DATA_TEAM,
        "nichts; was nicht bis zur Nacht warten kann, mit »sozialraum nightly« holen",
    ),
    Kind(
        "lauf_blockiert",
        "Ein Lauf ist seit Stunden aktiv und hält alle weiteren auf",
        MACHINE,
        "nachsehen, ob der genannte Prozess noch arbeitet",
        code=EXIT_FAILED,
    ),
    Kind(
        "kein_lauf",
        "Es hat zu lange kein Lauf stattgefunden",
        MACHINE,
        "prüfen, ob cron, Timer oder Dagster den Lauf noch starten",
        code=EXIT_FAILED,
    ),
    Kind(
        "uhr",
        "Der letzte Lauf liegt in der Zukunft: Die Uhr des Rechners stimmt nicht",
        MACHINE,
        "die Zeitabgleichung des Rechners prüfen",
        code=EXIT_FAILED,
    ),
    Kind(
        "veroeffentlichung_beschaedigt",
        "Die geltende Veröffentlichung ist beschädigt oder fehlt",
        MACHINE,
        "»sozialraum nightly« starten: Der Lauf baut sie neu",
        waits=False,
        code=EXIT_FAILED,
    ),
)
KINDS = {kind.id: kind for kind in _ALL}
"""All kinds by id, findings first; the last kind of finding takes what fits no other."""

OUTCOMES = {EXIT_FAILED: "lauf_fehlgeschlagen", EXIT_USAGE: "beschreibung_ungueltig", EXIT_BUSY: "lauf_blockiert"}
"""Kind by exit code of the nightly where the cause is not known more exactly; code 3 has the kinds of its findings."""

_CAUSES = {
    "KeyProblem": "schluessel",
    "DamagedArchive": "archiv_beschaedigt",
    "DamagedLedger": "archiv_beschaedigt",
    "DamagedRecord": "archiv_beschaedigt",
    "StaleArchive": "archiv_veraltet",
    "RulesConflict": "regeln_verlieren_zahlen",
    "NotAdditive": "geheimhaltung",
    "CannotProtect": "geheimhaltung",
    "Unsafe": "geheimhaltung",
    "ConfigError": "beschreibung_ungueltig",
    "DagsterPostgresException": "datenbank",
    "OperationalError": "datenbank",
}
"""By name: importing these classes would load half of the program into a night with nothing new."""
_FULL = ("No space left on device", "database or disk is full")
"""What libraries say that have no error numbers."""


@dataclass(frozen=True)
class Incident:
    """Something that is the matter now; `sentence` is for people on the machine, all else may go outside."""

    kind: str
    subject: str
    sentence: str
    source: str | None = None
    page: str | None = None

    @property
    def key(self) -> str:
        """The same incident has the same key in every night."""
        return f"{self.kind}/{self.subject}"


def classify(finding: str) -> Incident:
    """The kind of a finding of a night; what it is about is taken from the ids in it."""
    for kind in KINDS.values():
        match = re.fullmatch(kind.pattern, finding, re.DOTALL) if kind.pattern else None
        if match:
            named = match.groupdict()
            source = named.get("source")
            words = [source if kind.id == "liefertermin_verstrichen" else None, named.get("subject") or source]
            return Incident(kind.id, " ".join(word for word in words if word), finding, source, named.get("page"))
    raise AssertionError(finding)  # the last pattern fits everything


def cause_of(error: BaseException) -> str:
    """The kind of what made a run fail."""
    for part in _chain(error):
        if isinstance(part, OSError) and part.errno in (errno.ENOSPC, errno.EDQUOT):
            return "speicher_voll"
        if type(part).__name__ in _CAUSES and not of_sqlite(part):
            return _CAUSES[type(part).__name__]
        if any(phrase in str(part) for phrase in _FULL):
            return "speicher_voll"
    return OUTCOMES[EXIT_FAILED]


def of_sqlite(error: BaseException) -> bool:
    """Whether an error comes from SQLite, where Dagster keeps its record unless told otherwise; also in a wrapper."""
    return "sqlite3" in (type(error).__module__, type(getattr(error, "orig", None)).__module__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; Dagster's wrapper may name itself as its own cause."""
    part: BaseException | None = error
    seen: set[int] = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        yield part
        part = part.__cause__ or part.__context__
