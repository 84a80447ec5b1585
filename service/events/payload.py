"""Reads a few fields of an event's payload without decoding the rest: a return may have a megabyte that nobody needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import salt.payload
from salt.exceptions import SaltDeserializationError

# Up to here decoding all is cheaper than passing anything over.
SMALL_BYTES = 4096
# In a large event decoded only when somebody asks.
_LATER = frozenset({"return", "fun_args", "arg"})
# What the master puts in the place of a value that made an event too large (salt/utils/dicttrim.py), as msgpack writes it.
_TRIMMED = b"\xadVALUE_TRIMMED"
_FAULTS = (ValueError, TypeError, msgpack.UnpackException)


class Undecodable(Exception):
    """The payload is no mapping that msgpack can read."""


class Payload:
    """
    The fields of an event's payload.

    fields: decoded; of a large event's `return`, `fun_args` and `arg` only where they lie is known until `later` is called. Raises Undecodable.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._places: dict[str, tuple[int, int]] = {}
        self.fields: dict[str, Any] = {}
        if len(payload) > SMALL_BYTES:
            self._look()
        else:
            self._read()

    @property
    def names(self) -> set[Any]:
        """Return the names of all fields, those not decoded included."""
        return {*self.fields, *self._places}

    @property
    def trimmed(self) -> bool:
        """Say whether the master has cut the event to its `max_event_size`."""
        return _TRIMMED in self._payload

    def later(self, name: str) -> Any:
        """Return a field that may have been passed over; None if there is none. Raises Undecodable."""
        if name not in self._places:
            return self.fields.get(name)
        start, end = self._places[name]
        return _decoded(memoryview(self._payload)[start:end])

    def _read(self) -> None:
        """Decode all."""
        fields = _decoded(self._payload)
        if not isinstance(fields, dict):
            raise Undecodable
        self.fields = fields

    def _look(self) -> None:
        """Decode what is wanted of every event."""
        try:
            self._pass_over()
        except _FAULTS as exc:
            raise Undecodable from exc

    def _pass_over(self) -> None:
        reader = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace", max_buffer_size=len(self._payload) + 1)
        reader.feed(self._payload)
        for _ in range(reader.read_map_header()):
            name = reader.unpack()
            if name not in _LATER:
                self.fields[name] = reader.unpack()
                continue
            start = reader.tell()
            reader.skip()
            self._places[name] = (start, reader.tell())


def whole(payload: bytes) -> Any:
    """
    Return what is in a payload as Salt reads it; raises Undecodable, which Salt logs.

    A small one takes half of Salt's time, unless it has types of Salt's own, or is no UTF-8.
    """
    if len(payload) > SMALL_BYTES:
        return _by_salt(payload)
    try:
        return msgpack.unpackb(payload, raw=False, strict_map_key=False, ext_hook=_is_salts)
    except _FAULTS:
        return _by_salt(payload)


def _is_salts(code: int, _data: bytes) -> None:
    raise ValueError(f"type {code} is Salt's own")


def _by_salt(payload: bytes) -> Any:
    try:
        return salt.payload.loads(payload, encoding="utf-8")
    except SaltDeserializationError as exc:
        raise Undecodable from exc


def _decoded(payload: bytes | memoryview) -> Any:
    try:
        return msgpack.unpackb(payload, raw=False, strict_map_key=False, unicode_errors="replace")
    except _FAULTS as exc:
        raise Undecodable from exc


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that is a text, else an empty one."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""
