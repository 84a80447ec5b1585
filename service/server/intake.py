"""What each address may hold of a listener: connections, and bytes of bodies that are not answered yet."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

from waitress.utilities import Error

from service.http.addresses import HOLDERS

if TYPE_CHECKING:
    from service.server.channel import Channel

MIB = 1024 * 1024
# Apache's mod_reqtimeout gives a header and a body as long before it looks at their rate.
GRACE_SECONDS = 20.0

# A kept-alive connection without a request, and an answer nobody reads, end after this.
IDLE_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Patience:
    """
    How long a connection may take.

    receive_seconds: for a request. bytes_per_second: after `grace_seconds` each second more has to have brought these. idle_seconds: between two requests.
    """

    receive_seconds: float
    bytes_per_second: int = 0
    grace_seconds: float = GRACE_SECONDS
    idle_seconds: float = IDLE_SECONDS

    def shortened(self) -> Patience:
        """Return what is left of it while there is hardly room for others."""
        return dataclasses.replace(self, grace_seconds=self.grace_seconds / 4, idle_seconds=self.idle_seconds / 24)

    def is_slow(self, seconds: float, received: int) -> bool:
        """Say whether a request that began *seconds* ago, of which *received* bytes are here, takes too long."""
        if seconds > self.receive_seconds:
            return True
        return self.bytes_per_second > 0 and seconds > self.grace_seconds + received / self.bytes_per_second


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What one address may hold, and all together; at least one body always fits."""

    connections_per_address: int = 500
    body_bytes_per_address: int = 64 * MIB
    body_bytes: int = 96 * MIB


class NoRoom(Error):  # type: ignore[misc]
    """waitress' error for a body that there is no room for."""

    code = 503
    reason = "Service Unavailable"


class Intake:
    """
    Who holds what of a listener.

    Whoever is over its own bound pays: with its longest unused connection, or with the body that it sends. When all bodies together are over theirs,
    the address that holds most pays with its largest unfinished one, so nobody needs many addresses to keep others out.
    Connections come and bodies grow in the loop's thread; a thread of the pool may end either.
    """

    def __init__(self, bounds: Bounds, body_limit_bytes: int) -> None:
        self._connections = bounds.connections_per_address
        self._most_each = max(bounds.body_bytes_per_address, body_limit_bytes)
        self._most = max(bounds.body_bytes, body_limit_bytes)
        self._ample = min(self._most_each, self._most)  # up to here nobody has too much
        self._lock = threading.Lock()
        # Bytes by connection by address, the connections longest unused first; guarded by _lock.
        self._held: dict[str, dict[Channel, int]] = {}
        self._total = 0  # guarded by _lock

    def body_bytes(self) -> int:
        """Return the bytes of all bodies in memory and in files, also of those that are being served."""
        return self._total

    def make_room(self, address: str) -> bool:
        """Say whether one more connection from there may be kept, if need be in the place of one that is not in use."""
        with self._lock:
            mine = self._held.get(HOLDERS.of(address), {})
            if len(mine) < self._connections:
                return True
            unused = next((channel for channel in mine if channel.is_unused()), None)
        if unused is None:
            return False
        unused.abort()
        return True

    def enter(self, channel: Channel) -> None:
        """Count a new connection."""
        with self._lock:
            self._held.setdefault(channel.holder, {})[channel] = 0

    def leave(self, channel: Channel) -> None:
        """Count it no more."""
        with self._lock:
            mine = self._held.get(channel.holder, {})
            self._total -= mine.pop(channel, 0)
            if not mine:
                self._held.pop(channel.holder, None)

    def hold(self, channel: Channel) -> None:
        """Ask a connection that was just made use of what it holds now."""
        with self._lock:
            # Asked in here, so that of two threads the later one's answer stays.
            body_bytes = channel.body_bytes()
            mine = self._held.get(channel.holder, {})
            if channel in mine:
                self._total += body_bytes - mine.pop(channel)
                mine[channel] = body_bytes

    def who_pays(self, channel: Channel) -> Channel | None:
        """Return whose unfinished body has to go, now that this connection has received something; None while there is room."""
        if self._total <= self._ample:
            return None
        with self._lock:
            if sum(self._held.get(channel.holder, {}).values()) > self._most_each:
                return channel
            if self._total <= self._most:
                return None
            most = max(self._held.values(), key=lambda held: sum(held.values()))
            unfinished = [each for each in most if each.is_receiving()]
            return max(unfinished, key=lambda each: most[each], default=channel)
