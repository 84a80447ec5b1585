"""A low: one command of a lowstate, checked completely before any of its request runs."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from service.clients import CLIENTS, Client
from service.errors import BadRequest, ClientDisabled, Unauthenticated

# Source: salt/utils/minions.py, CkMinions.check_minions.
TARGET_TYPES = frozenset("glob pcre list grain grain_pcre pillar pillar_pcre pillar_exact nodegroup range compound compound_pillar_exact ipcidr".split())
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
# Hexadecimal only: a token is a file name at the master (CVE-2018-15750).
TOKEN = re.compile(r"[0-9a-fA-F]{16,256}")
JID = re.compile(r"\d{20}(_\d{1,10})?", re.ASCII)
COUNT = re.compile(r"\d{1,9}", re.ASCII)
BATCH = re.compile(r"\d{1,9}|\d{1,3}(\.\d{1,3})?%", re.ASCII)
MAX_NAME_CHARACTERS = 1024
MAX_TIMEOUT_SECONDS = 86_400

CREDENTIAL_FIELDS = ("eauth", "username", "password", "token", "sharedsecret")
_FLAGS = ("full_return", "failhard")


@dataclasses.dataclass(frozen=True)
class Low:
    """
    One validated command.

    client, fun: what to run; `fun` is a list for compound commands.
    fields: everything else the caller sent, types checked, without `client` and `fun`.
    """

    client: Client
    fun: str | list[str]
    fields: Mapping[str, Any]

    @functools.cached_property
    def credentials(self) -> dict[str, Any]:
        """Return the fields that say who asks, as the caller sent them."""
        return {name: self.fields[name] for name in CREDENTIAL_FIELDS if name in self.fields}

    @property
    def function_names(self) -> str:
        """Return the function as one string, for logs."""
        return self.fun if isinstance(self.fun, str) else ",".join(self.fun)


def parse_lowstate(body: object, *, enabled: Collection[str], most: int) -> list[Low]:
    """
    Check a whole lowstate: a list of lows, or one low.

    enabled: `netapi_enable_clients` of the master. most: longest list accepted.
    Raises BadRequest naming the index and the field, ClientDisabled, or Unauthenticated.
    """
    lows = [body] if isinstance(body, dict) else body
    if not isinstance(lows, list):
        raise BadRequest(f"a lowstate is a list of objects, not {_type_name(body)}")
    if not lows:
        raise BadRequest("the lowstate is empty: send at least one low")
    if len(lows) > most:
        raise BadRequest(f"{len(lows)} lows in one request; the most is {most} (limits.lows_per_request)")
    return [_parse_low(low, enabled, f"low {index}: " if len(lows) > 1 else "") for index, low in enumerate(lows)]


def _parse_low(low: object, enabled: Collection[str], where: str) -> Low:
    if not isinstance(low, dict):
        raise BadRequest(f"{where}a low is an object, not {_type_name(low)}")
    _check_names(low, "a low", where)
    client = _client(low.get("client"), enabled, where)
    fields = {name: value for name, value in low.items() if name not in {"client", "fun"} and value is not None}
    fun = _function(low.get("fun"), client, where)
    _check_credentials(fields, where)
    rename_shared_secret(fields)
    if client.kind == "local":
        _check_local(fields, fun, where)
    else:
        _check_master_function(fields, client, where)
    for name in ("timeout", "gather_job_timeout", "batch_wait"):
        if name in fields:
            fields[name] = _seconds(fields[name], name, where)
    return Low(client, fun, fields)


def _client(client: object, enabled: Collection[str], where: str) -> Client:
    """Check the client; the two sentences are Salt's own (salt/netapi/__init__.py, NetapiClient.run)."""
    if client is None:
        raise BadRequest(f"{where}client is missing: one of {', '.join(CLIENTS)}", field="client")
    if client == "ssh":
        raise BadRequest(f"{where}client 'ssh' is refused: salt-ssh through an API has been the way into half of salt-api's CVEs", field="client")
    found = next((one for one in Client if one == client), None)
    if found is None:
        raise BadRequest(f"{where}Invalid client specified: '{client[:64] if isinstance(client, str) else _type_name(client)}'", field="client")
    if found not in enabled:
        raise ClientDisabled(f"{where}Client disabled: '{client}'. Add to 'netapi_enable_clients' master config option to enable.", field="client")
    return found


def _function(fun: object, client: Client, where: str) -> str | list[str]:
    if fun is None:
        raise BadRequest(f"{where}fun is missing: the function to run, such as test.ping", field="fun")
    if isinstance(fun, list) and client.kind == "local" and fun:
        return [_function_name(one, where) for one in fun]
    return _function_name(fun, where)


def _function_name(fun: object, where: str) -> str:
    if not isinstance(fun, str) or len(fun) > MAX_NAME_CHARACTERS or not FUNCTION.fullmatch(fun):
        raise BadRequest(f"{where}fun must be a function name such as test.ping, not {_shown(fun)}", field="fun")
    return fun


def _check_names(fields: Mapping[Any, Any], what: str, where: str) -> None:
    """Refuse names that are no strings; only YAML has them, and no function takes them."""
    if not all(isinstance(name, str) for name in fields):
        raise BadRequest(f"{where}the names in {what} must be strings")


def _check_credentials(fields: Mapping[str, Any], where: str) -> None:
    if "token" not in fields and "eauth" not in fields:
        raise Unauthenticated("No authentication credentials given")
    if "token" in fields and not (isinstance(fields["token"], str) and TOKEN.fullmatch(fields["token"])):
        raise Unauthenticated("the token is not a Salt token: hexadecimal digits expected")
    for name in CREDENTIAL_FIELDS:
        if not isinstance(fields.get(name, ""), str):
            raise BadRequest(f"{where}{name} must be a string", field=name)


def rename_shared_secret(fields: dict[str, Any]) -> None:
    """
    Send a `sharedsecret` as the password it is; clients that follow old documentation name it so.

    salt/auth/sharedsecret.py takes (username, password), and a wheel call fails on the further field.
    """
    if fields.get("eauth") == "sharedsecret" and "sharedsecret" in fields:
        secret = fields.pop("sharedsecret")
        fields.setdefault("password", secret)


def _check_local(fields: dict[str, Any], fun: str | list[str], where: str) -> None:
    """Check and complete the fields of LocalClient.cmd and its relatives, in place."""
    fields.setdefault("tgt_type", fields.pop("expr_form", "glob"))
    if not isinstance(fields["tgt_type"], str) or fields["tgt_type"] not in TARGET_TYPES:
        raise BadRequest(f"{where}tgt_type must be one of {', '.join(sorted(TARGET_TYPES))}", field="tgt_type")
    _check_target(fields, where)
    fields["arg"] = _arguments(fields.get("arg", []))
    if isinstance(fun, list) and len(fields["arg"]) != len(fun):
        raise BadRequest(f"{where}arg must have one list for each of the {len(fun)} functions", field="arg")
    _expect(fields, "kwarg", dict, where)
    _check_names(fields.get("kwarg", {}), "kwarg", where)
    _expect(fields, "metadata", dict, where)
    _expect(fields, "ret", str, where)
    for name in _FLAGS:
        _expect(fields, name, bool, where)
    jid = fields.get("jid", "")
    if jid != "" and not (isinstance(jid, str) and JID.fullmatch(jid)):
        raise BadRequest(f"{where}jid must be 20 digits", field="jid")
    _check_counts(fields, where)


def _check_target(fields: Mapping[str, Any], where: str) -> None:
    if "tgt" not in fields:
        raise BadRequest(f"{where}tgt is missing: which minions to run on, such as '*'", field="tgt")
    tgt = fields["tgt"]
    strings = isinstance(tgt, list) and all(isinstance(one, str) for one in tgt)
    if not isinstance(tgt, str) and not (strings and fields["tgt_type"] in {"list", "compound"}):
        raise BadRequest(f"{where}tgt must be a string, or a list of strings with tgt_type list", field="tgt")


def _check_counts(fields: dict[str, Any], where: str) -> None:
    for name in ("sub", "subset"):
        if name not in fields:
            continue
        if not COUNT.fullmatch(_scalar(fields[name])) or int(fields[name]) < 1:
            raise BadRequest(f"{where}{name} must be a whole number above 0", field=name)
        fields[name] = int(fields[name])
    batch = _scalar(fields.get("batch", 1))
    if not BATCH.fullmatch(batch) or float(batch.rstrip("%")) == 0:
        raise BadRequest(f"{where}batch must be a number of minions or a percentage such as 10%", field="batch")


def _scalar(value: object) -> str:
    """Return a number or a string as a string, anything else as one that no pattern takes."""
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""


def _check_master_function(fields: dict[str, Any], client: Client, where: str) -> None:
    """Check what the runner and wheel clients take, in place."""
    if "arg" in fields:
        fields["arg"] = _arguments(fields["arg"])
        if client.kind == "wheel" and not fields["arg"]:
            # Salt answers UnboundLocalError to an empty list here (salt/client/mixins.py, low).
            del fields["arg"]
    _expect(fields, "kwarg", dict, where)
    _check_names(fields.get("kwarg", {}), "kwarg", where)
    _expect(fields, "full_return", bool, where)


def _arguments(arg: object) -> list[Any]:
    """Accept one bare argument for a list of one, as rest_cherrypy does."""
    return arg if isinstance(arg, list) else [arg]


def _expect(fields: Mapping[str, Any], name: str, kind: type, where: str) -> None:
    if name in fields and not isinstance(fields[name], kind):
        words = {dict: "an object", str: "a string", bool: "true or false"}
        raise BadRequest(f"{where}{name} must be {words[kind]}, not {_type_name(fields[name])}", field=name)


def _seconds(value: object, name: str, where: str) -> float:
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= MAX_TIMEOUT_SECONDS:  # also false for NaN
        raise BadRequest(f"{where}{name} must be a number of seconds from 0 to {MAX_TIMEOUT_SECONDS}", field=name)
    return int(seconds) if seconds == int(seconds) else seconds


def _type_name(value: object) -> str:
    names = {str: "a string", int: "a number", float: "a number", bool: "a boolean", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "something else")


def _shown(value: object) -> str:
    return repr(value[:64]) if isinstance(value, str) else _type_name(value)
