"""Dagster's runs and events in a real Postgres server: recorded, dead runs settled, and what happens without it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

from pipelines.exit_codes import EXIT_FAILED, EXIT_OK
from pipelines.files import read_json
from pipelines.paths import Paths
from tests.conftest import ROOT, Quiet, create_project, sozialraum

PASSWORD = "geheim-Pg9"


class Server:
    """A server of its own in a temporary folder, on a free port of 127.0.0.1, with a password."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.as_user: list[str] = []
        if os.getuid() == 0:  # Postgres refuses to run as root
            shutil.chown(self.folder, "postgres")
            self.as_user = ["setpriv", f"--reuid={pwd.getpwnam('postgres').pw_uid}", "--clear-groups", "--"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (self.folder / "kennwort").write_text(PASSWORD, encoding="ascii")
        (self.folder / "kennwort").chmod(0o644)
        self.call("initdb", "-A", "scram-sha-256", "-U", "sozialraum", "-E", "UTF8", f"--pwfile={self.folder}/kennwort")
        self.start()

    def call(self, program: str, *arguments: str) -> None:
        command = [*self.as_user, str(self.programs / program), "-D", str(self.folder / "daten"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self.call("pg_ctl", "-w", "-l", str(self.folder / "protokoll"), "-o", options, "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-w", "-m", "immediate", "stop")

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg2.connect(
            host="127.0.0.1", port=self.port, user="sozialraum", password=PASSWORD, dbname="postgres"
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and os.environ.get("CI") == "true":
        pytest.fail("CI must have Postgres (package postgresql)")
    if not found:
        pytest.skip("Postgres is not on this machine")
    server = Server(found[-1].parent)
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture(scope="module")
def project(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """A project whose dagster.yaml is the one of deploy/; nothing else differs from any other project."""
    root = tmp_path_factory.mktemp("postgres") / "Stadt"
    assert create_project(root, Quiet()) == 0
    shutil.copy(ROOT / "deploy/dagster-postgres.yaml", root / "dagster.yaml")
    access = {
        "SOZIALRAUM_PG_HOST": "127.0.0.1",
        "SOZIALRAUM_PG_PORT": str(server.port),
        "SOZIALRAUM_PG_DATENBANK": "postgres",
        "SOZIALRAUM_PG_BENUTZER": "sozialraum",
        "SOZIALRAUM_PG_KENNWORT": PASSWORD,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in access.items():
            patch.setenv(name, value)
        yield Paths.of(root)


def change(project: Paths) -> None:
    """Something new for the next night, with the same figures."""
    with (project.inbox / "beispiel/beispiel.csv").open("ab") as file:
        file.write(b"\n")


def test_settings_beside_the_storage_are_those_of_every_project() -> None:
    offered = yaml.safe_load((ROOT / "deploy/dagster-postgres.yaml").read_text(encoding="utf-8"))
    assert set(offered.pop("storage")) == {"postgres"}
    assert offered == yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))


def test_night_publishes_and_its_run_and_events_are_in_postgres(server: Server, project: Paths) -> None:
    night = sozialraum("nightly", "--project", project.root)
    assert night.returncode == EXIT_OK, night.stdout + night.stderr
    assert "Veröffentlicht: " in night.stdout
    assert server.ask("SELECT status FROM runs") == [("SUCCESS",)]
    query = "SELECT count(*) > 0 FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
    assert server.ask(query) == [(True,)]
    assert not list(project.state.rglob("*.db"))


def test_run_of_a_killed_process_is_marked_failed_by_the_next(server: Server, project: Paths) -> None:
    (run_id,) = server.ask("SELECT run_id FROM runs LIMIT 1")[0]
    body = "replace(run_body, 'DagsterRunStatus.SUCCESS', 'DagsterRunStatus.STARTED')"
    server.ask(f"UPDATE runs SET status = 'STARTED', run_body = {body} WHERE run_id = %s", run_id)
    change(project)
    assert sozialraum("nightly", "--project", project.root).returncode == EXIT_OK
    assert server.ask("SELECT status FROM runs WHERE run_id = %s", run_id) == [("FAILURE",)]
    assert sorted(server.ask("SELECT status FROM runs")) == [("FAILURE",), ("SUCCESS",)]


def test_without_postgres_the_night_ends_in_words_and_the_release_stays(server: Server, project: Paths) -> None:
    before = os.readlink(project.current)
    change(project)
    server.stop()
    try:
        night = sozialraum("nightly", "--project", project.root, timeout=120)
    finally:
        server.start()
    said = night.stdout + night.stderr
    assert night.returncode == EXIT_FAILED, said
    assert "FEHLGESCHLAGEN: Dagsters Datenbank antwortet nicht (dagster.yaml: storage)" in night.stderr
    assert "Die letzte Veröffentlichung ist unverändert in Kraft." in night.stderr
    for word in (PASSWORD, "Traceback", "psycopg2", "127.0.0.1"):
        assert word not in said, said
    assert os.readlink(project.current) == before
    assert read_json(project.attempt)["cause"] == "datenbank"
    assert sozialraum("status", "--project", project.root).returncode == EXIT_FAILED


def test_old_runs_go_unless_they_tell_the_newest_about_an_asset(server: Server, project: Paths) -> None:
    """The first run is the only one that reported the measures, which never changed since."""
    first, *others = [run_id for (run_id,) in server.ask("SELECT run_id FROM runs ORDER BY id")]
    assert len(others) == 1
    server.ask("UPDATE runs SET create_timestamp = now() - interval '91 days'")
    night = sozialraum("nightly", "--project", project.root)
    assert night.returncode == EXIT_OK
    assert "beispiel.csv ist neu" in night.stdout  # what came while Postgres was away
    left = [run_id for (run_id,) in server.ask("SELECT run_id FROM runs ORDER BY id")]
    assert left[0] == first
    assert len(left) == 2
    assert not set(left) & set(others)
    assert server.ask("SELECT count(*) FROM event_logs WHERE run_id = ANY(%s)", others) == [(0,)]
    holding = "SELECT count(*) > 0 FROM event_logs WHERE run_id = %s AND asset_key LIKE '%%kennzahl%%'"
    assert server.ask(holding, first) == [(True,)]


def test_missing_credentials_are_named(project: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOZIALRAUM_PG_KENNWORT")
    change(project)
    night = sozialraum("nightly", "--project", project.root)
    assert night.returncode == EXIT_FAILED
    assert "SOZIALRAUM_PG_KENNWORT" in night.stderr
    assert "Traceback" not in night.stderr
