"""The options of jobs: how they are published and waited for, and where those of `/v1` are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, model_validator

from service.settings.option_types import RELOADABLE, Group, Seconds, Words

# `http` only to the machine itself.
_NOTIFY_URL = re.compile(r"(https://[^/?#@\s\\]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)/[^?#\s\\]*")


def _notify_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_NOTIFY_URL.fullmatch(url) for url in urls):
        raise ValueError("an entry is no URL such as https://ci.example.org/hooks/")
    return urls


NotifyUrls = Annotated[Words, AfterValidator(_notify_urls)]


class JobSettings(Group):
    """How jobs are published and waited for."""

    deadline_seconds: Seconds = Field(
        7200.0, description="Longest wait for a synchronous job, runner or batch, whatever the minions say.", json_schema_extra=RELOADABLE
    )
    metadata: bool = Field(
        True, description="Put `request_id` into the job's metadata, where minions, returns and the job cache show it.", json_schema_extra=RELOADABLE
    )
    tracking_window_seconds: Seconds = Field(900.0, description="Seconds that the metrics wait for a job's returns when no request of ours does.")
    tracking_window_state_seconds: Seconds = Field(3600.0, description="Seconds that the metrics wait for a state run's returns when no request of ours does.")
    early_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, description="Memory for returns that arrive before the publish is acknowledged.")
    store: str = Field(
        "sqlite:///var/lib/salt-sidecar/jobs.db",
        pattern=r"^(sqlite:///[^?#]+|postgresql://[^#]+)?$",
        description="Where the jobs of `/v1/jobs` are kept: a file of SQLite in a folder on a local disk that the sidecar may write to, or, for several sidecars, a database such as `postgresql://USER@HOST/DATABASE?sslmode=verify-full`. Without such a place, or when empty, `/v1/jobs` is answered 503 and everything else works.",
    )
    store_password_file: Path | None = Field(None, description="File with the password of the database of `jobs.store`, in its first line.")
    store_connections: int = Field(8, ge=2, le=100, description="Most connections to the database of `jobs.store`, beside one that stays.")
    store_limit_bytes: int = Field(1024**3, ge=16 * 1024 * 1024, description="Room for the jobs of `/v1/jobs`; over it the oldest that are over are removed.")
    keep_seconds: float = Field(
        604_800.0, ge=60, description="Seconds that jobs of `/v1/jobs` are kept once they are over, and their `Idempotency-Key` with them."
    )
    keep_arguments: bool = Field(
        False,
        description="Keep `arg`, `kwarg` and `metadata` of jobs of `/v1/jobs` even if they look like they hold secrets. Without, a digest of such is kept, and who lets the job run again has to send them again.",
    )
    readers: Words = Field(
        (),
        description="Users who may read everybody's jobs of `/v1/jobs`, and neither cancel them nor let them run again, as `EAUTH:USER`. A bare name means the users of that name in every eauth module.",
    )
    notify_urls: NotifyUrls = Field(
        (),
        description="Where the `notify` of a job of `/v1/jobs` may send its notice: URLs with `https`, such as `https://ci.example.org/hooks/`; one that ends in a slash allows all below it. Without any, nobody gets notices.",
    )
    notify_secret_file: Path | None = Field(
        None, description="File with the key of the HMAC-SHA256 signature of notices, in its first line. Read again when it is replaced."
    )
    open: int = Field(200, ge=1, le=10_000, description="Most jobs of `/v1/jobs` that are not over; a further one is answered 503.")
    lost_seconds: Seconds = Field(
        45.0, description="Least time between two answers of a minion that it does not run a job before its return counts as lost: it may be sending it."
    )
    revise_seconds: float = Field(3600.0, ge=0, le=86_400, description="Seconds in which a late return still corrects what a job of `/v1/jobs` came to.")
    recovery_user: str | None = Field(
        None,
        pattern=r"^[^:\s]+:[^\s]+$",
        description="Account, as `EAUTH:USER`, that looks up in the master's job cache what was missed of jobs of `/v1/jobs`; it needs `jobs.list_job$` among its `@runner`, and nothing else.",
    )
    recovery_password_file: Path | None = Field(None, description="File with the password of `jobs.recovery_user`, in its first line.")

    @model_validator(mode="after")
    def _check(self) -> JobSettings:
        if (self.recovery_user is None) != (self.recovery_password_file is None):
            raise ValueError("recovery_user and recovery_password_file go together")
        if bool(self.notify_urls) != (self.notify_secret_file is not None):
            raise ValueError("notify_urls and notify_secret_file go together")
        if has_password(self.store):
            raise ValueError("a password has no place in store: put it into a file, and that into store_password_file")
        return self


def has_password(url: str) -> bool:
    """Say whether a URL of a database has a password, before its host or as a parameter."""
    parts = urlsplit(url)
    return ":" in parts.netloc.rpartition("@")[0] or any(name.endswith("password") for name in parse_qs(parts.query, keep_blank_values=True))
