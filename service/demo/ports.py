"""Free ports for servers whose address must be known before they listen. Only the standard library, for the end-to-end tests."""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

# Below are the well-known ones.
FIRST = 10_000
# Linux' first port of outgoing connections, unless this file says otherwise.
EPHEMERAL_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL = 32_768


def free_ports(count: int, among: range | None = None) -> list[int]:
    """
    Return ports of 127.0.0.1 that nobody listens on, each another. Raises OSError when there are not as many.

    Without `among` they are none of those that the kernel gives away: an outgoing connection of anybody's could take one before its server listens.
    """
    found: list[int] = []
    candidates = among or _candidates()
    # From anywhere on and once around: to shuffle twenty thousand ports takes twenty milliseconds.
    first = secrets.randbelow(len(candidates))
    for port in (candidates[(first + step) % len(candidates)] for step in range(len(candidates))):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"there are no {count} free ports")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether one could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _candidates() -> range:
    """Return what is below the kernel's own range, or in it where nothing much is."""
    first_ephemeral = EPHEMERAL
    with contextlib.suppress(OSError, ValueError, IndexError):
        first_ephemeral = int(EPHEMERAL_FILE.read_text().split()[0])
    return range(FIRST, first_ephemeral if first_ephemeral > FIRST + 1000 else 65_536)
