"""How much memory a run may take. Standard library only: asked before anything is loaded."""

from __future__ import annotations

import os
import re

VARIABLE = "SOZIALRAUM_SPEICHER"
"""Environment variable: memory that the process may take, such as `4GB` or `512MB`."""

DEFAULT = "4GB"
_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}
_LEAST = 512 * 10**6


class BadMemoryLimit(Exception):
    """The environment variable holds no size; the message says what is expected. No ValueError: those tell of data."""


def memory_limit() -> int:
    """Bytes that the process may take.

    Raises:
        BadMemoryLimit: `SOZIALRAUM_SPEICHER` is no size, or less than anything can be built with.
    """
    text = os.environ.get(VARIABLE) or DEFAULT
    found = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(MB|GB|MIB|GIB)", text.strip().upper())
    size = int(float(found[1].replace(",", ".")) * _UNITS[found[2]]) if found else 0
    if size < _LEAST:
        raise BadMemoryLimit(
            f"Umgebungsvariable {VARIABLE}: erwartet ist eine Größe in MB, GB, MiB oder GiB, mindestens 512MB, "
            f"z. B. {DEFAULT}; dort steht »{text}«"
        )
    return size
