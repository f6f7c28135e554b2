"""How much memory the build may take, and that it keeps to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.memory import VARIABLE, BadMemoryLimit, memory_limit
from pipelines.session import open_session


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
