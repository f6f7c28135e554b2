"""Reads the pages of a report as strictly as only machine-made pages can be read.

A browser is forgiving, an attacker patient: comments, scripts, styles inside a page, unknown elements and attributes,
and whatever the form below does not cover are findings, so that no text of a page escapes the reader.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

_PIECE = re.compile(
    r'<(/?)([A-Za-z][A-Za-z0-9]*)((?:\s+[A-Za-z_][\w:.-]*(?:="[^"<]*")?)*)\s*(/?)>|([^<]+)|(<)',
)
_DOCTYPE = re.compile(r"\s*<!doctype html>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'([A-Za-z_][\w:.-]*)(?:="([^"]*)")?')
_KEY = re.compile(r"(?:^|/)herkunft/([^/#]+)/([^/#]+)\.html#([^#]+)$")
_ONLY_KEY = re.compile(r"(?:\.\./)*herkunft/[^/#]+/[^/#]+\.html#[^#]+")
_OWN_KEY = re.compile(r"([^/#]+)/([^/#]+)#([^#]+)")
_SVG = "http://www.w3.org/2000/svg"
_EXTERNAL = re.compile(r"^\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|//)")
DIGIT = re.compile(r"[\d¹²³⁰-⁹₀-₉¼-¾⅐-↋]")


def _names(text: str) -> set[str]:
    return set(text.split())


VOID = _names("br col hr link meta wbr")
DRAWN = _names(
    """
    circle clippath defs ellipse g line lineargradient marker path pattern polygon polyline rect stop svg symbol
    text tspan use
    """
)
ELEMENTS = (
    VOID
    | DRAWN
    | _names(
        """
    a abbr address article aside b blockquote body caption cite code colgroup dd del desc details dfn div dl dt em
    figcaption figure footer h1 h2 h3 h4 h5 h6 head header html i ins li main mark nav ol p q section small span
    strong sub summary sup table tbody td tfoot th thead time title tr ul
    """
    )
)
READ_OUT = _names("alt aria-description aria-label aria-roledescription aria-valuetext content title value")
"""Attributes whose text reaches a reader."""
REFERENCES = _names(
    """
    aria-current aria-describedby aria-details aria-hidden aria-labelledby aria-level charset class colspan data-f
    data-faktor data-k data-n data-t datetime download focusable for headers hidden href hreflang http-equiv id lang
    media name open rel reversed role rowspan scope span start tabindex type xml:lang
    """
)
GEOMETRY = _names(
    """
    clip-path clip-rule cx cy d display dominant-baseline dx dy fill fill-opacity fill-rule font-family font-size
    font-style font-weight gradientunits height letter-spacing marker-end markerheight markerwidth offset opacity
    orient paint-order patterntransform patternunits points preserveaspectratio r refx refy rx ry shape-rendering
    stop-color stroke stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit
    stroke-opacity stroke-width style text-anchor text-decoration transform vector-effect viewbox visibility width x
    x1 x2 y y1 y2
    """
)
_GEOMETRIC = re.compile(r"\s+(?:" + "|".join(sorted(GEOMETRY, key=len, reverse=True)) + r')="[^"<]*"', re.IGNORECASE)
_MEASURED = re.compile(r"\bA4\b|\b\d{1,4}(?:[.,:]\d+)?\s?(?:px|rem|em|mm|cm|pt|%|:1)(?!\w)")
"""Sizes, as comments of a style sheet speak of them."""
_LOADS = re.compile(r"url\(\s*['\"]?(?!#)", re.IGNORECASE)
INLINE = _names("a abbr b code em i mark q small span strong sub sup time tspan wbr")


class Tag(NamedTuple):
    """What matters of a tag: `figure` is (column, indicator, area, period) of an element with `data-f`.

    `told`: the same of an element without, whose `aria-label` tells the figure that its `data-k` names.
    """

    name: str
    closing: bool
    empty: bool
    figure: tuple[str, str, str, str] | None
    columns: tuple[str, ...]
    counted: bool
    texts: tuple[str, ...]
    references: tuple[str, ...]
    problems: tuple[str, ...]
    told: tuple[str, str, str, str] | None = None


@dataclass
class Text:
    """A piece of text a reader meets.

    Attributes:
        text: decoded.
        kind: `zelle` in a cell of a table, `kopf` in one that heads a row or column, `bild` in a drawing, `ersatz` in
            an attribute that is read out, `verweis` in another attribute, else `text`.
        figure: row and column of `mart.indicator_value` that it claims to be.
        columns: columns of public tables that it claims to come from.
        counted: it claims to be a count of things in the report.
        drawing: which drawing of the page it stands in, from 1.
        in_scale: it is one of the numbers of a drawing that make a scale.
    """

    text: str
    kind: str
    figure: tuple[str, str, str, str] | None = None
    columns: tuple[str, ...] = ()
    counted: bool = False
    drawing: int = 0
    in_scale: bool = False


@dataclass
class Page:
    """Texts and findings of one page."""

    texts: list[Text] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


_TAGS: dict[tuple[str, ...], Tag] = {}
"""Tags seen before without their geometry: pages are made of few different ones."""


def read_page(content: str) -> Page:
    """Take a page apart."""
    page = Page()
    start = _DOCTYPE.match(content)
    if start is None:
        page.problems.append("beginnt nicht mit <!doctype html>")
    _Walk(page).run(content[start.end() if start else 0 :])
    return page


class _Walk:
    """One pass over a page: which elements are open, and what the text belongs to."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.open: list[tuple[str, Tag]] = []
        self.collected: list[str] | None = None
        self.last = ""
        self.drawings = 0

    def run(self, content: str) -> None:
        for closing, name, attributes, empty, text, stray in _PIECE.findall(content):
            if text:
                self._text(text)
            elif stray:
                self.page.problems.append("Kommentar, Skript oder ein Zeichen »<«, das kein Element beginnt")
            elif closing:
                self._close(name.lower(), attributes)
            else:
                self._begin(name.lower(), attributes, empty)
        if self.open:
            self.page.problems.append(f"Element <{self.open[-1][0]}> ist nicht geschlossen")

    def _begin(self, name: str, attributes: str, empty: str) -> None:
        if name in DRAWN and attributes:
            if _LOADS.search(attributes):
                self.page.problems.append(f"<{name}> lädt etwas nach")
            attributes = _GEOMETRIC.sub("", attributes)
        key = (name, attributes, empty)
        tag = _TAGS.get(key) or _tag(*key)
        if not tag.references:  # others are as many as there are figures
            _TAGS[key] = tag
        self.page.problems += tag.problems
        self.page.texts += [Text(text, "ersatz", tag.told) for text in tag.texts]
        self.page.texts += [Text(text, "verweis") for text in tag.references]
        if name not in INLINE:
            self.last = ""
        self.drawings += name == "svg"
        if not tag.empty:
            self.open.append((name, tag))
            if tag.figure and self.collected is None:
                self.collected = []

    def _close(self, name: str, attributes: str) -> None:
        if attributes.strip() or not self.open or self.open[-1][0] != name:
            self.page.problems.append(f"</{name}> schließt kein Element")
            return
        _, tag = self.open.pop()
        if name not in INLINE:
            self.last = ""
        if tag.figure and self.collected is not None:
            inside = any(other.figure for _, other in self.open)
            if not inside:
                self.page.texts.append(Text("".join(self.collected), self._kind(), tag.figure))
                self.collected = None

    def _text(self, raw: str) -> None:
        text = html.unescape(raw) if "&" in raw else raw
        if self.collected is not None:
            self.collected.append(text)
            self.last = ""
            return
        if not DIGIT.search(text):
            self.last = text
            return
        if self.last and DIGIT.match(self.last[-1]) and DIGIT.match(text):
            self.page.problems.append("eine Zahl ist auf mehrere Elemente verteilt")
        self.last = text
        marked = next((tag for _, tag in reversed(self.open) if tag.columns or tag.counted), None)
        columns, counted = (marked.columns, marked.counted) if marked else ((), False)
        self.page.texts.append(Text(text, self._kind(), None, columns, counted, self.drawings))

    def _kind(self) -> str:
        names = {name for name, _ in self.open}
        if "svg" in names:
            return "bild"
        if "td" in names:
            return "zelle"
        return "kopf" if "th" in names else "text"


def _tag(name: str, attributes: str, empty: str) -> Tag:
    """Judge a tag by itself."""
    problems = [] if name in ELEMENTS else [f"Element <{name}> ist nicht vorgesehen"]
    pairs = {key.lower(): html.unescape(value) for key, value in _ATTRIBUTE.findall(attributes)}
    allowed = READ_OUT | REFERENCES | ({"style", "width", "height"} if name not in DRAWN else set())
    if pairs.pop("xmlns", _SVG) != _SVG:
        problems.append(f"<{name}> gehört zu keiner Seite")
    problems += [f"Angabe {key} in <{name}> ist nicht vorgesehen" for key in pairs if key not in allowed]
    if _LOADS.search(attributes):
        problems.append(f"<{name}> lädt etwas nach")
    address = pairs.get("href", "")
    if _EXTERNAL.match(address) and (name != "a" or not re.match(r"(?:https?://|mailto:|tel:)", address)):
        problems.append(f"<{name}> verweist nach außerhalb")
    if name == "meta" and pairs.get("http-equiv", "").lower() == "refresh":
        problems.append("leitet weiter")
    texts = tuple(pairs[key] for key in pairs if key in READ_OUT and DIGIT.search(pairs[key]))
    others = {key: unquote(value) for key, value in pairs.items() if key in REFERENCES - {"data-t"}}
    figure = _figure(pairs, problems)
    if figure:  # the key of a figure is compared with the tables when the figure is
        others = {key: value for key, value in others.items() if not _is_key(key, value)}
    references = tuple(value for value in others.values() if DIGIT.search(value))
    return Tag(
        name,
        False,
        bool(empty) or name in VOID,
        figure,
        tuple(pairs.get("data-t", "").split()),
        "data-n" in pairs,
        texts,
        references,
        tuple(problems),
        _told(pairs),
    )


def _is_key(name: str, value: str) -> bool:
    if name == "data-k":
        return _OWN_KEY.fullmatch(value) is not None
    return name == "href" and _ONLY_KEY.fullmatch(value) is not None


def _told(pairs: dict[str, str]) -> tuple[str, str, str, str] | None:
    """Which figure a label tells."""
    key = _OWN_KEY.fullmatch(pairs.get("data-k", ""))
    return ("value", key[1], key[2], key[3]) if key and "aria-label" in pairs and "data-f" not in pairs else None


def _figure(pairs: dict[str, str], problems: list[str]) -> tuple[str, str, str, str] | None:
    """Which figure an element claims to show, by its own key or by what it links to."""
    if "data-f" not in pairs:
        return None
    own = _OWN_KEY.fullmatch(pairs.get("data-k", ""))
    found = own or _KEY.search(unquote(pairs.get("href", "")))
    if found is None:
        problems.append("data-f ohne Verweis auf die Herkunft der Zahl")
        return None
    return (pairs["data-f"], *found.groups())  # type: ignore[return-value]


def read_style(content: str) -> Iterator[str]:
    """What a style sheet says to readers or loads: findings, and the texts of comments and of `content`."""
    if re.search(r"@import|expression\(|" + _LOADS.pattern, content, re.IGNORECASE):
        yield "lädt etwas nach"
    for text in re.findall(r"/\*(.*?)\*/", content, re.DOTALL):
        if DIGIT.search(_MEASURED.sub("", text)):
            yield "eine Bemerkung mit einer Zahl"
    for text in re.findall(r"(?<![-\w])content\s*:\s*([^;}]*)", content):
        if DIGIT.search(re.sub(r"\\[0-9A-Fa-f]{1,6}", "", text)):
            yield "eine Zahl als Inhalt (content)"
