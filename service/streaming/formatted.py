"""Jobs and minions instead of events: what rest_cherrypy sends for `?format_events`, and rest_tornado at `/formatted_events`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from service.streaming.messages import MessageForm, lines_of
from service.streaming.rendering import Encode

# The tags of the events that are formatted.
GLOBS = ("salt/job/*/new", "salt/job/*/ret/*", "salt/key", "salt/key/*", "salt/presence/*")
# What one websocket's picture may take: each message has all of its jobs, or all of its minions. Beyond this the oldest are left out.
MOST_JOBS = 200
MOST_BYTES = 1024 * 1024
GRAINS = "grains.items"
Shown = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Flavour:
    """What the two servers do differently. shape: how minions are sent. ending: what follows the JSON. resets: a new job of `grains.items` makes all minions forgotten."""

    shape: Callable[[Shown], object]
    ending: bytes = b""
    resets: bool = False


# Source: salt/netapi/rest_cherrypy/event_processor.py and salt/netapi/rest_tornado/event_processor.py, SaltInfo.
CHERRYPY = Flavour(lambda minions: list(minions.values()), resets=True)
TORNADO = Flavour(lambda minions: minions, ending=b"\n\n")


def formatted(flavour: Flavour, encode: Encode, on_forgotten: Callable[[int], None], *, acknowledges: bool = False) -> MessageForm:
    """Return the form of the messages of one server."""
    return MessageForm(lambda: Picture(flavour, encode, on_forgotten).render, acknowledges=acknowledges, globs=GLOBS)


class Picture:
    """
    The jobs and minions that one websocket has heard of. Each event that changes them gives a message with all jobs, or all minions.

    on_forgotten(count): so many jobs or minions were left out, because there are too many.
    """

    def __init__(
        self,
        flavour: Flavour,
        encode: Encode,
        on_forgotten: Callable[[int], None],
        *,
        most_jobs: int = MOST_JOBS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._flavour = flavour
        self._encode = encode
        self._on_forgotten = on_forgotten
        self._most_jobs, self._most_bytes = most_jobs, most_bytes
        self._jobs: dict[str, dict[str, Any]] = {}
        self._minions: dict[str, dict[str, Any]] = {}
        # By job, and by minion: the bytes of the events that it was made of.
        self._job_bytes: dict[str, int] = {}
        self._minion_bytes: dict[str, int] = {}

    def render(self, rendered: bytes) -> list[bytes]:
        """Return the messages that events lead to."""
        found: list[bytes] = []
        for line in lines_of(rendered):
            event = json.loads(line)
            data = event["data"]
            if isinstance(data, dict):
                found += self._messages(event["tag"].split("/"), data, len(line))
        return found

    def _messages(self, parts: list[str], data: dict[str, Any], size: int) -> list[bytes]:
        # What is not as the master writes it, somebody else has put on the bus; upstream's stream ends there.
        kind = parts[1] if len(parts) > 1 else ""
        if kind == "job" and len(parts) > 3 and parts[3] == "new":
            return self._new(data, size)
        if kind == "job" and len(parts) == 5 and parts[3] == "ret":
            return self._returned(parts[2], parts[4], data, size)
        if kind == "key":
            return self._key(data)
        return self._presence(data) if kind == "presence" else []

    def _new(self, data: dict[str, Any], size: int) -> list[bytes]:
        if not _has(data, jid=str, _stamp=str, minions=list, fun=str) or not {"tgt", "tgt_type"} <= data.keys():
            return []
        self._jobs[data["jid"]] = {
            "jid": data["jid"],
            "start_time": data["_stamp"],
            "minions": {str(mid): {"success": False} for mid in data["minions"]},
            "fun": data["fun"],
            "tgt": data["tgt"],
            "tgt_type": data["tgt_type"],
            "state": "running",
        }
        self._job_bytes[data["jid"]] = size
        told = [self._message("jobs")]
        if data["fun"] == GRAINS and self._flavour.resets:
            self._minions, self._minion_bytes = {}, {}
        return told

    def _returned(self, jid: str, mid: str, data: dict[str, Any], size: int) -> list[bytes]:
        if not {"return", "retcode", "success"} <= data.keys():
            return []
        job = self._jobs.setdefault(jid, {})
        minions = job.setdefault("minions", {})
        minions.setdefault(mid, {}).update({name: data[name] for name in ("return", "retcode", "success")})
        if all(minion["success"] for minion in minions.values()):
            job["state"] = "complete"
        self._job_bytes[jid] = self._job_bytes.get(jid, 0) + size
        told = [self._message("jobs")]
        if data.get("fun") == GRAINS:
            self._minions.setdefault(mid, {})["grains"] = data["return"]
            self._minion_bytes[mid] = size
            told.append(self._message("minions"))
        return told

    def _key(self, data: dict[str, Any]) -> list[bytes]:
        if not _has(data, act=str, id=str):
            return []
        if data["act"] == "delete":
            self._drop(data["id"])
        elif data["act"] == "accept":
            self._minions.setdefault(data["id"], {})
        return [self._message("minions")]

    def _presence(self, data: dict[str, Any]) -> list[bytes]:
        gone, new = _names(data, "lost"), _names(data, "new")
        if _has(data, present=list):
            gone, new = self._minions.keys() - _names(data, "present"), _names(data, "present") - self._minions.keys()
        for mid in gone:
            self._drop(mid)
        self._minions |= {mid: {} for mid in sorted(new)}
        return [self._message("minions")] if gone or new else []

    def _drop(self, mid: str) -> None:
        self._minions.pop(mid, None)
        self._minion_bytes.pop(mid, None)

    def _message(self, what: Literal["jobs", "minions"]) -> bytes:
        if what == "jobs":
            self._forget(self._jobs, self._job_bytes, self._most_jobs)
        else:
            self._forget(self._minions, self._minion_bytes, None)
        shown = self._jobs if what == "jobs" else self._flavour.shape({mid: {**known, "id": mid} for mid, known in self._minions.items()})
        return self._encode({what: shown}) + self._flavour.ending

    def _forget(self, known: dict[str, dict[str, Any]], sizes: dict[str, int], most: int | None) -> None:
        """Leave out the oldest, down to the last one, until what is known is within its bounds."""
        total, forgotten = sum(sizes.values()), 0
        while len(known) > 1 and (total > self._most_bytes or (most is not None and len(known) > most)):
            oldest = next(iter(known))
            del known[oldest]
            total -= sizes.pop(oldest, 0)
            forgotten += 1
        if forgotten:
            self._on_forgotten(forgotten)


def _names(data: Mapping[str, Any], key: str) -> set[str]:
    """Return a list of names of an event, empty if it has none."""
    names = data.get(key)
    return {str(name) for name in names} if isinstance(names, list) else set()


def _has(data: Mapping[str, Any], **types: type) -> bool:
    return all(isinstance(data.get(name), kind) for name, kind in types.items())
