"""Pydantic model of a project's `spark.yaml`, which says where `sozialraum nightly --engine spark` computes; no I/O."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from schemas.documents import Misfit, Strict

_MASTER = r"^(local(\[[0-9*]+\])?|local-cluster\[\d+,\d+,\d+\]|spark://.+|k8s://.+|yarn)$"
_WORDS = (
    r"password|passwd|passphrase|secret|token|credential|signature"
    r"|(?:access|account|private|api)[._-]?key\b|(?<![a-z])sas(?![a-z])"
)
_SECRET = re.compile(_WORDS, re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"(?:{_WORDS}|[?&;]sig)[\w.-]*\s*=|://[^@\s]*:[^@\s]*@", re.IGNORECASE)
"""A word above with a value (`-D...Password=...`), or user and password before the host of an address."""
_ELSEWHERE = "gehört nicht in diese Datei; in die Umgebung oder in spark-defaults.conf unter SPARK_CONF_DIR schreiben"


class SparkSettings(Strict):
    """Master, place of exchange, catalogue and further settings; all of them optional."""

    master: str = Field(default="local[*]", pattern=_MASTER)
    warehouse: str | None = Field(
        default=None, min_length=1, description="folder or URI (s3a://...) that driver and all executors reach"
    )
    catalog: str | None = Field(
        default=None, pattern=r"^\w+(\.\w+)*$", description="catalogue and start of the name of each run's own schema"
    )
    conf: dict[str, str] = Field(default={}, description="any other setting of Spark")

    @field_validator("conf")
    @classmethod
    def _no_secrets(cls, conf: dict[str, str]) -> dict[str, str]:
        for key, value in conf.items():
            if not key.startswith("spark."):
                raise Misfit(f"{key}: Einstellungen von Spark beginnen mit »spark.«", key)
            if _SECRET.search(key):
                raise Misfit(f"{key} ist ein Geheimnis und {_ELSEWHERE}", key)
            if _SECRET_VALUE.search(value):
                raise Misfit(f"im Wert von {key} steht ein Geheimnis, das {_ELSEWHERE}", key)
        return conf

    @field_validator("master", "warehouse")
    @classmethod
    def _no_password_in_an_address(cls, address: str | None) -> str | None:
        if address and _SECRET_VALUE.search(address):
            raise Misfit(f"in der Adresse steht ein Geheimnis, das {_ELSEWHERE}")
        return address
