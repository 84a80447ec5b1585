"""The loop's sockets: the kernel is told once what to watch them for, not at each turn."""

from __future__ import annotations

import contextlib
import select
from collections import deque
from typing import Any

from waitress import wasyncore

# As many events as one turn takes; the others come first the next time.
_EVENTS = 256


class Sockets(dict[int, Any]):
    """
    waitress' map from a descriptor to its channel, port or trigger, and what the kernel looks for on each.

    `wasyncore.loop` asks everybody at each turn what to look for and tells the kernel all of it anew. Here they are asked whose answer can
    have changed: those that are new, those that had an event, and those that `ask_again` was called for. So an idle connection costs a turn nothing.
    All methods run in the loop's thread, except `ask_again` and the removal of a channel, which a thread of the pool may do too.
    """

    def __init__(self, epoll: select.epoll | None = None) -> None:
        """epoll: the kernel's list, a new one by default."""
        super().__init__()
        self._epoll = epoll or select.epoll()
        self._looked_for: dict[int, int] = {}  # flags by descriptor, those that are not 0
        self._to_ask: deque[int | None] = deque()

    def __setitem__(self, descriptor: int, channel: Any) -> None:
        """Take a channel in. It is asked before the next wait; waitress adds it before it can answer."""
        self._looked_for.pop(descriptor, None)
        super().__setitem__(descriptor, channel)
        self._to_ask.append(descriptor)

    def __delitem__(self, descriptor: int) -> None:
        """
        Let a channel go; its socket is still open.

        The kernel would forget it with the socket, but not while a child process holds a copy of that.
        """
        super().__delitem__(descriptor)
        if self._looked_for.pop(descriptor, 0):
            # ValueError: a thread that `Listener.stop` left behind closes its connection after us.
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(descriptor)

    def ask_again(self, descriptor: int | None) -> None:
        """
        Ask the owner of the descriptor before the next wait; None, and a descriptor that is gone, are ignored.

        It does not wake the loop: a thread of the pool pulls the trigger afterwards. The loop empties the trigger before it looks at the list,
        so it either finds the descriptor there, or a byte in the trigger that sends it to look again.
        """
        self._to_ask.append(descriptor)

    def turn(self, seconds: float) -> None:
        """Ask who is to be asked, wait for an event, and tell all who have one."""
        self.ask()
        # The descriptors are looked up before the first owner is told: an owner may close one, and the kernel gives its number to the next caller,
        # which the event is not for.
        ready = [(descriptor, self.get(descriptor), flags) for descriptor, flags in self._epoll.poll(seconds, _EVENTS)]
        for descriptor, channel, flags in ready:
            if channel is not None and self.get(descriptor) is channel:
                self._tell(descriptor, channel, flags)

    def ask(self) -> None:
        """Ask who is to be asked, and tell the kernel what has changed."""
        while self._to_ask:
            descriptor = self._to_ask.popleft()
            if descriptor is not None and (channel := self.get(descriptor)) is not None:
                self._look_for(descriptor, channel)

    def close(self) -> None:
        """Give the kernel's list back."""
        self._epoll.close()

    def _look_for(self, descriptor: int, channel: Any) -> None:
        flags = _wanted(channel)
        known = self._looked_for.get(descriptor, 0)
        if flags == known:
            return
        if flags == select.POLLOUT and not channel.total_outbufs_len:
            # Only to be closed, which needs no room.
            self._tell(descriptor, channel, flags)
            return
        try:
            self._tell_kernel(descriptor, flags, known)
        except OSError:
            # Closed by somebody else, which poll reports as POLLNVAL; or by its thread just now, and then it is not here any more.
            if self.get(descriptor) is channel:
                self._tell(descriptor, channel, select.POLLNVAL)

    def _tell(self, descriptor: int, channel: Any, flags: int) -> None:
        wasyncore.readwrite(channel, flags)
        self._to_ask.append(descriptor)

    def _tell_kernel(self, descriptor: int, flags: int, known: int) -> None:
        if not flags:
            # A registration for nothing would still report hang-ups, at each turn.
            self._looked_for.pop(descriptor, None)
            self._epoll.unregister(descriptor)
            return
        self._looked_for[descriptor] = flags
        if known:
            self._epoll.modify(descriptor, flags)
        else:
            self._epoll.register(descriptor, flags)


def _wanted(channel: Any) -> int:
    """Return what to look for, as `wasyncore.poll2` asks for it; poll's flags are also epoll's."""
    flags = select.POLLIN | select.POLLPRI if channel.readable() else 0
    return flags | select.POLLOUT if channel.writable() and not channel.accepting else flags
