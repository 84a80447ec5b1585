"""Events as a hostile minion may have them: any tag, any fields. Only what nobody could tell from another minion's own return is left out."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgpack
from hypothesis import strategies as st

MALLORY = "mallory"
Fired = tuple[str, Any]  # a tag, and what msgpack can pack

_PACKABLE = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
_EXTENSIONS = st.builds(msgpack.ExtType, st.sampled_from([1, 78, 79]), st.binary(max_size=9)) | st.builds(msgpack.Timestamp, st.integers(0, 2**34), st.just(0))


def _nested(levels: int) -> Any:
    value: Any = "deep"
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


_VALUES = st.recursive(
    _PACKABLE | _EXTENSIONS | st.integers(90, 500).map(_nested),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(0, 3) | st.binary(max_size=2), inner, max_size=3),
    max_leaves=6,
)
_NAMES = [
    "error",
    "minions",
    "missing",
    "return",
    "retcode",
    "success",
    "out",
    "id",
    "jid",
    "resource_id",
    "fun",
    "fun_args",
    "syndic",
    "user",
    "schedule",
    "_stamp",
]


def packed(fired: Fired) -> bytes:
    """Return an event as the bus carries it."""
    tag, data = fired
    payload: bytes = msgpack.packb(data, use_bin_type=True)
    return tag.encode() + b"\n\n" + payload


def events(jids: Collection[str], minions: Collection[str]) -> st.SearchStrategy[Fired]:
    """Return any event about these jobs and minions and about others, except a whole return in the name of one of the minions, or of a runner."""
    known = st.sampled_from([*jids, *minions, MALLORY, "stranger"])
    words = known | st.sampled_from(["new", "ret", "error", "publish", "start", "prog", "", "2"])
    tags = st.builds(lambda jid, kind, rest: "/".join(["salt/job", jid, kind, *rest]), known, words, st.lists(words, max_size=2))
    runs = st.builds("salt/run/{}/{}".format, known, words)
    others = st.builds(
        "/".join, st.lists(words | st.sampled_from(["salt", "job", "run", "auth", "minion", "presence", "present", "stats", "beacon"]), max_size=5)
    )
    below = st.sampled_from(["", "", "syndic/lower/", "syndic/a/syndic/b/"])
    whole = st.builds(lambda tag, before: before + tag, tags | runs | others | known, below)
    fields = st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=3), known | _VALUES | st.lists(known | _VALUES, max_size=3), max_size=8)
    likely = st.builds(
        lambda tag, data, more: (tag, data | more),
        whole,
        fields,
        st.fixed_dictionaries({}, optional={"id": known, "return": _VALUES, "minions": st.lists(known)}),
    )
    mine = st.builds(
        lambda jid, data, value: (f"salt/job/{jid}/ret/{MALLORY}", {**data, "id": MALLORY, "jid": jid, "return": value}),
        st.sampled_from([*jids]),
        fields,
        _VALUES,
    )
    return (likely | mine | st.tuples(whole, _VALUES)).filter(lambda fired: not _forged(fired[0], fired[1], minions))


def _forged(tag: str, data: Any, minions: Collection[str]) -> bool:
    """Say whether an event is, in tag and fields, what a minion or the master itself would have sent."""
    if not isinstance(data, dict) or "return" not in data:
        return False
    inner = re.sub(r"^(syndic/[^/]+/)+", "", tag)
    returner = re.fullmatch(r"salt/job/[^/]*/ret/(.*)", inner, re.DOTALL)
    if returner:
        return returner[1] in minions and (data.get("resource_id") or data.get("id")) == returner[1]
    return re.fullmatch(r"salt/run/[^/]*/ret", inner) is not None
