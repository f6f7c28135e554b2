"""The marts as declared: their rendered SQL, columns, order of building, and column lineage. No data here."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import CodeType
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from pipelines.files import read_sealed, sha256_text, write_sealed
from pipelines.marts.inputs import OBSERVATION_IN, input_tables
from pipelines.marts.previous import previous_schemas
from pipelines.paths import Paths
from pipelines.project import ConfigError, Project
from schemas.codes import CODE_LISTS
from schemas.documents import Column, Mart
from schemas.yaml_source import Problem

Lineage = dict[str, list[tuple[str, str]]]
"""Column -> (table, column) pairs its value comes from."""


Derived = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Gives what was derived under a hash, or derives and keeps it."""

_DERIVED: dict[str, dict[str, Any]] = {}
"""What was derived in this process, by hash of a statement and what it reads: projects share most of their SQL."""


@dataclass(frozen=True)
class Model:
    """One table, view or macro, ready to be built."""

    mart: Mart
    sql: str | None
    columns: dict[str, Column]

    @property
    def name(self) -> str:
        """`schema.id`."""
        return f"{self.mart.schema_name}.{self.mart.id}"


class Models:
    """All marts of a project."""

    def __init__(self, project: Project) -> None:
        """Render the SQL of every mart.

        Raises:
            ConfigError: a template or a statement is not valid, or tables depend on each other in a circle.
        """
        self.project = project
        self._through: dict[tuple[str, str], set[tuple[str, str]]] = {}
        macros = FileSystemLoader(project.paths.assets / "marts")  # {% import "macros.sql" as m %}
        environment = _environment(macros)
        environment.globals["in_german"] = _in_german
        self.all = {}
        for name, mart in project.marts.items():
            self.all[name] = Model(mart, self._rendered(environment, mart), self._columns(mart))

    def _rendered(self, environment: SandboxedEnvironment, mart: Mart) -> str | None:
        try:
            text = self.project.sql(mart)
            indicators = list(self.project.indicators.values())
            if not text:
                return None
            known = environment.make_globals(None)
            template = environment.template_class.from_code(environment, _compiled(text), known)
            return template.render(indicators=indicators)
        except (TemplateError, OverflowError, TypeError, ValueError) as error:  # a wrong byte is a ValueError, too
            name = getattr(error, "name", None) or f"{mart.id}.sql"
            shared = self.project.paths.assets / "marts" / name  # of macros, if they are what cannot be read
            place = shared if shared.is_file() else self.project.file(mart).with_name(f"{mart.id}.sql")
            file = self.project.paths.relative(place)
            line = getattr(error, "lineno", None) or 1
            raise ConfigError([Problem(file, line, f"SQL-Vorlage nicht lesbar: {error}")]) from error

    def _columns(self, mart: Mart) -> dict[str, Column]:
        columns = dict(mart.columns)
        for indicator in self.project.indicators.values() if mart.columns_per_indicator else []:
            for pattern, column in mart.columns_per_indicator.items():
                english = indicator.title.en or indicator.title.de
                columns[pattern.format(id=indicator.id)] = Column(
                    type=column.type,
                    de=column.de.format(title=indicator.title.de),
                    en=column.en.format(title=english) if column.en else None,
                )
        return columns

    def declared(self) -> Models:
        """The same declarations with no project folder behind them: what the writer of a release gets."""
        self._analysis, self.order, self.inputs  # noqa: B018 - worked out while the folder is there
        without = copy.copy(self)
        without.project = dataclasses.replace(self.project, paths=Paths(Path(os.devnull)))
        return without

    def of_schema(self, schema: str) -> list[Model]:
        """Models of one schema, by name."""
        return [m for m in self.all.values() if m.mart.schema_name == schema]

    @cached_property
    def inputs(self) -> dict[str, dict[str, str]]:
        """Columns (name -> SQL type) of every input table."""
        types = {"string": "VARCHAR", "int32": "INTEGER", "double": "DOUBLE", "date32[day]": "DATE", "bool": "BOOLEAN"}
        schemas = {name: table.schema for name, table in input_tables(self.project).items()} | previous_schemas()
        found = {name: {field.name: types[str(field.type)] for field in schema} for name, schema in schemas.items()}
        observation = self.all.get("mart.observation")
        if observation:
            found[OBSERVATION_IN] = {n: c.type for n, c in observation.columns.items()}
        return found

    @cached_property
    def _analysis(self) -> dict[str, dict[str, Any]]:
        """Per table and step: the tables it reads and its lineage; derived once per SQL text, then cached."""
        tables = {m.mart.id: m for m in self._built.values() if m.sql}
        cache_file = self.project.paths.internal / "spaltenherkunft.json"
        cache = read_sealed(cache_file) or {}
        fresh: dict[str, dict[str, Any]] = {}

        def derived(key: str, derive: Callable[[], dict[str, Any]]) -> dict[str, Any]:
            fresh[key] = _DERIVED[key] = cache.get(key) or _DERIVED.get(key) or derive()
            return fresh[key]

        schema = {name: _column_types(m, derived) for name, m in tables.items()} | self.inputs
        found = {}
        for name, model in tables.items():
            sql = model.sql or ""
            words = set(re.findall(r"\w+", sql))
            read = {table: columns for table, columns in schema.items() if table in words}
            key = sha256_text(sql, json.dumps([schema[name], read], sort_keys=True))
            found[name] = derived(key, functools.partial(_derive, self.project, model, read))
        if fresh != cache and cache_file.parent.is_dir():
            write_sealed(cache_file, fresh)
        return found

    @cached_property
    def lineage(self) -> dict[str, Lineage]:
        """Value lineage of every table of schema `mart`; join and filter columns and the steps between are left out."""
        return {model.mart.id: self.lineage_of(model) for model in self.marts}

    def lineage_of(self, model: Model) -> Lineage:
        """Value lineage of a table or step, back to tables and inputs that readers know."""
        columns = self._analysis[model.mart.id]["columns"]
        return {
            name: sorted({known for pair in pairs for known in self._known(*pair)}) for name, pairs in columns.items()
        }

    def _known(self, table: str, column: str) -> set[tuple[str, str]]:
        """The column itself, or what it is made of if it is a step's."""
        if not (self.builds(table) and self._built[table].mart.schema_name == "step"):
            return {(table, column)}
        if (table, column) not in self._through:
            pairs = self._analysis[table]["columns"].get(column, [])
            self._through[table, column] = {known for pair in pairs for known in self._known(*pair)}
        return self._through[table, column]

    def reads(self, mart_id: str) -> set[str]:
        """Tables (marts and inputs) that a mart's SQL names."""
        return set(self._analysis[mart_id]["tables"])

    @cached_property
    def _built(self) -> dict[str, Model]:
        """Tables and intermediate steps by id; a step has no other table's name."""
        found: dict[str, Model] = {}
        for model in [*self.of_schema("mart"), *self.of_schema("step")]:
            if model.mart.id in found:
                file, line = self.project.place(model.mart, "id")
                raise ConfigError([Problem(file, line, f"id »{model.mart.id}« gibt es schon als Tabelle")])
            found[model.mart.id] = model
        return found

    def builds(self, table: str) -> bool:
        """Whether this is a table or step of ours (and no input)."""
        return table in self._built

    @property
    def marts(self) -> list[Model]:
        """Tables of schema `mart`, each after those it reads; the steps between them left out."""
        return [model for model in self.order if model.mart.schema_name == "mart"]

    @cached_property
    def order(self) -> list[Model]:
        """Tables of schema `mart` and intermediate steps, each after those it reads."""
        return [model for unit in self.units for model in unit]

    @cached_property
    def units(self) -> list[list[Model]]:
        """The same, those that are built in the same batches together: they stand and fall as one."""
        tables = self._built
        unit_of = {name: f"batch {m.mart.batch}" if m.mart.batch else name for name, m in tables.items()}
        needs = {name: sorted(t for t in self.reads(name) if t in tables) for name in tables}
        graph: dict[str, set[str]] = {unit: set() for unit in unit_of.values()}
        for name, read in needs.items():
            graph[unit_of[name]] |= {unit_of[t] for t in read} - ({unit_of[name]} if tables[name].mart.batch else set())
        try:
            inside = [tables[name] for name in TopologicalSorter(needs).static_order()]
            units = TopologicalSorter({unit: sorted(read) for unit, read in graph.items()}).static_order()
            return [[m for m in inside if unit_of[m.mart.id] == unit] for unit in units]
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            text = f"Tabellen lesen einander im Kreis: {circle}"
            if any(unit.startswith("batch ") for unit in error.args[1]):
                text += " (Tabellen mit gleichem batch werden zusammen gebaut; batch bei der neuen Tabelle weglassen)"
            raise ConfigError([Problem("assets/marts", 1, text)]) from error


def _column_types(model: Model, derived: Derived) -> dict[str, str]:
    """Declared columns; those of a step are what its SELECT names (their types do not matter here)."""
    if model.mart.schema_name != "step":
        return {name: column.type for name, column in model.columns.items()}
    sql = model.sql or ""
    named = derived(sha256_text("columns", sql), lambda: {"columns": _selected(sql)})
    return dict.fromkeys(named["columns"], "VARCHAR")


def _selected(sql: str) -> list[str]:
    """Columns that a SELECT names; none if it can't be read, said with its line when lineage is derived."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = _parsed(sql)
    except SqlglotError:
        return []
    return list(tree.named_selects) if isinstance(tree, sqlglot.exp.Query) else []


def _environment(macros: FileSystemLoader | None = None) -> SandboxedEnvironment:
    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False, loader=macros)


@functools.lru_cache(maxsize=256)
def _compiled(template: str) -> CodeType:
    """Code of an SQL template: a process that loads a project twice translates it once."""
    return _environment().compile(template)


@functools.lru_cache(maxsize=64)
def _parsed(sql: str) -> Any:
    """Tree of a statement, for readers that leave it as it is."""
    import sqlglot

    return sqlglot.parse_one(sql, read="duckdb")


def _in_german(column: str, code_list: str) -> str:
    """SQL expression that shows the codes of a column as their German labels."""
    cases = " ".join(f"WHEN '{c.code}' THEN '{c.label_de}'" for c in CODE_LISTS[code_list])
    return f"CASE {column} {cases} END"


def _derive(project: Project, model: Model, schema: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Lineage of one statement; a statement we can't read is a configuration error naming its file and line."""
    from sqlglot import exp
    from sqlglot.errors import ParseError, SqlglotError
    from sqlglot.lineage import lineage

    file = project.paths.relative(project.file(model.mart).with_name(f"{model.mart.id}.sql"))
    try:
        tree = _parsed(model.sql or "")
        ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
        tables = sorted({t.name for t in tree.find_all(exp.Table)} - ctes)
        unknown = [t for t in tables if t not in schema]
        if unknown:
            named = ", ".join(table or "eine Funktion" for table in unknown)
            raise ConfigError([Problem(file, 1, f"liest unbekannte Tabellen: {named}")])
        columns = {
            column: sorted(
                {
                    (n.source.name, n.name.split(".")[-1])
                    for n in node.walk()
                    if isinstance(n.source, exp.Table) and not n.downstream
                }
            )
            for column, node in lineage(None, tree, schema, dialect="duckdb", trim_selects=False).items()
        }
    except SqlglotError as error:
        line = error.errors[0].get("line") if isinstance(error, ParseError) and error.errors else None
        raise ConfigError([Problem(file, line or 1, f"SQL nicht lesbar: {str(error).splitlines()[0]}")]) from error
    if model.mart.schema_name != "step" and list(columns) != list(model.columns):
        wrong = sorted(set(columns) ^ set(model.columns)) or ["Reihenfolge"]
        raise ConfigError([Problem(file, 1, f"Spalten weichen von defs.yaml ab: {', '.join(wrong)}")])
    return {"tables": tables, "columns": columns}
