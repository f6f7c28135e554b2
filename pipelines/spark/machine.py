"""Whether Spark can run on this machine at all. Standard library only."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

JAVA = 17
"""Oldest Java that Spark 4 runs on."""


def whats_missing() -> str | None:
    """What has to be installed before Spark can run, in German; None if nothing."""
    if importlib.util.find_spec("pyspark") is None:
        return (
            "--engine spark: das Python-Paket pyspark fehlt; "
            "installieren: .venv/bin/pip install --require-hashes -r requirements-spark.lock"
        )
    java = _java()
    if java is None or not Path(java).exists():
        return f"--engine spark: Java fehlt; gebraucht wird {JAVA} oder 21 (Debian: apt install default-jre-headless)"
    version = _java_version(java)
    if version is not None and version < JAVA:
        return f"--engine spark: Spark braucht Java {JAVA} oder 21, gefunden: Java {version} ({java})"
    return None


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else shutil.which("java")


def _java_version(java: str) -> int | None:
    """Main version, None if it does not tell."""
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else None
