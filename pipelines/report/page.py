"""What a page is: where it stands, which template writes it, and the data for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Page:
    """One page.

    `path` is below the report's folder, `title` becomes heading and window title, `context` holds plain data for the
    template or is the call that puts it together, `section` says which item of the navigation is current. What the text
    of a page depends on must show in the `repr` of its context, or in `key`: pages with the same are not rendered
    again, and if they have a key their context is not even put together.
    """

    path: str
    template: str
    title: str
    context: dict[str, Any] | Callable[[], dict[str, Any]] = field(default_factory=dict)
    section: str = ""
    key: str = ""

    def filled(self) -> dict[str, Any]:
        """The data for the template."""
        return self.context() if callable(self.context) else self.context
