"""A night that is killed (kill -9) at a random moment: readers see a whole release, the next run finishes its work.

The killed process runs the real command with Dagster in it. It is only watched: wrapped functions tell which phase it
is in, an audit hook counts its operations on files. Half of the kills come from the parent at moments drawn over the
time after the first write, half strike at a drawn file operation of a given phase, so that short phases are hit too.
"""

from __future__ import annotations

import collections
import datetime as dt
import hashlib
import importlib
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.gate import damaged_release
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from tests.conftest import ROOT, Quiet, create_project
from tests.test_history import FIRST, put, text_of

SOAK = os.environ.get("SOAK") == "1"
KILLS = 200 if SOAK else 20
PHASES = ("archive", "reading", "build", "protect", "release", "ledger", "swap", "record")
WATCHED = {
    "archive": ("pipelines.history:History.receive",),
    "reading": ("pipelines.intake.run:current_state",),
    "build": ("pipelines.night:Night.build",),
    "protect": ("pipelines.night:Night.protect",),
    "release": ("pipelines.night:Night.publish",),
    "ledger": ("pipelines.ledger:CellLedger.add", "pipelines.published:PublishedLedger.add"),
    "record": ("pipelines.night:Night._record",),
}
SWAP_FOLLOWS = "pipelines.release.publish:_room_for_links"
PRELOADED = [
    *("dagster", "sqlalchemy.dialects.sqlite", "pandas", "pandera.pandas", "pyarrow.parquet", "sqlglot.lineage"),
    *("xlsxwriter", "highspy", "pipelines.cli", "pipelines.definitions", "pipelines.night"),
]
CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
"""Operations on files as Python's audit events name them; `open` counts when it writes."""


# ---------------------------------------------------------------- the project


def prepare(root: Path) -> None:
    """A release in force; then an overwritten file, a new one and one that will be rejected."""
    create_project(root, Quiet())
    assert run_nightly(root, Quiet()) == 0
    put(root, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    put(root, text_of({(n, "31.12.2024"): (10 * int(n), 2000) for n in "123"}), "neu.csv")
    put(root, text_of({("1", "31.12.2024"): (-7, 2000)}), "falsch.csv")


def state_of(root: Path) -> dict[str, Any]:
    """What must be the same whether or not a run was killed: content in force and all receipts."""
    paths = Paths.of(root)
    package = json.loads((paths.current / "datapackage.json").read_text(encoding="utf-8"))
    receipts = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(paths.history.rglob("receipt.json"))]
    kept = ("source", "sequence", "name", "sha256", "night", "decision", "reasons", "slices")
    return {
        "content": package["contentHash"],
        "receipts": [{key: receipt.get(key) for key in kept} for receipt in receipts],
        "bytes": [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths.history.rglob("bytes"))],
    }


# ---------------------------------------------------------------- the killed process


def fork(work: Callable[[], Any], output: Path | None = None) -> int:
    """Run something in a process of its own; returns its id."""
    pid = os.fork()
    if pid == 0:
        try:
            if output:
                descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent reads the exit code
            traceback.print_exc()
            os._exit(70)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def nightly(root: Path) -> None:
    """The command itself; ends the process."""
    from pipelines import cli

    sys.argv = ["sozialraum", "nightly", "--project", str(root)]
    cli.main()


class Watch:
    """Tells the phase over a pipe; counts file operations; kills its process at a given one."""

    def __init__(self, pipe: int, kill_at: tuple[str, int] | None) -> None:
        self.pipe, self.kill_at = pipe, kill_at
        self.phase = "start"
        self.counts: collections.Counter[str] = collections.Counter()
        for phase, names in WATCHED.items():
            for name in names:
                self._wrap(name, phase, None)
        self._wrap(SWAP_FOLLOWS, None, "swap")
        sys.addaudithook(self._heard)

    def _wrap(self, name: str, during: str | None, after: str | None) -> None:
        module, _, path = name.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, last = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        real = getattr(owner, last)

        def watched(*arguments: Any, **options: Any) -> Any:
            before = self.phase
            self._enter(during or before)
            result = real(*arguments, **options)
            self._enter(after or before)
            return result

        setattr(owner, last, watched)

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            os.write(self.pipe, f"{phase} {time.monotonic()} {json.dumps(self.counts)}\n".encode())

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGING or writes:
            if self.kill_at == (self.phase, self.counts[self.phase]):
                os.write(self.pipe, f"{self.phase} {time.monotonic()} {json.dumps(self.counts)}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
            self.counts[self.phase] += 1


def watched_night(root: Path, pipe: int, kill_at: tuple[str, int] | None) -> None:
    Watch(pipe, kill_at)
    nightly(root)


def run_watched(
    root: Path, kill_at: tuple[str, int] | None = None, after: float | None = None
) -> tuple[int, list[tuple[str, float, dict[str, int]]]]:
    """Exit code and phases of a night; `after` seconds from its first phase on it is killed from outside."""
    reader, writer = os.pipe()
    pid = fork(lambda: watched_night(root, writer, kill_at), root.parent / f"{root.name}.log")
    os.close(writer)
    text = b""
    while b"\n" not in text:
        part = os.read(reader, 4096)
        if not part:
            break
        text += part
    if after is not None:
        deadline = time.monotonic() + after
        while (left := deadline - time.monotonic()) > 0:
            if select.select([reader], [], [], left)[0]:
                part = os.read(reader, 4096)
                if not part:
                    break
                text += part
        os.kill(pid, signal.SIGKILL)  # not waited for yet: the number is still its own
    while part := os.read(reader, 4096):
        text += part
    os.close(reader)
    rows = [line.split(" ", 2) for line in text.decode().splitlines()]
    return ended(pid), [(phase, float(moment), json.loads(counts)) for phase, moment, counts in rows]


# ---------------------------------------------------------------- afterwards


def readable(root: Path) -> None:
    """What a reader does, in a process of its own: opens the release in force."""
    import duckdb

    paths = Paths.of(root)
    with duckdb.connect(str(paths.public_mart), read_only=True) as con:
        row = con.execute("SELECT release_id, (SELECT count(*) > 0 FROM mart.indicator_value) FROM meta.release")
        assert row.fetchall() == [(os.readlink(paths.current), True)]


def as_the_daemon(root: Path) -> None:
    """Dagster's schedule is asked; what it requests is run."""
    import dagster as dg

    from pipelines.definitions import JOB, project_definitions
    from pipelines.nightly import prepare_home

    prepare_home(Paths.of(root))
    definitions = project_definitions(root)
    job = definitions.resolve_job_def(JOB)
    with dg.DagsterInstance.get() as instance:
        schedule = definitions.resolve_schedule_def("nachts")
        tick = schedule.evaluate_tick(dg.build_schedule_context(instance, dt.datetime.now(dt.UTC)))
        for request in tick.run_requests or ():
            job.execute_in_process(instance=instance, tags=dict(request.tags), raise_on_error=False)


def left_over(root: Path) -> list[str]:
    def rest(path: Path) -> bool:
        dead = path.is_symlink() and not path.exists()
        return dead or path.name.startswith((".neu-", ".pending", ".tmp")) or path.name.endswith((".wal", ".lease"))

    scratch = [p.name for p in (root.parent / f"{root.name}.tmp").iterdir()]
    return scratch + [p.relative_to(root).as_posix() for p in root.rglob("*") if rest(p)]


def running_in_dagster(root: Path) -> list[str]:
    with sqlite3.connect(root / "data/state/history/runs.db") as con:
        statuses = [row[0] for row in con.execute("SELECT status FROM runs")]
    return [status for status in statuses if status not in ("SUCCESS", "FAILURE")]


def trial(base: Path, root: Path, kill_at: tuple[str, int] | None, after: float | None, daemon: bool) -> dict[str, Any]:
    """Copy, kill, look, finish, look again."""
    shutil.copytree(base, root, symlinks=True)
    scratch = root.parent / f"{root.name}.tmp"
    scratch.mkdir()
    os.environ["TMPDIR"] = str(scratch)
    log = root.parent / f"{root.name}.log"
    paths = Paths.of(root)
    releases = {os.readlink(paths.current)}
    code, phases = run_watched(root, kill_at, after)
    found: dict[str, Any] = {"died": code == -signal.SIGKILL, "phase": phases[-1][0] if phases else "start"}
    found["kind"] = "operation" if kill_at else "moment"
    found["whole"] = damaged_release(paths.current) is None
    found["readable"] = ended(fork(lambda: readable(root), log)) == 0
    releases.add(os.readlink(paths.current))
    found["by"] = "daemon" if daemon else "command"
    if daemon:
        found["daemon"] = ended(fork(lambda: as_the_daemon(root), log))
    found["next"] = ended(fork(lambda: nightly(root), log))
    found["whole again"] = damaged_release(paths.current) is None
    found["again readable"] = ended(fork(lambda: readable(root), log)) == 0
    found["pointer"] = (paths.releases / "aktuell.txt").read_text(encoding="utf-8").strip() == os.readlink(
        paths.current
    )
    record = paths.night_record.read_bytes()
    found["last"] = ended(fork(lambda: nightly(root), log))
    found["unchanged"] = paths.night_record.read_bytes() == record
    found["left"], found["running"] = left_over(root), running_in_dagster(root)
    found["state"] = state_of(root)
    found["log"] = log.read_text(encoding="utf-8")
    return found


def plan(draw: random.Random, phases: list[tuple[str, float, dict[str, int]]], kills: int) -> list[dict[str, Any]]:
    """Half at drawn operations of each phase in turn, half at moments drawn over the time after the first write."""
    counts, begun = phases[-1][2], phases[0][1]
    lasts = time.monotonic() - begun
    found: list[dict[str, Any]] = []
    for number in range(kills):
        phase = PHASES[number // 2 % len(PHASES)]
        drawn = {"kill_at": (phase, draw.randrange(counts[phase])), "after": None}
        found.append(drawn if number % 2 else {"kill_at": None, "after": draw.uniform(0.0, lasts)})
    return found


def kill_server(workspace: Path, seed: int, kills: int) -> None:
    """A process that forks before any library has started a thread: the killed runs and what comes after them."""
    for name in PRELOADED:
        importlib.import_module(name)  # loaded once, for all forks
    base, calm = workspace / "vorher", workspace / "ungestoert"
    assert ended(fork(lambda: prepare(base))) == 0
    (workspace / "ungestoert.tmp").mkdir()
    shutil.copytree(base, calm, symlinks=True)
    code, phases = run_watched(calm)
    assert code == 3, (calm.parent / "ungestoert.log").read_text(encoding="utf-8")
    drawn = plan(random.Random(seed), phases, kills)
    (workspace / "erwartet.json").write_text(json.dumps(state_of(calm)), encoding="utf-8")

    def some(half: int) -> None:
        for number, kill in list(enumerate(drawn))[half::2]:
            root = workspace / f"{number:03d}"
            result = trial(base, root, kill["kill_at"], kill["after"], daemon=number % 4 > 1)
            (workspace / f"{number:03d}.json").write_text(json.dumps(result | {"drawn": kill}), encoding="utf-8")
            shutil.rmtree(root)

    workers = [fork(lambda half=half: some(half)) for half in (0, 1)]  # type: ignore[misc]
    assert [ended(worker) for worker in workers] == [0, 0]


def table(results: list[dict[str, Any]]) -> str:
    """Hits per phase, as the page docs/robustness.md has them."""
    hits = collections.Counter((r["phase"], r["kind"]) for r in results if r["died"])
    lines = ["| Phase | at a drawn moment | at a drawn operation | together |", "| --- | --- | --- | --- |"]
    for phase in dict.fromkeys([*PHASES, *(r["phase"] for r in results)]):
        two = [hits[phase, "moment"], hits[phase, "operation"]]
        lines.append(f"| {phase} | {two[0]} | {two[1]} | {sum(two)} |")
    return "\n".join([*lines, f"| all | | | {sum(hits.values())} |"])


@pytest.mark.soak
def test_killed_at_any_moment_the_next_run_finishes_the_work(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    code = "import sys; from pathlib import Path; from tests.test_kill import kill_server as k; "
    code += "k(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
    begun = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(seed), str(KILLS)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    expected = json.loads((tmp_path / "erwartet.json").read_text(encoding="utf-8"))
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(tmp_path.glob("[0-9]*.json"))]
    print(f"seed {seed}, {time.monotonic() - begun:.0f} s, load {os.getloadavg()[0]:.1f}\n{table(results)}")
    assert len(results) == KILLS
    for result in results:
        log = result.pop("log")
        assert result["whole"] and result["readable"], (result, log)
        assert result.get("daemon", 0) == 0, (result, log)
        assert (result["next"], result["last"]) == (3, 3), (result, log)
        assert result["whole again"] and result["again readable"] and result["pointer"], (result, log)
        assert result["unchanged"] and "Nichts Neues" in log, (result, log)
        assert (result["left"], result["running"]) == ([], []), (result, log)
        assert result["state"] == expected, (result, log)
    hits = collections.Counter(result["phase"] for result in results if result["died"])
    assert all(hits[phase] >= KILLS // 20 for phase in PHASES), hits
