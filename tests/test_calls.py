"""Calls of the command that are wrong, and readers that leave: German sentences, the right exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND, sozialraum

WRONG = {
    "purge": "Es fehlt: DELIVERY",
    "purge beispiel-0001": "Es fehlt: --reason",
    "nightlyy": "Den Befehl »nightlyy« gibt es nicht; meinten Sie »nightly«",
    "status --projekt .": "Die Option --projekt gibt es nicht; meinten Sie --project",
    "status --max-age": "Nach --max-age fehlt die Angabe",
    "status --max-age bald": "--max-age: diese Angabe ist nicht möglich",
    "nightly --engine flink": "--engine: diese Angabe ist nicht möglich; möglich: duckdb, spark",
    "status hier da": "Zu viele Angaben: hier da",
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_call_is_told_in_german(call: str) -> None:
    run = sozialraum(*call.split())
    assert run.returncode == 2
    assert run.stderr.startswith(WRONG[call]), run.stderr
    assert "--help" in run.stderr
    assert not [word for word in ("Missing", "Usage", "Error", "Invalid", "No such") if word in run.stderr]


def test_help_and_no_words_at_all_show_the_commands() -> None:
    for words in ((), ("--help",)):
        assert "nightly" in sozialraum(*words).stdout


def test_reader_that_leaves_changes_neither_words_nor_exit_code(project: Path) -> None:
    """As with `| head -1`: the pipe is closed before the command has said anything."""
    for call, expected in (("catalogue", 0), ("status", 1), ("nightly", 0)):
        reader, writer = os.pipe()
        os.close(reader)
        run = subprocess.run(
            [str(COMMAND), call, "--project", str(project)],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert (run.returncode, run.stderr) == (expected, ""), call
    assert (project / "data/releases/current").exists(), "the night went on"


def test_damaged_internal_file_is_told_in_german_with_a_remedy(project: Path) -> None:
    internal = project / "data/warehouse/internal"
    internal.mkdir(parents=True)
    (internal / "internal.duckdb").write_bytes(b"x" * 20_000)
    run = sozialraum("explain", "arbeitslosenanteil", "1", "2022", "--project", project)
    assert run.returncode == 1
    assert "nicht lesbar" in run.stderr
    assert "Traceback" not in run.stderr
