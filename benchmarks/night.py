"""Times whole nights as processes: the base of Dagster, Kiel with new data, one new file, nothing new.

    python benchmarks/night.py [RUNS]

Every figure is the wall time of a fresh process; the kinds are interleaved, so that a busy moment of the machine hits
all of them. The base is a recorded in-process Dagster run of 20 empty assets with 30 empty checks, with the same two
measures against start-up cost that the nightly run takes (no garbage collection while importing, no teardown).
Prints a Markdown table with medians and ratios to the base.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("sozialraum")

BASE = """
import gc, os, sys
gc.disable()
import dagster as dg
specs = [dg.AssetSpec(f"a{i}") for i in range(20)]
checks = [dg.AssetCheckSpec(f"c{i}", asset=f"a{i % 20}") for i in range(30)]
@dg.multi_asset(specs=specs, check_specs=checks)
def all_assets():
    for spec in specs:
        yield dg.MaterializeResult(spec.key)
    for check in checks:
        yield dg.AssetCheckResult(passed=True, asset_key=check.asset_key, check_name=check.name)
defs = dg.Definitions(assets=[all_assets], jobs=[dg.define_asset_job("j")], executor=dg.in_process_executor)
gc.enable()
with dg.DagsterInstance.get() as instance:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert defs.resolve_job_def("j").execute_in_process(instance=instance, run_config=quiet).success
sys.stdout.flush()
os._exit(0)
"""


def timed(command: list[str], **more: object) -> float:
    """Wall seconds of a command that must succeed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | dict(more.get("env", {}))
    start = time.perf_counter()
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if run.returncode:
        sys.exit(f"{command}: {run.returncode}\n{run.stdout}{run.stderr}")
    return seconds


def kiel(folder: Path) -> Path:
    """A copy of the shipped project, not run yet."""
    project = folder / "kiel"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(ROOT / "assets", project / "assets")
    shutil.copytree(ROOT / "data/raw", project / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", project / "dagster.yaml")
    return project


def kinds(folder: Path) -> dict[str, Callable[[], float]]:
    """What is timed, in the order of one round."""
    project = folder / "kiel"
    nightly = [str(COMMAND), "nightly", "--project", str(project)]

    def base() -> float:
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        return timed([sys.executable, "-c", BASE], env={"DAGSTER_HOME": str(home)})

    def cold() -> float:
        kiel(folder)
        return timed(nightly)

    def one_file() -> float:
        file = next((project / "data/raw/specimen_kinder_sgb2").iterdir())
        file.write_bytes(file.read_bytes() + b"\n")
        return timed(nightly)

    def changed() -> float:
        file = next((project / "data/raw/specimen_kinder_sgb2").iterdir())
        lines = []
        for line in file.read_text(encoding="utf-8").splitlines():
            head, _, number = line.rpartition(";")  # one child more in Mettenhof, and in all that Mettenhof is part of
            more = line.startswith("31.12.2014;") and (";Mettenhof;" in line or ";Stadt;" in line)
            lines.append(f"{head};{int(number) + 1}" if more else line)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return timed(nightly)

    return {
        "import dagster": lambda: timed([sys.executable, "-c", "import dagster"]),
        "base: 20 empty assets, 30 empty checks": base,
        "Kiel, everything new": cold,
        "Kiel, nothing new": lambda: timed(nightly),
        "Kiel, one new file, same figures (nothing published)": one_file,
        "Kiel, one new file with changed figures": changed,
    }


def main() -> None:
    """Run the rounds and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        table = kinds(Path(name))
        for number in range(rounds + 1):
            for kind, run in table.items():
                seconds = run()
                if number:  # the first round warms caches and writes bytecode
                    times.setdefault(kind, []).append(seconds)
    base = statistics.median(times["base: 20 empty assets, 30 empty checks"])
    imported = statistics.median(times["import dagster"])
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds, fresh processes, wall seconds\n"
    )
    print("| | median | min | max | to base | to `import dagster` |\n| --- | --- | --- | --- | --- | --- |")
    for kind, seconds in times.items():
        middle = statistics.median(seconds)
        numbers = [middle, min(seconds), max(seconds), middle / base, middle / imported]
        print(f"| {kind} | {' | '.join(f'{n:.2f}' for n in numbers)} |")


if __name__ == "__main__":
    main()
