"""Attacks on the intake: whatever is dropped into the inbox or written into YAML ends in a German sentence.

Nothing here may hang, show a traceback, follow a link, steer a terminal, run a formula or change a figure. What the
limits of `pipelines.intake.limits` mean for workbooks is tested in `test_workbook`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipelines import gate, history
from pipelines.history import History
from pipelines.intake import delimited, layout, limits
from pipelines.intake.contract import Judge
from pipelines.intake.limits import CELL_CHARACTERS, COLUMNS, PATTERN_CHARACTERS
from pipelines.paths import Paths
from pipelines.plaintext import printable
from pipelines.progress import Voice
from pipelines.project import ConfigError, load_project
from schemas import yaml_source
from schemas.yaml_source import MAX_CHARACTERS, parse
from tests.conftest import ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_history import FIRST, put, text_of
from tests.test_reading import DIRECTORY, HEAD, LONG, MEASURES, TEXT, read, source

SECRET = text_of(dict.fromkeys(FIRST, (1, 7)))
"""A valid delivery that must not be taken by way of a link."""
Drop = Callable[[Path], Any]


def rules(content: bytes | str, **more: Any) -> list[tuple[str, int]]:
    return [(f.rule, f.line) for f in read(content, source(**more)).failures]


# ---------------------------------------------------------------- limits


def test_text_file_above_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "TEXT_BYTES", 20)
    result = read(TEXT)
    assert [(f.rule, f.line) for f in result.failures] == [("datei_zu_gross", 0)]
    assert result.cells == []


def test_file_above_the_limit_is_not_even_received(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of a terabyte would fill the archive."""
    with put(project, "", "riese.csv").open("wb") as file:
        file.truncate(2**40)
    for module in (gate, history):
        whole = module.sha256_file
        monkeypatch.setattr(
            module, "sha256_file", lambda path, whole=whole: whole(path) if path.stat().st_size < 10**6 else 1 / 0
        )
    night = run_night(project)
    assert night.exit_code == 3
    assert "riese.csv: 1048576 MB groß, erlaubt sind 4096 MB" in night.findings[0]
    assert not (project / "data/history/deliveries/beispiel").joinpath("0002").exists()
    assert len(list((project / "data/history/deliveries/beispiel").iterdir())) == 1


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_long_line(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(delimited, "LINE_BYTES", 100)
    line = "1;Altstadt;31.12.2023;5" + " " * 90
    assert rules(end.join([HEAD, line, line])) == [("datei_lesbar", 2)]
    line = line[:-20]
    assert rules(end.join([HEAD, line, line.replace("2023", "2022")])) == []


def test_record_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells with line breaks make one record of many short lines: it would be held in memory as a whole."""
    monkeypatch.setattr(delimited, "LINE_BYTES", 1000)
    assert rules(f"{HEAD}\n" + '"x\n";' * 1000) == [("datei_lesbar", 2)]


def test_long_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{HEAD}\n1;{'A' * CELL_CHARACTERS};31.12.2023;5\n"
    assert read(text).failures == []  # read as it is; that there is no such area is said by another rule
    assert rules(text.replace("A;", "AA;")) == [("datei_lesbar", 2)]
    monkeypatch.setattr(delimited, "CELL_CHARACTERS", 20)
    assert rules(f"{HEAD}\n1;Altstadt;31.12.2023;{'5' * 21}\n") == [("datei_lesbar", 2)]


@pytest.mark.parametrize("number", [COLUMNS + 1, 500_000])
def test_many_columns(number: int) -> None:
    assert rules(";".join(map(str, range(number))) + "\n1\n") == [("datei_zu_gross", 1)]


def test_a_million_columns_are_a_line_too_long() -> None:
    assert rules(";".join(map(str, range(10**6))) + "\n1\n") == [("datei_lesbar", 1)]
    result = read(f"{HEAD}\n{';' * 10**6}1\n")
    assert [(f.rule, f.line, f.column) for f in result.failures] == [("zeile_zu_lang", 2, 10**6 + 1)]


def test_long_cells_come_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_CHARACTERS", 5000)
    held = []
    figures = layout.Reader.figures

    def watch(self: Any, received: Any, *more: Any) -> Any:
        held.append(len(received))
        return figures(self, received, *more)

    monkeypatch.setattr(layout.Reader, "figures", watch)
    result = read(HEAD + "".join(f"\n1;{'A' * 1000};31.12.{year};5" for year in range(1990, 2020)))
    assert len(result.cells) == 30
    assert max(held) == 5


def test_patterns_of_the_yaml_see_only_short_texts() -> None:
    """Their time may grow with the third power of the length; the sender decides on the length."""
    area = {"name": "Gebiet", "level": "bezirk", "split": r"(?P<name>.+?)\s*\((?P<number>[0-9]+)\)"}
    long = "Altstadt" + " " * 100_000 + "x"
    text = f"Gebiet;Tag;Wert\n{long};31.12.2023;5\nAltstadt (1);31.12.2023;6\n"
    result = read(text, source({**LONG, "area": area}))
    assert result.short("area_id", "value") == [(None, 5), ("B-1", 6)]
    period = {"type": "stichtag", "file_name": r"(.+?)\s*\.csv"}
    values = [{"column": "Wert", "measure": "n"}]
    name = "x" * (PATTERN_CHARACTERS + 1)
    of = source({"area": {"name": "Gebiet", "level": "bezirk"}, "period": period, "values": values})
    assert [f.rule for f in read("Gebiet;Wert\nAltstadt;5\n", of, name).failures] == ["dateiname"]


_BOUNDED = """
import resource, sys
from pathlib import Path
limit = 900 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
sys.path.insert(0, sys.argv[1])
from pipelines.intake.delimited import open_text
from pipelines.intake.failures import Findings
from schemas.documents import Format
findings = Findings()
rows = open_text(Path(sys.argv[2]), Format(), findings)
count = sum(1 for _ in rows) if rows is not None else -1
print(count, [(f.rule, f.line) for f in findings.kept])
"""


@pytest.mark.parametrize(
    ("start", "unit", "number", "expected"),
    [
        (b"", b"x" * 2**20, 200, "-1 [('datei_lesbar', 1)]"),
        (HEAD.encode() + b'\n1;"', b"a;b;c;d\n" * 2**17, 20, "1 [('datei_lesbar', 2)]"),
        (HEAD.encode() + b"\n", b'"x\n";' * 2**18, 10, "1 [('datei_lesbar', 2)]"),
        (b"", b"\0" * 2**20, 200, "-1 [('datei_lesbar', 1)]"),
    ],
    ids=["one line", "quote never closed", "one record", "NUL"],
)
def test_large_files_are_refused_in_bounded_memory(
    tmp_path: Path, start: bytes, unit: bytes, number: int, expected: str
) -> None:
    file = tmp_path / "gross.csv"
    with file.open("wb") as out:
        out.write(start)
        for _ in range(number):
            out.write(unit)
    command = [sys.executable, "-c", _BOUNDED, str(ROOT), str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (run.stdout.strip(), run.returncode) == (expected, 0), run.stderr[-500:]


def test_old_macintosh_file_larger_than_a_block_keeps_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block may end within a character, or between CR and LF."""
    monkeypatch.setattr(delimited, "LINE_BYTES", 100)
    for end in ("\r", "\r\n"):
        rows = "".join(f"2;Mühlenviertel;{1900 + n}-12-31;{n}{end}" for n in range(50))
        for shift in range(40):
            start = f"{HEAD}{' ' * shift}{end}{rows}"
            result = read(f"{start}3;Südhang;31.12.2023;7")
            assert result.failures == []
            assert [cell["line"] for cell in result.cells] == list(range(2, 53))
            assert rules(start.encode() + b"3;S\xfcdhang;31.12.2023;7") == [("zeichensatz", 52)]


# ---------------------------------------------------------------- signs


HIDDEN = ["\u202e", "\u200b", "\u2066", "\x1b[2J", "\x07", "\x9b31m", "\x85", "\u2028"]


@pytest.mark.parametrize("sign", HIDDEN)
def test_hidden_signs_in_names_are_refused_and_shown(sign: str) -> None:
    findings = judged(f"{HEAD}\n1;Alt{sign}stadt;31.12.2023;5\n")
    assert findings
    for found in findings:
        assert found.sentence().isprintable()
        assert printable(found.value) == found.value
    assert any(f"U+{ord(sign[0]):04X}" in f.message + f.value for f in findings)


def judged(content: str) -> list[Any]:
    """Findings of a whole judgement, errors only."""
    judge = Judge(source(), DIRECTORY, MEASURES, dt.date(2025, 1, 1))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bytes")
        path.write_bytes(content.encode())
        judge.read(path, "f.csv", [], Path(folder, "reading"))
    return [f for f in judge.findings.kept if f.severity == "error"]


def test_a_voice_says_nothing_that_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    voice = Voice()
    for say in (voice.say, voice.warn, voice.error):
        say("x\x1b[31m\x07\x9b\u202e\udcff\r\nzweite Zeile")
    voice.summary([("q", "1", "1", "x")], "gut", ["\x1b]0;Titel\x07"])
    said = capsys.readouterr()
    for line in (said.out + said.err).split("\n"):
        assert line.isprintable(), line
    assert "⟨U+001B⟩[31m" in said.out
    assert said.err == "x⟨U+001B⟩[31m⟨U+0007⟩⟨U+009B⟩⟨U+202E⟩⟨U+DCFF⟩⟨U+000D⟩\nzweite Zeile\n"


# ---------------------------------------------------------------- the inbox

ODD_NAMES = {
    "line break": "x\nNICHT GUT: gefälscht.csv",
    "escape sequence": "x\x1b[31mrot.csv",
    "direction mark": "x\u202evsc.csv",
    "not UTF-8": os.fsdecode(b"x\xff.csv"),
}


def as_link(target: Path) -> Drop:
    return lambda folder: os.symlink(target, folder / "x.csv")


def as_socket(folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)  # the path of a socket may be 108 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("x.csv")
    finally:
        os.chdir(before)


def as_device(folder: Path) -> None:
    try:
        os.mknod(folder / "x.csv", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "draussen" / "geheim.csv"
    file.parent.mkdir()
    file.write_text(SECRET, encoding="utf-8")
    return file


def drops(secret: Path) -> dict[str, tuple[Drop, str]]:
    return {
        "link": (as_link(secret), "Verknüpfung"),
        "link to a folder": (as_link(secret.parent), "Verknüpfung"),
        "dangling link": (as_link(secret / "nichts"), "Verknüpfung"),
        "link to itself": (as_link(Path("x.csv")), "Verknüpfung"),
        "link to a device": (as_link(Path("/dev/zero")), "Verknüpfung"),
        "pipe": (lambda folder: os.mkfifo(folder / "x.csv"), "keine gewöhnliche Datei"),
        "socket": (as_socket, "keine gewöhnliche Datei"),
        "device": (as_device, "keine gewöhnliche Datei"),
    }


@pytest.mark.parametrize("kind", list(drops(Path("x"))))
def test_what_is_no_file_is_named_and_neither_opened_nor_followed(published: Path, secret: Path, kind: str) -> None:
    drop, words = drops(secret)[kind]
    drop(published / "data/raw/beispiel")
    paths = Paths.of(published)
    assert not gate.examine(paths, dt.date.today()).unchanged  # noqa: DTZ011 - the night must hear of it
    night = run_night(published)
    assert night.exit_code == 3
    assert f"data/raw/beispiel/x.csv: {words}" in night.findings[0]
    assert len(History(paths).deliveries("beispiel")) == 1
    assert gate.examine(paths, dt.date.today()).unchanged  # noqa: DTZ011


def test_names_that_forge_or_break_are_refused(project: Path) -> None:
    for name in ODD_NAMES.values():
        (project / "data/raw/beispiel" / name).write_text(SECRET, encoding="utf-8")
        (project / "data/raw" / name).mkdir()
        (project / "data/raw/beispiel" / name.replace(".csv", ".txt")).write_text("x", encoding="utf-8")
    night = run_night(project)
    assert night.exit_code == 3
    assert len(night.findings) == len(ODD_NAMES)
    assert all("enthält Steuerzeichen oder ist nicht in UTF-8" in finding for finding in night.findings)
    assert len(night.notes) == 2 * len(ODD_NAMES)
    assert all(text.isprintable() for text in (*night.findings, *night.notes))
    assert len(History(Paths.of(project)).deliveries("beispiel")) == 1


def test_other_odd_names_are_names(project: Path) -> None:
    names = ["ein name.csv", "';DROP TABLE x;--\".csv", "<script>alert(1).csv", "x..%2F..\\y.csv", "x" * 251 + ".csv"]
    for number, name in enumerate(names):
        put(project, SECRET.replace(";7", f";x{number}"), name)  # rejected, each with bytes of its own
    night = run_night(project)
    assert sorted(d.name for d in night.states["beispiel"].outstanding) == sorted(names)
    pages = list((project / "data/warehouse/internal/rueckmeldungen").iterdir())
    assert all([p.suffix for p in pages].count(ending) >= len(names) for ending in (".html", ".csv"))
    assert not any("<script>alert" in p.read_text(encoding="utf-8") for p in pages if p.suffix == ".html")


def test_folder_of_a_source_that_is_a_link_is_not_followed(project: Path, secret: Path) -> None:
    folder = project / "data/raw/beispiel"
    folder.rename(project / "weg")
    folder.symlink_to(secret.parent)
    night = run_night(project)
    assert night.exit_code == 3
    assert "data/raw/beispiel: Verknüpfung, nicht gelesen" in night.findings[0]
    assert History(Paths.of(project)).deliveries("beispiel") == []


def test_file_where_a_folder_is_expected(project: Path) -> None:
    folder = project / "data/raw/beispiel"
    shutil.rmtree(folder)
    folder.write_text("x", encoding="utf-8")
    night = run_night(project)
    assert night.exit_code == 3
    assert "data/raw/beispiel: kein lesbarer Ordner" in night.findings[0]


def test_inbox_that_is_a_link_is_the_operators_choice(project: Path, tmp_path: Path) -> None:
    """data/ belongs to the service account: a sender can't make this link."""
    inbox = project / "data/raw"
    shutil.move(inbox, tmp_path / "freigabe")
    inbox.symlink_to(tmp_path / "freigabe")
    assert run_night(project).exit_code == 0
    assert len(History(Paths.of(project)).deliveries("beispiel")) == 1


def test_folders_in_folders_do_not_end_the_night(project: Path) -> None:
    before, depth = Path.cwd(), 1500
    os.chdir(project / "data/raw/beispiel")
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    night = run_night(project)
    assert night.exit_code == 0
    assert night.notes == ["beispiel: data/raw/beispiel/d: Unterordner, nicht gelesen; Dateien direkt ablegen"]
    subprocess.run(["rm", "-rf", project / "data/raw/beispiel/d"], check=True)  # pytest's own clean-up is recursive


def test_names_that_differ_in_case_are_two_deliveries(project: Path) -> None:
    for name, value in (("A.csv", 7), ("a.csv", 8), ("a.CSV", 9)):
        put(project, text_of(dict.fromkeys(FIRST, (1, value))), name)
    night = run_night(project)
    names = [d.name for d in History(Paths.of(project)).deliveries("beispiel")]
    assert names == sorted(["A.csv", "a.CSV", "a.csv", "beispiel.csv"])
    assert sum("kamen in derselben Nacht" in note for note in night.notes) == 6


@pytest.mark.parametrize("moment", ["before it is opened", "before it is copied"])
def test_file_swapped_for_a_link_meanwhile_is_not_followed(
    project: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    swapped = put(project, text_of(dict.fromkeys(FIRST, (1, 9))), "x.csv")
    inode = swapped.stat().st_ino

    def swap() -> None:
        swapped.unlink()
        swapped.symlink_to(secret)

    opened, copied = os.open, shutil.copyfileobj

    def open_later(path: Any, *more: Any, **options: Any) -> int:
        if path == "x.csv" and not swapped.is_symlink():
            swap()
        return opened(path, *more, **options)

    def copy_later(file: Any, *more: Any) -> None:
        if os.fstat(file.fileno()).st_ino == inode:
            swap()
        copied(file, *more)

    if moment == "before it is opened":
        monkeypatch.setattr(history.os, "open", open_later)
    else:
        monkeypatch.setattr(history.shutil, "copyfileobj", copy_later)
    night = run_night(project)
    assert [d.name for d in night.states["beispiel"].deliveries] == ["beispiel.csv"]
    archived = [p.read_text(encoding="utf-8") for p in (project / "data/history").rglob("bytes")]
    assert SECRET not in archived


def test_folder_swapped_for_a_link_meanwhile_is_not_followed(
    project: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened = project / "data/raw/beispiel", os.open
    secret.rename(secret.with_name("beispiel.csv"))

    def open_later(path: Any, *more: Any, **options: Any) -> int:
        if path == folder and not folder.is_symlink():
            folder.rename(project / "weg")
            folder.symlink_to(secret.parent)
        return opened(path, *more, **options)

    monkeypatch.setattr(history.os, "open", open_later)
    assert run_night(project).states["beispiel"].deliveries == []


def test_the_command_survives_an_inbox_full_of_traps(project: Path, secret: Path) -> None:
    folder = project / "data/raw/beispiel"
    for number, (drop, _) in enumerate(drops(secret).values()):
        drop(folder)
        (folder / "x.csv").rename(folder / f"{number}.csv")
    for name in ODD_NAMES.values():
        (folder / name).write_text(SECRET, encoding="utf-8")
    put(project, SECRET.replace("31.12.2022", "\x1b[31m31.12.2022") + "=1+1;<b>;\u202e;x\n", "boese.csv")
    run = sozialraum("nightly", "--project", project, timeout=120)
    assert run.returncode == 3, run.stderr
    for line in (run.stdout + run.stderr).splitlines():
        assert line.isprintable(), line
    assert "Traceback" not in run.stdout + run.stderr
    assert run.stdout.count("\nNICHT GUT:") == len(drops(secret)) + len(ODD_NAMES) + 1


# ---------------------------------------------------------------- what is told


class Tags(HTMLParser):
    """Names of all elements, and of attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs if name.startswith("on"))}


EVIL = [
    "<img src=x onerror=alert(1)>",
    "<script>x</script>",
    "{{ 7*7 }}",
    '"><svg onload=x>',
    "</code></table><iframe>",
]
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "=cmd|'/C calc'!A0", "＝1"]


def test_report_runs_nothing(project: Path) -> None:
    rows = [f"{n};{evil};31.12.2022;1;1" for n, evil in enumerate([*EVIL, *FORMULAS], 1)]
    heading = text_of(FIRST).splitlines()[0]
    quoted = [";".join('"' + cell.replace('"', '""') + '"' for cell in row.split(";")) for row in rows]
    put(project, "\n".join([heading, *quoted]) + "\n", "<b onclick=x>.csv")
    run_night(project)
    folder = project / "data/warehouse/internal/rueckmeldungen"
    page = next(folder.glob("*.html")).read_text(encoding="utf-8")
    seen = Tags()
    seen.feed(page)
    assert not seen.found & {"script", "img", "svg", "iframe", "onerror", "onload", "onclick"}
    assert "{{ 7*7 }}" in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    table = next(folder.glob("*.csv")).read_bytes().decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(table, newline=""), delimiter=";") for cell in row]
    assert any("cmd|" in cell for cell in cells)
    for cell in cells:
        assert cell.lstrip()[:1] not in "=+@＝＋＠\t\r" or not cell, cell
        assert not cell.lstrip().startswith("-") or cell.lstrip("-").replace(",", "").isdigit(), cell


@pytest.mark.parametrize("command", ["check", "describe"])
def test_commands_on_a_hostile_file(project: Path, tmp_path: Path, command: str) -> None:
    file = tmp_path / "x\x1b[31m<b>.csv"
    heading = text_of(FIRST).splitlines()[0]
    evil = "".join(f'"\x1b]0;x\x07{n}";"{evil}";31.12.2022;\u202e1;1\n' for n, evil in enumerate(EVIL))
    file.write_text(f"{heading}\n{evil.replace(chr(34) + '>', '>')}", encoding="utf-8")
    more = ["--source", "beispiel"] if command == "check" else []
    run = sozialraum(command, file, "--project", project, *more)
    assert run.returncode in (0, 2, 3), run.stderr
    assert "Traceback" not in run.stderr
    for line in (run.stdout + run.stderr).splitlines():
        assert line.isprintable(), line
    assert not (project / "data/history").exists()


@pytest.mark.parametrize("kind", ["pipe", "device", "link to nothing", "folder"])
@pytest.mark.parametrize("command", ["check", "describe"])
def test_commands_on_what_is_no_file(project: Path, tmp_path: Path, command: str, kind: str) -> None:
    file = tmp_path / "x.csv"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero" if kind == "device" else tmp_path / "nichts")
    more = ["--source", "beispiel"] if command == "check" else []
    run = sozialraum(command, file, "--project", project, *more, timeout=30)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr


# ---------------------------------------------------------------- YAML

TYPE = "type: pipelines.components.MeasureComponent\nattributes:\n"
LAUGH = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join([f'*{chr(ord(c) - 1)}'] * 9)}]\n" for c in "bcdefghi"
)
MERGE = "a: &a {k: 1}\n" + "".join(
    f"{c}: &{c} {{<<: [{', '.join([f'*{chr(ord(c) - 1)}'] * 9)}]}}\n" for c in "bcdefghi"
)
TRICKS = {
    "billion laughs": (LAUGH, "zu tief oder im Kreis"),
    "billion merges": (MERGE, "zu tief oder im Kreis"),
    "laughs in a key": (f"{LAUGH}? *i\n: 1\n", "zu tief oder im Kreis"),
    "list in itself": ("&a [*a]", "zu tief oder im Kreis"),
    "group in itself": ("&a {a: *a}", "zu tief oder im Kreis"),
    "group as its own key": ("&a {? *a : 1}", "ist ein Schlüssel selbst eine Liste oder Gruppe"),
    "deep brackets": ("[" * 100_000, "zu tief oder im Kreis"),
    "deep dashes": ("- " * 100_000 + "x", "zu tief oder im Kreis"),
    "deep keys": ("- ? " * 50_000 + "x", "zu tief oder im Kreis"),
    "deep groups": ("".join(" " * n + "a:\n" for n in range(3000)), "zu tief oder im Kreis"),
    "python object": ("!!python/object/apply:os.system ['false']\n", "nicht lesbar"),
    "python name": (f"{TYPE}  id: !!python/name:os.system x\n", "nicht lesbar"),
    "python in a key": (f"{TYPE}  !!python/tuple [a]: x\n", "Schlüssel selbst eine Liste"),
    "key twice": (f"{TYPE}  id: a\n  id: b\n", "steht schon in Zeile 3"),
    "tab": (f"{TYPE}\tid: a\n", "kein gültiges YAML"),
    "NUL": (f"{TYPE}  id: \0", "unsichtbare Steuerzeichen"),
    "half character": (f'{TYPE}  id: "\\ud800"', "kein gültiges YAML"),
    "long number": (f"{TYPE}  id: {'9' * 10_000}", "zu lang für eine Zahl"),
    "long hexadecimal number": (f"{TYPE}  id: 0x{'f' * 20_000}", "zu lang für eine Zahl"),
    "long number to base 60": (f"{TYPE}  id: 1{':59' * 20_000}", "zu lang für eine Zahl"),
    "endless number": (f"{TYPE}  decimals: .inf\n", "»id« fehlt"),
    "huge file": (f"{TYPE}  id: {'a' * MAX_CHARACTERS}", "zu groß"),
    "unknown alias": ("*x", "kein gültiges YAML"),
    "many documents": ("---\nx\n" * 5000, "jedes Dokument beginnt mit"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_yaml_tricks_end_in_a_sentence(trick: str) -> None:
    text, words = TRICKS[trick]
    parsed, problems = parse(text, "defs.yaml")
    assert parsed == []
    assert words in problems[0].message
    assert all(len(str(problem)) < 500 for problem in problems)


DEFS = "assets/beispiel/defs.yaml"


def files_of(root: Path) -> Path:
    return next(
        path for path in root.glob("assets/*/defs.yaml") if "SourceComponent" in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("trick", ["billion laughs", "deep dashes", "group as its own key", "long hexadecimal number"])
def test_commands_refuse_yaml_tricks(project: Path, trick: str) -> None:
    defs = files_of(project)
    defs.write_text(defs.read_text(encoding="utf-8") + "\n---\n" + TRICKS[trick][0], encoding="utf-8")
    run = sozialraum("nightly", "--project", project, timeout=60)
    assert run.returncode == 2
    assert TRICKS[trick][1] in run.stderr
    assert "Traceback" not in run.stderr


def problems_of(root: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_project(root)
    return str(caught.value)


@pytest.mark.parametrize("key", ["areas", "memberships"])
@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "/etc/passwd", "../../data/raw/beispiel/beispiel.csv", "link.csv"]
)
def test_lists_of_areas_lie_in_the_project(project: Path, key: str, path: str) -> None:
    defs = project / "assets/areas/defs.yaml"
    (defs.parent / "link.csv").symlink_to("/etc/passwd")
    text = defs.read_text(encoding="utf-8").replace("\n  levels:", f"\n  {key}: {path}\n  levels:")
    defs.write_text(text, encoding="utf-8")
    assert "root:" not in problems_of(project)
    if path != "link.csv":
        (defs.parent / "link.csv").unlink()
        assert f"»{key}«: die Datei »{path}« liegt nicht in assets/" in problems_of(project)


@pytest.mark.parametrize("name", ["mehr/defs.yaml", "mehr"])
def test_links_out_of_the_description_are_refused(project: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "draussen" / "defs.yaml"
    outside.parent.mkdir()
    outside.write_text("type: x\nattributes: {}\n", encoding="utf-8")
    link = project / "assets" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if name.endswith("yaml") else outside.parent)
    assert f"assets/{name}:1: Verknüpfung aus assets/ heraus" in problems_of(project)


def test_yaml_that_is_a_pipe_is_not_waited_for(project: Path) -> None:
    (project / "assets/mehr").mkdir()
    os.mkfifo(project / "assets/mehr/defs.yaml")
    assert "assets/mehr/defs.yaml:1: keine gewöhnliche Datei" in problems_of(project)


def test_rules_without_which_figures_get_lost_cannot_be_weakened(project: Path) -> None:
    defs = files_of(project)
    text = defs.read_text(encoding="utf-8")
    assert "\n  contract:" in text
    defs.write_text(
        text.replace("\n  contract:", "\n  contract:\n    severity: {gebiet_bekannt: warning, ausreisser: off}", 1),
        encoding="utf-8",
    )
    assert "die Regel gebiet_bekannt weist immer zurück" in problems_of(project)


# ---------------------------------------------------------------- SQL of the marts

STATEMENTS = {
    "file as table": "SELECT * FROM '/etc/passwd'",
    "table function": "SELECT * FROM read_csv('/etc/passwd')",
    "function in a subquery": "SELECT (SELECT content FROM read_text('/etc/passwd')) AS area_id FROM area_in",
    "write": "COPY (SELECT 1) TO '{out}'",
    "database": "ATTACH '{out}'",
    "extension": "INSTALL httpfs",
    "second statement": "SELECT * FROM area_in; COPY (SELECT 1) TO '{out}'",
    "closing bracket": "SELECT 1); COPY (SELECT 1) TO '{out}'; SELECT * FROM (SELECT 1",
    "template": "{{{{ cycler.__init__.__globals__.os.system('touch {out}') }}}}SELECT * FROM area_in",
    "endless template": "{{% for n in range(10**12) %}}x{{% endfor %}}",
    "broken template": "SELECT {{{{ 1",
}


@pytest.mark.parametrize("kind", STATEMENTS)
def test_sql_of_a_mart_reaches_nothing_but_its_tables(project: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "geschrieben"
    sql = next(project.glob("assets/marts/**/area.sql"))
    sql.write_text(STATEMENTS[kind].format(out=out), encoding="utf-8")
    said = Quiet()
    from pipelines.nightly import run_nightly

    assert run_nightly(project, said) == 2
    assert "assets/marts/area/area.sql" in "\n".join(said.lines)
    assert "root:" not in "\n".join(said.lines)
    assert not out.exists()


@pytest.mark.parametrize("name", ["gebiet", "gebietsprofil"])
def test_views_and_macros_reach_no_file(project: Path, name: str) -> None:
    """Their SQL is not analysed: the session that binds it has no access to files any more."""
    sql = next(project.glob(f"assets/marts/**/{name}.sql"))
    sql.write_text("SELECT * FROM read_csv('/etc/passwd')", encoding="utf-8")
    with pytest.raises(Exception, match="file system operations are disabled"):
        run_night(project)
    assert not (project / "data/releases/current").exists()


def test_init_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "ziel").mkdir()
    (tmp_path / "ziel/da").write_text("x", encoding="utf-8")
    (tmp_path / "neu").symlink_to(tmp_path / "ziel")
    assert create_project(tmp_path / "neu", Quiet()) == 2
    assert [p.name for p in (tmp_path / "ziel").iterdir()] == ["da"]


# ---------------------------------------------------------------- what SECURITY.md says

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_stated_limits_are_those_of_the_code() -> None:
    stated = dict(re.findall(r"^\| `([A-Z_]+)` \| ([0-9]+(?: MB)?) \|", SECURITY, re.MULTILINE))
    real = {name: value for name, value in vars(limits).items() if name.isupper() and name != "MEGABYTE"}
    real |= {name: value for name, value in vars(yaml_source).items() if name.startswith("MAX_")}
    shown = {
        name: f"{n // limits.MEGABYTE} MB" if n >= limits.MEGABYTE and n % 1024 == 0 else str(n)
        for name, n in real.items()
    }
    assert stated == shown


def test_named_tests_exist() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(?:test_[a-z_]+\.py::)?(test_[a-z0-9_]+)`", SECURITY)
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in code] == []
    files = set(re.findall(r"`(test_[a-z_]+\.py)", SECURITY))
    assert [name for name in files if not (ROOT / "tests" / name).exists()] == []
