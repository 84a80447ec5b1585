"""What is measured of lows with a name and password, which a slow eauth module judges each time, or once with `limits.auth_reuse_seconds`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases import EACH, NONE_LOST, SIDECAR, Case, Target
from benchmarks.eauth.auth.slow import PASSWORD
from benchmarks.running import ROOT

SLOW_USER = "robot"
EVERYTHING = [".*", "@runner", "@wheel"]
# The longest that may be set.
REUSE_SECONDS = 60
# A user of this machine whom PAM knows. Without these there is no case of PAM: a benchmark makes no users.
PAM_USER, PAM_PASSWORD = "BENCH_PAM_USER", "BENCH_PAM_PASSWORD"
# A job whose returns do not come meanwhile: the least that a low costs the master, so that the logins are what is measured.
SLOW = Case(
    "inline-slow-16",
    "`local_async` of a long job, a name and password in each low, an eauth module that takes 0.3 s, 16 callers",
    {"client": "local_async", "fun": "test.sleep", "arg": [100_000]},
    "job",
    16,
    (Target("rate", 8, at_least=True, to=EACH), NONE_LOST),
    (SIDECAR, EACH),
    seconds=40,
    eauth="slow",
)
PAM = Case(
    "inline-pam-16",
    "`wheel`, a name and password in each low, PAM, 16 callers",
    {"client": "wheel", "fun": "key.list_all"},
    "keys",
    16,
    (Target("rate", 8, at_least=True, to=EACH), Target("master_ms", 0.6, to=EACH), NONE_LOST),
    (SIDECAR, EACH),
    seconds=40,
    eauth="pam",
)
LOGINS = (SLOW, PAM)


def login_cases(environ: Mapping[str, str]) -> tuple[Case, ...]:
    """Return the cases that this machine can have."""
    return LOGINS if PAM_USER in environ and PAM_PASSWORD in environ else (SLOW,)


def master_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what the master needs to judge them."""
    users = {"slow": {SLOW_USER: EVERYTHING}, **({"pam": {environ[PAM_USER]: EVERYTHING}} if PAM_USER in environ else {})}
    return {"module_dirs": [str(ROOT / "benchmarks" / "eauth")], "external_auth": users}


def credentials(eauth: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what each low of a case carries; nothing for callers with a session."""
    if not eauth:
        return {}
    user, password = (environ[PAM_USER], environ[PAM_PASSWORD]) if eauth == "pam" else (SLOW_USER, PASSWORD)
    return {"eauth": eauth, "username": user, "password": password}
