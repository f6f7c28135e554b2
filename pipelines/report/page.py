"""What a page is: where it stands, which template writes it, and the data for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Page:
    """One page.

    `path` is below the report's folder, `title` becomes heading and window title, `context` holds plain data for the
    template, `section` says which item of the navigation is current. What the text of a page depends on must show in
    its `repr`: pages with the same are not rendered again.
    """

    path: str
    template: str
    title: str
    context: dict[str, Any] = field(default_factory=dict)
    section: str = ""
