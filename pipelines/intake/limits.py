"""How much one delivery may bring along; beyond that it is refused before it is read. See SECURITY.md."""

from __future__ import annotations

MEGABYTE = 1024 * 1024
TEXT_BYTES = 4096 * MEGABYTE
"""Size of a text file. It is read in chunks, so this bounds time and disk, not memory."""
LINE_BYTES = 4 * MEGABYTE
"""One line of a text file."""
CELL_CHARACTERS = 131_072
"""Text of one cell."""
PATTERN_CHARACTERS = 300
"""Text that a regular expression of the YAML is applied to: its time may grow with the third power of the length."""
COLUMNS = 5_000
"""Columns of a table."""
WORKBOOK_BYTES = 64 * MEGABYTE
"""Size of a workbook as received."""
UNPACKED_BYTES = 512 * MEGABYTE
"""Size of a workbook unpacked (xlsx and ods are archives)."""
UNPACKED_FILES = 10_000
"""Parts of a workbook's archive."""
SHEET_CELLS = 20_000_000
"""Cells of one sheet, empty ones inside its used area included."""
READER_MEMORY = 3072 * MEGABYTE
"""Address space of the process that reads one workbook."""
READER_SECONDS = 300
"""Computing time of that process."""
