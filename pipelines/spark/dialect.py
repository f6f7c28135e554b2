"""The SQL that means the same on DuckDB and Spark: what a mart may use, and its translation by sqlglot.

A list of what is allowed, not of what is forbidden: whatever is not named here was not tried on both engines.
`tests/test_spark_dialect.py` runs every function of the list on both.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from pipelines.marts.models import Model, Models
from pipelines.project import ConfigError
from schemas.yaml_source import Problem, nearest

FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Abs: "abs",
    exp.ArrayDistinct: "list_distinct",
    exp.ArraySort: "list_sort",
    exp.ArrayToString: "array_to_string",
    exp.Cast: "cast",
    exp.Coalesce: "coalesce",
    exp.ConcatWs: "concat_ws",
    exp.Count: "count",
    exp.DateFromParts: "make_date",
    exp.Day: "day",
    exp.DenseRank: "dense_rank",
    exp.Exp: "exp",
    exp.Greatest: "greatest",
    exp.GroupConcat: "string_agg",
    exp.Lag: "lag",
    exp.Least: "least",
    exp.Ln: "ln",
    exp.LogicalAnd: "bool_and",
    exp.LogicalOr: "bool_or",
    exp.Max: "max",
    exp.Min: "min",
    exp.Month: "month",
    exp.Nullif: "nullif",
    exp.Pow: "power",
    exp.Rank: "rank",
    exp.Round: "round",
    exp.RowNumber: "row_number",
    exp.Split: "string_split",
    exp.Sqrt: "sqrt",
    exp.Sum: "sum",
    exp.Year: "year",
}
"""Functions by sqlglot's class, with the name to write. The four on lists only serve `united` of macros.sql."""

SYNTAX: frozenset[type[exp.Expr]] = frozenset(
    {
        *(exp.Select, exp.Union, exp.With, exp.CTE, exp.Subquery, exp.From, exp.Join, exp.Where, exp.Group, exp.Having),
        *(exp.Order, exp.Ordered, exp.Distinct, exp.Window, exp.WindowSpec, exp.Table, exp.TableAlias, exp.Alias),
        *(exp.Column, exp.Identifier, exp.Star, exp.Literal, exp.Null, exp.Boolean, exp.DataType, exp.DataTypeParam),
        *(exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.DPipe, exp.And, exp.Or, exp.Not, exp.Is),
        *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In),
        *(exp.Case, exp.If, exp.Exists),
    }
)
"""Everything else that a statement consists of."""

TYPES = frozenset({"DOUBLE", "INTEGER", "BIGINT", "VARCHAR", "DATE", "BOOLEAN", "DECIMAL"})
"""Target types of a cast; to VARCHAR only a day or a whole number, for the text of a DOUBLE differs."""

_WORDS: dict[type[exp.Expr], str] = {
    exp.Qualify: "QUALIFY",
    exp.Lambda: "eine Lambda-Funktion",
    exp.Array: "eine Liste",
    exp.Unnest: "UNNEST",
    exp.Explode: "UNNEST",
    exp.Lateral: "LATERAL",
    exp.Filter: "FILTER",
    exp.WithinGroup: "WITHIN GROUP",
    exp.Limit: "LIMIT",
}


def refusals(sql: str) -> list[str]:
    """What a statement in DuckDB's SQL uses outside of the list, in German; empty if Spark understands it the same."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    found = [word for node in tree.walk() for word in _refused(node)]
    if not isinstance(tree, exp.Query):
        found.append("kein SELECT")
    elif tree.is_star:
        found.append("* im letzten SELECT (Spalten nennen)")
    return list(dict.fromkeys(found))


def _refused(node: exp.Expr) -> Iterator[str]:
    kind = type(node)
    if isinstance(node, exp.Anonymous):
        hint = nearest(node.name, FUNCTIONS.values())
        yield f"die Funktion {node.name}" + (f" (meinten Sie {hint[0]}?)" if hint else "")
    elif kind not in FUNCTIONS and kind not in SYNTAX:
        written = node.sql(dialect="duckdb").partition("(")[0]
        yield _WORDS.get(kind) or (f"die Funktion {written}" if isinstance(node, exp.Func) else kind.__name__)
    elif isinstance(node, exp.Group) and node.args.get("all"):
        yield "GROUP BY ALL (Spalten nennen)"
    elif isinstance(node, exp.Exists) and node.find_ancestor(exp.Where) is None:
        yield "EXISTS außerhalb von WHERE"
    elif isinstance(node, exp.With) and node.recursive:
        yield "WITH RECURSIVE"
    elif isinstance(node, exp.Join) and (node.method or node.kind not in ("", "INNER", "CROSS", "OUTER")):
        yield f"{node.method or node.kind} JOIN"
    elif isinstance(node, exp.DataType) and node.this.name not in TYPES | {"TEXT", "INT"}:
        yield f"der Typ {node.this.name}"


def spark_sql(sql: str) -> str:
    """The statement in Spark's SQL.

    Raises:
        SqlglotError: it cannot be translated.
    """
    tree = sqlglot.parse_one(sql, read="duckdb")
    return tree.sql(dialect="spark", unsupported_level=ErrorLevel.RAISE, comments=False)


def translated(models: Models) -> dict[str, str]:
    """Statements of all tables and steps in Spark's SQL, by id, each after those it reads.

    Raises:
        ConfigError: a statement uses what is not allowed (file of each, and what).
    """
    statements: dict[str, str] = {}
    problems = []
    for model in models.order:
        try:
            found = refusals(model.sql or "")
            statements[model.mart.id] = spark_sql(model.sql or "")
        except SqlglotError as error:
            found = [str(error).splitlines()[0]]
        problems += [Problem(_file(models, model), 1, f"geht nicht auf Spark: {word}") for word in found]
    if problems:
        raise ConfigError(problems)
    return statements


def _file(models: Models, model: Model) -> str:
    project = models.project
    return project.paths.relative(project.file(model.mart).with_name(f"{model.mart.id}.sql"))
