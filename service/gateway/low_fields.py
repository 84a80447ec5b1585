"""The fields of a low, declared once: `low.py` checks a low by this table, docs/http.md is generated from it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from service.clients import Client, Kind
from service.gateway.ssh_low import SSH_TARGET_TYPES

# Source: salt/utils/minions.py, CkMinions.check_minions.
TARGET_TYPES = frozenset("glob pcre list grain grain_pcre pillar pillar_pcre pillar_exact nodegroup range compound compound_pillar_exact ipcidr".split())
JID = re.compile(r"\d{20}(_\d{1,10})?", re.ASCII)
COUNT = re.compile(r"\d{1,9}", re.ASCII)
BATCH = re.compile(r"\d{1,9}|\d{1,3}(\.\d{1,3})? ?%", re.ASCII)
MAX_TIMEOUT_SECONDS = 86_400
DEFAULT_TGT_TYPE = "glob"
DEFAULT_SUBSET = 3
DEFAULT_BATCH = "10%"
# Of an object that a string holds, whose values no limit on bodies has counted.
OBJECT_CHARACTERS = 4096
OBJECT_CONTAINERS = 250

# A form knows no booleans, Perl writes 1 and "", PowerShell's and Python's `str` True, shells what they like.
_FLAGS: Mapping[Any, bool] = {
    **dict.fromkeys((1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((0, "0", "false", "f", "no", "n", "off", ""), False),
}

_NAMES = {str: "a string", int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}


def type_name(value: object) -> str:
    """Return what a value is, in JSON's words."""
    return "a boolean" if isinstance(value, bool) else _NAMES.get(type(value), "something else")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a field may hold. words: for people. check(value): return it as we use it, or raise ValueError with what it must be."""

    words: str
    check: Callable[[Any], Any]


def _flag(value: object) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    # Not `in` alone: a list or a map has no hash, and 1 and 1.0 are True to a set.
    if not isinstance(word, bool | int | float | str) or word not in _FLAGS:
        raise ValueError(f"must be true or false, not {type_name(value)}")
    return _FLAGS[word]


def _object(value: object) -> dict[Any, Any]:
    """Take an object, one that is written as JSON in a string, and what languages write for an empty one."""
    found = _object_in(value) if isinstance(value, str) else {} if value == [] else value
    if not isinstance(found, dict):
        raise ValueError(f"must be an object, not {type_name(value)}")
    return found


def _object_in(text: str) -> object:
    """Return what JSON in a string says, `text` itself where it says nothing that can be taken."""
    if not text.strip():
        return {}
    if len(text) > OBJECT_CHARACTERS or text.count("{") + text.count("[") > OBJECT_CONTAINERS:
        raise ValueError(f"may have {OBJECT_CHARACTERS} characters and {OBJECT_CONTAINERS} objects and lists when it is written in a string")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _returners(value: object) -> str:
    names: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a string, not {type_name(value)}")
    return ",".join(names)


def _job_id(value: object) -> str:
    # YAML makes a number of it.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text != "" and not (isinstance(text, str) and JID.fullmatch(text)):
        raise ValueError("must be 20 digits")
    return text


def _count(value: object) -> int:
    text = _scalar(value)
    if not COUNT.fullmatch(text) or int(text) < 1:
        raise ValueError("must be a whole number above 0")
    return int(text)


def _batch(value: object) -> int | str:
    text = _scalar(value)
    if not BATCH.fullmatch(text) or float(text.rstrip(" %")) == 0:
        raise ValueError("must be a number of minions or a percentage such as 10%")
    return value if isinstance(value, int) else text


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= MAX_TIMEOUT_SECONDS:  # also false for NaN
        raise ValueError(f"must be a number of seconds from 0 to {MAX_TIMEOUT_SECONDS}")
    return int(seconds) if seconds == int(seconds) else seconds


def _whole_seconds(value: object) -> int:
    return math.ceil(_seconds(value))


def _scalar(value: object) -> str:
    """Return a number or a string as a string, without the `.0` of some encoders; anything else as one that no pattern takes."""
    return str(value).strip().removesuffix(".0") if isinstance(value, int | float | str) and not isinstance(value, bool) else ""


FLAG = Shape("true or false", _flag)
OBJECT = Shape("object", _object)
RETURNERS = Shape("string, or a list of strings", _returners)
JOB_ID = Shape("string of 20 digits", _job_id)
WHOLE_NUMBER = Shape("whole number above 0", _count)
SHARE = Shape("number, or a percentage in a string", _batch)
SECONDS = Shape(f"number of seconds, up to {MAX_TIMEOUT_SECONDS}", _seconds)
# ssh takes no fraction.
WHOLE_SECONDS = Shape(f"number of seconds, up to {MAX_TIMEOUT_SECONDS}; a fraction is rounded up", _whole_seconds)


@dataclasses.dataclass(frozen=True)
class LowField:
    """
    One field of a low.

    kinds: those whose lows are checked for its shape. clients: those it means something to; all of the kinds when empty.
    shape: a text where low.py checks the field together with others. salt: the same thing in Salt. default, salt, meaning: for people, in Markdown.
    """

    kinds: tuple[Kind, ...]
    name: str
    shape: Shape | str
    default: str
    salt: str
    meaning: str
    clients: tuple[Client, ...] = ()

    @property
    def words(self) -> str:
        """What the field may hold, for people."""
        return self.shape if isinstance(self.shape, str) else self.shape.words

    def is_for(self, client: Client) -> bool:
        """Say whether the field means something to a client."""
        return client.kind in self.kinds and (not self.clients or client in self.clients)


_ALL: tuple[Kind, ...] = ("local", "runner", "wheel", "ssh")
_ON_MASTER: tuple[Kind, ...] = ("runner", "wheel")
_WAITING = (Client.LOCAL, Client.LOCAL_SUBSET, Client.LOCAL_BATCH)
_PASSED_ON = "An argument of the function, if it takes one of this name."

# What every low has.
COMMON = (
    LowField(_ALL, "client", "string", "required", "the client class", "Who runs it: one of the clients below, if the master's `netapi_enable_clients` lists it."),
    LowField(_ALL, "fun", "string; of the local clients also a list of strings", "required", "the function", "What to run, such as `test.ping`. A list runs several functions in one job; each has to be permitted by itself (eauth.md)."),
    LowField(_ALL, "eauth", "string", "required without `token`", "`--eauth`", "The module of `external_auth` that checks name and password (eauth.md)."),
    LowField(_ALL, "username", "string", "none", "`--username`", "Name of the user."),
    LowField(_ALL, "password", "string", "none", "`--password`", "Password of the user. With `eauth: sharedsecret` it may be called `sharedsecret`."),
    LowField(_ALL, "token", "16 to 256 hexadecimal digits", "required without `eauth`", "`--make-token`", "A Salt token, such as `/login` and `/token` make, instead of name and password."),
)  # fmt: skip
FIELDS = (
    LowField(("local",), "tgt", "string; with `tgt_type` `list` or `compound` also a list of strings", "required", "the target", "Which minions."),
    LowField(("local",), "tgt_type", "one of Salt's target types, below", f"`{DEFAULT_TGT_TYPE}`", "`-E`, `-L`, `-G`, ...", "How `tgt` is read. `expr_form`, its name before Salt 2017.7, is understood."),
    LowField(("ssh",), "tgt", "string; with `tgt_type` `list` also a list of strings", "required", "the target", "Which hosts, by their ids in the master's roster. No other host is reached."),
    LowField(("ssh",), "tgt_type", f"one of {', '.join(f'`{name}`' for name in sorted(SSH_TARGET_TYPES))}", f"`{DEFAULT_TGT_TYPE}`", "`-E`, `-L`, `-N`", "How `tgt` is read; a `nodegroup` is one of the master's `ssh_list_nodegroups`."),
    LowField(("ssh",), "arg", "list; anything else counts as a list of one", "`[]`", "arguments after the function", "Positional arguments; `name=value` in a string is a keyword argument."),
    LowField(("ssh",), "timeout", WHOLE_SECONDS, "the master's `timeout`, else 5", "`--timeout`", "How long ssh tries to connect to a host, in addition to the master's `ssh_timeout`."),
    LowField(("local",), "arg", "list; anything else counts as a list of one", "`[]`", "arguments after the function", "Positional arguments; `name=value` in a string is a keyword argument. With a list of functions, one list for each."),
    LowField(_ON_MASTER, "arg", "list; anything else counts as a list of one", "`[]`", "arguments after the function", "Positional arguments; for a runner `name=value` in a string is a keyword argument."),
    LowField(_ALL, "kwarg", OBJECT, "`{}`", "`name=value` after the function", "Keyword arguments."),
    LowField(("local",), "timeout", SECONDS, "the master's `timeout`, else 5", "`--timeout`", "How long to wait before silent minions are asked whether they still run the job.", _WAITING),
    LowField(("runner",), "timeout", SECONDS, "the master's `rest_timeout`, else 300", "`rest_timeout`", "Longest wait for the runner; then 504 with its jid.", (Client.RUNNER,)),
    LowField(("wheel",), "timeout", SECONDS, "none", "the function's own", _PASSED_ON),
    LowField(("local",), "gather_job_timeout", SECONDS, "the master's `gather_job_timeout`, else 10", "`gather_job_timeout`", "How long to wait for the answer to that question.", _WAITING),
    LowField(_ON_MASTER, "gather_job_timeout", SECONDS, "none", "the function's own", _PASSED_ON),
    LowField(("local",), "full_return", FLAG, "`false`", "`LocalClient.cmd`'s `full_return`", "Answer `{minion: {ret, retcode, jid, ...}}` instead of `{minion: return}`.", (Client.LOCAL, Client.LOCAL_SUBSET)),
    LowField(("runner",), "full_return", FLAG, "`false`", "`RunnerClient.cmd_sync`'s `full_return`", "Answer `{tag, data}`, the runner's return event, instead of its value.", (Client.RUNNER,)),
    LowField(("wheel",), "full_return", FLAG, "none", "none", "Changes nothing: the answer is always full."),
    LowField(("local",), "ret", RETURNERS, '`""`', "`--return`", "Returners that the minions also send their returns to, separated by commas."),
    LowField(("local",), "jid", JOB_ID, "the master makes one", "`LocalClient.cmd`'s `jid`", "The job's id; one of another's job is a 409."),
    LowField(("local",), "metadata", OBJECT, "`{}`", "`--metadata`", "Kept with the job; `jobs.list_jobs` can search it. With `jobs.metadata` the sidecar adds `request_id`."),
    LowField(("local",), "subset", WHOLE_NUMBER, f"`{DEFAULT_SUBSET}`", "`--subset`", "How many minions.", (Client.LOCAL_SUBSET,)),
    LowField(("local",), "sub", WHOLE_NUMBER, "none", "`--subset`", "The older name of `subset`; it wins.", (Client.LOCAL_SUBSET,)),
    LowField(("local",), "batch", SHARE, f'`"{DEFAULT_BATCH}"`', "`--batch-size`", "How many minions run at one time.", (Client.LOCAL_BATCH,)),
    LowField(("local",), "batch_wait", SECONDS, "`0`", "`--batch-wait`", "Pause after each return before its place is given to another minion.", (Client.LOCAL_BATCH,)),
    LowField(_ON_MASTER, "batch_wait", SECONDS, "none", "the function's own", _PASSED_ON),
    LowField(("local",), "failhard", FLAG, "the master's `failhard`", "`--failhard`", "Stop at the first minion that fails.", (Client.LOCAL_BATCH,)),
    LowField(("local",), "raw", FLAG, "`false`", "`LocalClient.cmd_batch`'s `raw`", "Answer `{tag, data}`, the return's event, instead of `{minion: return}`.", (Client.LOCAL_BATCH,)),
)  # fmt: skip
SHAPES: Mapping[Kind, Mapping[str, Shape]] = {
    kind: {field.name: field.shape for field in FIELDS if kind in field.kinds and isinstance(field.shape, Shape)} for kind in _ALL
}
# Of a publish, what is the job's own; everything else that a low carries reaches the master's eauth modules.
JOB_FIELDS = frozenset(field.name for field in FIELDS if "local" in field.kinds)
