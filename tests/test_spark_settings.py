"""`spark.yaml` and what has to be on the machine: said in German, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.exit_codes import EXIT_OK, EXIT_USAGE
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.project import ConfigError
from pipelines.spark.settings import read_settings
from tests.conftest import Quiet, sozialraum
from tests.spark_here import need_spark


def settings_of(folder: Path, text: str) -> str:
    """What is wrong with a file, '' if nothing."""
    (folder / "spark.yaml").write_text(text, encoding="utf-8")
    try:
        read_settings(Paths.of(folder))
    except ConfigError as error:
        return str(error)
    return ""


def test_without_a_file_spark_runs_on_this_machine_alone(tmp_path: Path) -> None:
    settings = read_settings(Paths.of(tmp_path))
    assert (settings.master, settings.warehouse, settings.catalog, settings.conf) == ("local[*]", None, None, {})


def test_all_settings_of_a_cluster_are_read(tmp_path: Path) -> None:
    text = (
        "master: spark://rechner:7077\nwarehouse: s3a://sozialraum/austausch\ncatalog: lager.sozialraum\n"
        'conf:\n  spark.executor.memory: 8g\n  spark.sql.shuffle.partitions: "200"\n'
    )
    assert settings_of(tmp_path, text) == ""
    settings = read_settings(Paths.of(tmp_path))
    assert settings.master == "spark://rechner:7077"
    assert settings.warehouse == "s3a://sozialraum/austausch"
    assert settings.catalog == "lager.sozialraum"
    assert settings.conf == {"spark.executor.memory": "8g", "spark.sql.shuffle.partitions": "200"}


@pytest.mark.parametrize("master", ["local", "local[2]", "local-cluster[2,1,1024]", "yarn", "k8s://https://api:6443"])
def test_masters_of_spark(tmp_path: Path, master: str) -> None:
    assert settings_of(tmp_path, f'master: "{master}"\n') == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "master: local\nwarehous: /x\n",
            "spark.yaml:2: »warehous« ist kein gültiger Schlüssel; meinten Sie »warehouse«?",
        ),
        ("\nmaster: rechner:7077\n", "spark.yaml:2: »master«: »rechner:7077« passt nicht zum Muster"),
        (
            "conf:\n  spark.sql.shuffle.partitions: 8\n",
            "spark.yaml:2: »conf.spark.sql.shuffle.partitions«: erwartet wird",
        ),
        ("conf:\n  spark.x: y\n  executor.memory: 8g\n", "spark.yaml:3: "),
        ("conf:\n  spark.hadoop.fs.s3a.secret.key: abc\n", "spark.yaml:2: "),
        ("warehouse: s3a://AKIA:abc@b/x\n", "spark.yaml:1: »warehouse«: in der Adresse steht ein Geheimnis"),
        ("warehouse: s3a://AKIA:a/abc+c@b/x\n", "spark.yaml:1: "),
        ("warehouse: wasbs://c@k.net/x?sv=1&sig=abc\n", "spark.yaml:1: "),
        ("master: spark://ich:abc@rechner:7077\n", "spark.yaml:1: »master«: in der Adresse"),
        ("conf:\n  spark.hadoop.fs.gs.auth.service.account.private.key: abc\n", "spark.yaml:2: "),
        ("conf:\n  spark.hadoop.fs.azure.sas.eimer.konto: abc\n", "spark.yaml:2: "),
        (
            'conf:\n  spark.driver.extraJavaOptions: "-Xss4m -Djavax.net.ssl.trustStorePassword=abc"\n',
            "spark.yaml:2: »conf.spark.driver.extraJavaOptions«: im Wert von spark.driver.extraJavaOptions steht",
        ),
        ("conf:\n  spark.sql.catalog.l.uri: jdbc:x://h/d?user=a&password=abc\n", "spark.yaml:2: "),
        ("conf:\n  spark.jars: https://ich:abc@ablage/x.jar\n", "spark.yaml:2: "),
        ("catalog: a; DROP TABLE b\n", "spark.yaml:1: »catalog«"),
        ("", "spark.yaml:1: die Datei ist leer"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    found = settings_of(tmp_path, text)
    assert found.startswith(said), found
    assert "abc" not in found  # a secret is not repeated


@pytest.mark.parametrize(
    "text",
    [
        "warehouse: abfss://behaelter@konto.dfs.core.windows.net/austausch\n",
        "warehouse: hdfs://rechner:8020/austausch\n",
        'conf:\n  spark.executor.extraJavaOptions: "-Dlog4j.level=warn -XX:+UseSerialGC"\n',
        'conf:\n  spark.io.encryption.enabled: "true"\n  spark.jars.packages: org.apache.hadoop:hadoop-aws:3.4.1\n',
        "conf:\n  spark.sql.catalog.lager.uri: https://katalog:8181/sassnitz\n",
    ],
)
def test_what_only_resembles_a_secret_is_allowed(tmp_path: Path, text: str) -> None:
    assert settings_of(tmp_path, text) == ""


def test_night_with_broken_settings_is_a_wrong_call(project: Path) -> None:
    need_spark()
    (project / "spark.yaml").write_text("mastr: local\n", encoding="utf-8")
    run = sozialraum("nightly", "--engine", "spark", "--project", project)
    assert run.returncode == EXIT_USAGE
    assert "spark.yaml:1: »mastr« ist kein gültiger Schlüssel; meinten Sie »master«?" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_engine_that_does_not_exist_is_a_wrong_call(project: Path) -> None:
    run = sozialraum("nightly", "--engine", "spork", "--project", project)
    assert run.returncode == EXIT_USAGE
    assert "--engine" in run.stderr


def java(folder: Path, version: str) -> None:
    file = folder / "java"
    file.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, "Java fehlt; gebraucht wird 17 oder 21"), ("11.0.2", "gefunden: Java 11"), ("1.8.0_1", "gefunden: Java 8")],
)
def test_missing_or_old_java_is_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
) -> None:
    need_spark()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if version:
        java(tmp_path, version)
    voice = Quiet()
    assert run_nightly(project, voice, on_spark=True) == EXIT_USAGE
    assert said in voice.lines[-1]
    assert not (project / "data/history").exists() or not list((project / "data/history").rglob("*.json"))


@pytest.mark.parametrize(
    ("mode", "script"),
    [(0o644, "#!/bin/sh\n"), (0o755, "#!/bin/sh\nexec sleep 600\n"), (0o755, "#!/gibt/es/nicht\n"), (0o755, "\x7fELF")],
    ids=["not executable", "does not answer", "no interpreter", "another machine's"],
)
def test_java_that_cannot_be_run_is_missing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, script: str
) -> None:
    need_spark()
    (file := tmp_path / "bin/java").parent.mkdir()
    file.write_text(script, encoding="utf-8")
    file.chmod(mode)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr("pipelines.spark.machine.PATIENCE", 0.3)
    voice = Quiet()
    assert run_nightly(project, voice, on_spark=True) == EXIT_USAGE
    assert "Java fehlt; gebraucht wird 17 oder 21" in voice.lines[-1]


def test_missing_package_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    voice = Quiet()
    assert run_nightly(project, voice, on_spark=True) == EXIT_USAGE
    assert "requirements-spark.lock" in voice.lines[-1]


def test_a_finished_night_is_not_repeated_for_another_engine(published: Path) -> None:
    need_spark()
    voice = Quiet()
    assert run_nightly(published, voice) == EXIT_OK  # the record of conftest's night
    assert run_nightly(published, voice, on_spark=True) == EXIT_OK
    assert voice.lines[-1].startswith("Nichts Neues seit")
