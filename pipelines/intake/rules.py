# ruff: noqa: E501 - a table: one rule, one line
"""Every rule a delivery is checked against: its id, what it is called in a report, how hard it is, what to do about it.

A rule is implemented once: about cells and rows in `schemas.reading` (pandera), about the file's form in `delimited`,
`workbook`, `tables` and `layout`, about the whole delivery in `contract`, against other deliveries in `comparison`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "off"]


@dataclass(frozen=True)
class Rule:
    """One rule. `title` heads its findings in a report; `advice` tells the sender what to do; both German."""

    id: str
    title: str
    severity: Severity
    advice: str
    rank: int
    """Order of importance in a report, smallest first."""


_ALL = [
    # the file as such
    Rule("datei_leer", "Die Datei ist leer", "error", "Bitte die Datei mit Inhalt noch einmal ausgeben.", 0),
    Rule("dateiart", "Andere Dateiart als vereinbart", "error", "Bitte in der vereinbarten Dateiart speichern.", 0),
    Rule("datei_lesbar", "Die Datei ist nicht lesbar", "error", "Bitte die Datei neu ausgeben und vor dem Senden öffnen.", 0),
    Rule("datei_zu_gross", "Die Datei ist größer als erlaubt", "error", "Bitte die Lieferung auf mehrere Dateien verteilen.", 0),
    Rule("zeichensatz", "Falscher Zeichensatz", "error", "Bitte mit dem vereinbarten Zeichensatz speichern.", 1),
    Rule("umlaute", "Zerstörte Umlaute", "error", "Bitte aus dem Fachverfahren neu ausgeben, nicht umwandeln.", 1),
    Rule("trennzeichen", "Falsches Trennzeichen", "error", "Bitte mit dem vereinbarten Trennzeichen speichern.", 1),
    Rule("dateiname", "Der Dateiname nennt keine Zeit", "error", "Bitte den Zeitraum in den Dateinamen schreiben.", 1),
    Rule("blatt_fehlt", "Ein Tabellenblatt fehlt", "error", "Bitte das Blatt wie vereinbart benennen.", 1),
    Rule("blatt_versteckt", "Ein Tabellenblatt ist ausgeblendet", "warning", "Bitte das Blatt einblenden oder löschen.", 7),
    Rule("formel", "Formeln in der Arbeitsmappe", "warning", "Gelesen wurde der gespeicherte Wert; bitte Werte statt Formeln senden.", 7),
    Rule("verknuepfung", "Verknüpfungen nach außen", "warning", "Verknüpfungen wurden nicht verfolgt; bitte Werte einfügen.", 7),
    Rule("titel_fehlt", "Eine Tabellenüberschrift fehlt", "error", "Bitte den Aufbau der Vorlage beibehalten.", 2),
    # columns and rows
    Rule("spalte_fehlt", "Eine Spalte fehlt", "error", "Bitte die Spalten wie vereinbart benennen.", 2),
    Rule("spalte_unbekannt", "Eine Spalte ist neu", "error", "Bitte mitteilen, was die Spalte enthält, oder sie weglassen.", 2),
    Rule("spalte_doppelt", "Eine Spalte kommt zweimal vor", "error", "Bitte klären, welche der beiden Spalten gilt.", 2),
    Rule("spaltenname_leerzeichen", "Leerzeichen am Rand einer Überschrift", "warning", "Bitte die Leerzeichen entfernen.", 8),
    Rule("zeile_zu_lang", "Eine Zeile hat zu viele Zellen", "error", "Bitte die Zeile prüfen; oft ist ein Trennzeichen zu viel.", 2),
    Rule("zeile_zu_kurz", "Eine Zeile hat zu wenige Zellen", "error", "Bitte die Zeile vervollständigen.", 2),
    Rule("unter_der_tabelle", "Zahlen unterhalb der Tabelle", "error", "Bitte die Leerzeile entfernen oder mitteilen, was die Zeilen enthalten.", 2),
    Rule("feste_angabe", "Eine feste Angabe lautet anders", "error", "Bitte prüfen, ob die richtige Tabelle ausgegeben wurde.", 2),
    # what a row says of itself
    Rule("gebiet_bekannt", "Ein Gebiet ist nicht bekannt", "error", "Bitte Namen und Nummer nach dem Gebietsverzeichnis schreiben.", 3),
    Rule("zeitangabe_lesbar", "Eine Zeitangabe ist unmöglich", "error", "Bitte die Zeitangabe berichtigen; oft zählt Ausfüllen nach unten weiter.", 3),
    Rule("zeitangabe_zukunft", "Eine Zeitangabe liegt in der Zukunft", "error", "Bitte die Zeitangabe prüfen.", 3),
    Rule("herkunft_bekannt", "Eine Herkunftsangabe ist nicht bekannt", "error", "Bitte eine der vereinbarten Angaben verwenden.", 3),
    Rule("merkmal_bekannt", "Ein Merkmal ist nicht bekannt", "error", "Bitte die Merkmale wie vereinbart benennen.", 3),
    Rule("steuerzeichen", "Unsichtbare Steuerzeichen im Text", "warning", "Bitte die Zeichen entfernen.", 8),
    Rule("leerzeichen", "Leerzeichen am Rand von Namen", "warning", "Bitte die Leerzeichen entfernen.", 8),
    Rule("schreibweise", "Ein Gebiet ist verschieden geschrieben", "warning", "Bitte jedes Gebiet überall gleich schreiben.", 8),
    Rule("zeitform", "Zeitangaben in verschiedener Form", "warning", "Bitte alle Zeitangaben in einer Form schreiben.", 8),
    # cells
    Rule("zelle_lesbar", "Eine Zelle ist keine lesbare Zahl", "error", "Bitte eine Zahl oder ein vereinbartes Zeichen eintragen.", 3),
    Rule("ganze_zahl", "Eine Anzahl ist keine ganze Zahl", "error", "Bitte die Anzahl ohne Nachkommastellen liefern.", 3),
    Rule("nicht_unter_minimum", "Eine Zahl ist zu klein", "error", "Bitte die Zahl prüfen.", 3),
    Rule("nicht_ueber_maximum", "Eine Zahl ist zu groß", "error", "Bitte die Zahl prüfen.", 3),
    Rule("berichtigung", "Eine Berichtigung passt nicht zur Datei", "error", "Geht an das Datenteam: die Berichtigung im YAML prüfen.", 1),
    # the delivery in itself
    Rule("schluessel_eindeutig", "Angaben kommen doppelt vor", "error", "Bitte mitteilen, welche der Zeilen gilt, und die andere entfernen.", 3),
    Rule("gebiete_vollstaendig", "Gebiete fehlen", "error", "Bitte alle Gebiete liefern; wo nichts vorliegt, das vereinbarte Zeichen.", 4),
    Rule("teil_nicht_ueber_ganzem", "Ein Teil ist größer als das Ganze", "error", "Bitte beide Zahlen prüfen.", 4),
    Rule("summe_der_teile", "Teile ergeben nicht die Summe", "error", "Bitte Summe und Teile prüfen.", 4),
    Rule("summe_der_gebiete", "Gebiete ergeben nicht die Summe", "error", "Bitte die Zahlen der Gebiete und die Summe prüfen.", 4),
    # against other deliveries and periods
    Rule("block_wiederholt", "Zahlen eines anderen Zeitraums", "error", "Bitte die Zahlen des richtigen Zeitraums liefern.", 3),
    Rule("groesse_widerspricht", "Zahlen passen nicht zur Bezeichnung oder zum Gebiet", "error", "Bitte prüfen, ob Bezeichnungen, Spalten oder Gebiete vertauscht sind.", 3),
    Rule("stimmt_mit_quelle", "Widerspruch zu einer anderen Quelle", "error", "Bitte klären, welche der beiden Zahlen gilt.", 4),
    Rule("summe_anderer_zeitraum", "Die Summe gehört zu einem anderen Zeitraum", "warning", "Bitte prüfen, ob die Zeitangabe stimmt.", 4),
    Rule("veraenderung", "Die Veränderung ist größer als vereinbart", "error", "Bitte die Zahl prüfen oder den Sprung erklären.", 5),
    Rule("abdeckung", "Die Lieferung enthält weniger als die vorige", "error", "Bitte die fehlenden Angaben ergänzen.", 4),
    Rule("revision", "Bereits geltende Zahlen ändern sich", "warning", "Bitte bestätigen, dass die Zahlen berichtigt sind.", 6),
    Rule("zeitraum_entfallen", "Die Lieferung enthält Zeiträume nicht mehr", "warning", "Kein Handeln nötig; die früheren Zahlen bleiben in Kraft.", 7),
    Rule("gebiet_neu", "Ein Gebiet kommt neu hinzu", "warning", "Bitte mitteilen, seit wann es das Gebiet gibt.", 6),
    Rule("definition", "Alle Gebiete verändern sich gemeinsam", "warning", "Bitte mitteilen, ob sich Definition oder Erhebung geändert hat.", 5),
    Rule("ausreisser", "Ein ungewöhnlicher Sprung", "warning", "Bitte die Zahl prüfen.", 6),
]  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""All rules by id, in the order of the list."""
ALWAYS_ERRORS = {
    "datei_leer", "dateiart", "datei_lesbar", "datei_zu_gross", "zeichensatz", "umlaute", "trennzeichen", "dateiname",
    "blatt_fehlt", "titel_fehlt", "spalte_fehlt", "spalte_doppelt", "zeile_zu_lang", "zeile_zu_kurz", "gebiet_bekannt",
    "zeitangabe_lesbar", "herkunft_bekannt", "merkmal_bekannt", "zelle_lesbar", "berichtigung", "schluessel_eindeutig",
}  # fmt: skip
"""Rules that no source can weaken: where they are broken a figure was not read, or it is not clear which one counts."""

ROWS_LOST = {
    "zeile_zu_lang", "zeile_zu_kurz", "datei_lesbar", "feste_angabe", "spalte_unbekannt", "unter_der_tabelle", "gebiet_bekannt",
    "zeitangabe_lesbar", "zeitangabe_zukunft", "herkunft_bekannt", "merkmal_bekannt",
}  # fmt: skip
"""After these failures areas may seem to be missing only because their rows could not be read."""

COMPARING = {
    "summe_der_teile", "summe_der_gebiete", "block_wiederholt", "groesse_widerspricht", "stimmt_mit_quelle",
    "summe_anderer_zeitraum", "veraenderung", "revision", "abdeckung", "zeitraum_entfallen", "gebiet_neu", "definition",
    "ausreisser",
}  # fmt: skip
"""Rules of comparison: an accepted delivery that breaks them later stays accepted and is named."""
