"""The options of the audit trail, and the rules it has by default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from service.settings.option_types import RELOADABLE, FromText, FromWords, Group, Seconds, Words

AuditLevel = Literal["none", "metadata", "request", "request_response"]
# Functions that change nothing whatever their arguments; manage.down, for one, can remove keys, and is not here.
# Nor is what shows the returns of other people's jobs, such as jobs.lookup_jid.
_LOCAL_READS = (
    "test.ping test.version grains.get grains.item grains.items grains.ls sys.doc sys.argspec sys.list_functions pkg.version pkg.list_pkgs disk.usage".split()
)
_RUNNER_READS = "jobs.active jobs.list_jobs jobs.list_jobs_filter manage.up manage.status manage.versions".split()
_WHEEL_READS = "key.finger key.get_key key.key_str key.list key.list_all key.list_match key.name_match key.print".split()
_AUDIT_RULES: Any = [
    {"level": "none", "clients": ["local*"], "functions": _LOCAL_READS},
    {"level": "none", "clients": ["runner*"], "functions": _RUNNER_READS},
    {"level": "none", "clients": ["wheel*"], "functions": _WHEEL_READS},
    {"level": "metadata"},
]


class AuditRule(Group):
    """What it fits is recorded at its level; an empty list fits everything, entries are globs."""

    level: AuditLevel
    clients: Words = ()
    functions: Words = ()
    users: Words = ()
    groups: Words = ()
    routes: Words = ()


class AuditSettings(Group):
    """The audit trail: who asked for what, whether it was allowed, and what came of it; docs/audit.md."""

    sinks: Annotated[tuple[Literal["file", "stdout"], ...], FromWords] = Field(
        (), description="Where records go: `file`, `stdout` or both; a record counts as written when one of them has it. Empty: there is no audit trail."
    )
    file: Path | None = Field(None, description="File that the sink `file` writes, created with mode 0600; opened again on SIGHUP and after it was renamed.")
    mode: Literal["best_effort", "strict"] = Field(
        "best_effort",
        description="`strict`: a request whose first record no sink takes is refused with 503 before anything is published, and `/readyz` fails meanwhile.",
        json_schema_extra=RELOADABLE,
    )
    rules: Annotated[tuple[AuditRule, ...], FromText] = Field(
        _AUDIT_RULES,
        validate_default=True,
        description="How much is recorded of which calls, by client, function, user, group and route; the first rule that matches decides. By default reads are not recorded.",
        json_schema_extra=RELOADABLE,
    )
    hmac_key_file: Path | None = Field(
        None,
        description="File with the key of the HMACs that stand for arguments; needed by the levels `request` and `request_response`. Read again when it is replaced.",
        json_schema_extra=RELOADABLE,
    )
    refused_per_minute: int = Field(
        100,
        ge=10,
        le=100_000,
        description="Most records a minute of requests that were refused as malformed, such as `client: ssh`, a tenth of them from one address; the others are counted.",
    )
    chain: bool = Field(True, description="Give each line of the audit file the hash of the line before it, for `salt-sidecar audit-verify`.")
    fsync: Literal["always", "interval"] = Field(
        "interval", description="`always`: a record counts as written when the disk has it; `interval`: as soon as the system has it."
    )
    fsync_seconds: Seconds = Field(1.0, description="Seconds between fsyncs when `audit.fsync` is `interval`.")
    write_seconds: Seconds = Field(2.0, description="Longest wait for a sink to take a record; after that, in strict mode, the request is refused.")
    queue_records: int = Field(10_000, ge=100, le=1_000_000, description="Most records waiting for a sink; further ones count as failed.")

    @model_validator(mode="after")
    def _check(self) -> AuditSettings:
        if "file" in self.sinks and self.file is None:
            raise ValueError("the sink `file` needs audit.file, the path to write to")
        if self.hmac_key_file is None and any(rule.level in {"request", "request_response"} for rule in self.rules):
            raise ValueError("the levels `request` and `request_response` need audit.hmac_key_file; `head -c 32 /dev/urandom | base64` makes a key")
        return self
