"""How a run speaks: colours and a table on a terminal, plain lines for cron and systemd."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.plaintext import printable


class Voice:
    """Progress to standard output, errors to standard error."""

    def __init__(self) -> None:
        """Find out whether a person is watching."""
        self.person = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """One line of progress."""
        print(_lines(text), flush=True)

    def warn(self, text: str) -> None:
        """Something that keeps the state from being well."""
        print(f"NICHT GUT: {_lines(text)}", flush=True)

    def error(self, text: str) -> None:
        """Something that ended the run."""
        print(_lines(text), file=sys.stderr, flush=True)

    def done(self) -> None:
        """End of the progress lines."""
        sys.stdout.flush()

    def summary(self, rows: Sequence[Sequence[str]], outcome: str, findings: Sequence[str]) -> None:
        """Table of the sources, then the outcome, then what is not well."""
        header = ("Quelle", "in Kraft", "neu", "Zustand")
        if self.person:
            from rich.console import Console
            from rich.table import Table

            table = Table(*header)
            for row in rows:
                table.add_row(*row, style=None if row[3] == "angenommen" else "bold red")
            Console().print(table)
        else:
            widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
            for row in (header, *rows):
                print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(outcome, flush=True)
        for finding in findings:
            self.warn(finding)


def _lines(text: str) -> str:
    """Our own line breaks stay; what a file name or cell brings along can't steer the terminal."""
    return "\n".join(map(printable, text.split("\n")))
