"""Whether the master's Salt may be of our series. No reply without credentials that we know of has its version; its sockets tell 3008 and newer from what is older."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# From this series on, the request server's workers listen on a socket for each pool, and `workers.ipc` is an empty file.
POOLS_SINCE = 3008
# A socket outlives the master that made it. All of one master's are made at its start.
STALE_SECONDS = 60.0


def master_differs(bus_path: str | None, own: str, *, pools: bool = True) -> str:
    """
    Return why the master's Salt cannot be of our series, or nothing: it may be, or nobody can tell.

    own: our Salt's version. pools: `worker_pools_enabled` of the master configuration.
    Source: salt/transport/base.py and salt/channel/server.py of 3006.28, 3007.15 and 3008.3; the replies to a ping and to refused calls have no version in them.
    """
    if bus_path is None:
        return ""
    pooled = _has_pools(Path(bus_path))
    ours = int(own.split(".", maxsplit=1)[0]) >= POOLS_SINCE
    if pooled is None or pooled == ours or not pools:
        return ""
    theirs = f"{POOLS_SINCE} or newer" if pooled else f"older than {POOLS_SINCE}"
    return f"the master's sockets are those of a Salt {theirs}, ours is {own}: install the sidecar with the master's Salt version"


def pools_enabled(raw: Mapping[str, Any]) -> bool:
    """Say whether a master with these options that knows worker pools uses them."""
    return bool(raw.get("worker_pools_enabled", True))


def _has_pools(bus: Path) -> bool | None:
    """Say whether there are sockets of worker pools; None if there are none of workers at all, or we may not look."""
    try:
        born = bus.stat().st_mtime
        if any(pool.stat().st_mtime > born - STALE_SECONDS for pool in bus.parent.glob("workers-*.ipc")):
            return True
        return False if stat.S_ISSOCK((bus.parent / "workers.ipc").stat().st_mode) else None
    except OSError:
        return None
