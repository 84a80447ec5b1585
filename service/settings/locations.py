"""Where the configuration is: the names in the environment, and the files they lead to. Only the standard library, for health checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ENV_PREFIX = "SIDECAR_"
CONFIG_VARIABLE = "SIDECAR_CONFIG"
MASTER_CONFIG_VARIABLE = "SALT_MASTER_CONFIG"
DEFAULT_MASTER_CONFIG = Path("/etc/salt/master")


def master_config_path(environ: Mapping[str, str]) -> Path:
    """Return the master configuration's path, from where rest_wsgi takes it too."""
    return Path(environ.get(MASTER_CONFIG_VARIABLE) or DEFAULT_MASTER_CONFIG)


def settings_path(environ: Mapping[str, str]) -> Path:
    """Return where sidecar.yaml is: `SIDECAR_CONFIG`, else beside the master configuration; it need not exist there."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named) if named else master_config_path(environ).parent / "sidecar.yaml"


def environ_name(dotted: str) -> str:
    """Return the environment variable of an option: `api.port` is `SIDECAR_API_PORT`."""
    return ENV_PREFIX + dotted.replace(".", "_").upper()
