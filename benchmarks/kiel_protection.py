"""Protects the shipped city twice: deliveries with the stars of their offices, and the same figures without any star.

    python benchmarks/kiel_protection.py

Tells what the offices' stars, or stars on small counts alone, would give away in the published tables; how many further
figures are withheld, next to the proven bound; and how long protection and the audit of the finished files take. The
starred topics are constructed, so their true counts are known to the script that made them. Prints a Markdown table.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.disclosure.attack import attack  # noqa: E402
from pipelines.disclosure.past import Memory  # noqa: E402
from pipelines.disclosure.problem import Problem  # noqa: E402
from pipelines.disclosure.protection import prepare  # noqa: E402
from pipelines.disclosure.protector import FileCache, protect  # noqa: E402
from pipelines.ledger import KEY_VARIABLE, CellLedger  # noqa: E402
from pipelines.night import Night  # noqa: E402
from scripts import construct_specimen  # noqa: E402


def project(folder: Path, *, starred: bool) -> Path:
    """A copy of the city; without stars the constructed deliveries are written anew."""
    for name in ("assets", "data/raw"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    if not starred:
        construct_specimen.stars = lambda *_: set()  # type: ignore[assignment]
        construct_specimen.main(folder / "data/raw")
    return folder


def leaks(problem: Problem) -> tuple[int, int, int]:
    """Confidential figures in all, those an attacker gets exactly, and those he knows to be small, unprotected."""
    task = problem.task
    targets = np.flatnonzero(task.need_open)
    found = attack(task.system, ~task.closed, targets)
    exact = int((found.high - found.low < 0.5).sum())
    return len(targets), exact, int((found.high < task.need_high[targets]).sum())


def measure(folder: Path, label: str) -> str:
    """One line of the table."""
    night = Night.begin(folder, lambda _: None)
    night.intake()
    night.build()
    ledger = CellLedger(folder / "leer", b"x" * 32)
    problem, _ = prepare(night.project, night.observation, Memory(ledger))
    confidential, exact, small = leaks(problem)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        pattern = protect(problem.task, cache=FileCache(folder / "muster"))
        seconds.append(time.perf_counter() - start)
    secondary = int((pattern.suppressed & ~problem.task.closed).sum())
    night.protect()
    night.publish()
    assert night.audit is not None
    relations = ", ".join(f"{kind} {number:,}" for kind, number in night.audit.relations.items())
    gap = 1 - pattern.bound / pattern.weight if pattern.weight else 0.0
    return (
        f"| {label} | {len(problem.cells):,} | {confidential} | {exact} ({exact / confidential:.0%}) / {small} "
        f"({small / confidential:.0%}) | {secondary} / {pattern.weight:g} | {pattern.bound:g} ({gap:.1%}) "
        f"| {seconds[0]:.1f} / {seconds[1]:.1f} s | {night.audit.seconds:.1f} s | {len(night.audit.leaks)} "
        f"| {relations} |"
    )


def main() -> None:
    """Both variants."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(
        "| deliveries | cells | confidential | unprotected: exact / surely small | secondary: figures / weight | "
        "proven bound (gap) | protection new / cached | audit | recoverable | relations attacked |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for label, starred in (("as delivered, starred by their offices", True), ("without any star", False)):
        with tempfile.TemporaryDirectory() as scratch:
            os.environ[KEY_VARIABLE] = str(Path(scratch) / "ledger.key")
            print(measure(project(Path(scratch) / "stadt", starred=starred), label), flush=True)


if __name__ == "__main__":
    main()
