"""German sentences about figures. They say what the numbers carry and nothing more."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from pipelines.report import links
from pipelines.report.facts import Area, Chapter, Facts, Indicator, Value
from pipelines.report.numbers import THIN, UNITS, figure, period_in_words
from schemas.codes import label, sign

COUNTS = {"numerator", "denominator", "rank", "ranked_n"}


def period(value: Value) -> str:
    """The period of a figure as it is spoken of."""
    return period_in_words(value.period_type, value.reference_date)


def decimals_of(indicator: Indicator, column: str) -> int:
    """Places after the comma with which a column of `mart.indicator_value` is printed."""
    return 0 if column in COUNTS else indicator.decimals


def why_empty(value: Value) -> str:
    """Why a figure is not there, in words."""
    status = label("obs_status", value.obs_status)
    reason = label("suppression_reason", value.suppression_reason) if value.suppression_reason else ""
    return f"{status}: {reason}" if reason else status


class Cells:
    """Figures as they stand in the tables and sentences of one page: linked to their provenance, with their signs."""

    def __init__(self, root: str, facts: Facts) -> None:
        """Remember what leads from the page to the folder of the report."""
        self.root = root
        self.facts = facts

    def zahl(
        self,
        value: Value | None,
        column: str,
        indicator: Indicator,
        unit: bool = False,
        link: bool = True,
        signs: bool = True,
    ) -> Markup:
        """A figure of `mart.indicator_value`.

        Args:
            value: the row; None prints a dash.
            column: which of its columns.
            indicator: its indicator, for places and unit.
            unit: print the unit behind it.
            link: lead to the provenance.
            signs: print status and origin behind it.
        """
        if value is None:
            return Markup('<abbr class="zeichen" title="keine Angabe für diesen Zeitraum">–</abbr>')
        number = getattr(value, column)
        inner: str
        if number is None:
            inner = self._empty(value, column)
        else:
            text = figure(number, decimals_of(indicator, column))
            inner = text + (UNITS[indicator.unit] if unit and column not in COUNTS else "")
        key = f"{value.indicator_id}/{value.area_id}#{value.period}"
        if not link:
            shown = Markup('<span class="zahl" data-f="{}" data-k="{}">{}</span>').format(column, key, inner)
        else:
            address = self.root + links.provenance(value.indicator_id, value.area_id, value.period)
            shown = Markup('<a class="zahl" data-f="{}" href="{}">{}</a>').format(column, address, inner)
        return shown + self.signs(value) if signs and number is not None else shown

    @staticmethod
    def _empty(value: Value, column: str) -> Markup:
        if value.value is None:
            mark, why = sign("obs_status", value.obs_status) or "–", why_empty(value)
        else:
            mark, why = "–", {"change": _change_reason(value)}.get(column, "gibt es hierzu nicht")
        return Markup('<abbr class="zeichen" title="{}">{}</abbr>').format(why, mark)

    @staticmethod
    def signs(value: Value) -> Markup:
        """Signs of status and origin behind a figure."""
        marks = [("obs_status", value.obs_status), ("origin", value.origin)]
        shown = [(sign(codes, code), label(codes, code)) for codes, code in marks if sign(codes, code)]
        parts = [Markup('<abbr class="marke" title="{}">{}</abbr>').format(text, mark) for mark, text in shown]
        return Markup("").join([Markup("&nbsp;"), *parts]) if parts else Markup("")

    def spanne(self, value: Value | None, indicator: Indicator) -> Markup:
        """The 95 % interval, e.g. `57,0 bis 59,8`; a dash where there is none."""
        if value is None or value.ci_low is None or value.ci_high is None:
            return Markup('<abbr class="zeichen" title="kein Vertrauensbereich">–</abbr>')
        low = self.zahl(value, "ci_low", indicator, link=False, signs=False)
        high = self.zahl(value, "ci_high", indicator, link=False, signs=False)
        return low + Markup(" bis ") + high

    def stadt(self, value: Value, indicator: Indicator) -> Markup:
        """The benchmark's figure with its unit and its own signs."""
        return self.vergleichswert(value, indicator, unit=True)

    def vergleichswert(self, value: Value, indicator: Indicator, unit: bool = False) -> Markup:
        """The benchmark's figure with its own provenance and signs: it may be of another origin than the area's."""
        series = self.facts.series(value.indicator_id, value.benchmark_id or "")
        known = (value.period, value.period_type)
        same = next((one for one in series if (one.period, one.period_type) == known), None)
        if same is not None and value.benchmark_value is not None:
            return self.zahl(same, "value", indicator, unit=unit)
        return self.zahl(value, "benchmark_value", indicator, unit=unit, link=False, signs=False)

    @staticmethod
    def zeit(value: Value) -> str:
        """The period of a figure."""
        return period(value)

    @staticmethod
    def urteil(value: Value) -> Markup:
        """The comparison in one or two words, with the reason where there is none."""
        text = label("comparison", value.comparison)
        if value.comparison == "not_compared" and value.not_compared_reason:
            return Markup('<abbr title="{}">{}</abbr>').format(
                label("not_compared_reason", value.not_compared_reason), text
            )
        kind = {"better": "besser", "worse": "schlechter"}.get(value.comparison)
        return Markup('<span class="{}">{}</span>').format(kind, text) if kind else escape(text)

    @staticmethod
    def trendwort(value: Value) -> Markup:
        """The trend in one or two words, with the reason where there is none."""
        text = label("trend", value.trend)
        if value.trend == "not_calculable" and value.trend_reason:
            return Markup('<abbr title="{}">{}</abbr>').format(label("trend_reason", value.trend_reason), text)
        return escape(text)

    # ------------------------------------------------------------ sentences

    def satz(self, area: Area, value: Value, indicator: Indicator) -> Markup:
        """How an area stands, as a whole sentence."""
        text = self.vergleich(value, indicator)
        return Markup("{} {}").format(area.name, text) if text.startswith("liegt") else text

    def vergleich(self, value: Value, indicator: Indicator) -> Markup:
        """How the area stands to its benchmark, one sentence without a full stop at the end of its facts."""
        own = self.zahl(value, "value", indicator, unit=True, signs=False)
        if value.value is None:
            return Markup("Kein Wert ({}).").format(why_empty(value))
        benchmark = self.facts.areas.get(value.benchmark_id) if value.benchmark_id else None
        if benchmark is None or value.benchmark_value is None or value.not_compared_reason == "same_area":
            return Markup("")
        name = "dem Stadtwert" if benchmark.area_id == self.facts.city.area_id else f"dem Wert für {benchmark.name}"
        theirs = self.vergleichswert(value, indicator, unit=True)
        where = _direction(value, indicator, name)
        if value.comparison == "not_compared":
            return self._not_compared(value, own, theirs, where)
        if value.comparison == "similar":
            return Markup("liegt mit {} {} von {}; der Unterschied ist statistisch nicht gesichert.").format(
                own, where, theirs
            )
        rating = {"better": " (günstiger)", "worse": " (ungünstiger)"}.get(value.comparison, "")
        return Markup("liegt mit {} {} von {}{}; der Unterschied ist statistisch gesichert.").format(
            own, where, theirs, rating
        )

    @staticmethod
    def _not_compared(value: Value, own: Markup, theirs: Markup, where: str) -> Markup:
        if value.not_compared_reason == "plain_number":
            return Markup("Die Anzahl hängt von der Größe des Gebiets ab und wird nicht verglichen.")
        reason = label("not_compared_reason", value.not_compared_reason or "no_interval")
        return Markup("liegt mit {} {} von {}. Ob der Unterschied gesichert ist, lässt sich nicht sagen: {}.").format(
            own, where, theirs, reason
        )

    def entwicklung(self, value: Value, indicator: Indicator) -> Markup:
        """Trend of the last five years and change against the year before, as far as they are known."""
        return Markup(" ").join([Markup(escape(trend(value))), self._change(value, indicator)])

    def _change(self, value: Value, indicator: Indicator) -> Markup:
        if value.value is None:
            return Markup("")
        if value.change is None:
            reason = _change_reason(value)
            return Markup("Veränderung zum Vorjahr: nicht angegeben ({}).").format(reason) if reason else Markup("")
        shown = self.zahl(value, "change", indicator, link=False, signs=False)
        unit = " Prozentpunkte" if indicator.unit == "percent" else ""
        if value.change_low is None or value.change_high is None:
            return Markup("Veränderung zum Vorjahr: {}{}.").format(_signed(value.change, shown), unit)
        low = self.zahl(value, "change_low", indicator, link=False, signs=False)
        high = self.zahl(value, "change_high", indicator, link=False, signs=False)
        secured = "gesichert" if value.change_low > 0 or value.change_high < 0 else "nicht gesichert"
        against = " Das letzte Jahr läuft diesem Trend entgegen." if _against_trend(value, indicator) else ""
        return Markup("Gegenüber dem Vorjahr: {}{} (95{}%: {} bis {}), {}.{}").format(
            _signed(value.change, shown), unit, THIN, low, high, secured, against
        )


def _signed(number: float, shown: Markup) -> Markup:
    return Markup("+") + shown if number > 0 else shown


def _against_trend(value: Value, indicator: Indicator) -> bool:
    """Whether the significant change of the last year goes the other way than the significant trend of five."""
    up = {"increasing", "improving" if indicator.polarity == "higher_is_better" else "worsening"}
    down = {"decreasing", "worsening" if indicator.polarity == "higher_is_better" else "improving"}
    rose, fell = (value.change_low or 0) > 0, (value.change_high or 0) < 0
    return (value.trend in down and rose) or (value.trend in up and fell)


def _change_reason(value: Value) -> str:
    return label("change_reason", value.change_reason) if value.change_reason else ""


def _direction(value: Value, indicator: Indicator, name: str) -> str:
    """`über dem Stadtwert` and so on, judged by the figures as they are printed."""
    own, theirs = figure(value.value, indicator.decimals), figure(value.benchmark_value, indicator.decimals)
    if own == theirs:
        return f"gleichauf mit {name}"
    assert value.value is not None and value.benchmark_value is not None
    return f"{'über' if value.value > value.benchmark_value else 'unter'} {name}"


_TRENDS = {
    "improving": "Über fünf Jahre: gesichert günstiger werdend.",
    "worsening": "Über fünf Jahre: gesichert ungünstiger werdend.",
    "increasing": "Über fünf Jahre: gesichert steigend.",
    "decreasing": "Über fünf Jahre: gesichert fallend.",
    "no_significant_change": "Über fünf Jahre: keine gesicherte Veränderung.",
}


def trend(value: Value) -> str:
    """The trend as a sentence; why there is none, if so."""
    if value.trend in _TRENDS:
        return _TRENDS[value.trend]
    reason = label("trend_reason", value.trend_reason) if value.trend_reason else ""
    return f"Kein Trend über fünf Jahre ({reason})." if reason else "Kein Trend über fünf Jahre."


def sure(value: Value) -> bool:
    """Whether the area is better or worse than its benchmark beyond chance."""
    return value.comparison in ("better", "worse")


def strength(value: Value) -> float:
    """By how much an area stands out beyond chance: distance of the near interval limit, relative to the benchmark."""
    if not sure(value) or value.benchmark_value is None or value.ci_low is None or value.ci_high is None:
        return 0.0
    above = (value.value or 0) > value.benchmark_value
    gap = value.ci_low - value.benchmark_value if above else value.benchmark_value - value.ci_high
    return max(0.0, gap) / (abs(value.benchmark_value) or 1.0)


def none_secured(what: str, compared: bool, hidden: list[str]) -> str:
    """Why a list of differences is empty: there is none, or nobody can tell."""
    if not compared:
        return "Nicht entscheidbar: Zu keinem Indikator lässt sich die Sicherheit eines Unterschieds berechnen."
    more = f" Nicht beurteilt, weil geheim zu halten: {', '.join(hidden)}." if hidden else ""
    return f"Bei keinem der vergleichbaren Indikatoren ist gesichert, dass das Gebiet {what} liegt.{more}"


def uncertainty(indicator: Indicator) -> str:
    """How the uncertainty of an indicator is told, in plain words."""
    if indicator.interval_method == "none":
        return "kein Vertrauensbereich, daher kein Vergleich"
    method = label("interval_method", indicator.interval_method)
    compared = label("comparison_method", indicator.comparison_method)
    return f"Vertrauensbereich zu 95{THIN}% (Verfahren: {method}); verglichen wird: {compared}"


def chance_in_words(share: float | None) -> str:
    """How sure a class is, e.g. `so gut wie sicher`; the bounds are ours and stand in the key of signs."""
    if share is None:
        return "keine Angabe"
    return next(text for least, text in STABILITY if share >= least)


STABILITY = (
    (0.95, "sehr sicher"),
    (0.8, "sicher"),
    (0.6, "unsicher"),
    (0.0, "sehr unsicher"),
)


def owner(text: str) -> str:
    """Who is responsible: a team by its name; a person is not named on a public page."""
    if text.startswith("team:"):
        return text.removeprefix("team:").replace("_", " ").capitalize()
    return "eine namentlich benannte Person" if "@" in text else text


def topic_title(chapters: list[Chapter], topic: str) -> str:
    """Title of the chapter a topic stands in, with the topic's own indicator where it holds several."""
    chapter = next(c for c in chapters if any(i.topic == topic for i in c.indicators))
    if len({i.topic for i in chapter.indicators}) == 1:
        return chapter.title_de
    return f"{chapter.title_de}: {next(i.title_de for i in chapter.indicators if i.topic == topic)}"


def joined(parts: list[Any]) -> Markup:
    """`a, b und c`."""
    texts = [escape(part) for part in parts]
    if len(texts) < 2:
        return Markup("").join(texts)
    return Markup(", ").join(texts[:-1]) + Markup(" und ") + texts[-1]
