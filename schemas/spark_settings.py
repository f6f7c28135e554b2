"""Pydantic model of a project's `spark.yaml`, which says where `sozialraum nightly --engine spark` computes; no I/O."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from schemas.documents import Misfit, Strict

_MASTER = r"^(local(\[[0-9*]+\])?|local-cluster\[\d+,\d+,\d+\]|spark://.+|k8s://.+|yarn)$"
_SECRET = re.compile(r"password|passwd|secret|token|credential|access\.key|account\.key", re.IGNORECASE)


class SparkSettings(Strict):
    """Master, place of exchange, catalogue and further settings; all of them optional."""

    master: str = Field(default="local[*]", pattern=_MASTER)
    warehouse: str | None = Field(
        default=None, min_length=1, description="folder or URI (s3a://...) that driver and all executors reach"
    )
    catalog: str | None = Field(
        default=None, pattern=r"^\w+(\.\w+)*$", description="catalogue and schema that hold the tables during a run"
    )
    conf: dict[str, str] = Field(default={}, description="any other setting of Spark")

    @field_validator("conf")
    @classmethod
    def _no_secrets(cls, conf: dict[str, str]) -> dict[str, str]:
        for key in conf:
            if not key.startswith("spark."):
                raise Misfit(f"{key}: Einstellungen von Spark beginnen mit »spark.«", key)
            if _SECRET.search(key):
                raise Misfit(
                    f"{key} ist ein Geheimnis und gehört nicht in diese Datei; in die Umgebung oder in "
                    "spark-defaults.conf unter SPARK_CONF_DIR schreiben",
                    key,
                )
        return conf
