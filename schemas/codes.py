"""Code lists of the published tables: code, German and English label, sign that stands for or beside a value.

Sources: SDMX CL_OBS_STATUS and CL_CONF_STATUS; signs after the key of the German statistical offices.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One entry of a code list."""

    code: str
    label_de: str
    label_en: str
    sign: str = ""


CODE_LISTS: dict[str, list[Code]] = {
    "obs_status": [
        Code("A", "endgültig", "normal"),
        Code("E", "geschätzt", "estimated", "s"),
        Code("M", "nicht sinnvoll", "missing, cannot exist", "x"),
        Code("O", "liegt nicht vor", "missing", "t"),
        Code("Q", "geheim zu halten", "missing, suppressed", "g"),
    ],
    "conf_status": [
        Code("F", "frei", "free"),
        Code("C", "vertraulich", "confidential", "g"),
    ],
    "suppression_reason": [
        Code("confidential", "Der Wert selbst ist geheim zu halten", "the value itself is confidential"),
        Code("inherited", "Zähler oder Nenner ist geheim zu halten", "numerator or denominator is confidential"),
        Code("denominator_small", "Der Nenner ist null oder zu klein", "denominator is zero or too small"),
        Code("missing_source", "Eine Angabe fehlt in der Quelle", "a figure is missing in the source"),
    ],
    "period_type": [
        Code("stichtag", "Stichtag", "reference date"),
        Code("jahresdurchschnitt", "Jahresdurchschnitt", "annual mean"),
        Code("kalenderjahr", "Kalenderjahr", "calendar year"),
        Code("schuljahr", "Schuljahr", "school year"),
    ],
    "unit": [
        Code("percent", "Prozent", "per cent"),
        Code("persons", "Anzahl", "number"),
        Code("per_1000", "je 1.000", "per 1,000"),
        Code("ratio", "Verhältnis", "ratio"),
    ],
    "polarity": [
        Code("higher_is_worse", "höher ist ungünstiger", "higher is worse"),
        Code("higher_is_better", "höher ist günstiger", "higher is better"),
        Code("neutral", "ohne Wertung", "neutral"),
    ],
    "origin": [
        Code("published", "von der Stadt veröffentlicht", "published by the city"),
        Code("open_data", "offene Daten", "open data"),
        Code("secondary", "Sekundärquelle (Presse, Dritte)", "secondary source", "z"),
        Code("inferred", "eigene Lesart oder angenommene Gebietszuordnung", "inferred", "l"),
        Code("constructed", "konstruiert, keine amtliche Zahl", "constructed, no official figure", "k"),
    ],
    "method": [
        Code("delivered", "geliefert", "delivered"),
        Code("rolled_up", "Summe gelieferter Zahlen", "sum of delivered figures"),
        Code("estimated", "geschätzt", "estimated"),
    ],
}


def sign(code_list: str, code: str) -> str:
    """Sign of a code, '' if it has none."""
    return next((c.sign for c in CODE_LISTS[code_list] if c.code == code), "")


def label(code_list: str, code: str) -> str:
    """German label of a code."""
    return next(c.label_de for c in CODE_LISTS[code_list] if c.code == code)
