"""A low: one command of a lowstate, checked completely before any of its request runs."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping
from typing import Any

from service.clients import CLIENTS, OPT_IN, TARGETED, Client, Kind
from service.errors import BadRequest, ClientDisabled, Unauthenticated
from service.gateway.low_fields import DEFAULT_TGT_TYPE, JOB_FIELDS, SHAPES, TARGET_TYPES, type_name
from service.gateway.ssh_low import check_ssh

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
# Hexadecimal only: a token is a file name at the master (CVE-2018-15750).
TOKEN = re.compile(r"[0-9a-fA-F]{16,256}")
MAX_NAME_CHARACTERS = 1024

CREDENTIAL_FIELDS = ("eauth", "username", "password", "token", "sharedsecret")
# One of these is in all credentials.
CREDENTIAL_NAMES = frozenset({"eauth", "token"})
# By these a minion runs a function in another way, or has a returner write to where the caller says; the master's check of rights does not look at them.
FAR_REACHING_FIELDS = ("module_executors", "executor_opts", "ret_config", "ret_kwargs")
# Whoever may run it may do anything on the target, also by another executor or with a returner that writes where the caller says.
ANYTHING = "cmd.run"
_CLIENTS = {one.value: one for one in Client}

Doing = tuple[str, list[Any], "Mapping[str, Any] | None"]  # a function, its positional and its keyword arguments


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

    @property
    def credentials(self) -> dict[str, Any]:
        """Return the fields that say who asks, as the caller sent them."""
        fields = self.fields
        return {name: fields[name] for name in CREDENTIAL_FIELDS if name in fields}

    @property
    def proof(self) -> dict[str, Any]:
        """
        Return all by which the master judges who asks: a token alone, else everything that its eauth modules can read.

        Of a publish that is every field but the job's own, whatever it is called; of a runner or wheel call the credentials, as its other fields are arguments.
        """
        if "token" in self.fields:
            return {"token": self.fields["token"]}
        if self.client.kind != "local":
            return self.credentials
        return {name: value for name, value in self.fields.items() if name not in JOB_FIELDS}

    @property
    def is_targeted(self) -> bool:
        """Say whether it has a target that was checked; that of a runner is an argument, if it has any."""
        return self.client.kind in TARGETED

    @property
    def far_reaching(self) -> list[str]:
        """Return those of its fields that let a job do more than its function."""
        return [name for name in FAR_REACHING_FIELDS if self.fields.get(name)] if self.client.kind == "local" else []

    @functools.cached_property
    def doings(self) -> list[Doing]:
        """Return all that it does for which its caller needs a right, one by one."""
        arg = self.fields.get("arg", [])
        kwarg = self.fields.get("kwarg")
        if isinstance(self.fun, list):
            doings = [_doing(fun, args) for fun, args in zip(self.fun, arg, strict=True)]
        else:
            doings = [_doing(self.fun, [*arg, {"__kwarg__": True, **kwarg}] if kwarg else arg)]
        return [*doings, (ANYTHING, [], None)] if self.far_reaching else doings

    @property
    def is_compound(self) -> bool:
        """Say whether it does several things, each of which has to be permitted by itself."""
        return (isinstance(self.fun, list) and len(self.fun) > 1) or bool(self.far_reaching)

    @property
    def function_names(self) -> str:
        """Return the function as one string, for logs."""
        return self.fun if isinstance(self.fun, str) else ",".join(self.fun)


def _doing(fun: str, args: object) -> Doing:
    """Split arguments as the master does for its check."""
    if not isinstance(args, list):
        return fun, [], None
    if args and isinstance(args[-1], dict) and "__kwarg__" in args[-1]:
        return fun, args[:-1], args[-1]
    return fun, args, None


def parse_lowstate(body: object, *, enabled: Collection[str], most: int) -> list[Low]:
    """
    Check a whole lowstate: a list of lows, or one low.

    enabled: `netapi_enable_clients` of the master. most: longest list accepted.
    Raises BadRequest naming the index and the field, ClientDisabled, or Unauthenticated.
    """
    lows = [body] if isinstance(body, dict) else body
    if not isinstance(lows, list):
        raise BadRequest(f"a lowstate is a list of objects, not {type_name(body)}")
    if not lows:
        raise BadRequest("the lowstate is empty: send at least one low")
    if len(lows) > most:
        raise BadRequest(f"{len(lows)} lows in one request; the most is {most} (limits.lows_per_request)")
    return [_parse_low(low, enabled, f"low {index}: " if len(lows) > 1 else "") for index, low in enumerate(lows)]


def _parse_low(low: object, enabled: Collection[str], where: str) -> Low:
    if not isinstance(low, dict):
        raise BadRequest(f"{where}a low is an object, not {type_name(low)}")
    _check_names(low, "a low", where)
    client = _client(low.get("client"), enabled, where)
    fields = {name: value for name, value in low.items() if name not in {"client", "fun"} and value is not None}
    fun = _function(low.get("fun"), client, where)
    _check_credentials(fields, where)
    rename_shared_secret(fields)
    # First, so that what follows judges the values as they are used, however they were written.
    _check_shapes(fields, client.kind, where)
    if client.kind == "local":
        _check_local(fields, fun, where)
    elif client is Client.SSH:
        check_ssh(fields, str(fun), where)
    else:
        _check_master_function(fields, client, where)
    return Low(client, fun, fields)


def _client(client: object, enabled: Collection[str], where: str) -> Client:
    """Check the client; the two sentences are Salt's own (salt/netapi/__init__.py, NetapiClient.run)."""
    if client is None:
        raise BadRequest(f"{where}client is missing: one of {', '.join(CLIENTS)}", field="client")
    found = _CLIENTS.get(client) if isinstance(client, str) else None
    if found is None:
        raise BadRequest(f"{where}Invalid client specified: '{client[:64] if isinstance(client, str) else type_name(client)}'", field="client")
    if found not in enabled:
        besides = f" The sidecar's own setting 'clients.{client}' must be true as well." if found in OPT_IN else ""
        raise ClientDisabled(f"{where}Client disabled: '{client}'. Add to 'netapi_enable_clients' master config option to enable.{besides}", field="client")
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
    if not set(map(type, fields)) <= {str}:
        raise BadRequest(f"{where}the names in {what} must be strings")


def _check_credentials(fields: dict[str, Any], where: str) -> None:
    """Check who asks, in place: a token is the only credential, and what stands beside it must not decide about its rights."""
    if CREDENTIAL_NAMES.isdisjoint(fields):
        raise no_credentials()
    if "token" in fields:
        check_token(fields["token"])
    for name in CREDENTIAL_FIELDS:
        if name in fields and not isinstance(fields[name], str):
            raise BadRequest(f"{where}{name} must be a string", field=name)
        if "token" in fields and name != "token":
            fields.pop(name, None)


def check_token(token: object) -> None:
    """Raise Unauthenticated for what cannot be one of Salt's tokens."""
    if not (isinstance(token, str) and TOKEN.fullmatch(token)):
        raise Unauthenticated("this is not a Salt token, which has hexadecimal digits only")


def shows_credentials(body: object) -> bool:
    """Say whether any low of a lowstate has credentials, good or bad; whatever else it is."""
    return any(isinstance(low, dict) and not CREDENTIAL_NAMES.isdisjoint(low) for low in (body if isinstance(body, list) else [body]))


def no_credentials() -> Unauthenticated:
    """Return what to say to who sent neither a session nor credentials."""
    return Unauthenticated("No authentication credentials given")


def session_over() -> Unauthenticated:
    """Return what to say of a token that is dead."""
    return Unauthenticated("the session is over: log in again")


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
    fields.setdefault("tgt_type", fields.pop("expr_form", DEFAULT_TGT_TYPE))
    if not isinstance(fields["tgt_type"], str) or fields["tgt_type"] not in TARGET_TYPES:
        raise BadRequest(f"{where}tgt_type must be one of {', '.join(sorted(TARGET_TYPES))}", field="tgt_type")
    _check_target(fields, where)
    fields["arg"] = _arguments(fields.get("arg", []))
    if isinstance(fun, list) and len(fields["arg"]) != len(fun):
        raise BadRequest(f"{where}arg must have one list for each of the {len(fun)} functions", field="arg")


def _check_target(fields: Mapping[str, Any], where: str) -> None:
    if "tgt" not in fields:
        raise BadRequest(f"{where}tgt is missing: which minions to run on, such as '*'", field="tgt")
    tgt = fields["tgt"]
    strings = isinstance(tgt, list) and all(isinstance(one, str) for one in tgt)
    if not isinstance(tgt, str) and not (strings and fields["tgt_type"] in {"list", "compound"}):
        raise BadRequest(f"{where}tgt must be a string, or a list of strings with tgt_type list", field="tgt")


def _check_master_function(fields: dict[str, Any], client: Client, where: str) -> None:
    """Check what the runner and wheel clients take, in place."""
    kwarg = fields.get("kwarg")
    if client.kind == "wheel" and isinstance(kwarg, dict) and not kwarg.keys().isdisjoint({"arg", "kwarg"}):
        # No function takes them, but the master compares them with a right's limits, instead of the arguments (salt/utils/minions.py, spec_check).
        raise BadRequest(f"{where}kwarg must have no names arg and kwarg", field="kwarg")
    if "arg" in fields:
        fields["arg"] = _arguments(fields["arg"])
        if client.kind == "wheel" and not fields["arg"]:
            # Salt answers UnboundLocalError to an empty list here (salt/client/mixins.py, low).
            del fields["arg"]


def _check_shapes(fields: dict[str, Any], kind: Kind, where: str) -> None:
    """Check the fields that can be judged alone, in place."""
    for name, shape in SHAPES[kind].items():
        if name in fields:
            try:
                fields[name] = shape.check(fields[name])
            except ValueError as exc:
                raise BadRequest(f"{where}{name} {exc}", field=name) from None
    _check_names(fields.get("kwarg", {}), "kwarg", where)


def _arguments(arg: object) -> list[Any]:
    """Accept one bare argument for a list of one, as rest_cherrypy does."""
    return arg if isinstance(arg, list) else [arg]


def _shown(value: object) -> str:
    return repr(value[:64]) if isinstance(value, str) else type_name(value)
