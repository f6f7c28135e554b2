"""The page for data people, followed literally with the real file it speaks of."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

from tests.conftest import ROOT, run_night, sozialraum

NAME = "kiel_bevoelkerung_einwohner_nach_familienstand_in_den_stadtteilen.csv"


def test_from_the_real_file_to_the_first_figure(shared: Path, tmp_path: Path) -> None:
    kiel = tmp_path / "Kiel Büro"
    shutil.copytree(ROOT / "assets", kiel / "assets")
    for name in ("bevoelkerung_altersgruppen", "bevoelkerung_geschlecht", "bevoelkerung_stadtteile"):
        shutil.copytree(ROOT / "data/raw" / name, kiel / "data/raw" / name)
    shutil.copyfile(ROOT / "dagster.yaml", kiel / "dagster.yaml")
    pieces = (ROOT / "docs/add_a_source.md").read_text(encoding="utf-8").split("```yaml\n")
    described, correction = (piece.split("```")[0] for piece in pieces[1:3])
    defs = kiel / "assets/familienstand/defs.yaml"
    defs.parent.mkdir()
    defs.write_text(described, encoding="utf-8")
    file = shared / "kiel/raw" / NAME
    (kiel / "data/raw/familienstand").mkdir()
    shutil.copy(file, kiel / "data/raw/familienstand")

    first = run_night(kiel)
    assert [f for f in first.findings if "familienstand-0001" in f], "the wrong date is found"
    checked = sozialraum("check", file, "--source", "familienstand", "--project", kiel)
    assert checked.returncode == 3
    assert "242.340" in checked.stdout and "31.12.2014" in checked.stdout, checked.stdout

    head, tail = described.split("---\n", 1)
    defs.write_text(head + correction + "---\n" + tail, encoding="utf-8")
    second = run_night(kiel)
    assert second.findings == []
    with duckdb.connect(str(second.project.paths.public_mart.resolve()), read_only=True) as con:
        rows = con.execute(
            "SELECT zeitraum, zaehler, nenner, wert FROM api.zeitreihe('verwitwetenanteil', 'Kiel') ORDER BY zeitraum"
        ).fetchall()
    sums: dict[str, tuple[int, int]] = {}
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        _, _, _, _, day, *numbers = line.split(";")
        year = "2014" if day == "31_12_2015" else day[-4:]
        widowed, total = sums.get(year, (0, 0))
        sums[year] = widowed + int(numbers[2]), total + sum(map(int, numbers))
    assert [(r[0], r[1], r[2]) for r in rows] == [(f"{y}-12-31", *sums[y]) for y in sorted(sums)]
    assert sums["2023"] == (13447, 250412), "the figures that the page names"
    assert rows[-1][3] == round(100 * 13447 / 250412, 1) == 5.4
