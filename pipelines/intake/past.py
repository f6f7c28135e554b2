"""Figures of earlier deliveries and other sources that a delivery is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Past:
    """The reading of one accepted delivery that is not retracted; `title` names its source for people."""

    source: str
    delivery_id: str
    seq: int
    path: Path
    title: str = ""
