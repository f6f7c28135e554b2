"""Pydantic models of everything a project declares in `assets/**/defs.yaml`.

One class per component type. Unknown keys are refused; `schemas.yaml_source` turns the
refusal into a message with file, line and the nearest valid key.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from fnmatch import fnmatch
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
PeriodType = Literal["stichtag", "jahresdurchschnitt", "kalenderjahr", "schuljahr"]
Unit = Literal["percent", "persons", "per_1000", "ratio"]
Origin = Literal["published", "open_data", "secondary", "inferred", "constructed"]
SymbolMeaning = Literal["suppressed", "missing", "zero"]

ORIGINS: tuple[str, ...] = ("published", "open_data", "secondary", "inferred", "constructed")
"""Strongest first; a derived figure carries the weakest origin of its inputs."""

TOTAL = "insgesamt"
"""Category of a figure that is not split."""


ALL = "alle"
"""Stands for all categories of a split where figures are added up."""


class Misfit(ValueError):
    """A rule between keys is broken; `path` leads to the key where the person should look."""

    def __init__(self, message: str, *path: str | int) -> None:
        """Keep the path below the model that raises."""
        super().__init__(message)
        self.path = path


class Strict(BaseModel):
    """Base of every document: unknown keys are errors, numbers are finite, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_key(cls, data: object) -> object:
        """YAML 1.1 reads the key `on` as the truth value true; here it is a day."""
        if isinstance(data, dict) and True in data:
            return {("on" if key is True else key): value for key, value in data.items()}
        return data


def _month_day(value: str) -> str:
    """A day that exists in every year (MM-DD)."""
    month, _, day = value.partition("-")
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= calendar.monthrange(2023, int(month))[1]):
        raise ValueError(f"{value} ist kein Tag, den es jedes Jahr gibt (MM-TT)")
    return value


MonthDay = Annotated[str, Field(pattern=r"^[0-9]{2}-[0-9]{2}$"), AfterValidator(_month_day)]
"""Month and day, MM-DD."""


class Text(Strict):
    """A label or sentence in German (shown to planners) and English (optional)."""

    de: str = Field(min_length=1)
    en: str | None = None


# ---------------------------------------------------------------- areas


class Level(Strict):
    """One area level, e.g. `stadtteil`."""

    id: Identifier
    title: Text
    plural: Text
    sort_key: int = 0


class Areas(Strict):
    """Area levels, the CSV files of areas and memberships, and where areas lie on a map (paths beside the YAML)."""

    title: Text
    description: Text
    owner: str
    levels: list[Level] = Field(min_length=1)
    areas: str = "areas.csv"
    memberships: str = "memberships.csv"
    tiles: str = Field(default="tiles.csv", description="column and row of each area on a schematic map; optional")
    geometry: str = Field(default="geometry", description="folder with <level>.geojson, the areas' outlines; optional")


# ---------------------------------------------------------------- sources


class Format(Strict):
    """How the bytes of a delimited text file, and the numbers in text cells of any file, are to be read."""

    delimiter: str = Field(default=";", min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    decimal: Literal[",", "."] = ","
    thousands: Literal[".", ",", " ", "'"] | None = None
    short_rows: Literal["error", "fill"] = Field(
        default="error", description="fill: cells missing at the end of a row count as empty cells"
    )

    @model_validator(mode="after")
    def _distinct_marks(self) -> Format:
        if self.decimal == self.thousands:
            raise ValueError("decimal und thousands dürfen nicht dasselbe Zeichen sein")
        if self.delimiter in '"\r\n\0' or self.delimiter.isalnum():
            raise Misfit("mögliche Trennzeichen sind etwa ; , | und der Tabulator", "delimiter")
        return self


class Workbook(Strict):
    """Which sheets of a workbook (xls, xlsx, ods) are read; the others (covers, notes) are passed over."""

    sheets: list[str] = Field(min_length=1, description="names, or patterns with * and ?; every one must be found")


class TableShape(Strict):
    """Where the tables stand in a text file or on each sheet, and how many rows their heading has."""

    header_line: int = Field(
        default=1, ge=1, description="line on which the heading begins; with title: counted from the title's line"
    )
    header_rows: int = Field(
        default=1, ge=1, le=20, description="lines of the heading; a column's texts are joined by ' | '"
    )
    header_fill: bool = Field(
        default=False,
        description="an empty cell in an upper line of the heading repeats its left neighbour (merged cells)",
    )
    title: str | None = Field(
        default=None, description="pattern (* and ?) of the lines above each table, if several stand below each other"
    )
    ends: Literal["file", "blank"] = Field(
        default="file", description="blank: the table ends at the first empty line; below it no figures may stand"
    )
    skip: list[str] = Field(
        default=[], description="patterns: lines whose first filled cell reads like this hold no figures"
    )
    fill_down: list[str] = Field(
        default=[], description="columns in which an empty cell repeats the one above (merged cells)"
    )


def _groups(pattern: str) -> int:
    """Number of groups of a regular expression; -1 if it is none."""
    try:
        return re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError):
        return -1


class AreaColumns(Strict):
    """Where a row names its area. `level` is fixed, or read from `level_column` through `levels`.

    With several `candidate_levels` the level follows from the name, which must be unambiguous among them.
    """

    name: str | None = None
    number: str | None = None
    id: str | None = None
    level: Identifier | None = None
    candidate_levels: list[Identifier] = []
    level_column: str | None = None
    levels: dict[str, Identifier] = {}
    elsewhere: Literal["error", "skip"] = Field(
        default="error",
        description="skip: rows about areas that the project does not know are passed over (nationwide files); "
        "contract.complete must then name the level, so that no area of one's own gets lost",
    )
    split: str | None = Field(
        default=None,
        description="regular expression with groups (?P<number>...), (?P<name>...) or (?P<id>...), applied to the "
        "column `name` where one cell holds several of them",
    )

    @model_validator(mode="after")
    def _one_way(self) -> AreaColumns:
        if self.split is not None:
            found = set(re.compile(self.split).groupindex) if _groups(self.split) > 0 else set()
            if not found or found - {"name", "number", "id"}:
                raise Misfit(
                    "erwartet wird ein regulärer Ausdruck mit (?P<name>…), (?P<number>…) oder (?P<id>…)", "split"
                )
            if not self.name or self.number or self.id:
                raise Misfit("split zerlegt die Spalte name; number und id bleiben dann weg", "split")
        ways = [self.level is not None, bool(self.candidate_levels), self.level_column is not None]
        if sum(ways) != 1:
            raise ValueError("genau eines von level, candidate_levels oder level_column angeben")
        if (self.level_column is not None) != bool(self.levels):
            raise ValueError("level_column und levels gehören zusammen")
        if not (self.name or self.number or self.id):
            raise ValueError("mindestens eine der Spalten name, number oder id angeben")
        return self

    def possible_levels(self) -> list[str]:
        """All levels a row of this source can belong to."""
        if self.level:
            return [self.level]
        return list(self.candidate_levels) or sorted(set(self.levels.values()))


class PeriodColumns(Strict):
    """Where a period stands: in a column, in the headings, in the name of file or sheet, in a table's title."""

    type: PeriodType
    column: str | None = None
    in_header: bool = False
    file_name: str | None = Field(default=None, description="regular expression; its first group is the period")
    sheet: str | None = Field(default=None, description="the same for the sheet's name")
    title: str | None = Field(default=None, description="the same for the title above the table (table.title)")
    day: MonthDay | None = Field(default=None, description="MM-DD that a bare year stands for (type stichtag)")
    days: list[MonthDay] = Field(
        default=[], description="the only days (MM-DD) on which figures can be (type stichtag); others are refused"
    )

    @model_validator(mode="after")
    def _one_place(self) -> PeriodColumns:
        patterns = {"file_name": self.file_name, "sheet": self.sheet, "title": self.title}
        if sum([self.column is not None, self.in_header, *[p is not None for p in patterns.values()]]) != 1:
            raise ValueError("genau eines von column, in_header, file_name, sheet oder title angeben")
        for key, pattern in patterns.items():
            if pattern is not None and _groups(pattern) < 1:
                raise Misfit("erwartet wird ein regulärer Ausdruck, dessen erste (Klammer) die Zeit ist", key)
        if self.days and self.type != "stichtag":
            raise Misfit("days gilt nur für Stichtage", "days")
        return self


class ValueColumn(Strict):
    """Which measure (and category) a column holds.

    `column` names one column; without it (period in the headings) every column whose heading holds a period is meant,
    or those whose other heading texts read like `heading`. `title` limits the entry to tables below such a title.
    `measure_column` with `measures` reads the measure from another column of the row (long files).
    """

    column: str | None = None
    heading: str | None = Field(default=None, description="pattern (* and ?) of the heading besides the period")
    title: str | None = Field(default=None, description="pattern (* and ?) of the table's title")
    measure: Identifier | None = None
    category: Identifier = TOTAL
    measure_column: str | None = None
    measures: dict[str, Identifier] = {}

    @model_validator(mode="after")
    def _one_measure(self) -> ValueColumn:
        if (self.measure is None) == (self.measure_column is None):
            raise ValueError("genau eines von measure oder measure_column angeben")
        if (self.measure_column is not None) != bool(self.measures):
            raise ValueError("measure_column und measures gehören zusammen")
        return self

    def possible_measures(self) -> list[str]:
        """All measures this column can deliver."""
        return [self.measure] if self.measure else sorted(set(self.measures.values()))


class OriginColumn(Strict):
    """A column that states each row's origin, with the meaning of its entries."""

    column: str
    values: dict[str, Origin]


class Layout(Strict):
    """Turns rows and columns of a file into figures."""

    area: AreaColumns | None = None
    fixed_area: str | None = Field(default=None, description="area_id, if the whole file is about one area")
    period: PeriodColumns
    values: list[ValueColumn] = Field(min_length=1)
    constant: dict[str, str] = Field(default={}, description="columns that must hold this very text in every row")
    ignore: list[str] = Field(default=[], description="columns (or patterns with * and ?) that are known and not read")
    origin: OriginColumn | None = None

    @model_validator(mode="after")
    def _area_known(self) -> Layout:
        if (self.area is None) == (self.fixed_area is None):
            raise ValueError("genau eines von area oder fixed_area angeben")
        if self.period.in_header != any(value.column is None for value in self.values):
            raise ValueError("bei period.in_header steht die Zeit in den Spaltenköpfen: values ohne column, sonst mit")
        for index, value in enumerate(self.values):
            if value.heading is not None and not self.period.in_header:
                raise Misfit("heading gibt es nur, wo die Zeit in den Spaltenköpfen steht", "values", index, "heading")
            if (
                self.period.in_header
                and value.heading is None
                and any(v.title == value.title for v in self.values[:index])
            ):
                raise Misfit(
                    "bei period.in_header unterscheidet heading die Spalten (Muster mit * und ?)", "values", index
                )
        return self

    def measures(self) -> list[str]:
        """Ids of all measures this layout can deliver."""
        return sorted({m for value in self.values for m in value.possible_measures()})


class Part(Strict):
    """Numerator or denominator of an indicator."""

    measure: Identifier
    category: Identifier = TOTAL


class NotAbove(Strict):
    """Within one delivery no figure of `measure`/`category` may exceed the one of `than`/`than_category`."""

    measure: Identifier
    category: Identifier = TOTAL
    than: Identifier
    than_category: Identifier = TOTAL


class AddsUp(Strict):
    """Within one delivery the parts add up to the printed total, area by area; a withheld part excuses a gap."""

    total: Part
    parts: list[Part] = Field(min_length=1)
    tolerance: float = Field(default=0, ge=0, description="allowed gap, in units of the measure")


class AreasAddUp(Strict):
    """Within one delivery the areas of a level add up to the delivered figure of the level above (memberships)."""

    level: Identifier = Field(description="level of the parts")
    to: Identifier = Field(description="level of the total")
    measures: list[Identifier] = Field(default=[], description="empty: every count the source delivers")
    tolerance: float = Field(default=0, ge=0)


class Agrees(Strict):
    """A figure (or a sum over categories) equals the one of another source, area by area."""

    measure: Identifier
    categories: list[Identifier] = Field(default=[TOTAL], description="added up; [alle]: all categories of the split")
    source: Identifier = Field(description="the source to agree with; its deliveries are taken in first")
    with_measure: Identifier
    with_categories: list[Identifier] = [TOTAL]
    tolerance: float = Field(default=0, ge=0, description="allowed gap, in units")
    tolerance_percent: float = Field(default=0, ge=0, description="allowed gap, in per cent of the other figure")


class Change(Strict):
    """A figure changes by at most so much against the period before; small counts may jump, so `from_value`."""

    measure: Identifier
    category: Identifier | None = Field(default=None, description="empty: every category")
    level: Identifier | None = Field(default=None, description="empty: every level")
    percent: float = Field(gt=0, description="allowed change in per cent of the previous figure")
    from_value: float = Field(default=0, ge=0, description="only where the previous figure is at least this")


Severity = Literal["error", "warning", "off"]


def _off_is_a_word(value: object) -> object:
    """YAML 1.1 reads the word `off` as the truth value false; here it is a severity."""
    return "off" if value is False else value


class Contract(Strict):
    """What a delivery must fulfil beyond what its measures already demand."""

    complete: dict[Identifier, Literal["all"] | list[str]] = Field(
        default={}, description="per level: areas that every period must contain (all, or a list of area_ids)"
    )
    not_above: list[NotAbove] = []
    adds_up: list[AddsUp] = []
    areas_add_up: list[AreasAddUp] = []
    agrees: list[Agrees] = []
    change: list[Change] = []
    severity: dict[str, Annotated[Severity, BeforeValidator(_off_is_a_word)]] = Field(
        default={}, description="rule id -> error (rejects the delivery), warning (is noted) or off"
    )


class Correction(Strict):
    """A known error in received cells or rows, settled in YAML; the received bytes stay as they are.

    Either `value` replaces the text of a cell (any column that is read: value, date, area, label), or `drop` leaves the
    rows out. `expected` is the text that each of these cells holds in the received file: one for all lines, or a list.
    """

    delivery: str = Field(description="delivery id, e.g. ba_arbeitslose-0003")
    sheet: str | None = Field(default=None, description="name of the sheet, in workbooks")
    line: int | None = Field(default=None, ge=1)
    lines: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]*-[1-9][0-9]*$", description="first-last, e.g. 212-241"
    )
    column: str = Field(description="heading of the column whose text is compared, and replaced unless drop is set")
    expected: str | list[str]
    value: str | list[str] | None = None
    drop: bool = False
    reason: str = Field(min_length=1)
    reported_on: dt.date
    status: Literal["reported", "confirmed", "assumed"]

    @model_validator(mode="after")
    def _one_cell_each(self) -> Correction:
        if (self.line is None) == (self.lines is None):
            raise ValueError("genau eines von line oder lines angeben")
        if (self.value is None) != self.drop:
            raise ValueError("entweder value (was statt dessen gelten soll) oder drop: true (Zeilen weglassen) angeben")
        wanted = len(self.all_lines())
        if not 1 <= wanted <= 100_000:
            raise Misfit("erwartet wird ein Bereich wie 212-241 mit höchstens 100.000 Zeilen", "lines")
        for key in ("expected", "value"):
            given = getattr(self, key)
            if isinstance(given, list) and len(given) != wanted:
                raise Misfit(f"{key} hat {len(given)} Einträge, genannt sind {wanted} Zeilen", key)
        return self

    def all_lines(self) -> range:
        """The lines that are meant."""
        first, last = map(int, (self.lines or f"{self.line}-{self.line}").split("-"))
        return range(first, last + 1)

    def text_of(self, given: str | list[str], position: int) -> str:
        """`expected` or `value` for the line at a position of `all_lines`."""
        return given if isinstance(given, str) else given[position]


class Break(Strict):
    """From `since` on a measure is defined or collected otherwise: figures on both sides are not to be compared."""

    measure: Identifier
    category: Identifier | None = Field(default=None, description="empty: every category")
    since: str = Field(description="key of the first period of the new definition, e.g. 2019-12-31, 2021-jd, 2022-23")
    other_population: Literal["before", "after"] | None = Field(
        default=None, description="the side that does not agree with other sources; it is not compared with them"
    )
    reason: Text
    reported_on: dt.date | None = None


class Retraction(Strict):
    """A delivery that no longer counts."""

    delivery: str
    reason: str = Field(min_length=1)
    on: dt.date
    by: str = Field(min_length=1)


class Due(Strict):
    """Yearly days (MM-DD) on which a new delivery must have been accepted."""

    days: list[MonthDay] = Field(min_length=1)
    grace_days: int = Field(default=0, ge=0)


class Transcription(Strict):
    """The publication from which a file was transcribed."""

    publisher: str
    title: str
    address: str
    page: str | None = None


class Units(Strict):
    """Contributing units behind the persons (households, schools): where they are few, the count is confidential."""

    measure: Identifier = Field(description="count of the units, of the same areas and periods")
    threshold: int = Field(default=3, ge=2, le=100)


class Disclosure(Strict):
    """Which counts of a source are confidential by themselves; ignored for what is public elsewhere."""

    threshold: int = Field(default=3, ge=2, le=100, description="counts above 0 and below it are confidential")
    zeros: Literal["published", "hidden"] = Field(
        default="published", description="published: a zero is always shown, so a withheld cell is at least 1"
    )
    singletons: bool = Field(
        default=False, description="true: also safe against the one person behind a 1, who knows of herself"
    )
    units: Units | None = None
    whole_group: int = Field(
        default=0, ge=0, description="a part equal to its whole is confidential if the whole is smaller than this"
    )
    small_base: int = Field(
        default=0, ge=0, description="no rate is formed on a smaller base (reliability; the counts stay)"
    )


class Source(Strict):
    """One office's series of deliveries: who, how to read, what must hold, what may be public."""

    id: Identifier
    title: Text
    description: Text
    publisher: str
    owner: str
    licence: str
    address: str | None = None
    origin: Origin
    publication: Literal["public_elsewhere", "constructed", "internal"]
    due: Due | Literal["none"] = Field(description="none, or the yearly due days")
    transcribed_from: Transcription | None = None
    files: str | None = Field(
        default=None, description="pattern of file names; empty: *.csv, for a workbook *.xls, *.xlsx, *.xlsm, *.ods"
    )
    format: Format = Format()
    workbook: Workbook | None = Field(default=None, description="given if the deliveries are workbooks, not text files")
    table: TableShape = TableShape()
    layout: Layout
    symbols: dict[str, SymbolMeaning] = Field(default={}, description="text of a cell -> meaning; '' is an empty cell")
    contract: Contract = Contract()
    corrections: list[Correction] = []
    breaks: list[Break] = []
    retracted: list[Retraction] = []
    disclosure: Disclosure = Disclosure()

    @model_validator(mode="after")
    def _public_needs_address(self) -> Source:
        if self.publication == "public_elsewhere" and not self.address:
            raise ValueError("publication: public_elsewhere verlangt address (wo es öffentlich steht)")
        if self.publication == "constructed" and self.origin != "constructed":
            raise ValueError("publication: constructed verlangt origin: constructed")
        for symbol in self.symbols:
            if symbol != symbol.strip():
                raise Misfit(f"das Zeichen »{symbol}« ohne Leerzeichen am Rand angeben", "symbols", symbol)
        if self.layout.period.sheet is not None and self.workbook is None:
            raise Misfit("Blätter gibt es nur in Arbeitsmappen (workbook angeben)", "layout", "period", "sheet")
        if self.table.title is None and (self.layout.period.title or any(v.title for v in self.layout.values)):
            raise Misfit("title im layout verlangt table.title (Muster der Zeilen über den Tabellen)", "layout")
        area = self.layout.area
        if area and area.elsewhere == "skip" and set(area.possible_levels()) - set(self.contract.complete):
            raise Misfit("elsewhere: skip verlangt contract.complete für jede Ebene", "layout", "area", "elsewhere")
        self._corrections_apart()
        return self

    def _corrections_apart(self) -> None:
        """No cell is corrected twice, no dropped row is corrected."""
        seen: set[tuple[str, str | None, int, str]] = set()
        for index, c in enumerate(self.corrections):
            cells = {(c.delivery, c.sheet, line, "" if c.drop else c.column) for line in c.all_lines()}
            dropped = {(delivery, sheet, line, "") for delivery, sheet, line, _ in cells}
            if seen & (cells | dropped) or (c.drop and {s[:3] for s in seen} & {s[:3] for s in cells}):
                raise Misfit("diese Zelle oder Zeile wird weiter oben schon berichtigt", "corrections", index)
            seen |= cells

    def compared_with(self) -> list[str]:
        """Ids of the sources that this one must agree with."""
        return sorted({entry.source for entry in self.contract.agrees})

    def takes(self, file_name: str) -> bool:
        """Whether a file of this name is one of this source's deliveries."""
        patterns = (
            [self.files] if self.files else (["*.xls", "*.xlsx", "*.xlsm", "*.ods"] if self.workbook else ["*.csv"])
        )
        return any(fnmatch(file_name.lower(), pattern.lower()) for pattern in patterns)

    @property
    def file_pattern(self) -> str:
        """What file names look like, for messages."""
        return self.files or ("*.xls, *.xlsx, *.xlsm, *.ods" if self.workbook else "*.csv")

    @property
    def schedule(self) -> Due | None:
        """The due days, or None for a closed series."""
        return None if self.due == "none" else self.due


# ---------------------------------------------------------------- measures and indicators


class RolledUp(Strict):
    """The figure is the sum over the areas of a lower level."""

    rolled_up: Identifier = Field(description="level whose areas are added up")


class Formed(Strict):
    """A measure that is a sum of another measure's categories and/or of several consecutive periods."""

    measure: Identifier
    categories: list[Identifier] = [TOTAL]
    periods: int = Field(default=1, ge=1, le=10)


class Category(Strict):
    """A code of a declared split."""

    id: Identifier
    title: Text


class RateOf(Strict):
    """What a delivered rate is a rate of; only so can be judged what it tells about the count behind it."""

    numerator: Part
    denominator: Part
    denominator_date: Literal["same", "year_end", "previous_year_end"] = "same"


class Measure(Strict):
    """A base figure: a count, or a rate where the office publishes nothing else."""

    id: Identifier
    title: Text
    description: Text | None = None
    unit: Unit
    kind: Literal["count", "rate"]
    family: Identifier
    owner: str = "team:datenteam"
    period_type: PeriodType
    categories: list[Category] = []
    category_total: Literal["delivered", "summed", "none"] = "none"
    levels: dict[Identifier, list[Identifier | RolledUp]] = Field(
        default={}, description="per level: sources in order of preference; a sum of lower areas only at the end"
    )
    formed: Formed | None = None
    tolerance: float = Field(default=0, ge=0, description="allowed gap between a delivered total and the sum, in units")
    minimum: float | None = 0
    maximum: float | None = None
    rate_of: RateOf | None = Field(default=None, description="for rates: the counts they are formed of")

    @model_validator(mode="after")
    def _consistent(self) -> Measure:
        if (self.formed is None) == (not self.levels):
            raise ValueError("genau eines von levels oder formed angeben")
        for level, figures in self.levels.items():
            sums = [i for i, figure in enumerate(figures) if isinstance(figure, RolledUp)]
            if sums and self.kind == "rate":
                message = "Quoten werden nie summiert oder gemittelt; liefern Sie Zähler und Nenner als Anzahlen"
                raise Misfit(message, "levels", level)
            if sums and sums != [len(figures) - 1]:
                message = "rolled_up steht genau einmal und zuletzt (eine gelieferte Summe geht vor)"
                raise Misfit(message, "levels", level)
        if self.formed is not None and self.kind == "rate":
            raise Misfit("Quoten werden nie summiert; liefern Sie Zähler und Nenner als Anzahlen", "formed")
        if self.rate_of is not None and self.kind != "rate":
            raise Misfit("rate_of gibt es nur bei Quoten (kind: rate)", "rate_of")
        if bool(self.categories) != (self.category_total != "none") and self.formed is None:
            raise ValueError("categories und category_total gehören zusammen")
        return self

    def all_categories(self) -> list[str]:
        """Codes of the split, and `insgesamt` where a total exists."""
        codes = [category.id for category in self.categories]
        return [*codes, TOTAL] if self.category_total != "none" or not codes else codes

    def source_ids(self) -> list[str]:
        """Sources named as preference on any level."""
        return sorted({f for figures in self.levels.values() for f in figures if isinstance(f, str)})


class FromRate(Strict):
    """On this level the office publishes only a rate."""

    rate: Identifier


IntervalMethod = Literal["wilson", "byar_exact", "byar", "none"]


class Comparison(Strict):
    """With what an indicator's values are compared, and how; by default with the city by the area's own interval."""

    method: Literal["interval", "funnel"] = Field(
        default="interval",
        description="interval: is the benchmark inside the area's interval; funnel: is the area's value inside the "
        "limits around the benchmark that its denominator allows (proportions only)",
    )
    area: str | None = Field(default=None, description="area_id of the benchmark; without area and level: the city")
    level: Identifier | None = Field(
        default=None, description="each area is compared with the one area of this level to which it belongs as a whole"
    )

    @model_validator(mode="after")
    def _one_benchmark(self) -> Comparison:
        if self.area is not None and self.level is not None:
            raise Misfit("höchstens eines von area oder level angeben", "level")
        return self


class Indicator(Strict):
    """A measured construct with one definition."""

    id: Identifier
    title: Text
    definition: Text
    reading_aid: Text | None = None
    unit: Unit
    decimals: int = Field(ge=0, le=4)
    polarity: Literal["higher_is_worse", "higher_is_better", "neutral"]
    numerator: Part | None = None
    denominator: Part | None = None
    denominator_date: Literal["same", "year_end", "previous_year_end"] = "same"
    part_of_whole: bool = Field(
        default=True, description="false: the numerator may exceed the denominator (a quotient)"
    )
    interval: IntervalMethod | None = Field(
        default=None,
        description="wilson for a part of its whole in percent, byar_exact for other rates, none for plain numbers; "
        "byar: Byar's approximation below ten cases, too",
    )
    comparison: Comparison = Comparison()
    levels: dict[Identifier, Literal["counts"] | FromRate] = Field(min_length=1)
    owner: str
    approved_by: str | None = None
    approved_on: dt.date | None = None
    sort_key: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> Indicator:
        if any(figure == "counts" for figure in self.levels.values()):
            if self.numerator is None:
                raise ValueError("levels mit counts verlangen numerator")
            if (self.denominator is None) != (self.unit == "persons"):
                raise ValueError("ein Anteil verlangt denominator, eine Personenzahl (unit: persons) hat keinen")
        if self.interval == "wilson" and not self.part_of_whole:
            raise Misfit("wilson gilt für Teile eines Ganzen (part_of_whole: true)", "interval")
        if self.interval not in (None, "none") and self.unit == "persons":
            raise Misfit("eine Personenzahl hat kein Intervall (interval: none oder weglassen)", "interval")
        if self.comparison.method == "funnel" and self.interval_method != "wilson":
            raise Misfit("funnel gibt es nur für Anteile (interval: wilson); hier passt interval", "comparison")
        return self

    @property
    def interval_method(self) -> IntervalMethod:
        """The declared method, else what fits unit and kind of ratio."""
        if self.interval is not None:
            return self.interval
        if self.unit == "persons":
            return "none"
        return "wilson" if self.unit == "percent" and self.part_of_whole else "byar_exact"


# ---------------------------------------------------------------- composite indexes


class IndexIndicator(Strict):
    """One indicator of a composite index; high always counts as worse, whatever its polarity."""

    indicator: Identifier
    weight: float = Field(default=1, gt=0)
    change: Identifier | None = Field(
        default=None, description="indicator that holds the delivered change over dynamics.years, in percentage points"
    )


class IndexClass(Strict):
    """A class of an index: values below `below`, or up to and including `up_to`; the last one takes the rest."""

    id: Identifier
    title: Text
    below: float | None = None
    up_to: float | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> IndexClass:
        if self.below is not None and self.up_to is not None:
            raise Misfit("höchstens eines von below oder up_to angeben", "up_to")
        return self

    @property
    def limit(self) -> float | None:
        """Upper limit, None for the last class."""
        return self.below if self.below is not None else self.up_to


def _ascending(classes: list[IndexClass]) -> list[IndexClass]:
    """Limits rise, only the last class has none, ids differ."""
    limits = [entry.limit for entry in classes]
    known = [limit for limit in limits[:-1] if limit is not None]
    if limits[-1] is not None or len(known) != len(limits) - 1 or known != sorted(set(known)):
        raise ValueError("Klassen mit steigenden Grenzen (below oder up_to) angeben, die letzte ohne Grenze")
    if len({entry.id for entry in classes}) != len(classes):
        raise ValueError("jede Klasse braucht eine eigene id")
    return classes


IndexClasses = Annotated[list[IndexClass], Field(min_length=2, max_length=9), AfterValidator(_ascending)]


class MinimumSize(Strict):
    """Validity rule: areas in which a count is smaller (or missing) are not part of the universe."""

    measure: Identifier
    category: Identifier = TOTAL
    at_least: float = Field(gt=0)


class Excluded(Strict):
    """An area that is not part of the universe whatever its size."""

    area: str
    reason: str = Field(min_length=1)


class Universe(Strict):
    """The areas over which an index is standardised."""

    level: Identifier
    minimum: MinimumSize | None = None
    exclude: list[Excluded] = []


class Dynamics(Strict):
    """Change of the indicators over some years, standardised like the status; on one vintage, or as delivered."""

    years: int = Field(ge=1, le=20)
    classes: IndexClasses


class CompositeIndex(Strict):
    """A composite index after the method of Berlin's Monitoring Soziale Stadtentwicklung."""

    id: Identifier
    title: Text
    definition: Text
    reading_aid: Text | None = None
    indicators: list[IndexIndicator] = Field(min_length=1)
    universe: Universe
    levels: list[Identifier] = Field(min_length=1, description="levels for whose areas the index is reported")
    classes: IndexClasses
    dynamics: Dynamics | None = None
    owner: str
    approved_by: str | None = None
    approved_on: dt.date | None = None
    sort_key: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> CompositeIndex:
        names = [entry.indicator for entry in self.indicators]
        if len(set(names)) != len(names):
            raise Misfit("jeder Indikator nur einmal (das Gewicht steht in weight)", "indicators")
        delivered = [entry.change is not None for entry in self.indicators]
        if any(delivered) and (not all(delivered) or self.dynamics is None):
            text = "change gibt es für alle Indikatoren oder für keinen, und nur zusammen mit dynamics"
            raise Misfit(text, "indicators")
        return self


# ---------------------------------------------------------------- marts and release


class Column(Strict):
    """A column of a mart table, view or macro."""

    type: str = Field(pattern=r"^(VARCHAR|DOUBLE|BIGINT|INTEGER|DATE|BOOLEAN|TIMESTAMP)$")
    de: str = Field(min_length=1)
    en: str | None = None


class Mart(Strict):
    """A table (schema mart), view or macro (schema api) or a table the run fills itself (schema meta)."""

    id: Identifier
    schema_name: Literal["mart", "api", "meta", "step"] = Field(
        default="mart",
        alias="schema",
        description="step: an intermediate SELECT, in no file; its columns follow from it",
    )
    kind: Literal["table", "view", "macro"] = "table"
    title: Text
    description: Text
    owner: str
    key: list[str] = []
    parameters: list[Identifier] = []
    columns: dict[str, Column] = {}
    columns_per_indicator: dict[str, Column] = Field(
        default={}, description="column name with {id} -> column; one group per indicator follows the fixed columns"
    )
    batch: Literal["indicator_id", "area_id", "measure_id"] | None = Field(
        default=None,
        description="rows of one value of this column depend on no others: the table may be built in batches of values",
    )

    @model_validator(mode="after")
    def _complete(self) -> Mart:
        if self.schema_name != "api" and self.kind != "table":
            raise ValueError("Sichten und Makros gehören in api, sonst gibt es nur Tabellen")
        if self.schema_name == "step" and (self.columns or self.key or self.columns_per_indicator):
            raise ValueError("ein Zwischenschritt (schema: step) nennt weder Spalten noch Schlüssel")
        if self.schema_name == "mart" and not self.key:
            raise ValueError("eine Tabelle in mart verlangt key")
        if self.schema_name == "api" and self.kind == "table":
            raise ValueError("in api gibt es nur Sichten (view) und Makros (macro)")
        missing = [column for column in self.key if column not in self.columns]
        if missing:
            raise ValueError(f"key nennt unbekannte Spalten: {', '.join(missing)}")
        if self.batch and self.schema_name != "step" and self.key[:1] != [self.batch]:
            raise ValueError("der Schlüssel einer Tabelle mit batch beginnt mit dieser Spalte")
        return self


class LostKey(Strict):
    """The key of the ledger of what was published is lost for good: what was withheld with it stays withheld."""

    key_id: str = Field(min_length=12, max_length=12, description="as named in the message of the run")
    on: dt.date
    by: str
    reason: str


class MassChange(Strict):
    """An edition in which more than this changes at once is not published before a person accepts it.

    Compared are the values that the release in force shows; each of them changes if it differs by more than `percent`
    or is no longer shown.
    """

    share: float = Field(gt=0, lt=1, description="largest share of the shown values that may change (0.2 = a fifth)")
    percent: float = Field(gt=0, description="a value has changed if it differs by more per cent of the earlier value")
    at_least: int = Field(ge=1, description="only where the release in force shows at least so many values")


class ReportChapter(Strict):
    """Topics (folders of assets/) that stand together in the report."""

    title: Text
    topics: list[str] = Field(min_length=1)


class Report(Strict):
    """What the pages for planners look like."""

    written: bool = Field(default=True, description="false: releases hold tables only, no pages")
    chapters: list[ReportChapter] = Field(default=[], description="topics that are not named follow, one chapter each")
    book_level: Identifier | None = Field(
        default=None,
        description="area level of table book and printed reports; by default the one below the city with fewest areas",
    )
    levels: list[Identifier] = Field(
        default=[], description="levels of whose areas the pages speak, besides the city's; by default all"
    )
    feedback: str | None = Field(default=None, description="whom readers tell about barriers and mistakes")


class Release(Strict):
    """What the project publishes, and as whom."""

    title: Text
    description: Text
    publisher: str
    contact: str
    owner: str
    licence: str
    licence_address: str
    attribution: str
    city: str = Field(description="area_id of the whole city")
    internal: bool = Field(default=False, description="true: nothing is published, only the internal marts are built")
    keep: int = Field(default=30, ge=2, description="number of releases kept on disk")
    lost_keys: list[LostKey] = []
    always_shown: list[Identifier] = Field(
        default=[],
        exclude=True,  # told by the figures that it leaves visible: without it a release is the same as before
        description="levels whose figures are not withheld to protect others, unless there is no other protection; "
        "then each area of such a level is protected by itself",
    )
    report: Report = Report()
    mass_change: MassChange | None = Field(
        default=None,
        exclude=True,  # a limit of the run: no figure and no text of a release depends on it
        description="a night in which more than this changes does not publish",
    )


Document = Areas | Source | Measure | Indicator | CompositeIndex | Mart | Release

COMPONENTS: dict[str, type[Strict]] = {
    "pipelines.components.AreasComponent": Areas,
    "pipelines.components.SourceComponent": Source,
    "pipelines.components.MeasureComponent": Measure,
    "pipelines.components.IndicatorComponent": Indicator,
    "pipelines.components.IndexComponent": CompositeIndex,
    "pipelines.components.MartComponent": Mart,
    "pipelines.components.ReleaseComponent": Release,
}
