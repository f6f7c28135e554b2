"""Measures the pipeline against one hand-written DuckDB script, from a small town to a nation.

    PYTHONPATH=. python -m benchmarks.scale S M L --public S M --profile --write docs/performance.md      all tables
    PYTHONPATH=. python -m benchmarks.scale S [--public] [--only cold,nothing,year,correction] [--memory 4GB]
                                            [--folder DIR] [--profile]
    PYTHONPATH=. python -m benchmarks.scale XL --memory 12GB --only cold                            hours, tens of GB

Per size a world is made (benchmarks.worlds), then fresh processes run one after the other: the script
(benchmarks.reference), and the real command `sozialraum nightly` for everything new, nothing new, one new file and one
corrected file. Prints Markdown: wall and processor seconds, memory, ratios to the script, where the time of a night
goes, and memory over the sizes. This process itself stays small: what it starts would inherit its memory in the count.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pipelines.memory import VARIABLE, BadMemoryLimit, memory_limit

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("sozialraum")
CASES = {
    "cold": "everything new",
    "nothing": "nothing new",
    "year": "one new file",
    "correction": "one corrected file",
}
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_STEP = re.compile(r"Schritt (?P<number>\d) von \d: |Veröffentlichung angreifen")
STEPS = {
    "1": "intake: receive, read, check",
    "2": "observation and internal marts",
    "3": "protection and public marts",
    "4": "report",
    "5": "files of the release",
    None: "attack on the finished files, put in force",
}
_SAMPLED_EVERY = 0.1
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"


@dataclass
class Run:
    """A finished process: wall and processor seconds (with its children), peak memory of the process tree in bytes."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    code: int = 0
    lines: list[str] = field(default_factory=list)
    parts: list[tuple[str, float, float]] = field(default_factory=list)
    """Steps of a night, told apart by the lines it prints, with wall and processor seconds."""


# ---------------------------------------------------------------- processes


def run(command: list[str | Path], environment: dict[str, str]) -> Run:
    """Run a command and measure it and everything it starts."""
    done = Run()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        begun = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        watch = threading.Thread(target=_watch, args=(child, done), daemon=True)
        watch.start()
        marks = [("start: imports, declarations, archive", begun, 0.0)]
        assert child.stdout is not None
        for line in child.stdout:
            done.lines.append(line.rstrip())
            step = _STEP.match(line)
            if step:
                marks.append((STEPS[step["number"]], time.perf_counter(), _cpu(child.pid)))
        _, status, used = os.wait4(child.pid, 0)
        ended = time.perf_counter()
        child.returncode = done.code = os.waitstatus_to_exitcode(status)
        watch.join()
        errors.seek(0)
        done.lines += errors.read().splitlines()
    done.wall, done.cpu = ended - begun, used.ru_utime + used.ru_stime
    done.peak = max(done.peak, used.ru_maxrss * 1024)
    marks.append(("end", ended, done.cpu))
    done.parts = [(name, b - a, d - c) for (name, a, c), (_, b, d) in itertools.pairwise(marks)]
    return done


def _cpu(pid: int) -> float:
    """Processor seconds of a process and the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS


def _watch(child: subprocess.Popen[str], done: Run) -> None:
    """Note the largest sum of resident memory over the process and all its descendants."""
    while child.returncode is None and Path(f"/proc/{child.pid}/statm").exists():
        pids = list(_tree(child.pid))
        done.peak = max(done.peak, sum(map(_share if len(pids) > 1 else _resident, pids)))
        time.sleep(_SAMPLED_EVERY)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for below in (task / "children").read_text().split():
                yield from _tree(int(below))
    except OSError:  # it has ended meanwhile
        return


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _share(pid: int) -> int:
    """Resident memory, what several processes have in common divided among them."""
    try:
        found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def must(command: list[str | Path], environment: dict[str, str]) -> Run:
    """A run that must succeed; the reason is told otherwise."""
    done = run(command, environment)
    if done.code:
        sys.exit("\n".join([f"{' '.join(map(str, command))}: exit code {done.code}", *done.lines[-20:]]))
    return done


# ---------------------------------------------------------------- one size


@dataclass
class Measured:
    """All runs of one size."""

    size: str
    public: bool
    world: dict[str, int]
    script: Run
    cases: dict[str, Run]
    exports: str
    queries: str

    @property
    def name(self) -> str:
        """Size and kind of project."""
        return f"{self.size}, {'public' if self.public else 'internal'}"

    @property
    def rows(self) -> int:
        """Delivered rows of the cold build."""
        return self.world["areas"] * self.world["years"] * self.world["indicators"]


def environment_of(folder: Path, memory: str) -> dict[str, str]:
    """Nothing of the operator's own settings: a measured night sends no message."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SOZIALRAUM_")}
    own = {"PYTHONPATH": str(ROOT), "SOZIALRAUM_SCHLUESSEL": str(folder / "key"), VARIABLE: memory}
    return clean | own


def measure(size: str, public: bool, given: argparse.Namespace, folder: Path) -> Measured:
    """Make a world, run the script and the cases; of a public project only everything new, unless asked for more."""
    environment = environment_of(folder, given.memory)
    world, target = folder / size, folder / f"{size}-script"
    declared = [] if public else ["--internal"]
    wanted = {"cold", *(given.only or ([] if public else CASES))}  # all other cases come after a first night
    module: list[str | Path] = [sys.executable, "-m"]
    must([*module, "benchmarks.worlds", world, "--size", size, *declared], environment)
    script = must([*module, "benchmarks.reference", world, target, "--memory", given.memory], environment)
    exports = f"script: {_sizes(target)}"
    shutil.rmtree(target)
    cases = {}
    for case in [name for name in CASES if name in wanted]:
        if case in ("year", "correction"):
            must([*module, "benchmarks.worlds", world, "--deliver", case], environment)
        print(f"{size}: {CASES[case]} ...", file=sys.stderr, flush=True)
        cases[case] = must([COMMAND, "nightly", "--project", world], environment)
        if case == "cold":
            written = [(name, _sizes(world / "data" / name)) for name in ("warehouse", "releases")]
            exports += "".join(f"; {name}: {sizes}" for name, sizes in written if sizes)
    database = world / "data/warehouse/internal/internal.duckdb"
    queries = must([*module, "benchmarks.queries", database], environment)
    content = json.loads((world / "welt.json").read_text(encoding="utf-8"))
    shutil.rmtree(world)
    return Measured(size, public, content, script, cases, exports, "\n".join(queries.lines))


def _sizes(folder: Path) -> str:
    """Names and megabytes of the large files below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    by_kind: dict[str, float] = {}
    for path in files:
        name = path.name if path.parent == folder else f"{path.relative_to(folder).parts[0]}/*{path.suffix}"
        by_kind[name] = by_kind.get(name, 0) + path.stat().st_size / 1e6
    return ", ".join(f"{name} {megabytes:,.1f} MB" for name, megabytes in by_kind.items() if megabytes >= 0.1)


# ---------------------------------------------------------------- tables


def heading(given: argparse.Namespace) -> str:
    """Machine, versions, day."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE / 1e9
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("duckdb", "dagster", "pyarrow"))
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    today = dt.datetime.now(dt.UTC).date()
    return (
        f"Measured {today}, {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, "
        f"Python {platform.python_version()}, {versions}, commit {commit.stdout.strip() or 'unknown'}; "
        f"fresh processes, one run each, memory limit {given.memory} (of DuckDB; what Python takes comes on top). "
        "Memory: largest sum over the process tree. "
        f"Load of the machine before: {os.getloadavg()[0]:.1f}."
    )


def table(found: Measured) -> str:
    """Script and cases of one size."""
    world = found.world
    extent = f"{world['areas']:,} areas x {world['years']} years x {world['indicators']} indicators"
    lines = [
        f"**{found.name}**: {extent} = {found.rows:,} rows in {world['years'] * world['indicators']:,} files",
        "",
        "| | wall s | CPU s | peak MB | wall to script | CPU to script |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    named = {"script (base)": found.script} | {CASES[case]: done for case, done in found.cases.items()}
    for name, done in named.items():
        whole = f" (but a whole run: {done.lines[0]})" if name == CASES["nothing"] and done.parts[1:] else ""
        ratios = f"{done.wall / found.script.wall:.2f} | {done.cpu / found.script.cpu:.2f}"
        lines.append(f"| {name}{whole} | {done.wall:.2f} | {done.cpu:.2f} | {done.peak / 1e6:,.0f} | {ratios} |")
    return "\n".join([*lines, "", f"Files written. {found.exports}"])


def parts_table(found: Measured) -> str:
    """Where the night with everything new spent its time."""
    done = found.cases["cold"]
    lines = [f"**{found.name}, everything new, step by step**", "", "| step | wall s | CPU s |", "| --- | --- | --- |"]
    return "\n".join([*lines, *[f"| {name} | {wall:.2f} | {cpu:.2f} |" for name, wall, cpu in done.parts]])


def memory_table(all_found: list[Measured]) -> str:
    """Peak memory over the sizes."""
    cases = [case for case in CASES if any(case in found.cases for found in all_found)]
    lines = [
        "| size | rows | script | " + " | ".join(CASES[case] for case in cases) + " |",
        "| --- | --- | --- |" + " --- |" * len(cases),
    ]
    for found in all_found:
        peaks = [f"{found.cases[case].peak / 1e6:,.0f}" if case in found.cases else "" for case in cases]
        lines.append(f"| {found.name} | {found.rows:,} | {found.script.peak / 1e6:,.0f} | {' | '.join(peaks)} |")
    return "\n".join(["**Peak memory in MB**", "", *lines])


# ---------------------------------------------------------------- profile


_IMPORTS, _DAGSTER, _REST = "imports", "Dagster (run, events)", "else"
_SAMPLE = "--sample"


def profile(size: str, folder: Path, memory: str) -> str:
    """Table of a night with everything new by room of the code; libraries count for the room that calls them."""
    environment = environment_of(folder, memory)
    world, record = folder / f"{size}-profile", folder / "profile.json"
    must([sys.executable, "-m", "benchmarks.worlds", world, "--size", size, "--internal"], environment)
    must([sys.executable, "-m", "benchmarks.scale", _SAMPLE, record, "nightly", "--project", world], environment)
    shutil.rmtree(world)
    rooms: dict[str, float] = json.loads(record.read_text(encoding="utf-8"))
    total = sum(rooms.values())
    lines = [
        f"**{size}, internal, everything new, CPU by room**",
        "",
        "| room | CPU s | share |",
        "| --- | --- | --- |",
    ]
    ranked = sorted(rooms.items(), key=lambda item: -item[1])
    lines += [f"| {room} | {seconds:.2f} | {seconds / total:.0%} |" for room, seconds in ranked if seconds >= 0.02]
    return "\n".join([*lines, f"| all | {total:.2f} | 100% |"])


def sample(record: Path, arguments: list[str]) -> None:
    """Run the command in this process; every 2 ms of processor time go to the room that is at work.

    While a library computes the signal waits; what has passed then goes to the caller, who is at work again.
    """
    rooms: Counter[str] = Counter()
    passed = 0.0

    def note(_signal: int, frame: FrameType | None) -> None:
        nonlocal passed
        now = time.process_time()
        while frame is not None and _room(frame) is None:
            frame = frame.f_back
        rooms[(frame and _room(frame)) or _REST] += now - passed  # type: ignore[assignment]
        passed = now

    def end(code: int) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        record.write_text(json.dumps(rooms), encoding="utf-8")
        leave(code)

    leave, os._exit = os._exit, end  # type: ignore[assignment]  # the command leaves without Python's teardown
    sys.argv = ["sozialraum", *arguments]
    signal.signal(signal.SIGPROF, note)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, 0.002, 0.002)
    from pipelines.cli import main as command

    command()


def _room(frame: FrameType) -> str | None:
    """The room a function belongs to; None for libraries, which work for their caller."""
    file = frame.f_code.co_filename
    if "importlib" in file or frame.f_code.co_name == "<module>":
        return _IMPORTS
    if "/dagster/" in file or "/dagster_" in file:
        return _DAGSTER
    if not file.startswith(f"{ROOT}/pipelines/"):
        return None
    inside = Path(file).relative_to(ROOT)
    return str(inside if inside.parent.name == "pipelines" else inside.parent)


# ---------------------------------------------------------------- command


def arguments() -> tuple[argparse.Namespace, list[tuple[str, bool]]]:
    """What was asked for, and the sizes (and whether public) to measure; wrong calls end here, not after hours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = ("S", "M", "L", "XL")
    parser.add_argument("sizes", nargs="*", help=" ".join(sizes))
    parser.add_argument(
        "--public", nargs="*", choices=sizes, help="sizes of projects that publish, measured after; without: all named"
    )
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"some of {','.join(CASES)}")
    parser.add_argument("--profile", action="store_true", help="where the time of the first size goes")
    parser.add_argument("--memory", default="4GB", help="limit of the script's DuckDB and of the pipeline's process")
    parser.add_argument("--write", type=Path, help="Markdown file whose part between the two marks is replaced")
    parser.add_argument("--folder", type=Path, help="where the worlds are made and removed; XL takes tens of GB")
    given = parser.parse_args()
    if set(given.only or ()) - set(CASES) or set(given.sizes) - set(sizes):
        parser.error(f"sizes: some of {' '.join(sizes)}; --only: some of {','.join(CASES)}")
    everything_public = given.public == []
    wanted = [(size, everything_public) for size in given.sizes] + [(size, True) for size in given.public or ()]
    if not wanted:
        parser.error("no size given")
    if given.folder and not os.access(given.folder, os.W_OK):
        parser.error(f"--folder: {given.folder} is no folder that can be written to")
    if given.write and not (given.write.is_file() and {BEGIN, END} <= set(given.write.read_text("utf-8").splitlines())):
        parser.error(f"--write: {given.write} is no page with the lines {BEGIN} and {END}")
    try:
        os.environ[VARIABLE] = given.memory
        memory_limit()
    except BadMemoryLimit as error:
        parser.error(f"--memory: {error}")
    return given, wanted


def main() -> None:
    """Measure and print all tables."""
    if sys.argv[1:2] == [_SAMPLE]:
        sample(Path(sys.argv[2]), sys.argv[3:])
        return
    given, wanted = arguments()
    said = [heading(given)]
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="scale-") as scratch:
        all_found = []
        for size, public in wanted:
            all_found.append(measure(size, public, given, Path(scratch)))
            said.append(table(all_found[-1]))
            said.append(parts_table(all_found[-1]))
            print("\n\n".join(said[-2:]), file=sys.stderr, flush=True)
        if len(all_found) > 1:
            said.append(memory_table(all_found))
        said += [f"**Questions to the internal file of {f.size}**: {f.queries}" for f in all_found if not f.public]
        if given.profile:
            said.append(profile(wanted[0][0], Path(scratch), given.memory))
    text = "\n\n".join(said)
    print(text)
    if given.write:
        write(given.write, text)


def write(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
