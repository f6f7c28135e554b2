"""Addresses of the pages, below the folder of the report. They are cited in papers: none may change."""

from __future__ import annotations

START = "index.html"
AREAS = "gebiete/index.html"
INDICATORS = "indikatoren/index.html"
MAPS = "karten/index.html"
COMPARISONS = "vergleich/index.html"
CITIES = "vergleich/staedte.html"
LINEAGE = "datenfluss.html"
QUALITY = "datenqualitaet.html"
KEY = "zeichen.html"
ACCESSIBILITY = "barrierefreiheit.html"
DOWNLOADS = "downloads.html"


def area_page(area_id: str) -> str:
    """Gebietsprofil of an area."""
    return f"gebiete/{area_id}.html"


def indicator_page(indicator_id: str) -> str:
    """What an indicator means, and how all areas stand."""
    return f"indikatoren/{indicator_id}.html"


def provenance_page(indicator_id: str, area_id: str) -> str:
    """Where the figures of one indicator for one area come from."""
    return f"herkunft/{indicator_id}/{area_id}.html"


def provenance(indicator_id: str, area_id: str, period: str) -> str:
    """Where one figure comes from."""
    return f"{provenance_page(indicator_id, area_id)}#{period}"


def map_page(indicator_id: str, level: str) -> str:
    """Map of an indicator on one area level."""
    return f"karten/{indicator_id}-{level}.html"


def comparison_page(indicator_id: str, level: str, order: str = "") -> str:
    """All areas of a level and all years in one of the prebuilt orders ('' = as listed)."""
    return f"vergleich/{indicator_id}-{level}{f'-{order}' if order else ''}.html"


def index_page(index_id: str) -> str:
    """A composite index."""
    return f"index/{index_id}.html"


def lineage_page(indicator_id: str) -> str:
    """The way of an indicator's data from the sources."""
    return f"datenfluss/{indicator_id}.html"


def up(path: str) -> str:
    """What leads from a page to the folder of the report, e.g. `../` from `gebiete/x.html`."""
    return "../" * path.count("/")
