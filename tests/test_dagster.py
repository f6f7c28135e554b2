"""The graph: one job over all sources, readable names, checks in words, and runs that are recorded as they went."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipelines.definitions import project_definitions
from pipelines.nightly import run_nightly
from tests.conftest import COMMAND, ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_history import release_locks

NEW_TOPIC = """
type: pipelines.components.SourceComponent
attributes:
  id: wohngeld
  title: {de: Wohngeld (konstruiert)}
  description: {de: Konstruierte Zahlen.}
  publisher: Wohngeldstelle (konstruiert)
  owner: team:datenteam
  licence: CC0-1.0
  origin: constructed
  publication: constructed
  due: none
  layout:
    area: {name: Bezirk, level: bezirk}
    period: {in_header: true, type: stichtag}
    values: [{measure: wohngeldhaushalte}]
---
type: pipelines.components.MeasureComponent
attributes:
  id: wohngeldhaushalte
  title: {de: Haushalte mit Wohngeld}
  unit: persons
  kind: count
  family: wohngeld
  period_type: stichtag
  levels: {bezirk: [wohngeld]}
---
type: pipelines.components.IndicatorComponent
attributes:
  id: wohngeld_haushalte
  title: {de: Haushalte mit Wohngeld}
  definition: {de: Haushalte mit Wohngeld am Stichtag.}
  unit: persons
  decimals: 0
  polarity: neutral
  numerator: {measure: wohngeldhaushalte}
  levels: {bezirk: counts}
  owner: team:sozialplanung
"""


def add_topic(project: Path) -> None:
    (project / "assets/wohngeld").mkdir()
    (project / "assets/wohngeld/defs.yaml").write_text(NEW_TOPIC, encoding="utf-8")
    (project / "data/raw/wohngeld").mkdir()
    text = "Bezirk;31.12.2023\nAltstadt;17\nMühlenviertel;40\nSüdhang;9\n"
    (project / "data/raw/wohngeld/wohngeld.csv").write_text(text, encoding="utf-8")


def keys(project: Path) -> set[str]:
    return {key.to_user_string() for key in project_definitions(project).resolve_asset_graph().get_all_asset_keys()}


def run_job(
    project: Path, instance: dg.DagsterInstance, chosen: list[dg.AssetKey] | None = None
) -> dg.ExecuteInProcessResult:
    job = project_definitions(project).resolve_job_def("nightly")
    try:
        return job.execute_in_process(instance=instance, asset_selection=chosen, raise_on_error=False)
    finally:
        release_locks()


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dg.ExecuteInProcessResult, dg.DagsterInstance]:
    """A project after its first run of the job, what that gave, and where it is recorded."""
    root = tmp_path_factory.mktemp("erster Lauf") / "Stadt"
    assert create_project(root, Quiet()) == 0
    instance = dg.DagsterInstance.ephemeral()
    return root, run_job(root, instance), instance


@pytest.fixture
def after_a_run(first_run: tuple[Path, dg.ExecuteInProcessResult, dg.DagsterInstance], tmp_path: Path) -> Path:
    """A copy to go on with."""
    return Path(shutil.copytree(first_run[0], tmp_path / "Büro Süd" / "Muster Stadt", symlinks=True))


@pytest.fixture(scope="module")
def _recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("Befehl") / "Stadt"
    assert create_project(root, Quiet()) == 0
    assert sozialraum("nightly", "--project", root).returncode == 0
    return root


@pytest.fixture
def recorded(_recorded: Path, tmp_path: Path) -> Path:
    """A copy of a project after its first night by the command, with Dagster's record of it."""
    return Path(shutil.copytree(_recorded, tmp_path / "Büro Süd" / "Muster Stadt", symlinks=True))


def test_graph_reads_from_delivery_to_release(project: Path) -> None:
    graph = project_definitions(project).resolve_asset_graph()

    def upstream(key: str) -> set[str]:
        return {k.to_user_string() for k in graph.get(dg.AssetKey(key.split("/"))).parent_keys}

    assert upstream("zaehlwerte/beispiel") == {"lieferung/beispiel"}
    assert upstream("kennzahl/arbeitslose") == {"zaehlwerte/beispiel", "gebiete"}
    assert upstream("indikator/arbeitslosenanteil") == {"kennzahl/arbeitslose", "kennzahl/einwohner_15_64"}
    assert {"mart/indicator_figure", "mart/indicator_series"} <= upstream("mart/indicator_value")
    assert {"mart/observation", "mart/indicator"} <= upstream("mart/indicator_figure")
    assert upstream("bericht") == {"oeffentliche_ausgabe"}
    assert upstream("veroeffentlichung") == {"oeffentliche_ausgabe", "bericht"}


def test_every_asset_is_described_in_german_and_grouped(project: Path) -> None:
    graph = project_definitions(project).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and len(node.description) > 20, key
        assert node.group_name != "default", key
        assert node.kinds, key


def test_mart_carries_columns_with_meaning_and_lineage(project: Path) -> None:
    node = project_definitions(project).resolve_asset_graph().get(dg.AssetKey(["mart", "indicator_value"]))
    schema = node.metadata["dagster/column_schema"]
    described = {column.name: column.description for column in schema.columns}
    assert described["numerator"].startswith("Zähler")
    assert "observation.value" in described["value"]
    lineage = node.metadata["dagster/column_lineage"]
    sources = {(d.asset_key.path[-1], d.column_name) for d in lineage.deps_by_column["numerator"]}
    assert sources == {("observation", "value")}


def test_night_is_one_green_run_with_checks(
    first_run: tuple[Path, dg.ExecuteInProcessResult, dg.DagsterInstance],
) -> None:
    _, result, _ = first_run
    assert result.success
    checks = {(c.asset_key.to_user_string(), c.check_name): c.passed for c in result.get_asset_check_evaluations()}
    assert checks["zaehlwerte/beispiel", "Vertrag"]
    assert checks["veroeffentlichung", "alle_lieferungen_angenommen"]
    assert ("mart/indicator_value", "Tabelle") in checks
    assert all(checks.values())
    made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key}
    assert "lieferung/beispiel" in made  # accepted in this night


def test_delivery_is_materialised_only_when_accepted(after_a_run: Path) -> None:
    result = run_job(after_a_run, dg.DagsterInstance.ephemeral())
    made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key}
    assert "eingangsbuch" in made
    assert not made & {"lieferung/beispiel", "zaehlwerte/beispiel", "kennzahl/arbeitslose"}  # nothing of it changed


def test_rejected_delivery_publishes_and_turns_the_run_red(after_a_run: Path) -> None:
    file = after_a_run / "data/raw/beispiel/beispiel.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("Südhang", "Nordhang"), encoding="utf-8")
    add_topic(after_a_run)
    result = run_job(after_a_run, dg.DagsterInstance.ephemeral())
    assert not result.success
    checks = {(c.asset_key.to_user_string(), c.check_name): c for c in result.get_asset_check_evaluations()}
    assert not checks["zaehlwerte/beispiel", "Vertrag"].passed
    assert checks["zaehlwerte/wohngeld", "Vertrag"].passed
    final = checks["veroeffentlichung", "alle_lieferungen_angenommen"]
    assert not final.passed
    assert "veröffentlicht, aber" in str(final.metadata["ergebnis"].value)
    wide = (after_a_run / "data/releases/current/daten/breit_bezirk_de.csv").read_text(encoding="utf-8-sig")
    assert "Haushalte mit Wohngeld" in wide  # the good source was published


def test_check_metadata_holds_no_values(project: Path) -> None:
    file = project / "data/raw/beispiel/beispiel.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(";300;", ";70707x;"), encoding="utf-8")
    result = run_job(project, dg.DagsterInstance.ephemeral())
    for event in result.all_events:
        assert "70707x" not in str(event)


def test_topic_added_and_removed_without_trace(project: Path) -> None:
    before = keys(project)
    add_topic(project)
    added = {"lieferung/wohngeld", "zaehlwerte/wohngeld", "kennzahl/wohngeldhaushalte", "indikator/wohngeld_haushalte"}
    assert keys(project) == before | added
    assert run_nightly(project, Quiet()) == 0
    assert "wohngeld_haushalte" in sozialraum("catalogue", "--project", project).stdout
    current = project / "data/releases/current"
    assert "wohngeld_haushalte" in (current / "daten/indikatorwerte.csv").read_text(encoding="utf-8")
    assert "Haushalte mit Wohngeld" in (current / "daten/breit_bezirk_de.csv").read_text(encoding="utf-8-sig")
    with duckdb.connect(str((current / "sozialraum.duckdb").resolve()), read_only=True) as con:
        profile = con.execute("SELECT wohngeld_haushalte__value FROM mart.area_profile WHERE name = 'Altstadt'")
        assert profile.fetchall() == [(17.0,)]
    shutil.rmtree(project / "assets/wohngeld")
    shutil.rmtree(project / "data/raw/wohngeld")
    assert keys(project) == before
    assert run_nightly(project, Quiet()) == 0
    for path in (project / "data/releases/current/").rglob("*"):
        if path.is_file():
            assert b"wohngeld" not in path.read_bytes(), path
    assert "wohngeld" not in sozialraum("catalogue", "--project", project).stdout


def test_the_documented_topic_works_as_written(project: Path) -> None:
    page = (ROOT / "docs/add_a_topic.md").read_text(encoding="utf-8")
    (project / "assets/wohngeld").mkdir()
    (project / "data/raw/wohngeld").mkdir()
    (project / "assets/wohngeld/defs.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    file = project / "data/raw/wohngeld/wohngeld_2023.csv"
    file.write_text(page.split("```csv\n")[1].split("```")[0], encoding="utf-8")
    night = run_night(project)
    assert night.findings == []
    with duckdb.connect(str(night.project.paths.public_mart.resolve()), read_only=True) as con:
        rows = con.execute(
            "SELECT gebiet_name, wert, status FROM api.indikatorwerte "
            "WHERE indikator = 'wohngeld_haushalte' AND zeitraum = '2022-12-31' ORDER BY wert"
        ).fetchall()
    assert rows == [("Südhang", 9, "A"), ("Altstadt", 15, "A"), ("Mühlenviertel", 38, "A"), ("Musterstadt", 62, "A")]


def test_two_projects_each_find_their_own_assets(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "andere"
    shutil.copytree(project, other)
    text = (other / "assets/beispiel/defs.yaml").read_text(encoding="utf-8")
    text = text.replace("id: arbeitslosenanteil", "id: anteil_der_anderen")
    (other / "assets/beispiel/defs.yaml").write_text(text, encoding="utf-8")
    assert "indikator/anteil_der_anderen" in keys(other)
    assert "indikator/anteil_der_anderen" not in keys(project)
    assert "indikator/arbeitslosenanteil" in keys(project)
    assert "indikator/kinderarmutsanteil" not in keys(project)  # that is the project of this repository


QUESTION = "{ runsOrError { ... on Runs { results { runId } } } assetNodes { assetKey { path } } }"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, deadline: float) -> dict:
    """Answer of the web page's interface once it has loaded the project."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": QUESTION}).encode(),
        {"Content-Type": "application/json"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                data = json.load(answer)["data"]
            if data["assetNodes"]:
                return data
        except OSError:
            pass
        assert time.monotonic() < deadline, "the web page did not come up"
        time.sleep(1)


def test_web_page_of_each_project_shows_its_own_runs_and_assets(recorded: Path, tmp_path: Path) -> None:
    other = tmp_path / "andere"
    shutil.copytree(recorded, other, symlinks=True)
    add_topic(other)
    assert sozialraum("nightly", "--project", other).returncode == 0
    ports = {recorded: free_port(), other: free_port()}
    pages = [
        subprocess.Popen(
            [COMMAND, "dev", "--project", folder, "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for folder, port in ports.items()
    ]
    try:
        deadline = time.monotonic() + 120
        answers = {folder: ask(port, deadline) for folder, port in ports.items()}
    finally:
        for page in pages:
            os.killpg(page.pid, signal.SIGKILL)
            page.wait()
    assert len(answers[recorded]["runsOrError"]["results"]) == 1
    assert len(answers[other]["runsOrError"]["results"]) == 2
    assets = {f: {"/".join(n["assetKey"]["path"]) for n in a["assetNodes"]} for f, a in answers.items()}
    assert "indikator/wohngeld_haushalte" in assets[other]
    assert "indikator/wohngeld_haushalte" not in assets[recorded]


def dg_command(project: Path, *arguments: str) -> str:
    """`dg` from the installation, on another project, as `sozialraum dev` starts it."""
    environment = {
        **os.environ,
        "SOZIALRAUM_PROJECT": str(project),
        "DAGSTER_HOME": str(project / "data/state"),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    run = subprocess.run(["dg", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_dg_lists_the_other_project_without_warnings(recorded: Path) -> None:
    said = dg_command(recorded, "list", "defs", "--json")
    assert "indikator/arbeitslosenanteil" in said
    assert "kinderarmutsanteil" not in said
    assert not re.search(r"[Ww]arning", said)


def test_runs_of_the_command_line_are_recorded(recorded: Path) -> None:
    assert not list((recorded / "data/state").rglob("*-wal")), "SQLite's journals are written back"
    with dg.DagsterInstance.from_ref(
        dg._core.instance.ref.InstanceRef.from_dir(str(recorded / "data/state"))
    ) as instance:
        runs = instance.get_runs()
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
        assert runs[0].tags["sozialraum/ergebnis"] == "gut"
        kinds = [entry.dagster_event_type for entry in instance.all_logs(runs[0].run_id)]
        assert kinds[-1] == dg.DagsterEventType.RUN_SUCCESS
        published = [kind for kind in kinds if kind == dg.DagsterEventType.ASSET_MATERIALIZATION]
        known = [record.asset_entry.last_materialization_record for record in instance.get_asset_records()]
        assert len(published) == len([event for event in known if event])  # the run's file and the one over all runs


def test_run_of_a_killed_process_is_marked_failed(recorded: Path) -> None:
    reference = dg._core.instance.ref.InstanceRef.from_dir(str(recorded / "data/state"))
    with dg.DagsterInstance.from_ref(reference) as instance:
        job = project_definitions(recorded).resolve_job_def("nightly")
        dead = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        (recorded / "data/raw/beispiel/neu.csv").write_bytes(
            (recorded / "data/raw/beispiel/beispiel.csv").read_bytes() + b"\n"
        )
        assert sozialraum("nightly", "--project", recorded).returncode == 0
        assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("step", ["eingang", "aufbau", "schutz", "veroeffentlichen"])
def test_every_step_can_be_run_alone(
    first_run: tuple[Path, dg.ExecuteInProcessResult, dg.DagsterInstance], after_a_run: Path, step: str
) -> None:
    _, first, instance = first_run
    assert first.success
    graph = project_definitions(after_a_run).resolve_asset_graph()
    chosen = [k for k in graph.executable_asset_keys if graph.get(k).assets_def.node_def.name == step]
    assert chosen
    assert run_job(after_a_run, instance, chosen).success


def test_publishing_alone_does_not_hide_a_file_in_the_inbox(recorded: Path) -> None:
    new = "Nummer;Bezirk;Stichtag;Arbeitslose;Einwohner 15-64\n" + "".join(
        f"{n};{name};31.12.2024;7;1000\n" for n, name in enumerate(["Altstadt", "Mühlenviertel", "Südhang"], 1)
    )
    (recorded / "data/raw/beispiel/neu.csv").write_text(new, encoding="utf-8")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_job(recorded, instance, [dg.AssetKey("veroeffentlichung")]).success
    run = sozialraum("nightly", "--project", recorded)
    assert "beispiel-0002" in run.stdout


def test_due_date_is_a_freshness_policy_on_the_delivery(project: Path) -> None:
    path = project / "assets/beispiel/defs.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("due: none", "due: {days: [03-31, 09-30]}"), encoding="utf-8"
    )
    graph = project_definitions(project).resolve_asset_graph()
    policy = graph.get(dg.AssetKey(["lieferung", "beispiel"])).freshness_policy
    assert policy is not None
    assert policy.fail_window.to_timedelta().days in (183, 184)
