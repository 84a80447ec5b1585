"""Who may connect at all: connections are bounded in number, all together and those of one address, from their first byte on."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage

from service.http.addresses import HOLDERS
from service.sockets.handshake import Granted


class Door:
    """Counts the connections that are open. The loop's; `inside` may be read by anybody."""

    def __init__(self, limit: int, per_address: int, on_rejected: Callable[[str], None]) -> None:
        self._limit, self._per_address = limit, per_address
        self.on_rejected = on_rejected
        self._open: set[CallerConnection] = set()
        self._held: collections.Counter[str] = collections.Counter()

    @property
    def inside(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def enter(self, connection: CallerConnection) -> bool:
        """Count a new connection, and say whether it may stay."""
        if len(self._open) >= self._limit or self._held[connection.holder] >= self._per_address:
            self.on_rejected("connections_full")
            return False
        self._open.add(connection)
        self._held[connection.holder] += 1
        return True

    def leave(self, connection: CallerConnection) -> None:
        """Count it no more, if it was."""
        if connection in self._open:
            self._open.discard(connection)
            self._held[connection.holder] -= 1
            self._held += collections.Counter()  # without those that have none

    def cut(self) -> None:
        """Cut every connection."""
        for connection in list(self._open):
            connection.transport.abort()


class CallerConnection(ServerConnection):
    """
    The library's connection, counted, and with what the application granted it until somebody takes that.

    abandon: told of what was granted to a connection that is lost before.
    """

    def __init__(self, door: Door, abandon: Callable[[Granted], None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._door = door
        self._abandon = abandon
        self.holder = ""
        self.granted: Granted | None = None
        self.is_lost = False

    def take_granted(self) -> Granted | None:
        """Return what was granted, to whoever is responsible for it from now on."""
        granted, self.granted = self.granted, None
        return granted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or cut it."""
        self.holder = HOLDERS.of((transport.get_extra_info("peername") or ("",))[0])
        super().connection_made(transport)
        if not self._door.enter(self):
            cast("asyncio.Transport", transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what nobody has taken."""
        self.is_lost = True
        super().connection_lost(exc)
        if granted := self.take_granted():
            self._abandon(granted)
        self._door.leave(self)

    async def handshake(self, *args: Any, **options: Any) -> None:
        """Do it, and count what is no request, or does not come."""
        try:
            await super().handshake(*args, **options)
        except asyncio.CancelledError:
            self._door.on_rejected("slow_body")
            raise
        finally:
            # 16 raises it, 17 keeps it. Who hangs up without a word has asked for nothing.
            fault = self.protocol.handshake_exc
            is_silence = fault is None or (isinstance(fault, InvalidMessage) and isinstance(fault.__cause__, EOFError))
            if self.request is None and not is_silence:
                self._door.on_rejected("malformed")
