"""
The kinds of events, which is what their tags say, and the jids in them.

Source: TAGS in salt/utils/event.py, and "Salt Master events" in Salt's documentation.
"""

from __future__ import annotations

import re

# Of `salt/job/JID/new` the second and the fourth part say the kind.
_JOB = {"new": "job_new", "publish": "job_publish", "ret": "job_ret", "start": "job_start", "prog": "job_prog", "sub": "job_sub_error", "error": "job_error"}
_RUN = {"new": "run_new", "ret": "run_ret"}
_BATCH = {name: f"batch_{name}" for name in ("new", "progress", "complete", "halted", "recover")}
# Of these nothing may follow, nor what has to follow be left out: a minion chooses the jid in the tag of its return, and `JID/new` would make it an announcement.
_PARTS = {"job_new": 4, "job_publish": 4, "job_error": 4, "job_ret": 5, "run_new": 4, "run_ret": 4}
_BY_FOURTH = {"job": _JOB, "run": _RUN, "wheel": {"ret": "wheel_ret"}, "batch": _BATCH, "minion": {"start": "minion_start"}}
_PRESENCE = {"change": "presence_change", "present": "presence_present"}
_BY_SECOND = {name: name for name in ("auth", "key", "stats", "beacon", "fileserver", "cluster")}
_BY_FIRST = {"syndic": "syndic", "minion_start": "minion_start", "salt": "other"}
KINDS = (
    *(kind for kinds in (*_BY_FOURTH.values(), _PRESENCE) for kind in kinds.values()),
    *_BY_SECOND,
    *("syndic", "minion_refresh", "custom", "other"),
)
_SYNDIC_JID = re.compile(r"/([0-9]{20}(?:_[0-9]+)?)(?:/|$)")
_SYNDICS = re.compile(r"(?:syndic/[^/]+/)+")
_RUN_JID = re.compile(r"salt/run/([^/]*)/")
_BARE_JID = re.compile(r"([0-9]{20}(?:_[0-9]+)?)")


def split(tag: str) -> tuple[str, str | None]:
    """
    Return the kind of an event, one of KINDS, and its jid if somebody may wait for it. Takes any text.

    These have one: `salt/job/JID/...`, `salt/run/JID/new` and `/ret`, and whatever a syndic forwards of a job.
    """
    parts = tag.split("/", 4)
    if parts[0] != "salt" or len(parts) == 1:
        return _split_other(tag, parts)
    kinds = _BY_FOURTH.get(parts[1])
    if kinds is None:
        if parts[1] == "presence":
            return _PRESENCE.get(parts[2] if len(parts) > 2 else "", "other"), None
        return _BY_SECOND.get(parts[1], "other"), None
    if len(parts) < 4:
        # `salt/job/error` has no jid.
        return kinds.get(parts[-1], "other"), None
    kind = kinds.get(parts[3], "other")
    if len(parts) != _PARTS.get(kind, len(parts)):
        kind = "other"
    waited_for = kinds is _JOB or (kinds is _RUN and kind != "other")
    return kind, parts[2] if waited_for else None


def _split_other(tag: str, parts: list[str]) -> tuple[str, str | None]:
    if parts[:2] == ["minion", "refresh"]:
        return "minion_refresh", None
    found = _SYNDIC_JID.search(tag) if parts[0] == "syndic" else None
    return _BY_FIRST.get(parts[0], "custom"), found[1] if found else None


def returner(tag: str) -> str:
    """Return ID of `salt/job/JID/ret/ID`, whatever syndics put before it."""
    return (inner_tag(tag) if tag.startswith("syndic/") else tag).split("/", 4)[-1]


def state_of(tag: str) -> tuple[str, str]:
    """Return ID and NUMBER of `salt/job/JID/prog/ID/NUMBER`, whatever syndics put before it; empty where there is none."""
    minion, _, number = returner(tag).partition("/")
    return minion, number


def inner_tag(tag: str) -> str:
    """Return the tag without what syndics put before it, `syndic/ID/` each. Takes any text."""
    before = _SYNDICS.match(tag)
    return tag[before.end() :] if before else tag


def origin(kind: str, jid: str | None, tag: str) -> tuple[str, str | None]:
    """
    Return the kind and the job of an event that `split` has split, as they were before syndics forwarded it.

    More events belong to a job than a caller waits for: all of a runner's, and those whose tag is a bare jid.
    """
    if kind == "syndic":
        tag = inner_tag(tag)
        kind, jid = split(tag)
        if _BARE_JID.fullmatch(tag):
            # How old masters announce a job to the ones above them.
            kind = "job_new"
    if jid is None and (found := _RUN_JID.match(tag) or _BARE_JID.fullmatch(tag)):
        jid = found[1]
    return kind, jid
