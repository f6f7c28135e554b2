"""Pydantic models of everything a project declares in `assets/**/defs.yaml`.

One class per component type. Unknown keys are refused; `schemas.yaml_source` turns the
refusal into a message with file, line and the nearest valid key.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
PeriodType = Literal["stichtag", "jahresdurchschnitt", "kalenderjahr", "schuljahr"]
Unit = Literal["percent", "persons", "per_1000", "ratio"]
Origin = Literal["published", "open_data", "secondary", "inferred", "constructed"]
SymbolMeaning = Literal["suppressed", "missing", "zero"]

ORIGINS: tuple[str, ...] = ("published", "open_data", "secondary", "inferred", "constructed")
"""Strongest first; a derived figure carries the weakest origin of its inputs."""

TOTAL = "insgesamt"
"""Category of a figure that is not split."""


class Misfit(ValueError):
    """A rule between keys is broken; `path` leads to the key where the person should look."""

    def __init__(self, message: str, *path: str | int) -> None:
        """Keep the path below the model that raises."""
        super().__init__(message)
        self.path = path


class Strict(BaseModel):
    """Base of every document: unknown keys are errors, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    """Area levels and the CSV files that list areas and memberships (paths beside the YAML)."""

    title: Text
    description: Text
    owner: str
    levels: list[Level] = Field(min_length=1)
    areas: str = "areas.csv"
    memberships: str = "memberships.csv"


# ---------------------------------------------------------------- sources


class Format(Strict):
    """How the bytes of a delimited text file are to be read."""

    delimiter: str = Field(default=";", min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    decimal: Literal[",", "."] = ","
    thousands: Literal[".", ",", " ", "'"] | None = None
    header_line: int = Field(default=1, ge=1, description="Record number of the header, counted from 1")
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

    @model_validator(mode="after")
    def _one_way(self) -> AreaColumns:
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


def _groups(pattern: str) -> int:
    """Number of groups of a regular expression; -1 if it is none."""
    try:
        return re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError):
        return -1


class PeriodColumns(Strict):
    """Where a figure's period stands: in a column, in the column headings, in the file's name, or fixed."""

    type: PeriodType
    column: str | None = None
    in_header: bool = False
    file_name: str | None = Field(default=None, description="regular expression; its first group is the period")
    day: MonthDay | None = Field(default=None, description="MM-DD that a bare year stands for (type stichtag)")

    @model_validator(mode="after")
    def _one_place(self) -> PeriodColumns:
        if sum([self.column is not None, self.in_header, self.file_name is not None]) != 1:
            raise ValueError("genau eines von column, in_header oder file_name angeben")
        if self.file_name is not None and _groups(self.file_name) < 1:
            raise Misfit("erwartet wird ein regulärer Ausdruck, dessen erste (Klammer) die Zeit ist", "file_name")
        return self


class ValueColumn(Strict):
    """Which measure (and category) a column holds.

    `column` names one column; without it (period in the headings) every column whose heading is a period is meant.
    `measure_column` with `measures` reads the measure from another column of the row (long files).
    """

    column: str | None = None
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
    ignore: list[str] = Field(default=[], description="columns that are known and not read")
    origin: OriginColumn | None = None

    @model_validator(mode="after")
    def _area_known(self) -> Layout:
        if (self.area is None) == (self.fixed_area is None):
            raise ValueError("genau eines von area oder fixed_area angeben")
        if self.period.in_header != any(value.column is None for value in self.values):
            raise ValueError("bei period.in_header steht die Zeit in den Spaltenköpfen: values ohne column, sonst mit")
        if self.period.in_header and len(self.values) > 1:
            raise ValueError("bei period.in_header ist genau ein Eintrag unter values möglich")
        return self

    def measures(self) -> list[str]:
        """Ids of all measures this layout can deliver."""
        return sorted({m for value in self.values for m in value.possible_measures()})


class NotAbove(Strict):
    """Within one delivery no figure of `measure`/`category` may exceed the one of `than`/`than_category`."""

    measure: Identifier
    category: Identifier = TOTAL
    than: Identifier
    than_category: Identifier = TOTAL


class Contract(Strict):
    """What a delivery must fulfil beyond what its measures already demand."""

    complete: dict[Identifier, Literal["all"] | list[str]] = Field(
        default={}, description="per level: areas that every period must contain (all, or a list of area_ids)"
    )
    not_above: list[NotAbove] = []


class Correction(Strict):
    """A known error in received cells, settled in YAML; the received bytes stay as they are."""

    delivery: str = Field(description="delivery id, e.g. ba_arbeitslose-0003")
    line: int = Field(ge=1)
    column: str
    expected: str = Field(description="text that the cell must hold in the received file")
    value: str = Field(description="text to be read instead")
    reason: str = Field(min_length=1)
    reported_on: dt.date
    status: Literal["reported", "confirmed", "assumed"]


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
    files: str = "*.csv"
    format: Format = Format()
    layout: Layout
    symbols: dict[str, SymbolMeaning] = Field(default={}, description="text of a cell -> meaning; '' is an empty cell")
    contract: Contract = Contract()
    corrections: list[Correction] = []
    retracted: list[Retraction] = []

    @model_validator(mode="after")
    def _public_needs_address(self) -> Source:
        if self.publication == "public_elsewhere" and not self.address:
            raise ValueError("publication: public_elsewhere verlangt address (wo es öffentlich steht)")
        if self.publication == "constructed" and self.origin != "constructed":
            raise ValueError("publication: constructed verlangt origin: constructed")
        for symbol in self.symbols:
            if symbol != symbol.strip():
                raise Misfit(f"das Zeichen »{symbol}« ohne Leerzeichen am Rand angeben", "symbols", symbol)
        cells = [(c.delivery, c.line, c.column) for c in self.corrections]
        for index, cell in enumerate(cells):
            if cell in cells[:index]:
                raise Misfit("diese Zelle wird weiter oben schon berichtigt", "corrections", index)
        return self

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


class Part(Strict):
    """Numerator or denominator of an indicator."""

    measure: Identifier
    category: Identifier = TOTAL


class FromRate(Strict):
    """On this level the office publishes only a rate."""

    rate: Identifier


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
    schema_name: Literal["mart", "api", "meta"] = Field(default="mart", alias="schema")
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

    @model_validator(mode="after")
    def _complete(self) -> Mart:
        if self.schema_name in ("mart", "meta") and self.kind != "table":
            raise ValueError("in mart und meta gibt es nur Tabellen; Sichten und Makros gehören in api")
        if self.schema_name == "mart" and not self.key:
            raise ValueError("eine Tabelle in mart verlangt key")
        if self.schema_name == "api" and self.kind == "table":
            raise ValueError("in api gibt es nur Sichten (view) und Makros (macro)")
        missing = [column for column in self.key if column not in self.columns]
        if missing:
            raise ValueError(f"key nennt unbekannte Spalten: {', '.join(missing)}")
        return self


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


Document = Areas | Source | Measure | Indicator | Mart | Release

COMPONENTS: dict[str, type[Strict]] = {
    "pipelines.components.AreasComponent": Areas,
    "pipelines.components.SourceComponent": Source,
    "pipelines.components.MeasureComponent": Measure,
    "pipelines.components.IndicatorComponent": Indicator,
    "pipelines.components.MartComponent": Mart,
    "pipelines.components.ReleaseComponent": Release,
}
