"""Fires events into the master, over the socket that only the master's own user may write to."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import salt.payload
import salt.utils.dicttrim
from salt.exceptions import SaltDeserializationError

from service.deadline import within
from service.errors import BadRequest, BusNotWritable, MasterTimeout, MasterUnreachable
from service.events.event import TAG_END
from service.gateway.master.options import MasterOptions
from service.gateway.transport.bus_thread import BusThread

FIRE_SECONDS = 5.0
_LENGTH = struct.Struct(">I")
_DEFAULT_EVENT_BYTES = 1_048_576


def packed(tag: str, data: Mapping[str, Any], most_bytes: int) -> bytes:
    """
    Return an event as the bus carries it. Like Salt, cuts values where the whole is larger than the master's `max_event_size`.

    Raises BadRequest for what the bus cannot carry. Source: salt/utils/event.py SaltEvent.pack.
    """
    if not tag or not tag.isprintable():
        raise BadRequest("an event's tag is printable text")
    stamped = {**data, "_stamp": dt.datetime.now(dt.timezone.utc).isoformat()}
    try:
        payload = salt.payload.dumps(stamped, use_bin_type=True)
        trimmed: bytes = salt.utils.dicttrim.trim_dict(payload, most_bytes, is_msgpacked=True, use_bin_type=True)
        # The packer nests deeper than any listener's unpacker.
        salt.payload.loads(trimmed)
    except (SaltDeserializationError, ValueError, TypeError, OverflowError, RecursionError, UnicodeError) as exc:
        raise BadRequest(f"the event bus cannot carry this: {type(exc).__name__}") from None
    return tag.encode() + TAG_END + trimmed


def framed(event: bytes) -> bytes:
    """Return an event as the pull socket wants it. Source: salt/transport/frame.py frame_msg_ipc; the same in 3006.2x, 3007 and 3008."""
    message: bytes = msgpack.packb({"head": {}, "body": event}, use_bin_type=True)
    return _LENGTH.pack(len(message)) + message


class Trigger:
    """
    One connection to the master's pull socket, made when first needed, and again when it breaks.

    `fire` may be called from any thread; the socket lives on the bus thread's loop. The master acknowledges nothing:
    an event counts as fired when the kernel has it.
    """

    def __init__(self, bus: BusThread, options: MasterOptions, *, timeout_seconds: float = FIRE_SECONDS) -> None:
        self._bus = bus
        self._path = options.pull_path
        self._host, self._port = options.ipc_host, options.pull_port
        self._most_bytes = int(options.raw.get("max_event_size") or _DEFAULT_EVENT_BYTES)
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._socket: socket.socket | None = None  # the loop thread's

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Put an event on the bus. Raises BadRequest, BusNotWritable, MasterUnreachable, MasterTimeout."""
        message = framed(packed(tag, data, self._most_bytes))
        try:
            self._bus.call(self._send(message), self._timeout_seconds + 1.0)
        except TimeoutError:
            raise MasterTimeout("the master does not take events") from None

    def close(self) -> None:
        """Drop the connection. Call it on the bus thread, or when that has ended."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _send(self, message: bytes) -> None:
        try:
            await within(self._timeout_seconds, self._send_in_turn(message))
        except asyncio.TimeoutError:
            raise MasterTimeout(f"the master did not take the event within {self._timeout_seconds:g} s") from None

    async def _send_in_turn(self, message: bytes) -> None:
        async with self._turn:
            whole = False
            try:
                if self._socket is None or _is_dead(self._socket):
                    self.close()
                    self._socket = await self._connected()
                await asyncio.get_running_loop().sock_sendall(self._socket, message)
                whole = True
            except OSError as exc:
                raise self._fault(exc) from exc
            finally:
                if not whole:
                    # What follows half an event would be read as its rest.
                    self.close()

    async def _connected(self) -> socket.socket:
        over_tcp = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(socket.AF_UNIX if self._path else over_tcp, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path or (self._host, self._port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _fault(self, exc: OSError) -> MasterUnreachable:
        where = self._path or f"{self._host} port {self._port}"
        if isinstance(exc, PermissionError):
            return BusNotWritable(
                f"uid {os.getuid()} may not write to {where}, which is {_owner(where)}'s: run the sidecar as the user the salt-master runs as; only firing needs that"
            )
        words = os.strerror(exc.errno) if exc.errno else str(exc)
        return MasterUnreachable(f"cannot fire events: {where}: {words}", retry_after_seconds=1)


def _is_dead(sock: socket.socket) -> bool:
    """Say whether the master has closed the connection; it never sends anything on it."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _owner(path: str) -> str:
    try:
        return f"uid {Path(path).stat().st_uid}"
    except OSError:
        return "another user"
