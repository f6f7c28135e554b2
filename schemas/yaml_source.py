"""Reads the text of a `defs.yaml` into documents; every error names file, line and the nearest valid key."""

from __future__ import annotations

import difflib
import math
import types
import typing
from dataclasses import dataclass, field

import yaml
from pydantic import BaseModel, ValidationError

from schemas.documents import COMPONENTS, Document

Path = tuple[str | int, ...]
MAX_CHARACTERS = 8 * 1024 * 1024
"""Length of one file; beyond it the file is refused before it is parsed."""
MAX_DEPTH = 40
"""Groups and lists inside each other; libyaml crashes the process at some ten thousand."""
MAX_KEYS = 200_000
"""Keys and list entries of one document, each alias counted as what it stands for."""
MAX_DIGITS = 15
"""Characters of a whole number, in whatever notation."""
LONGEST_WORD = 200
"""Longer texts are not compared with the known words: the time grows with the square of the length."""
_EXPECTED = {
    "string_type": "ein Text (was wie Zahl, Datum oder Ja/Nein aussieht, in Anführungszeichen)",
    "invalid_key": "ein Schlüssel als Text (in Anführungszeichen)",
    "model_type": "eine Gruppe von Schlüsseln",
    "dict_type": "eine Gruppe von Schlüsseln",
    "list_type": "eine Liste, z. B. [a, b]",
    "bool_type": "true oder false",
    "bool_parsing": "true oder false",
    "greater_than": "eine Zahl größer als {gt:g}",
    "greater_than_equal": "eine Zahl von mindestens {ge:g}",
    "less_than": "eine Zahl kleiner als {lt:g}",
    "less_than_equal": "eine Zahl von höchstens {le:g}",
    "finite_number": "eine endliche Zahl",
    "string_too_short": "mindestens {min_length} Zeichen",
    "string_too_long": "höchstens {max_length} Zeichen",
    "too_short": "mindestens {min_length} Eintrag",
}
_EXPECTED_OF = {"int": "eine ganze Zahl", "float": "eine Zahl", "date": "ein Tag (JJJJ-MM-TT)"}
_WHOLE_NUMBER = "tag:yaml.org,2002:int"
_WRONG_KIND = ("model_type", "list_type", "dict_type")


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


M = typing.TypeVar("M", bound=BaseModel)


def parse(text: str, file: str) -> tuple[list[Parsed], list[Problem]]:
    """Parse all documents of one file.

    Args:
        text: content of the file, YAML documents separated by `---`.
        file: name used in messages.

    Returns:
        The valid documents and the problems of the others; nothing is raised for bad input.
    """
    nodes, problems = _nodes(text, file)
    parsed: list[Parsed] = []
    for node in nodes:
        one, found = _document(node, file)
        parsed += one
        problems += found
    return parsed, problems


def parse_plain(text: str, file: str, model: type[M]) -> tuple[M | None, list[Problem]]:
    """Parse a file that is one document without `type` and `attributes`, with the same messages.

    Args:
        text: content of the file.
        file: name used in messages.
        model: what the document is.
    """
    nodes, problems = _nodes(text, file)
    if problems:
        return None, problems
    if len(nodes) != 1 or not isinstance(nodes[0], yaml.MappingNode):
        return None, [Problem(file, 1, "die Datei ist leer oder keine Gruppe von Schlüsseln")]
    content, lines, problems = _content(nodes[0], file)
    if problems:
        return None, problems
    try:
        return model.model_validate(content), []
    except ValidationError as error:
        found = _explain(error, model, file, {(): 1, **lines})
        return None, [Problem(p.file, p.line, p.message.replace("»attributes«: ", "")) for p in found]


def _nodes(text: str, file: str) -> tuple[list[yaml.Node], list[Problem]]:
    """The documents of a text as trees, or what is wrong with it."""
    if len(text) > MAX_CHARACTERS:
        return [], [Problem(file, 1, f"die Datei ist zu groß (höchstens {MAX_CHARACTERS // 1024**2} MB)")]
    try:
        if (line := _too_deep(text)) is not None:
            return [], [Problem(file, line, _NESTED)]
        return [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None], []
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "oft Einrückung, Doppelpunkt, Klammer oder ein Stern ohne Anführungszeichen in oder über dieser Zeile"
        return [], [Problem(file, line, f"kein gültiges YAML, {hint} ({error.problem or error.context})")]
    except (yaml.YAMLError, ValueError, RecursionError):
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        line = text.count("\n", 0, odd.start()) + 1 if odd else 1
        return [], [Problem(file, line, "kein gültiges YAML: die Datei enthält unsichtbare Steuerzeichen")]


def _content(node: yaml.Node, file: str) -> tuple[typing.Any, dict[Path, int], list[Problem]]:
    """Values of a tree, and the line of each."""
    lines: dict[Path, int] = {}
    problems: list[Problem] = []
    try:
        _positions(node, (), lines, file, problems)
    except RecursionError:
        return None, lines, [Problem(file, node.start_mark.line + 1, _NESTED)]
    if problems:
        return None, lines, problems
    try:
        return yaml.CSafeLoader("").construct_document(node), lines, []
    except _UNREADABLE:
        return None, lines, [_unreadable(node, file)]


def _too_deep(text: str) -> int | None:
    """First line on which the nesting goes beyond the limit; looks at one token after the other, without recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return event.start_mark.line + 1 if event.start_mark else 1
    return None


def _document(node: yaml.Node, file: str) -> tuple[list[Parsed], list[Problem]]:
    content, lines, problems = _content(node, file)
    if problems:
        return [], problems
    start = node.start_mark.line + 1
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
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


_NESTED = "zu tief oder im Kreis verschachtelt"
_UNREADABLE = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What PyYAML raises while it turns text into values, e.g. for the day 2023-02-30."""


def _unreadable(node: yaml.Node, file: str) -> Problem:
    """Name the first single value that can't be read, else the whole document."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, yaml.MappingNode):
            waiting += [part for pair in reversed(current.value) for part in reversed(pair)]
        elif isinstance(current, yaml.SequenceNode):
            waiting += reversed(current.value)
        else:
            try:
                yaml.CSafeLoader("").construct_document(current)
            except _UNREADABLE:
                text = f"»{current.value[:60]}« ist nicht lesbar (als Text gemeint: in Anführungszeichen)"
                return Problem(file, current.start_mark.line + 1, text)
    return Problem(file, node.start_mark.line + 1, "kein gültiges YAML: die Angaben sind nicht lesbar")


def _positions(node: yaml.Node, path: Path, lines: dict[Path, int], file: str, problems: list[Problem]) -> None:
    """Note the line of every key and list entry; a key given twice is a problem (YAML would keep the last).

    Raises:
        RecursionError: nested too deeply, in a circle, or aliases that multiply.
    """
    if len(path) > MAX_DEPTH or len(lines) > MAX_KEYS:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                text = "hier ist ein Schlüssel selbst eine Liste oder Gruppe; erwartet wird ein einfacher Text"
                problems.append(Problem(file, key.start_mark.line + 1, text))
                continue
            here = (*path, key.value)
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
    elif node.tag == _WHOLE_NUMBER and len(node.value) > MAX_DIGITS:
        text = f"{_shown(node.value)} ist zu lang für eine Zahl (als Text gemeint: in Anführungszeichen)"
        problems.append(Problem(file, node.start_mark.line + 1, text))


def _explain(error: ValidationError, model: type[BaseModel], file: str, lines: dict[Path, int]) -> list[Problem]:
    """One sentence per finding; a missing key that was only misspelt is reported once, at the misspelling."""
    details = [(detail, _where(detail, lines)) for detail in error.errors()]
    details = [(detail, path) for detail, path in details if not _other_alternative(detail, path, details)]
    near: set[Path] = set()
    problems = []
    for detail, path in details:
        if detail["type"] == "extra_forbidden":
            fields = _fields(model, detail["loc"][:-1])
            match = _nearest(str(detail["loc"][-1]), fields)
            if match:
                near.add((*path[:-1], match))
            text = f"»{'.'.join(map(str, path))}« ist kein gültiger Schlüssel{_hint(str(path[-1]), fields)}"
            problems.append(Problem(file, _line(lines, path), text))
    for detail, path in details:
        if detail["type"] == "extra_forbidden" or (detail["type"] == "missing" and path in near):
            continue
        problems.append(Problem(file, _line(lines, path), _sentence(detail, path)))
    unique = {(p.line, p.message): p for p in problems}
    return sorted(unique.values(), key=lambda p: p.line)


def _where(detail: typing.Any, lines: dict[Path, int]) -> Path:
    """Path to the key where the person should look."""
    path = _visible(detail["loc"], lines, missing=detail["type"] == "missing")
    return path + tuple(getattr(detail.get("ctx", {}).get("error"), "path", ()))


def _other_alternative(detail: typing.Any, path: Path, details: list[tuple[typing.Any, Path]]) -> bool:
    """Whether this only says that a value is none of the other kinds which are possible at its place.

    A group of keys is judged by its keys; a single value by the alternative that is a single value.
    """
    if isinstance(detail.get("input"), dict) and detail["type"] not in ("value_error", "missing"):
        return any(len(other) > len(path) and other[: len(path)] == path for _, other in details)
    return detail["type"] in _WRONG_KIND and any(
        other == path and found["type"] not in _WRONG_KIND for found, other in details
    )


def _sentence(detail: typing.Any, path: Path) -> str:
    where = ".".join(map(str, path)) or "attributes"
    kind, context = detail["type"], detail.get("ctx", {})
    shown = _shown(detail.get("input"))
    if kind == "missing":
        return f"»{where}« fehlt"
    if kind == "value_error":
        return f"»{where}«: {context.get('error')}"
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace(" or ", " oder ").replace("'", "")
        match = _nearest(str(detail.get("input")), choices.replace(" oder ", ", ").split(", "))
        hint = f"; meinten Sie »{match}«?" if match else ""
        return f"»{where}«: {shown} ist nicht erlaubt; möglich: {choices}{hint}"
    if kind == "string_pattern_mismatch":
        return f"»{where}«: {shown} passt nicht zum Muster {context.get('pattern')}"
    start = kind.partition("_")[0]
    expected = _EXPECTED.get(kind, _EXPECTED_OF.get(start, "etwas anderes")).format(**context)
    return f"»{where}«: erwartet wird {expected}, gelesen: {shown}"


def _shown(value: object) -> str:
    """A value as it would be written in YAML, shortened."""
    text = value if isinstance(value, str) else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        text = text.replace("inf", ".inf").replace("nan", ".nan")
    return f"»{text[:60]}…«" if len(text) > 60 else f"»{text}«"


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


def nearest(word: str, known: typing.Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Known words most like `word` (ratio at least `cutoff`), best first; letter case does not matter."""
    if len(word) > LONGEST_WORD:
        return []
    by_lower = {entry.lower(): entry for entry in known}
    return [by_lower[m] for m in difflib.get_close_matches(word.lower(), list(by_lower), n=count, cutoff=cutoff)]


def _nearest(word: str, known: list[str]) -> str | None:
    """Nearest valid key; in a word of two or three letters one wrong letter counts less (ratio at least 0.5)."""
    found = nearest(word, known) or (nearest(word, known, cutoff=0.5) if len(word) <= 3 else [])
    return found[0] if found else None


def _hint(word: str, known: list[str]) -> str:
    match = _nearest(word, known)
    if match:
        return f"; meinten Sie »{match}«?"
    return f"; möglich: {', '.join(known)}" if known else ""
