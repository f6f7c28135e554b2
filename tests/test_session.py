"""How much memory the build may take, and that it keeps to it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pipelines.memory import VARIABLE, BadMemoryLimit, memory_limit
from pipelines.session import connect, open_session


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("512 mb", 512 * 10**6), ("1,5 GB", 1_500_000_000), ("2GiB", 2 * 1024**3), ("", 4 * 10**9)],
)
def test_sizes_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert memory_limit() == size


@pytest.mark.parametrize("text", ["viel", "4", "-4GB", "100MB", "4TB 3"])
def test_what_is_no_size_is_named_with_what_is_expected(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BadMemoryLimit) as error:
        memory_limit()
    assert VARIABLE in str(error.value) and f"»{text}«" in str(error.value) and "4GB" in str(error.value)


def test_what_does_not_fit_is_put_down_in_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "512MB")
    with open_session(tmp_path) as con:
        con.execute(
            "CREATE TABLE t AS SELECT hash(i) AS a, hash(i + 1) AS b, hash(i + 2) AS c FROM range(20000000) r(i)"
        )
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 50 * 10**6
        assert con.execute("SELECT count(*) FROM t").fetchall() == [(20_000_000,)]


def test_reading_a_file_leaves_nothing_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DuckDB by itself would spill into a folder beside the file, which may be a release."""
    monkeypatch.setenv(VARIABLE, "512MB")
    scratch, release = tmp_path / "ablage", tmp_path / "v1"
    for folder in (scratch, release):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    connect(release / "a.duckdb").close()
    with connect(release / "a.duckdb", read_only=True) as con, connect(release / "a.duckdb", read_only=True) as second:
        con.execute("SET memory_limit = '50MB'")
        con.execute("CREATE TEMP TABLE t AS SELECT hash(i) AS a, hash(i + 1) AS b FROM range(5000000) r(i)")
        assert sum(file.stat().st_size for file in scratch.rglob("*")) > 20 * 10**6
        with connect(release / "a.duckdb", read_only=True) as third:  # the folder is in use: it stays the one
            assert third.execute("SELECT 1").fetchall() == second.execute("SELECT 1").fetchall()
        assert [file.name for file in release.iterdir()] == ["a.duckdb"]
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(("size", "most"), [("4GB", 2.4e9), ("512MB", 0.6 * 512e6)])
def test_every_session_keeps_to_its_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: str, most: float
) -> None:
    monkeypatch.setenv(VARIABLE, size)
    with connect() as memory, connect(tmp_path / "a.duckdb") as file:
        for con in (memory, file):
            number, unit = con.execute("SELECT current_setting('memory_limit')").fetchall()[0][0].split()
            assert 0.95 * most < float(number) * {"GiB": 2**30, "MiB": 2**20}[unit] <= most
