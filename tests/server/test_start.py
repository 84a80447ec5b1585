"""The start: what it imports, which is nearly all that it takes, and what it leaves to those who ask for it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from service.blocks import unseen

pytestmark = pytest.mark.slow

# As `service.cli.serve` does, up to the place where the configuration is read.
START = """
import json, sys
import service.cli.serve
from service.gateway.master.quiet_salt import tame_salt
tame_salt()
import service.server.lifecycle, service.wiring.configuration, service.wiring.serving
print(json.dumps(sorted(sys.modules)))
"""
# Each of these is for some callers, settings or commands only, or is what a library would do for a terminal.
NOT_AT_START = {
    "aiohttp": "Salt's client of the web, which the master uses",
    "cherrypy": "salt-api's server, whose place we take",
    "cryptography.x509": "identities.proxy_secret_file",
    "jinja2": "Salt's renderer of states, which the minions use",
    "jwt": "identities.issuers",
    "opentelemetry": "tracing.endpoint",
    "psycopg": "a jobs.store in PostgreSQL",
    "pygments": "as rich",
    "requests": "Salt's modules of clouds and returners",
    "rich": "structlog's tracebacks on a terminal",
    "salt.client": "Salt's own client, whose place we take",
    "salt.minion": "what a minion does",
    "salt.modules": "what a minion does",
    "salt.state": "what a minion does",
    "service.demo": "salt-sidecar demo",
}
# 871 on Python 3.11 with Salt 3008.3. A module takes half a millisecond and more: look at `python -X importtime` before you raise it.
MOST_MODULES = 920


@functools.cache
def imported_at_start() -> frozenset[str]:
    """Return the modules that a start imports before it reads the configuration."""
    started = subprocess.run([sys.executable, "-W", "ignore", "-c", START], check=True, capture_output=True, timeout=300)
    return frozenset(json.loads(started.stdout))


def test_a_start_imports_no_more_than_it_needs() -> None:
    assert {name for name in NOT_AT_START if name in imported_at_start()} == set()
    assert len(imported_at_start()) <= MOST_MODULES


def test_what_a_start_does_not_see_can_be_imported_later() -> None:
    sys.modules.pop("this", None)
    with unseen("this", "json"):
        with pytest.raises(ModuleNotFoundError):
            __import__("this")
        assert __import__("json") is json

    assert "this" not in sys.modules
