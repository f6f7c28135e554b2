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
    "interval_method": [
        Code("wilson", "Anteil: Wilson", "proportion: Wilson"),
        Code(
            "byar_exact", "Rate: Byar, unter 10 Fällen exakt nach Poisson", "rate: Byar, exact Poisson below 10 cases"
        ),
        Code("byar", "Rate: Byar", "rate: Byar"),
        Code("none", "kein Intervall", "no interval"),
    ],
    "comparison_method": [
        Code("interval", "Vergleichswert gegen das Intervall des Gebiets", "benchmark against the area's interval"),
        Code(
            "funnel", "Gebietswert gegen die Grenzen um den Vergleichswert", "area against limits around the benchmark"
        ),
    ],
    "comparison": [
        Code("better", "günstiger", "better"),
        Code("similar", "kein gesicherter Unterschied", "no significant difference"),
        Code("worse", "ungünstiger", "worse"),
        Code("higher", "höher", "higher"),
        Code("lower", "niedriger", "lower"),
        Code("not_compared", "nicht verglichen", "not compared"),
    ],
    "not_compared_reason": [
        Code("same_area", "Das Gebiet ist selbst der Vergleichswert", "the area is the benchmark itself"),
        Code("no_value", "Das Gebiet hat keinen Wert", "the area has no value"),
        Code("no_benchmark", "Es gibt keinen Vergleichswert", "there is no benchmark value"),
        Code(
            "plain_number",
            "Eine Anzahl hängt von der Größe des Gebiets ab",
            "a plain number depends on the area's size",
        ),
        Code("rate_only", "Veröffentlicht ist nur die Quote, ohne Anzahlen", "only a rate is published, no counts"),
        Code("no_interval", "Es gibt keinen Vertrauensbereich", "there is no confidence interval"),
        Code("estimated_count", "Die Anzahl ist geschätzt", "the count is estimated"),
    ],
    "trend": [
        Code("improving", "günstiger werdend", "improving"),
        Code("worsening", "ungünstiger werdend", "worsening"),
        Code("increasing", "steigend", "increasing"),
        Code("decreasing", "fallend", "decreasing"),
        Code("no_significant_change", "keine gesicherte Veränderung", "no significant change"),
        Code("not_calculable", "nicht berechenbar", "cannot be calculated"),
    ],
    "trend_reason": [
        Code("too_few_periods", "Weniger als fünf Zeiträume", "fewer than five periods"),
        Code("gap", "Ein Jahr fehlt", "a year is missing"),
        Code("series_break", "Bruch in der Zeitreihe", "break in the series"),
        Code("no_value", "In einem der Zeiträume gibt es keinen Wert", "a period has no value"),
        Code("overlap", "Die Zeiträume überlappen sich", "the periods overlap"),
        Code("plain_number", "Eine Anzahl hat keine statistische Unsicherheit", "a plain number has no uncertainty"),
        Code("rate_only", "Veröffentlicht ist nur die Quote, ohne Anzahlen", "only a rate is published, no counts"),
        Code("no_interval", "Es gibt keinen Vertrauensbereich", "there is no confidence interval"),
        Code("estimated_count", "Eine Anzahl ist geschätzt", "a count is estimated"),
        Code("none_or_all", "In einem Zeitraum sind es null oder alle", "a period has none or all"),
    ],
    "change_reason": [
        Code("no_earlier", "Ein Jahr zuvor gibt es keinen Wert", "no value a year earlier"),
        Code("no_value", "Das Gebiet hat keinen Wert", "the area has no value"),
        Code("series_break", "Bruch in der Zeitreihe", "break in the series"),
        Code("overlap", "Die Zeiträume überlappen sich", "the periods overlap"),
    ],
    "dimension": [
        Code("status", "Status", "status"),
        Code("dynamics", "Dynamik", "dynamics"),
    ],
    "reason": [
        Code(
            "missing_indicator", "Ein Indikator liegt für das Gebiet nicht vor", "an indicator is missing for the area"
        ),
        Code("confidential", "Ein Indikator ist geheim zu halten", "an indicator is confidential"),
        Code("below_minimum", "Das Gebiet ist zu klein", "the area is too small"),
        Code("excluded", "Das Gebiet ist ausgenommen", "the area is excluded"),
        Code("universe_too_small", "Weniger als zehn Gebiete im Vergleich", "fewer than ten areas in the universe"),
        Code("no_spread", "Alle Gebiete haben denselben Wert", "all areas have the same value"),
    ],
    "dynamics_reason": [
        Code("not_declared", "Für den Index ist keine Dynamik erklärt", "no dynamics declared"),
        Code(
            "missing_indicator",
            "Ein Indikator liegt für eines der Jahre nicht vor",
            "an indicator is missing in a year",
        ),
        Code("confidential", "Ein Indikator ist geheim zu halten", "an indicator is confidential"),
        Code("series_break", "Bruch in der Zeitreihe", "break in the series"),
        Code("below_minimum", "Das Gebiet ist zu klein", "the area is too small"),
        Code("excluded", "Das Gebiet ist ausgenommen", "the area is excluded"),
        Code("universe_too_small", "Weniger als zehn Gebiete im Vergleich", "fewer than ten areas in the universe"),
        Code("no_spread", "Alle Gebiete haben dieselbe Veränderung", "all areas have the same change"),
    ],
    "stability_reason": [
        Code("no_class", "Das Gebiet hat keine Klasse", "the area has no class"),
        Code("rate_only", "Ein Indikator ist nur als Quote veröffentlicht", "an indicator is published as a rate only"),
        Code("not_a_proportion", "Ein Indikator ist kein Anteil", "an indicator is no proportion"),
    ],
    "cause": [
        Code("delivery", "andere Lieferung", "other delivery"),
        Code("rule", "geänderte Regel (Berichtigung, Bruch, Gebiete, Aufbau der Datei)", "changed rule"),
        Code("definition", "geänderte Definition des Indikators", "changed definition of the indicator"),
        Code("code", "geändertes Programm", "changed program"),
    ],
}


def sign(code_list: str, code: str) -> str:
    """Sign of a code, '' if it has none."""
    return next((c.sign for c in CODE_LISTS[code_list] if c.code == code), "")


def label(code_list: str, code: str) -> str:
    """German label of a code."""
    return next(c.label_de for c in CODE_LISTS[code_list] if c.code == code)
