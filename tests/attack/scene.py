"""What an attack is, and where it is played: one real master with real and hostile minions, and the sidecar as a process."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks import running
from service.demo.embedded import EmbeddedSalt
from service.demo.embedded_config import ADMIN, PINGER
from tests.attack.ssh_traps import SshTraps
from tests.real.sidecar import JSON, Answer, Sidecar, ask

if TYPE_CHECKING:
    from typing_extensions import Self

Result = TypeVar("Result")
PING: dict[str, Any] = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
YAML = {"Content-Type": "application/x-yaml"}
# Of the file module: a namesake of the admin, who is a user of sharedsecret, one who may ping one minion only, and some who do nothing but log in.
NAMESAKE = ADMIN
GOOD = [f"good-{number}" for number in range(1, 6)]
USERS: dict[str, list[Any]] = {
    NAMESAKE: ["test.ping"],
    "limited": [{"minion-1": ["test.ping"]}],
    "seer": ["test.ping"],
    **{name: ["test.ping"] for name in GOOD},
}
# The admin's secret is everybody's in sharedsecret, where another seer may ping.
MASTER = {"gather_job_timeout": 30, "external_auth": {"sharedsecret": {"seer": ["test.ping"]}}}
# What the policy of the shared sidecar refuses.
FORBIDDEN = "test.fib"
SECRETS = {"github": b"secret of github", "deploy": b"secret of deploy"}
# For what is written or counted right after an answer.
PATIENCE_SECONDS = 20.0
# Before the hostile minion's honest return, and everybody's: the lies come first.
DELAY_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Seen:
    """What came of an attack: what was seen, in a few words, and whether the gate held."""

    now: str
    held: bool


@dataclasses.dataclass(frozen=True)
class Attack:
    """One attack. point: of the list of points, A1 to G29; before: what came of it once, as it was recorded then."""

    point: str
    what: str
    before: str
    play: Callable[[Scene], Seen]


class Scene(contextlib.ExitStack):
    """
    The processes that attacks are played on; what an attack alone needs starts when it asks.

    folder: takes all files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._made = 0
        self.salt = EmbeddedSalt(folder / "salt", threads=True, users=USERS, master=MASTER)

    def __enter__(self) -> Self:
        self.enter_context(self.salt)
        return self

    @functools.cached_property
    def sidecar(self) -> Sidecar:
        """The sidecar for whatever disturbs nobody."""
        return self.enter_context(self.fresh(**_settings(self.folder), **self.audited(self.folder / "audit.jsonl")))

    @functools.cached_property
    def flooded(self) -> Sidecar:
        """The sidecar for what takes memory and connections; its attackers leave."""
        return self.enter_context(self.fresh())

    @functools.cached_property
    def simulated(self) -> list[str]:
        """Minions beside the real ones, the first of which lies about every job."""
        fleet = running.fleet(self.salt.master_config, self.folder / "fleet", 3, hostile=0.34, delay_seconds=DELAY_SECONDS)
        self.enter_context(fleet)
        return ["sim-0000", "sim-0001", "sim-0002"]

    @functools.cached_property
    def traps(self) -> SshTraps:
        """A master of its own for the client ssh, with what tells of a call that got through."""
        return self.enter_context(SshTraps(self.folder / "ssh"))

    def fresh(self, **settings: Any) -> Sidecar:
        """Make a sidecar for one attack, not yet started."""
        self._made += 1
        return Sidecar(self.salt.master_config, self.folder / f"sidecar-{self._made}", **settings)

    def audited(self, trail: Path) -> dict[str, Any]:
        """Return the settings of an audit trail."""
        key = self.folder / "audit-key"
        key.write_bytes(b"a key of more than sixteen bytes")
        return {"AUDIT_SINKS": "file", "AUDIT_FILE": trail, "AUDIT_HMAC_KEY_FILE": key}

    @property
    def admin(self) -> dict[str, str]:
        return self.salt.credentials

    @property
    def pinger(self) -> dict[str, str]:
        return self.salt.credentials_of(PINGER)

    def log_in(self, sidecar: Sidecar, credentials: Mapping[str, str]) -> dict[str, str]:
        """Return the header of a new session."""
        return {"X-Auth-Token": post(sidecar, "/login", credentials).json()["return"][0]["token"]}


def _settings(folder: Path) -> dict[str, Any]:
    """Write the files that the settings of the shared sidecar name, and return the settings."""
    static = folder / "static"
    static.mkdir()
    (static / ".secret").write_text("not for you")
    (static / "app.html").write_text("<title>app</title>")
    for name, secret in SECRETS.items():
        (folder / name).write_bytes(secret)
    hooks = {
        "github": {"secret_file": str(folder / "github")},
        "deploy": {"secret_file": str(folder / "deploy"), "timestamp_header": "X-Time"},
    }
    return {
        "API_HOSTS": "127.0.0.1 x reader",
        "EVENTS_SEE_ALL": "file:seer",
        "HOOK_ENDPOINTS": json.dumps(hooks),
        "HOOK_REQUIRE_LOGIN": "false",
        "POLICY_RULES": json.dumps([{"action": "refuse", "functions": [FORBIDDEN]}]),
        "SITE_STATIC": static,
        "SITE_APP": static / "app.html",
    }


def post(sidecar: Sidecar, path: str, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Send a value as JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ask(sidecar.api_port, "POST", path, body, {**JSON, **(headers or {})})


def refused(*answers: Answer, status: int = 401) -> Seen:
    """Say what was answered; the gate held if all of it was refused with this status."""
    return Seen(" ".join(str(answer.status) for answer in answers) + reason(answers[-1]), {answer.status for answer in answers} == {status})


def reason(answer: Answer) -> str:
    """Return the words of a refusal, as far as they fit into a table."""
    try:
        words = str(answer.json()["return"]).partition(": ")[2]
    except (KeyError, TypeError, ValueError):
        return ""
    return words and f": {words[:70]}"


def slowest_probe(sidecar: Sidecar, work: Callable[[], Result]) -> tuple[Result, float]:
    """Do something while `/livez` is asked again and again; return what came of it, and how long the slowest of those answers took."""
    slowest = 0.0
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(work)
        while not wait([under_way], timeout=0.02).done:
            slowest = max(slowest, sidecar.ops("/livez").seconds)
        return under_way.result(), slowest


def at_once(number: int, work: Callable[[int], Result]) -> list[Result]:
    """Do something as many times, all at one time, each with its number."""
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(work, range(number)))
