"""Reads the text of a `defs.yaml` into documents; every error names file, line and the nearest valid key."""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import dataclass, field

import yaml
from pydantic import BaseModel, ValidationError

from schemas.documents import COMPONENTS, Document

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One error in a project's files, in words for the person who wrote the file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """`file:line: message`, clickable in most editors."""
        return f"{self.file}:{self.line}: {self.message}"


@dataclass
class Parsed:
    """A valid document with the places of its keys."""

    file: str
    document: Document
    lines: dict[Path, int] = field(repr=False)

    def line(self, *path: str | int) -> int:
        """Line of a key below `attributes`, or of the nearest key above it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def parse(text: str, file: str) -> tuple[list[Parsed], list[Problem]]:
    """Parse all documents of one file.

    Args:
        text: content of the file, YAML documents separated by `---`.
        file: name used in messages.

    Returns:
        The valid documents and the problems of the others; nothing is raised for bad input.
    """
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return [], [Problem(file, line, f"kein gültiges YAML: {error.problem or error}")]
    except (yaml.YAMLError, ValueError) as error:
        return [], [Problem(file, 1, f"kein gültiges YAML: {error}")]
    parsed: list[Parsed] = []
    problems: list[Problem] = []
    for node in nodes:
        one, found = _document(node, file)
        parsed += one
        problems += found
    return parsed, problems


def _document(node: yaml.Node, file: str) -> tuple[list[Parsed], list[Problem]]:
    lines: dict[Path, int] = {}
    problems: list[Problem] = []
    _positions(node, (), lines, file, problems)
    if problems:
        return [], problems
    content = yaml.CSafeLoader("").construct_document(node)
    start = node.start_mark.line + 1
    if not isinstance(content, dict) or "type" not in content:
        return [], [Problem(file, start, "jedes Dokument beginnt mit »type:« und »attributes:«")]
    unknown = set(content) - {"type", "attributes"}
    if unknown:
        key = sorted(map(str, unknown))[0]
        return [], [
            Problem(file, lines.get((key,), start), f"»{key}« ist hier unbekannt{_hint(key, ['type', 'attributes'])}")
        ]
    model = COMPONENTS.get(content["type"])
    if model is None:
        hint = _hint(str(content["type"]), list(COMPONENTS))
        return [], [Problem(file, lines.get(("type",), start), f"unbekannter Typ »{content['type']}«{hint}")]
    below = {path[1:]: line for path, line in lines.items() if path[:1] == ("attributes",)}
    below.setdefault((), start)
    try:
        document = model.model_validate(content.get("attributes") or {})
    except ValidationError as error:
        return [], _explain(error, model, file, below)
    return [Parsed(file, typing.cast(Document, document), below)], []


def _positions(node: yaml.Node, path: Path, lines: dict[Path, int], file: str, problems: list[Problem]) -> None:
    """Note the line of every key and list entry; a key given twice is a problem (YAML would keep the last)."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in lines:
                problems.append(
                    Problem(
                        file,
                        key.start_mark.line + 1,
                        f"»{key.value}« steht schon in Zeile {lines[here]}; eines streichen",
                    )
                )
            lines[here] = key.start_mark.line + 1
            _positions(value, here, lines, file, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _positions(value, (*path, index), lines, file, problems)


def _explain(error: ValidationError, model: type[BaseModel], file: str, lines: dict[Path, int]) -> list[Problem]:
    """One sentence per finding; a missing key that was only misspelt is reported once, at the misspelling."""
    details = error.errors()
    near: set[Path] = set()
    problems = []
    for detail in details:
        path = _visible(detail["loc"], lines)
        if detail["type"] == "extra_forbidden":
            fields = _fields(model, detail["loc"][:-1])
            match = _nearest(str(detail["loc"][-1]), fields)
            if match:
                near.add((*path[:-1], match))
            hint = _hint(str(path[-1]), fields)
            problems.append(
                Problem(file, _line(lines, path), f"»{'.'.join(map(str, path))}« ist kein gültiger Schlüssel{hint}")
            )
    for detail in details:
        path = _visible(detail["loc"], lines, missing=detail["type"] == "missing")
        if detail["type"] == "extra_forbidden" or (detail["type"] == "missing" and path in near):
            continue
        problems.append(Problem(file, _line(lines, path), _sentence(detail, path)))
    unique = {(p.line, p.message): p for p in problems}
    return sorted(unique.values(), key=lambda p: p.line)


def _sentence(detail: typing.Any, path: Path) -> str:
    where = ".".join(map(str, path)) or "attributes"
    kind, context = detail["type"], detail.get("ctx", {})
    shown = repr(detail.get("input"))[:60]
    if kind == "missing":
        return f"»{where}« fehlt"
    if kind == "value_error":
        return f"»{where}«: {context.get('error')}"
    if kind == "literal_error":
        choices = context.get("expected", "")
        hint = _hint(str(detail.get("input")), [c.strip(" '") for c in choices.replace(" or ", ", ").split(",")])
        return f"»{where}«: {shown} ist nicht erlaubt; möglich: {choices}{hint}"
    if kind == "string_pattern_mismatch":
        return f"»{where}«: {shown} passt nicht zum Muster {context.get('pattern')}"
    return f"»{where}«: {detail['msg']} (gelesen: {shown})"


def _visible(loc: tuple[typing.Any, ...], lines: dict[Path, int], *, missing: bool = False) -> Path:
    """Drop the parts of pydantic's location that name union members rather than keys of the file."""
    path: Path = ()
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if (*path, part) in lines or (last and missing):
            path = (*path, part)
    return path


def _line(lines: dict[Path, int], path: Path) -> int:
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 1


def _fields(model: type[BaseModel], path: tuple[typing.Any, ...]) -> list[str]:
    """Valid keys of the sub-model that a pydantic location leads to."""
    current: list[type[BaseModel]] = [model]
    for part in path:
        following: list[type[BaseModel]] = []
        for candidate in current:
            if isinstance(part, str) and candidate.__name__ == part:
                following.append(candidate)
            for name, info in candidate.model_fields.items():
                if part in (name, info.alias):
                    following += _models(info.annotation)
        current = following or current
    return sorted({info.alias or name for candidate in current for name, info in candidate.model_fields.items()})


def _models(annotation: typing.Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, (types.GenericAlias, types.UnionType)) or typing.get_origin(annotation):
        return [model for argument in typing.get_args(annotation) for model in _models(argument)]
    return []


def nearest(word: str, known: typing.Iterable[str], count: int = 1) -> list[str]:
    """Known words most like `word` (ratio at least 0.6), best first; letter case does not matter."""
    by_lower = {entry.lower(): entry for entry in known}
    return [by_lower[m] for m in difflib.get_close_matches(word.lower(), list(by_lower), n=count, cutoff=0.6)]


def _nearest(word: str, known: list[str]) -> str | None:
    found = nearest(word, known)
    return found[0] if found else None


def _hint(word: str, known: list[str]) -> str:
    match = _nearest(word, known)
    if match:
        return f"; meinten Sie »{match}«?"
    return f"; möglich: {', '.join(known)}" if known else ""
