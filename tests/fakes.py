"""A master in memory: answers loads and fires events as a real one does. The contract suite runs against both."""

from __future__ import annotations

import fnmatch
import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import salt.payload

from service.events.hub import Hub
from service.gateway.clients.publish import Ledger
from service.gateway.gateway import Runner
from service.gateway.master.options import MasterOptions
from service.gateway.transport.event_writer import packed

SECRET = "fake-secret"
RIGHTS: dict[str, list[str]] = {
    "demo": [".*", "@runner", "@wheel", "@jobs"],
    "pinger": ["test.ping"],
    "ann": ["test.ping", "sys.list_functions", "@runner"],
    "bob": ["test.ping", "sys.list_functions", "@runner"],
}
EAUTHS = ("sharedsecret", "file")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "test.ping": lambda: True,
    "test.echo": lambda text: text,
    "test.arg": lambda *args, **kwargs: {"args": list(args), "kwargs": kwargs},
    "grains.items": lambda: {"os": "Debian", "cpus": 2},
    "sys.list_functions": lambda: sorted(FUNCTIONS),
    "saltutil.term_job": lambda jid: f"Signal 15 sent to job {jid} at pid 1",
}


class FakeMaster:
    """
    Two accepted minions, one of them possibly silent, and the users of RIGHTS, in each of EAUTHS, with the password SECRET.

    Loads and answers have the shapes of salt/master.py ClearFuncs; events those of the bus.
    """

    def __init__(self, hub: Hub, tokens: dict[str, dict[str, Any]] | None = None) -> None:
        """tokens: the store of an older master, for one that was restarted or that a second sidecar talks to."""
        self._hub = hub
        self.tokens = {} if tokens is None else tokens
        self._jids = itertools.count(20_260_000_000_000_000_000)
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, Any]] = {}  # returns by jid; guarded by _lock
        self.published: dict[str, dict[str, Any]] = {}  # loads by jid; guarded by _lock
        self.minions = ["minion-1", "minion-2"]
        self.silent: set[str] = set()
        self.hosts, self.dead_hosts = ["edge-1", "edge-2"], ["edge-3"]  # of its roster
        self.keys = set(self.minions)
        self.loads: list[dict[str, Any]] = []
        self.takes: Callable[[str, str], bool] = lambda _account, _assertion: False  # the eauth module `sidecar`, where a test has one
        self.meanwhile: Callable[[str], None] = lambda _jid: None  # called when a job or a runner is announced, before its returns

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """Answer a load as the master's request port does."""
        del timeout, slow
        self.loads.append(load)
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "publish": self._publish,
            "runner": self._runner,
            "wheel": self._wheel,
            "mk_token": self._mk_token,
            "get_token": self._get_token,
        }
        return answers[load["cmd"]](load)

    def _mk_token(self, load: dict[str, Any]) -> Any:
        if self._rights({name: value for name, value in load.items() if name != "token"}) is None:
            return ""
        token = secrets.token_hex(32)
        now = time.time()
        self.tokens[token] = {"start": now, "expire": now + 43_200.0, "name": load["username"], "eauth": load["eauth"], "token": token}
        return dict(self.tokens[token])

    def _get_token(self, load: dict[str, Any]) -> Any:
        data = self.tokens.get(load["token"], {})
        if data and data["expire"] < time.time():
            del self.tokens[load["token"]]
            return {}
        return dict(data)

    def _publish(self, load: dict[str, Any]) -> Any:
        rights = self._rights(load["kwargs"])
        if rights is None:
            error = {"error": {"name": "AuthenticationError", "message": "Authentication error occurred."}}
            self._fire("salt/job/error", {**load, **error})  # the whole load, as the real one does
            return error
        functions = load["fun"] if isinstance(load["fun"], list) else [load["fun"]]
        if not all(fun == "saltutil.find_job" or ".*" in rights or fun in rights for fun in functions):
            return {"error": {"name": "AuthorizationError", "message": "Authorization error occurred."}}
        minions, missing = self._targets(load)
        if not minions:
            return {"enc": "clear", "load": {"jid": None, "minions": [], "error": f"Master could not resolve minions for target {load['tgt']}"}}
        jid = load["jid"] or str(next(self._jids))
        with self._lock:
            self.published[jid] = load
        self._fire(f"salt/job/{jid}/new", {"jid": jid, "minions": minions, "missing": missing, "fun": load["fun"], "user": self._user(load["kwargs"])})
        self.meanwhile(jid)
        for minion in set(minions) - self.silent:
            self._return(jid, minion, load)
        return {"enc": "clear", "load": {"jid": jid, "minions": minions, "missing": missing}}

    def _runner(self, load: dict[str, Any]) -> Any:
        if "@runner" not in (self._rights(load) or ()):
            return self._refusal(load)
        jid = str(next(self._jids))
        tag = f"salt/run/{jid}"
        known: dict[str, Callable[..., Any]] = {
            "jobs.lookup_jid": lambda jid: self._jobs.get(jid, {}),
            "jobs.list_job": self._list_job,
            "jobs.list_jobs": lambda: {jid: self._described(jid) for jid in self.published},
            "auth.del_token": lambda name: self.tokens.pop(name.removesuffix(".p"), None) is not None,
            "test.arg": FUNCTIONS["test.arg"],
            "ssh.cmd": self._ssh,
        }
        if load["fun"] in known:
            self._fire(f"{tag}/new", {"jid": jid, "fun": f"runner.{load['fun']}", "user": self._user(load)})
            self.meanwhile(jid)
            value = known[load["fun"]](*load["kwarg"]["arg"], **load["kwarg"]["kwarg"])
            self._fire(f"{tag}/ret", {"jid": jid, "fun": f"runner.{load['fun']}", "return": value, "success": True})
        else:
            # As 3006 and 3007; 3008.3 fires nothing at all.
            self._fire(f"{tag}/ret", {"jid": jid, "fun": f"runner.{load['fun']}", "return": "Exception occurred", "success": False})
        return {"tag": tag, "jid": jid}

    def _ssh(self, tgt: str, fun: str, arg: list[Any], tgt_type: str, timeout: int | None = None, kwarg: dict[str, Any] | None = None) -> Any:
        """Answer as the runner does, with the shapes that Salt 3008 has for a function that ran, and for a host that is away."""
        del timeout
        fits: dict[str, Callable[[str], Any]] = {
            "glob": lambda host: fnmatch.fnmatch(host, tgt),
            "list": lambda host: host in tgt.split(","),
            "pcre": lambda host: re.match(tgt, host),
        }
        matches = [host for host in (*self.hosts, *self.dead_hosts) if fits[tgt_type](host)]
        away = {"stdout": "", "stderr": "ssh: connect to host 127.0.0.1 port 1: Connection refused", "retcode": 255, "parsed": None}
        away["_error"] = "The command resulted in a non-zero exit code"
        ran = {"fun": fun, "fun_args": arg, "jid": str(next(self._jids)), "retcode": 0, "success": True}
        return {host: away if host in self.dead_hosts else {"id": host, **ran, "return": FUNCTIONS[fun](*arg, **(kwarg or {}))} for host in matches}

    def _wheel(self, load: dict[str, Any]) -> Any:
        if "@wheel" not in (self._rights(load) or ()):
            return self._refusal(load)
        jid = str(next(self._jids))
        known: dict[str, Callable[[dict[str, Any]], Any]] = {
            "key.list_all": self._list_keys,
            "key.finger": self._finger,
            "key.name_match": lambda load: {"minions": fnmatch.filter(self.minions, load["match"])},
            "key.gen_accept": self.gen_accept,
            "key.delete": self._delete,
        }
        success = load["fun"] in known
        value = known[load["fun"]](load) if success else f"Exception occurred in wheel {load['fun']}: KeyError: '{load['fun']}'"
        tag = f"salt/wheel/{jid}"
        return {"tag": tag, "data": {"fun": f"wheel.{load['fun']}", "jid": jid, "tag": tag, "user": self._user(load), "return": value, "success": success}}

    def _list_keys(self, _load: dict[str, Any]) -> Any:
        return {"minions": self.minions, "minions_pre": [], "minions_rejected": [], "minions_denied": [], "local": ["master.pem", "master.pub"]}

    def _finger(self, load: dict[str, Any]) -> Any:
        found = {minion: ":".join(["ab"] * 32) for minion in self.minions if fnmatch.fnmatch(minion, load["match"])}
        return {"minions": found} if found else {}

    def gen_accept(self, load: dict[str, Any]) -> Any:
        if load["id_"] in self.keys and not load.get("force"):
            return {}
        self.keys.add(load["id_"])
        return {"pub": "-----BEGIN PUBLIC KEY-----\n", "priv": "-----BEGIN RSA PRIVATE KEY-----\n"}

    def _delete(self, load: dict[str, Any]) -> Any:
        self.keys -= set(fnmatch.filter(self.keys, load["match"]))
        return {}

    def _described(self, jid: str) -> dict[str, Any]:
        load = self.published[jid]
        described = {"Function": load["fun"], "Arguments": load["arg"], "Target": load["tgt"], "Target-type": load["tgt_type"], "User": load["user"]}
        return {**described, "StartTime": "2026, Nov 23 08:56:04.306179"}

    def _list_job(self, jid: str) -> dict[str, Any]:
        if jid not in self.published:
            return {"jid": jid, "Error": "Cannot contact returner or no job with this jid", "StartTime": "", "Result": {}}
        result = {minion: {"return": value, "retcode": 0, "success": True} for minion, value in self._jobs.get(jid, {}).items()}
        return {"jid": jid, **self._described(jid), "Minions": list(self.minions), "Result": result}

    def _user(self, sent: dict[str, Any]) -> str:
        name: str = self.tokens[sent["token"]]["name"] if "token" in sent else sent["username"]
        return name

    def _rights(self, sent: dict[str, Any]) -> list[str] | None:
        if "token" in sent:
            data = self._get_token(sent)
            return RIGHTS.get(data["name"]) if data else None
        user, password = sent.get("username", ""), str(sent.get("password"))
        if sent.get("eauth") == "sidecar" and self.takes(user, password):
            return RIGHTS.get(user, [])
        return RIGHTS.get(user) if sent.get("eauth") in EAUTHS and password == SECRET else None

    def _refusal(self, load: dict[str, Any]) -> dict[str, Any]:
        message = f'Authentication failure of type "eauth" occurred for user {load.get("username")}.'
        return {"error": {"name": "EauthAuthenticationError", "message": message}}

    def _targets(self, load: dict[str, Any]) -> tuple[list[str], list[str]]:
        if load["tgt_type"] == "list":
            names = load["tgt"] if isinstance(load["tgt"], list) else load["tgt"].split(",")
            return [minion for minion in self.minions if minion in names], [name for name in names if name not in self.minions]
        return [minion for minion in self.minions if fnmatch.fnmatch(minion, str(load["tgt"]))], []

    def _return(self, jid: str, minion: str, load: dict[str, Any]) -> None:
        value, retcode = self._execute(load["fun"], load["arg"])
        data = {"cmd": "_return", "id": minion, "jid": jid, "fun": load["fun"], "fun_args": load["arg"]}
        with self._lock:
            self._jobs.setdefault(jid, {})[minion] = value
        self._fire(f"salt/job/{jid}/ret/{minion}", {**data, "return": value, "retcode": retcode, "success": True})

    def _execute(self, fun: str | list[str], arg: list[Any]) -> tuple[Any, Any]:
        if isinstance(fun, list):
            results = {one: self._execute(one, args) for one, args in zip(fun, arg, strict=True)}
            return {one: value for one, (value, _) in results.items()}, {one: code for one, (_, code) in results.items()}
        if fun == "saltutil.find_job":
            return {}, 0
        if fun not in FUNCTIONS:
            return f"'{fun}' is not available.", 254
        keywords = {key: value for one in arg if isinstance(one, dict) and one.get("__kwarg__") for key, value in one.items() if key != "__kwarg__"}
        try:
            return FUNCTIONS[fun](*(one for one in arg if not (isinstance(one, dict) and one.get("__kwarg__"))), **keywords), 0
        except TypeError as exc:
            return f"Passed invalid arguments to {fun}: {exc}", 1

    def _fire(self, tag: str, data: dict[str, Any]) -> None:
        self._hub.deliver(tag.encode() + b"\n\n" + salt.payload.dumps(data))


class FakeGateway:
    """The gateway's own code over a master in memory."""

    def __init__(self, options: MasterOptions, hub: Hub, ledger: Ledger, tokens: dict[str, dict[str, Any]] | None = None) -> None:
        """tokens: those of another fake, when this one stands for the same master."""
        self.hub = hub
        self.hub.opened()
        self.master = FakeMaster(self.hub, tokens)
        self.runner = Runner(self.master, self.hub, options, ledger, master_up=lambda: True)

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        self.hub.deliver(packed(tag, data, 2**20))

    def start(self) -> None:
        self.hub.opened()

    def stop(self) -> None:
        self.hub.interrupted()

    def settle(self, seconds: float) -> bool:
        """There is nothing to wait for."""
        return True

    def master_state(self) -> tuple[bool, str]:
        return True, "fake"

    def bus_state(self) -> tuple[bool, str]:
        return True, "fake"
