"""What callers of `client: ssh` meet, scene by scene, with a real server of ssh's and the salt-ssh of a real master; `make ssh-story` prints it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from service.clients import CLIENTS
from service.demo.embedded import EmbeddedSalt
from service.demo.ports import free_ports
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import LENIENT, Api, a_store, real_sidecar
from tests.ssh_server import SshServer

HOSTS = ("edge-1", "edge-2")
# Who has a right to the runner with limits, as docs/ssh.md shows.
LIMITED = {"deploy": [{"@runner": [{"ssh.cmd$": {"kwargs": {"tgt": "edge-.*", "tgt_type": "glob$", "fun": r"test\.ping$"}}}]}]}
Right = Callable[[Any], bool]


@dataclasses.dataclass(frozen=True)
class Scene:
    """One call. low: without client and credentials. is_right(value): of the answer's value, or of its error's body. user: who calls, None: who may do everything."""

    title: str
    low: Mapping[str, Any]
    status: int = 200
    is_right: Right = lambda _value: True
    user: str | None = None


class SshStage:
    """A server of ssh's, a master with a roster, and the application over it. program: `sshd`."""

    def __init__(self, program: str, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._settings = settings
        self.server = SshServer(program, folder / "sshd")
        self.trace = folder / "injected"
        (self._dead,) = free_ports(1)
        options = {
            "roster_file": str(folder / "roster"),
            "rosters": [],  # without it Salt's own API raises a TypeError when there is a roster_file
            "known_hosts_file": str(self.server.known_hosts),
            "netapi_enable_clients": list(CLIENTS),
            "ssh_list_nodegroups": {"edge": list(HOSTS)},
            "gather_job_timeout": 30,
            "rest_timeout": 300,
        }
        self.salt = EmbeddedSalt(folder / "salt", minions=0, users=LIMITED, master=options)
        self._held = ExitStack()

    def __enter__(self) -> SshStage:  # noqa: PYI034 - Self needs Python 3.11
        self._held.enter_context(self.server)
        self._write_roster()
        self._held.enter_context(self.salt)
        self.api = self.sidecar(**self._settings)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held.close()

    def sidecar(self, **settings: str) -> Api:
        """Return one more application over the master, with settings of its own."""
        store = self._folder / f"store-{len(list(self._folder.glob('store-*')))}"
        store.mkdir()
        configuration = read_configuration({"SALT_MASTER_CONFIG": str(self.salt.master_config), **LENIENT, **a_store(store), **settings})
        return self._held.enter_context(real_sidecar(self.salt, configuration))

    def _write_roster(self) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        hosts = {name: self.server.host(name, path) for name in HOSTS}
        hosts["stranger"] = self.server.host("stranger", path, key=self.server.foreign_key)
        hosts["dead"] = self.server.host("dead", path, port=self._dead)
        (self._folder / "roster").write_text(yaml.safe_dump(hosts))

    def play(self, scene: Scene, api: Api | None = None) -> Response:
        """Send a scene's call."""
        credentials = self.salt.credentials if scene.user is None else self.salt.credentials_of(scene.user)
        return (api or self.api).caller.post([{**credentials, "client": "ssh", **self.filled(scene.low)}])

    def filled(self, low: Mapping[str, Any]) -> dict[str, Any]:
        """Return a low with the file in it that an attack would leave."""
        filled: dict[str, Any] = json.loads(json.dumps(low).replace("TRACE", str(self.trace)))
        return filled


def value_of(answer: Response) -> Any:
    """Return the value of a call, or the body of its error."""
    return answer.json()["return"][0] if answer.status == 200 else answer.json()


def returned(**values: Any) -> Right:
    """Say whether the hosts, `_` for `-`, returned these values well."""
    wanted = {name.replace("_", "-"): value for name, value in values.items()}
    return lambda value: {host: ret.get("return") for host, ret in value.items()} == wanted and not any(ret.get("retcode") for ret in value.values())


def failed(host: str, said: str) -> Right:
    """Say whether a host failed with these words from ssh."""
    return lambda value: value[host]["retcode"] > 0 and said in value[host]["stderr"] + value[host]["stdout"]


def a_state_failed(value: Any) -> bool:
    """Say whether a state is in the answer, and failed."""
    return value["edge-1"]["retcode"] == 2 and any(chunk["result"] is False for chunk in value["edge-1"]["return"].values())


def given(arguments: list[Any]) -> Right:
    """Say whether test.arg was given these arguments."""
    return lambda value: value["edge-1"]["return"]["args"] == arguments


def refused(field: str) -> Right:
    """Say whether an error names a field."""
    return lambda body: body.get("field") == field


SCENES = (
    Scene("test.ping on two hosts", {"tgt": "edge-*", "fun": "test.ping"}, is_right=returned(edge_1=True, edge_2=True)),
    Scene("one by its id", {"tgt": "edge-2", "fun": "test.ping"}, is_right=returned(edge_2=True)),
    Scene("a list", {"tgt": ["edge-1", "nobody"], "tgt_type": "list", "fun": "test.ping"}, is_right=returned(edge_1=True)),
    Scene("a regular expression", {"tgt": "edge-[2-9]", "tgt_type": "pcre", "fun": "test.ping"}, is_right=returned(edge_2=True)),
    Scene("a nodegroup", {"tgt": "edge", "tgt_type": "nodegroup", "fun": "test.ping"}, is_right=returned(edge_1=True, edge_2=True)),
    Scene("cmd.run", {"tgt": "edge-1", "fun": "cmd.run", "arg": ["echo a; echo 'b c'"]}, is_right=returned(edge_1="a\nb c")),
    Scene("cmd.run with an exit code", {"tgt": "edge-1", "fun": "cmd.run", "arg": ["exit 3"]}, is_right=lambda value: value["edge-1"]["retcode"] == 3),
    Scene("keyword arguments", {"tgt": "edge-1", "fun": "cmd.run", "kwarg": {"cmd": "echo $WORD", "env": {"WORD": "x"}}}, is_right=returned(edge_1="x")),
    Scene(
        "numbers and lists",
        {"tgt": "edge-1", "fun": "test.arg", "arg": [5, 1.5, True, None, [1], {"a": None}, "x y"]},
        is_right=given([5, 1.5, True, None, [1], {"a": None}, "x y"]),
    ),
    Scene("state.apply with a failure", {"tgt": "edge-1", "fun": "state.apply", "arg": ["failing"]}, is_right=a_state_failed),
    Scene("an unknown host", {"tgt": "nobody", "fun": "test.ping"}, is_right=lambda value: value == {}),
    Scene("a host that is not in the roster", {"tgt": "localhost", "fun": "test.ping"}, is_right=lambda value: value == {}),
    Scene("a refused key", {"tgt": "stranger", "fun": "test.ping"}, is_right=failed("stranger", "Permission denied")),
    Scene("a dead host", {"tgt": "dead", "fun": "test.ping"}, is_right=failed("dead", "Connection refused")),
    Scene(
        "many with a dead one", {"tgt": "*[1d]", "fun": "test.ping"}, is_right=lambda value: value["edge-1"]["return"] is True and value["dead"]["retcode"] > 0
    ),
    Scene("within the limits of a right", {"tgt": "edge-1", "fun": "test.ping"}, is_right=returned(edge_1=True), user="deploy"),
    Scene("a function beyond the limits", {"tgt": "edge-1", "fun": "cmd.run", "arg": ["id"]}, status=401, user="deploy"),
    Scene("a host beyond the limits", {"tgt": "*", "fun": "test.ping"}, status=401, user="deploy"),
    Scene("another type of target", {"tgt": "edge-|.*", "tgt_type": "pcre", "fun": "test.ping"}, status=401, user="deploy"),
)
# Of the six vulnerabilities of salt-api by its client ssh: each input would leave a file, or get in without credentials.
ATTACKS = (
    Scene("CVE-2017-5200: a raw shell", {"tgt": "edge-1", "fun": "touch TRACE", "raw_shell": True}, 400, refused("fun")),
    Scene("CVE-2017-5200: a raw shell as a function", {"tgt": "edge-1", "fun": "cmd.run", "arg": ["id"], "raw_shell": True}, 400, refused("raw_shell")),
    Scene("CVE-2019-17361: a command in the port", {"tgt": "edge-1", "fun": "test.ping", "ssh_port": "22;touch TRACE"}, 400, refused("ssh_port")),
    Scene("CVE-2020-16846: a command in the key", {"tgt": "edge-1", "fun": "test.ping", "ssh_priv": "x|touch TRACE|"}, 400, refused("ssh_priv")),
    Scene("CVE-2020-16846: a command in the user", {"tgt": "edge-1", "fun": "test.ping", "ssh_user": "$(touch TRACE)"}, 400, refused("ssh_user")),
    Scene("CVE-2020-25592: a word for credentials", {"tgt": "edge-1", "fun": "test.ping", "token": "junk"}, 401),
    Scene("CVE-2021-3148: a command in extra_mods", {"tgt": "edge-1", "fun": "test.ping", "extra_mods": "x';touch TRACE;'"}, 400, refused("extra_mods")),
    Scene("CVE-2021-3197: ProxyCommand", {"tgt": "edge-1", "fun": "test.ping", "ssh_options": ["ProxyCommand=touch TRACE"]}, 400, refused("ssh_options")),
    Scene("ProxyCommand in a target", {"tgt": "-oProxyCommand=touch TRACE", "fun": "test.ping"}, 400, refused("tgt")),
    Scene("ProxyCommand in a timeout", {"tgt": "edge-1", "fun": "test.ping", "timeout": "5 -oProxyCommand=touch\tTRACE"}, 400, refused("timeout")),
    Scene("a roster", {"tgt": "edge-1", "fun": "test.ping", "roster_file": "TRACE"}, 400, refused("roster_file")),
    Scene(
        "a file of the master's",
        {"tgt": "edge-1", "fun": "state.apply", "arg": ["failing"], "kwarg": {"extra_filerefs": "/etc/hostname"}},
        400,
        refused("kwarg"),
    ),
    Scene("a runner of the master's", {"tgt": "edge-1", "fun": "publish.runner", "arg": ["salt.cmd"]}, 400, refused("fun")),
    Scene("another user on a host", {"tgt": "nobody@edge-1", "fun": "test.ping"}, 400, refused("tgt")),
)
