"""Whether Spark can run here; on most machines tests are skipped without it, in CI it must be there."""

from __future__ import annotations

import os

import pytest

from pipelines.spark.machine import whats_missing


def need_spark() -> None:
    missing = whats_missing()
    if missing is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have Spark: {missing}")
    pytest.skip(missing)
