"""The units: systemd accepts them, they are closed enough, and the paths they leave writable suffice for a night."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND, ROOT, Quiet, create_project

UNITS = ROOT / "deploy/systemd"
INSTALLED = "/srv/sozialraum-monitor"
MOST_EXPOSED = 3.0
"""Of 10; below 4.0 systemd calls a service `OK`, 9.6 is one without any setting."""


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on this machine")
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units with the folder of this checkout and its commands in place of the installed ones."""
    found = []
    checkout = tmp_path / "programm"  # the checkout's own path may hold blanks, which units would have to quote
    checkout.symlink_to(ROOT)
    for path in sorted(UNITS.iterdir()):
        text = path.read_text(encoding="utf-8").replace(INSTALLED, str(checkout))
        found.append(tmp_path / path.name)
        found[-1].write_text(text, encoding="utf-8")
    return found


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", (UNITS / unit).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_systemd_accepts_the_units(analyze: str, units: list[Path]) -> None:
    run = subprocess.run([analyze, "verify", *map(str, units)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_services_are_closed(analyze: str, units: list[Path]) -> None:
    services = [str(unit) for unit in units if unit.suffix == ".service"]
    assert len(services) == 3
    run = subprocess.run([analyze, "security", "--offline=true", *services], capture_output=True, text=True, check=True)
    levels = dict(re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", run.stdout))
    assert len(levels) == 3
    assert {unit: level for unit, level in levels.items() if float(level) > MOST_EXPOSED} == {}


def test_timer_means_a_quarter_past_three_in_berlin(analyze: str) -> None:
    (when,) = settings("sozialraum-nightly.timer")["OnCalendar"]
    run = subprocess.run(
        [analyze, "calendar", "--base-time=2026-07-01 00:00 UTC", when],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": "UTC"},
    )
    assert "2026-07-01 01:15:00 UTC" in run.stdout  # summer time: two hours ahead


def test_services_call_commands_that_exist() -> None:
    for unit in UNITS.glob("*.service"):
        (call,) = settings(unit.name)["ExecStart"]
        program, *arguments = call.split()
        command = COMMAND.with_name(Path(program).name)
        assert program == f"{INSTALLED}/.venv/bin/{command.name}"
        known = [part for part in arguments if part.startswith("--")]
        step = arguments[:1] if command.name == "sozialraum" else []
        said = subprocess.run([str(command), *step, "--help"], capture_output=True, text=True, check=True).stdout
        assert not [option for option in known if option not in said]


SANDBOX = """
set -eu
mount --bind "$P" "$P"
mount --bind "$WRITABLE" "$WRITABLE"
mount -t tmpfs tmpfs /var/tmp
mount -o remount,bind,ro /
mount -o remount,bind,ro "$P"
mount --bind "$READONLY" "$READONLY"
mount -o remount,bind,ro "$READONLY"
touch "$WRITABLE/probe"; rm "$WRITABLE/probe"
for folder in "$P" "$READONLY" / /tmp "$HOME_BEFORE" "$CODE"; do
    if touch "$folder/probe" 2>/dev/null; then echo "writable: $folder"; exit 99; fi
done
umask "$MASK"
exec setpriv --no-new-privs --bounding-set -all --inh-caps -all "$@"
"""


def test_night_needs_to_write_nowhere_else(tmp_path: Path) -> None:
    """The night with everything read-only but what the unit names, without capabilities and with the unit's umask."""
    project = tmp_path / "projekt"
    assert create_project(project, Quiet()) == 0
    key = tmp_path / "schluessel"
    unit = settings("sozialraum-nightly.service")
    (writable,), (readonly,) = unit["ReadWritePaths"], unit["ReadOnlyPaths"]
    assert subprocess.run([str(COMMAND), "status", "--project", str(project)], capture_output=True).returncode == 1
    key.write_text("7" * 64 + "\n", encoding="ascii")
    key.chmod(0o600)
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "TMPDIR": "/var/tmp",
        "P": str(project),
        "WRITABLE": writable.replace(INSTALLED, str(project)),
        "READONLY": readonly.replace(INSTALLED, str(project)),
        "HOME_BEFORE": str(Path.home()),
        "CODE": str(ROOT),
        "MASK": unit["UMask"][0],
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOZIALRAUM_SCHLUESSEL": str(key),
    }
    alone = ["unshare", "--mount", "--propagation", "private"]
    if shutil.which("setpriv") is None or subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("unshare --mount is not allowed here")
    run = subprocess.run(
        [*alone, "sh", "-c", SANDBOX, "sh", str(COMMAND), "nightly", "--project", str(project)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Veröffentlicht: " in run.stdout
    release = (project / "data/releases/current").resolve()
    for path in [release, *release.rglob("*")]:  # readers come by the group; nobody else may look
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o040, path
        assert not mode & 0o007, path
    for name in ("history", "warehouse/internal", "state"):
        assert stat.S_IMODE((project / "data" / name).stat().st_mode) == 0o700
