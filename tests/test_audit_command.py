"""The command `sozialraum audit` as its users call it: exit codes, words, and never a traceback."""

from __future__ import annotations

import datetime as dt
import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import duckdb
import pytest

from pipelines.cli import app
from pipelines.memory import VARIABLE
from pipelines.paths import Paths
from tests.conftest import ROOT, run_night, sozialraum
from tests.test_history import NOW, edit
from tests.town import MEN, WOMEN, deliver, district, town

SOAK = os.environ.get("SOAK") == "1"
EXAMPLES = ROOT / "docs/beispiele"
REAL = ("example", "broken YAML", "unknown option")
"""Calls that start the real command in a short run too."""

Run = subprocess.CompletedProcess[str]


def within(*arguments: str | Path) -> Run:
    """The command without a process of its own: parsing, work, words and exit code are the same."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app(["audit", *map(str, arguments)])
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
    return Run(["audit", *map(str, arguments)], code, out.getvalue(), err.getvalue())


def audit(*arguments: str | Path, real: bool = SOAK) -> Run:
    run = (sozialraum if real else within)(*(["audit"] if real else []), *arguments)
    said = run.stdout + run.stderr
    assert "Traceback" not in said, said
    assert run.stdout.strip() or run.stderr.strip()
    return run


def said(run: Run) -> str:
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases: small figures are withheld in both."""
    folder = town(tmp_path_factory.mktemp("audit") / "Stadt Süd")
    deliver(folder)
    run_night(folder, NOW)
    deliver(folder, [*WOMEN[:4], 31, *WOMEN[5:]], MEN, name="zweite.csv")
    run_night(folder, NOW + dt.timedelta(days=1))
    assert len(releases(folder)) == 2
    return folder


def releases(folder: Path) -> list[Path]:
    return sorted(p for p in Paths.of(folder).releases.iterdir() if p.is_dir() and not p.is_symlink())


@pytest.fixture
def project(city: Path, tmp_path: Path) -> Path:
    return shutil.copytree(city, tmp_path / "Stadt Süd", symlinks=True)


@pytest.fixture
def release(city: Path, tmp_path: Path) -> Path:
    """A copy of the release in force, somewhere else."""
    return shutil.copytree(releases(city)[-1], tmp_path / "kopie")


# ---------------------------------------------------------------- releases


def test_own_release_in_force_is_safe(city: Path) -> None:
    run = audit("--project", city, real=True)
    assert run.returncode == 0, said(run)
    assert releases(city)[-1].name in run.stdout
    assert re.search(r"\b4 gesperrt", run.stdout)
    assert re.search(r"\b36 Zahlen", run.stdout)  # 27 counts, and the residents of nine areas
    for kind in (
        "gebiete|Gebietssummen",
        "auspraegungen|Ausprägungen",
        "teil_und_ganzes|Teil und Ganzes",
        "fr(ü|ue)her",
    ):
        assert re.search(kind, run.stdout), kind
    assert "Sicher: keine gesperrte Zahl" in run.stdout
    assert "ohne Nachrechnen" not in said(run)


def test_older_release_after_newer_ones(city: Path) -> None:
    run = audit(releases(city)[0], "--project", city)
    assert run.returncode == 0, said(run)
    assert releases(city)[0].name in run.stdout
    assert "ohne Nachrechnen" not in said(run)


def test_release_of_another_project_is_checked_with_less(release: Path, tmp_path: Path) -> None:
    (tmp_path / "leer").mkdir()
    run = audit(release, "--project", tmp_path / "leer")
    assert run.returncode == 0, said(run)
    assert "ohne frühere Veröffentlichungen (der Ordner gehört nicht zu diesem Projekt)" in run.stdout
    assert re.search(r"\b4 gesperrt", run.stdout)


def test_tampered_copy_is_named_with_its_place(release: Path) -> None:
    with duckdb.connect(str(release / "sozialraum.duckdb")) as con:
        con.execute(
            "UPDATE mart.observation SET value = 1 WHERE measure_id = 'hilfen' AND category = 'weiblich' "
            f"AND area_id = '{district(2)}'"
        )
    run = audit(release)
    assert run.returncode == 4, said(run)
    assert f"({district(2)})" in run.stderr
    assert "lässt sich errechnen: 1, also unter 3" in run.stderr
    assert "NICHT SICHER" in run.stderr
    assert "Sicher:" not in run.stdout


def test_tampered_release_of_the_project(project: Path) -> None:
    file = releases(project)[-1] / "daten/beobachtungen.csv"
    text = file.read_text(encoding="utf-8")
    start = f"hilfen,weiblich,{district(2)},stichtag,2022-12-31,"
    line = next(line for line in text.splitlines() if line.startswith(start))
    file.write_bytes(text.replace(line, line.replace(",,Q,", ",1,Q,")).encode())
    run = audit("--project", project)
    assert run.returncode == 4, said(run)
    assert "daten/beobachtungen.csv" in run.stderr
    assert f"({district(2)})" in run.stderr


def test_yaml_changed_since_the_release(project: Path) -> None:
    edit(project, lambda m: m["title"].update(de="Anderer Titel"), topic="hilfen", document="Measure")
    run = audit("--project", project)
    assert run.returncode == 0, said(run)
    assert "seit dieser Veröffentlichung geändert" in run.stdout
    assert re.search("fr(ü|ue)her", run.stdout)


def test_project_whose_yaml_is_broken(project: Path) -> None:
    (project / "assets/hilfen/defs.yaml").write_text("type: [\n", encoding="utf-8")
    run = audit("--project", project)
    assert run.returncode == 2, said(run)
    assert "assets/hilfen/defs.yaml" in run.stderr


def test_project_without_the_key(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOZIALRAUM_SCHLUESSEL", str(tmp_path / "anderswo/ledger.key"))
    run = audit("--project", project)
    assert run.returncode == 2, said(run)
    assert "Schlüssel" in run.stderr
    assert not (tmp_path / "anderswo").exists()


def test_memory_that_is_no_size_is_a_wrong_call_and_no_finding(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "viel")
    for of in ([], [releases(city)[0]]):
        run = audit(*of, "--project", city)
        assert run.returncode == 2, said(run)
        assert VARIABLE in run.stderr and "»viel«" in run.stderr and "NICHT SICHER" not in said(run)


def test_project_without_a_release(tmp_path: Path) -> None:
    run = audit("--project", town(tmp_path / "neu"))
    assert run.returncode == 2, said(run)
    assert "keine Veröffentlichung" in run.stderr


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "something else": lambda file: file.write_text("kein DuckDB", encoding="utf-8"),
    "tables missing": lambda file: (file.unlink(), duckdb.connect(str(file)).close()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_database_is_not_called_safe(release: Path, damage: str) -> None:
    DAMAGES[damage](release / "sozialraum.duckdb")
    run = audit(release)
    assert run.returncode == 4, said(run)
    assert "Nicht prüfbar, darum nicht zu veröffentlichen" in run.stderr


def test_audit_changes_nothing(city: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = [p for p in city.rglob("*") if p.is_file() and p.suffix != ".json"]
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in found}

    before = state()
    assert audit("--project", city).returncode == 0
    assert state() == before


# ---------------------------------------------------------------- calls that make no sense, and tables


def latin_1(folder: Path) -> list[str | Path]:
    table = folder / "latin.csv"
    table.write_bytes((EXAMPLES / "arbeitslose.csv").read_bytes().decode().encode("iso-8859-1"))
    return [table, "--sums", EXAMPLES / "arbeitslose.yaml"]


def table_with(folder: Path, yaml: str | bytes) -> list[str | Path]:
    table = shutil.copy(EXAMPLES / "arbeitslose.csv", folder / "tabelle.csv")
    (folder / "tabelle.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    return [Path(table)]


def empty_table(folder: Path, content: str = "") -> list[str | Path]:
    (folder / "leer.csv").write_text(content, encoding="utf-8")
    return [folder / "leer.csv", "--sums", EXAMPLES / "arbeitslose.yaml"]


def folder_of(folder: Path, *more: str | Path) -> list[str | Path]:
    (folder / "ordner").mkdir()
    return [folder / "ordner", *more]


def link_to_nowhere(folder: Path) -> list[str | Path]:
    (folder / "verweis").symlink_to(folder / "fehlt")
    return [folder / "verweis"]


def page_below_a_file(folder: Path) -> list[str | Path]:
    (folder / "datei").touch()
    return [EXAMPLES / "arbeitslose.csv", "--html", folder / "datei/nicht.html"]


SAFE = [EXAMPLES / "arbeitslose_sicher.csv", "--sums", EXAMPLES / "arbeitslose.yaml"]
CALLS: dict[str, tuple[Callable[[Path], list[str | Path]], int, str]] = {
    "example": (lambda _: [EXAMPLES / "arbeitslose.csv"], 4, "arbeitslose.csv: NICHT SICHER (32 Zellen"),
    "safe example": (lambda _: SAFE, 0, "Keine der 16 gesperrten Zellen lässt sich errechnen"),
    "no description": (lambda _: SAFE[:1], 2, "fehlt ihre Beschreibung"),
    "description not there": (lambda f: [*SAFE[:2], f / "fehlt.yaml"], 2, "die Beschreibung fehlt"),
    "Latin-1": (latin_1, 4, "Cäcilienhof"),
    "broken YAML": (lambda f: table_with(f, "labels: [Stadtteil\nsums: {"), 2, "tabelle.yaml"),
    "YAML with a tab": (lambda f: table_with(f, "labels:\n\t- Stadtteil"), 2, "tabelle.yaml"),
    "YAML of one word": (lambda f: table_with(f, "hallo"), 2, "tabelle.yaml"),
    "empty YAML": (lambda f: table_with(f, ""), 2, "tabelle.yaml"),
    "YAML in Latin-1": (lambda f: table_with(f, "labels: [Süd]".encode("iso-8859-1")), 2, "UTF-8"),
    "YAML with unknown keys": (lambda f: table_with(f, "labels: [Stadtteil]\nsummen: {}"), 2, "summen"),
    "empty table": (empty_table, 2, "leer.csv"),
    "table of blank lines": (lambda f: empty_table(f, "\n\n;;\n"), 2, ""),
    "no such path": (lambda f: [f / "gibt es nicht.csv"], 2, "gibt es nicht"),
    "link to nowhere": (link_to_nowhere, 2, "gibt es nicht"),
    "folder that is no release": (folder_of, 2, "keine Veröffentlichung"),
    "sums for a folder": (lambda f: folder_of(f, "--sums", EXAMPLES / "arbeitslose.yaml"), 2, "einzelne Tabelle"),
    "page for a folder": (lambda f: folder_of(f, "--html", f / "seite.html"), 2, "einzelne Tabelle"),
    "page below a file": (page_below_a_file, 2, "datei"),
    "project that is none": (lambda f: ["--project", f / "nirgends"], 2, "keine Veröffentlichung"),
    "unknown option": (lambda _: ["--unsinn"], 2, "--unsinn"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(tmp_path: Path, name: str) -> None:
    make, code, words = CALLS[name]
    run = audit(*make(tmp_path), real=SOAK or name in REAL)
    text = " ".join(said(run).split())
    assert run.returncode == code, text
    assert words in text


def test_page(tmp_path: Path) -> None:
    page = tmp_path / "ergebnis.html"
    run = audit(EXAMPLES / "arbeitslose.csv", "--html", page)
    assert run.returncode == 4
    assert f"Seite geschrieben: {page}" in " ".join(said(run).split())
    assert "Cäcilienhof" in page.read_text(encoding="utf-8")


def test_folder_and_table_without_rights(release: Path, tmp_path: Path) -> None:
    """As a user who may not read them (root may read everything, so the command runs as nobody then)."""
    table = tmp_path / "geheim.csv"
    shutil.copy(EXAMPLES / "arbeitslose.csv", table)
    table.chmod(0)
    (release / "daten").chmod(0)
    as_root = os.geteuid() == 0
    if as_root and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    try:
        for target, code in ((table, {2}), (release, {2, 4})):
            more = ["--sums", str(EXAMPLES / "arbeitslose.yaml")] if target == table else []
            command = [str(ROOT / ".venv/bin/sozialraum"), "audit", str(target), *more]
            drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if as_root else []
            run = subprocess.run([*drop, *command], capture_output=True, text=True, timeout=120, check=False)
            assert run.returncode in code, run.stdout + run.stderr
            assert "Traceback" not in run.stdout + run.stderr
    finally:
        (release / "daten").chmod(0o755)
        table.chmod(0o644)
