"""Reads a project's `spark.yaml`."""

from __future__ import annotations

from pipelines.paths import Paths
from pipelines.project import ConfigError
from schemas.spark_settings import SparkSettings
from schemas.yaml_source import Problem, parse_plain

FILE = "spark.yaml"


def read_settings(paths: Paths) -> SparkSettings:
    """Settings of a project; without the file those of this machine alone.

    Raises:
        ConfigError: the file is not valid (file, line, nearest key).
    """
    file = paths.root / FILE
    if not file.exists():
        return SparkSettings()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(FILE, 1, f"nicht lesbar: {error}")]) from error
    settings, problems = parse_plain(text, FILE, SparkSettings)
    if settings is None:
        raise ConfigError(problems)
    return settings
