"""Two hosts on one share: the lock of one is not seen by the other, so a lease decides and a fence stops the late.

The hosts are processes of their own in which `flock` always succeeds and the name of the host is another one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import lock
from pipelines.gate import damaged_release
from pipelines.paths import Paths
from tests.conftest import ROOT, Quiet, create_project, run_night
from tests.test_gate_and_lock import HOLDER, python
from tests.test_history import FIRST, put, text_of

HOST = """
import fcntl, os, socket, sys
from pipelines import lock
socket.gethostname = lambda: HOSTNAME
def no_lock(file, operation):
    if FLOCK_ERROR:
        raise OSError(FLOCK_ERROR, os.strerror(FLOCK_ERROR))
fcntl.flock = no_lock
lock.RENEW, lock.STALE = 0.1, SILENT
"""
NIGHT = """
import os, signal
from pipelines.release import publish
if STOPS:
    real = publish._room_for_links
    def stopped(places):
        real(places)
        os.kill(os.getpid(), signal.SIGSTOP)
    publish._room_for_links = stopped
from pipelines import cli
sys.argv = ["sozialraum", "nightly", "--project", sys.argv[1]]
cli.main()
"""


def on(host: str, code: str, silent: float = 60.0, flock_error: int = 0, stops: bool = False) -> str:
    """Python that runs some code as if on another host."""
    head = f"HOSTNAME, SILENT, FLOCK_ERROR, STOPS = {host!r}, {silent}, {flock_error}, {stops}\n"
    return head + HOST + code


def held(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "HELD\n"


def answer(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def wait_until_stopped(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2][1] == "T":
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("the run never came to its swap")


def test_run_that_stood_still_is_overtaken_and_puts_nothing_in_force(tmp_path: Path) -> None:
    """One night on host A stops right before its swap; B first meets it alive, then silent, and publishes."""
    root = tmp_path / "Freigabe Süd"
    create_project(root, Quiet())
    paths = Paths.of(root)
    run_night(root)
    before = os.readlink(paths.current)
    put(root, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    late = python(on("amt-a", NIGHT, stops=True), root, stderr=subprocess.STDOUT)
    wait_until_stopped(late)
    assert os.readlink(paths.current) == before
    alive = answer(python(on("amt-b", NIGHT), root, stderr=subprocess.STDOUT))
    assert alive[0] == 5
    assert f"Rechner amt-a, Prozess {late.pid}" in alive[1]
    time.sleep(0.6)
    code, said = answer(python(on("amt-b", NIGHT, silent=0.5), root, stderr=subprocess.STDOUT))
    assert code == 0, said
    assert f"abgelöst: Rechner amt-a, Prozess {late.pid}" in said
    published = os.readlink(paths.current)
    assert published != before
    late.send_signal(signal.SIGCONT)
    code, said = answer(late)
    assert code == 1, said
    assert "hat ein anderer übernommen" in said
    assert f"In Kraft ist jetzt die Veröffentlichung {published}" in said
    assert os.readlink(paths.current) == published
    assert (paths.releases / "aktuell.txt").read_text(encoding="utf-8").strip() == published
    assert damaged_release(paths.current) is None
    assert sorted(p.name for p in paths.releases.iterdir() if p.is_dir() and not p.is_symlink()) == [before, published]
    assert not [p for p in (root / "data").rglob("*") if p.name.startswith((".neu-", ".pending"))]


def test_of_many_hosts_at_once_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "share" / "nightly.lock"
    runs = [python(on(f"amt-{number}", HOLDER), file) for number in range(6)]
    deadline = time.monotonic() + 60
    while sum(run.poll() is None for run in runs) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    said = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 5, 5, 5, 5, 5], said
    assert [path.name for path in file.parent.iterdir()] == ["nightly.lock"]


def test_many_hosts_that_find_a_dead_lease_do_not_share_it(tmp_path: Path) -> None:
    file = tmp_path / "nightly.lock"
    dead = python(on("amt-x", HOLDER), file)
    assert held(dead)
    dead.kill()
    dead.wait()
    time.sleep(0.6)
    runs = [python(on(f"amt-{number}", HOLDER, silent=0.5), file) for number in range(6)]
    deadline = time.monotonic() + 60
    while sum(run.poll() is None for run in runs) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    said = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 5, 5, 5, 5, 5], said


@pytest.mark.parametrize("flock_error", [0, 37])  # ENOLCK: a share without a lock daemon
def test_lease_is_kept_while_its_holder_lives_and_falls_when_it_is_dead(tmp_path: Path, flock_error: int) -> None:
    file = tmp_path / "nightly.lock"
    holder = python(on("amt-a", HOLDER, flock_error=flock_error), file)
    assert held(holder)
    time.sleep(1.0)  # ten times the interval of renewal, longer than what counts as silence
    code, said = answer(
        python(on("amt-b", HOLDER, silent=0.5, flock_error=flock_error), file, stdin=subprocess.DEVNULL)
    )
    assert (code, f"Rechner amt-a, Prozess {holder.pid}" in said) == (5, True)
    holder.kill()
    holder.wait()
    assert answer(python(on("amt-b", HOLDER, flock_error=flock_error), file, stdin=subprocess.DEVNULL))[0] == 5
    time.sleep(0.6)
    run = python(on("amt-b", HOLDER, silent=0.5, flock_error=flock_error), file, stdin=subprocess.DEVNULL)
    assert answer(run) == (0, "HELD\n")
    assert not file.with_suffix(".lease").exists()  # given back


def test_dead_run_of_this_host_is_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "nightly.lock"
    holder = python(HOLDER, file)
    assert held(holder)
    holder.kill()
    holder.wait()
    taken = lock.take(file)
    assert (taken.left, taken.note) == (True, "")
    taken.release()
    taken = lock.take(file)
    assert not taken.left
    taken.release()


def test_lease_from_before_the_clock_was_set_back_does_not_block_for_a_year(tmp_path: Path) -> None:
    file = tmp_path / "nightly.lock"
    dead = python(on("amt-a", HOLDER), file)
    assert held(dead)
    dead.kill()
    dead.wait()
    in_a_year = time.time() + 365 * 86400
    os.utime(file.with_suffix(".lease"), (in_a_year, in_a_year))
    assert answer(python(on("amt-b", HOLDER), file, stdin=subprocess.DEVNULL)) == (0, "HELD\n")


def test_run_whose_lease_was_taken_is_fenced(tmp_path: Path) -> None:
    file = tmp_path / "nightly.lock"
    lock.fence(file)  # nothing held, nothing lost: a single step called by hand
    taken = lock.take(file)
    lock.fence(file)
    lease = file.with_suffix(".lease")
    lease.unlink()
    lease.write_text("Rechner amt-b, Prozess 7\n", encoding="utf-8")
    with pytest.raises(lock.Overtaken, match="Rechner amt-b, Prozess 7"):
        lock.fence(file)
    taken.release()
    assert lease.exists()  # not ours to remove


def test_module_of_the_lock_needs_only_the_standard_library() -> None:
    code = "import sys; before = set(sys.modules); import pipelines.lock, pipelines.faults; "
    code += "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["pipelines"]
