"""A master in memory: answers loads and fires events as a real one does. The contract suite runs against both."""

from __future__ import annotations

import fnmatch
import itertools
import threading
from collections.abc import Callable
from typing import Any

import salt.payload

from service.gateway.dispatch import Health, Runner
from service.gateway.hub import Hub
from service.gateway.jobs import Request
from service.gateway.low import Low
from service.gateway.opts import MasterOptions
from service.gateway.result import LowResult

SECRET = "fake-secret"
RIGHTS: dict[str, list[str]] = {"demo": [".*", "@runner", "@wheel", "@jobs"], "pinger": ["test.ping"]}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "test.ping": lambda: True,
    "test.echo": lambda text: text,
    "test.arg": lambda *args, **kwargs: {"args": list(args), "kwargs": kwargs},
    "sys.list_functions": lambda: sorted(FUNCTIONS),
}


class FakeMaster:
    """
    Two accepted minions, one of them possibly silent, and the users of RIGHTS with the password SECRET.

    Loads and answers have the shapes of salt/master.py ClearFuncs; events those of the bus.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._jids = itertools.count(20_260_000_000_000_000_000)
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, Any]] = {}  # returns by jid; guarded by _lock
        self.minions = ["minion-1", "minion-2"]
        self.silent: set[str] = set()
        self.loads: list[dict[str, Any]] = []

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """Answer a load as the master's request port does."""
        del timeout, slow
        self.loads.append(load)
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {"publish": self._publish, "runner": self._runner, "wheel": self._wheel}
        return answers[load["cmd"]](load)

    def _publish(self, load: dict[str, Any]) -> Any:
        rights = self._rights(load["kwargs"])
        if rights is None:
            return {"error": {"name": "AuthenticationError", "message": "Authentication error occurred."}}
        functions = load["fun"] if isinstance(load["fun"], list) else [load["fun"]]
        if not all(fun == "saltutil.find_job" or ".*" in rights or fun in rights for fun in functions):
            return {"error": {"name": "AuthorizationError", "message": "Authorization error occurred."}}
        minions, missing = self._targets(load)
        if not minions:
            return {"enc": "clear", "load": {"jid": None, "minions": [], "error": f"Master could not resolve minions for target {load['tgt']}"}}
        jid = load["jid"] or str(next(self._jids))
        self._fire(f"salt/job/{jid}/new", {"jid": jid, "minions": minions, "missing": missing, "fun": load["fun"]})
        for minion in set(minions) - self.silent:
            self._return(jid, minion, load)
        return {"enc": "clear", "load": {"jid": jid, "minions": minions, "missing": missing}}

    def _runner(self, load: dict[str, Any]) -> Any:
        if "@runner" not in (self._rights(load) or ()):
            return self._refusal(load)
        jid = str(next(self._jids))
        tag = f"salt/run/{jid}"
        known: dict[str, Callable[..., Any]] = {"jobs.lookup_jid": lambda jid: self._jobs.get(jid, {}), "test.arg": FUNCTIONS["test.arg"]}
        if load["fun"] in known:
            self._fire(f"{tag}/new", {"jid": jid, "fun": f"runner.{load['fun']}"})
            value = known[load["fun"]](*load["kwarg"]["arg"], **load["kwarg"]["kwarg"])
            self._fire(f"{tag}/ret", {"jid": jid, "fun": f"runner.{load['fun']}", "return": value, "success": True})
        else:
            # As 3006 and 3007; 3008.3 fires nothing at all.
            self._fire(f"{tag}/ret", {"jid": jid, "fun": f"runner.{load['fun']}", "return": "Exception occurred", "success": False})
        return {"tag": tag, "jid": jid}

    def _wheel(self, load: dict[str, Any]) -> Any:
        if "@wheel" not in (self._rights(load) or ()):
            return self._refusal(load)
        jid = str(next(self._jids))
        if load["fun"] == "key.list_all":
            value: Any = {"minions": self.minions, "minions_pre": [], "minions_rejected": [], "minions_denied": [], "local": ["master.pem", "master.pub"]}
        else:
            value = f"Exception occurred in wheel {load['fun']}: KeyError: '{load['fun']}'"
        success = load["fun"] == "key.list_all"
        return {"tag": f"salt/wheel/{jid}", "data": {"jid": jid, "fun": f"wheel.{load['fun']}", "return": value, "success": success}}

    def _rights(self, sent: dict[str, Any]) -> list[str] | None:
        good = sent.get("eauth") == "sharedsecret" and sent.get("password") == SECRET
        return RIGHTS.get(sent.get("username", "")) if good else None

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
        return FUNCTIONS[fun](*(one for one in arg if not (isinstance(one, dict) and one.get("__kwarg__"))), **keywords), 0

    def _fire(self, tag: str, data: dict[str, Any]) -> None:
        self._hub.deliver(tag.encode() + b"\n\n" + salt.payload.dumps(data))


class FakeGateway:
    """The gateway's own code over a master in memory."""

    def __init__(self, options: MasterOptions) -> None:
        self.hub = Hub(early_limit_bytes=2**20, on_event=lambda _kind, _size: None, on_drop=lambda: None)
        self.hub.opened()
        self.master = FakeMaster(self.hub)
        self._runner = Runner(self.master, self.hub, options, master_up=lambda: True)

    def start(self) -> None:
        self.hub.opened()

    def stop(self) -> None:
        self.hub.interrupted()

    def run(self, low: Low, request: Request) -> LowResult:
        return self._runner.run(low, request)

    def health(self) -> Health:
        return Health(master_up=True, master_reason="fake", bus_connected=True, bus_reason="fake", event_age_seconds=0.0)
