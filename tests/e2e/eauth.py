"""What a master asks others for, beside our images: PAM, with rest_wsgi's documented calls, LDAP groups of a real slapd, and states in git."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from tests.e2e import gitfs, standins
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT, SALT, SIDECAR
from tests.e2e.kubelet import logs
from tests.e2e.release import QUICK_MINION
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require, run

GUIDE = ROOT / "docs" / "eauth.md"
PATIENCE_SECONDS = 180.0
# What a form, a shell, YAML, a filter of LDAP and an encoding could take for something else.
PASSWORD = "a&b=c+d%25;e# \"f'*()\\ ünß 語"
MASTER = {
    "id": "master",
    "user": "root",
    "interface": "127.0.0.1",
    "log_file": "/dev/null",
    "auto_accept": True,
    "worker_threads": 3,
    "timeout": 10,
    "netapi_enable_clients": ["local", "local_async", "runner"],
}
MINION = {"id": "minion-1", "master": "127.0.0.1", "user": "root", "log_file": "/dev/null", **yaml.safe_load(QUICK_MINION.read_text())}
# A wrong password costs nothing here; who guesses in earnest meets the brakes of tests/real.
SETTINGS = ("SIDECAR_LIMITS_AUTH_FAILURES_BURST=100", "SALT_MASTER_CONFIG=/given/master")
DIRECTORY = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
pidfile /tmp/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
directory /tmp/directory
suffix dc=example,dc=org
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
PEOPLE = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: cn=operators,ou=groups,dc=example,dc=org
objectClass: posixGroup
cn: operators
gidNumber: 5000
memberUid: ada
"""
DIRECTORY_STARTS = "mkdir /tmp/directory && slapadd -f /given/slapd.conf -l /given/people.ldif && exec slapd -d 0 -f /given/slapd.conf -h ldap://127.0.0.1"
MASTER_STARTS = "useradd saltdev && echo saltdev:saltdev | chpasswd && exec salt-master --config-dir=/given --log-level=info"
PERSON = """
dn: uid={name},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
userPassword:: {password}
"""


def lets_in(engine: Engine, report: Report) -> None:
    """Run a root master with a minion, the sidecar as uid 450, and a directory, in one network; call as people of PAM and of LDAP."""
    house = House(engine)
    try:
        house.start()
        documented_calls(house, report)
        a_locked_account(house, report)
        people_of_the_directory(house, report)
        states_from_git(house, report)
    except StepFailed as exc:
        raise StepFailed(f"{exc}\n{house.last_words()}") from None
    finally:
        house.remove()


class House:
    """The containers: each of them sees the others on loopback."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: list[str] = []
        self.given = engine.work / "eauth"
        self._pid = ""

    def start(self) -> None:
        """Start everything; returns before it is ready."""
        write(self.given)
        # No network but loopback. slapd makes room for as many connections as it may have files open, which without a limit are millions.
        alone = ("--network=none", "--add-host=ldap.example.org:127.0.0.1", "--ulimit=nofile=1024")
        self._run("directory", *alone, standins.SLAPD, "sh", "-c", DIRECTORY_STARTS)
        self._pid = self._engine.docker("inspect", "--format", "{{.State.Pid}}", "eauth-directory").strip()
        joined = "--network=container:eauth-directory"
        self._run("master", joined, "--user=0", SALT, "sh", "-c", MASTER_STARTS)
        self._run("minion", joined, "--user=0", SALT, "salt-minion", "--config-dir=/given")
        # The group is that of the master's sockets.
        self._run("sidecar", joined, "--user=450:0", *(f"--env={setting}" for setting in SETTINGS), SIDECAR)

    def documented(self) -> list[str]:
        """Return the lines to paste, from the documentation inside the image's Salt."""
        text = self._engine.docker("exec", "eauth-master", "python", "-c", "import salt.netapi.rest_wsgi as wsgi; print(wsgi.__doc__)")
        lines: list[str] = re.findall(r"% (curl .*? localhost:8001)$", text, re.DOTALL | re.MULTILINE)
        require(len(lines) == 3, f"not three documented calls: {lines}")
        return lines

    def curl(self, line: str) -> tuple[int, Any]:
        """Run a line of documentation where `localhost` is the containers'; return status and body, 0 when nobody answers."""
        return self._answer("sh", "-c", line)

    def post(self, path: str, fields: Any, *, form: bool = False, token: str = "") -> tuple[int, Any]:
        """Send fields as JSON or as a form; return status and body."""
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        headers = [f"Content-Type: {kind}", "Accept: application/json", *([f"X-Auth-Token: {token}"] if token else [])]
        words = ["--data-binary", "@-", *(word for header in headers for word in ("--header", header))]
        body = urllib.parse.urlencode(fields) if form else json.dumps(fields)
        return self._answer("curl", "-sS", "-i", *words, f"http://localhost:8001{path}", text=body)

    def _answer(self, *argv: str, text: str | None = None) -> tuple[int, Any]:
        inside = ("nsenter", f"--net=/proc/{self._pid}/ns/net")
        # 7: curl could not connect.
        said = run(*inside, *argv, text=text, environ={"no_proxy": "*"}, timeout=PATIENCE_SECONDS, ok=(0, 7))
        status, body = re.match(r"HTTP/1.1 (\d+)", said), said.rpartition("\n\n")[2]
        return (int(status[1]), json.loads(body)) if status else (0, said)

    def lock(self, account: str) -> None:
        """Close an account of the master's machine; its password stays as it is."""
        self._engine.docker("exec", "eauth-master", "chage", "--expiredate", "0", account)

    def last_words(self) -> str:
        return "\n".join(f"{name}:\n{logs(self._engine, name)}" for name in self._names)

    def remove(self) -> None:
        if self._names:
            self._engine.docker("rm", "--force", "--volumes", *reversed(self._names))
        self._engine.docker("volume", "rm", "--force", "eauth-run")

    def _run(self, name: str, *words: str) -> None:
        self._names.append(f"eauth-{name}")
        mounts = (f"--volume={self.given}:/given", "--volume=eauth-run:/run/salt")
        self._engine.docker("run", "--detach", "--name", self._names[-1], *mounts, *words)


def write(given: Path) -> None:
    """Write everybody's configuration; the eauth modules are as the guide has them, but for the certificate that this directory has not."""
    texts = {
        "master": yaml.safe_dump(MASTER),
        "master.d/gitfs.conf": yaml.safe_dump(gitfs.options()),
        "master.d/pam.conf": _from_guide("pam.conf"),
        "master.d/ldap.conf": _from_guide("ldap.conf").replace("ldaps://", "ldap://"),
        "minion": yaml.safe_dump(MINION),
        "slapd.conf": DIRECTORY,
        "people.ldif": PEOPLE + "".join(PERSON.format(name=name, password=base64.b64encode(PASSWORD.encode()).decode()) for name in ("ada", "bob")),
    }
    for name, text in texts.items():
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_text(text)
    gitfs.repository(given / "states.git")


def _from_guide(name: str) -> str:
    found = re.search(rf"```yaml\n(# /etc/salt/master.d/{name}\n.*?)```", GUIDE.read_text(), re.DOTALL)
    require(found is not None, f"{GUIDE} has no {name}")
    return found[1] if found else ""


def documented_calls(house: House, report: Report) -> None:
    """Paste the three calls of Salt's own documentation, the third with the job that the second began."""
    ping, start, look_up = house.documented()
    answers = []

    def pinged() -> bool:
        answers.append(house.curl(ping))
        return answers[-1] == (200, {"return": [{"minion-1": True}]})

    seconds = eventually("the first documented call is answered by the minion", pinged, PATIENCE_SECONDS)
    status, body = house.curl(start)
    require(status == 200 and body["return"][0]["minions"] == ["minion-1"], f"the second documented call: {status}, {body}")
    look_up = re.sub(r'"jid":"\d+"', f'"jid":"{body["return"][0]["jid"]}"', look_up)
    eventually("the third documented call knows the job", lambda: house.curl(look_up) == (200, {"return": [{"minion-1": True}]}), PATIENCE_SECONDS)
    status, body = house.curl(ping.replace('"password":"saltdev"', '"password":"guessed"'))
    require(status == 401, f"a wrong password of PAM was answered {status}: {body}")
    # As in docs/migrate.md.
    status, body = house.post("/login", {"username": "saltdev", "password": "saltdev", "eauth": "pam"}, form=True)
    require(status == 200, f"a login by form with PAM was answered {status}: {body}")
    report.found("rest_wsgi's documented calls, eauth pam", f"200, verbatim, {seconds:.0f} s after the start; a wrong password 401")


def a_locked_account(house: House, report: Report) -> None:
    """Lock the account that has just called: its password no longer counts, though it is right."""
    house.lock("saltdev")
    low = {"client": "local", "tgt": "*", "fun": "test.ping", "username": "saltdev", "password": "saltdev", "eauth": "pam"}
    statuses = [house.post(path, low)[0] for path in ("/run", "/login")]
    require(statuses == [401, 401], f"a locked account of PAM was answered {statuses}")
    report.found("a locked account, eauth pam", "a call 401, a login 401")


def people_of_the_directory(house: House, report: Report) -> None:
    """Call and log in as somebody in the group, as somebody who is not, and with a wrong password, by JSON and by form."""
    for form in (False, True):
        how = "a form" if form else "JSON"
        low = {"client": "local", "tgt": "*", "fun": "test.ping"}
        ada, bob, guess = (who(name, password) for name, password in (("ada", PASSWORD), ("bob", PASSWORD), ("ada", PASSWORD[:-1])))
        status, body = house.post("/run", {**low, **ada}, form=form)
        require((status, body) == (200, {"return": [{"minion-1": True}]}), f"in the group, by {how}: {status}, {body}")
        for whose, credentials in (("not in the group", bob), ("a wrong password", guess)):
            status, body = house.post("/run", {**low, **credentials}, form=form)
            require(status == 401, f"{whose}, by {how}: {status}, {body}")
        status, body = house.post("/login", ada, form=form)
        require(status == 200 and body["return"][0]["perms"] == [".*", "@runner"], f"login by {how}: {status}, {body}")
        status, body = house.post("/", [low], token=body["return"][0]["token"])
        require((status, body) == (200, {"return": [{"minion-1": True}]}), f"the session of a login by {how}: {status}, {body}")
        status, body = house.post("/login", guess, form=form)
        require(status == 401, f"login with a wrong password, by {how}: {status}, {body}")
    report.found("LDAP group, by JSON, form and login", f"200 with a password of {len(PASSWORD)} odd characters; not in the group 401, a wrong password 401")


def states_from_git(house: House, report: Report) -> None:
    """Apply a state that only git has; a branch that is deleted is no environment any more."""
    ada = who("ada", PASSWORD)
    apply = {"client": "local", "tgt": "*", "fun": "state.apply", "arg": ["from-git"]}

    def environments() -> Any:
        house.post("/run", {"client": "runner", "fun": "fileserver.update", "kwarg": {"backend": "gitfs"}, **ada})
        return house.post("/run", {"client": "runner", "fun": "fileserver.envs", **ada})

    eventually("a state out of git is applied", lambda: gitfs.applied(*house.post("/run", {**apply, **ada})), PATIENCE_SECONDS)
    eventually("both branches are environments", lambda: environments() == (200, {"return": [["base", "short-lived"]]}), PATIENCE_SECONDS)
    gitfs.delete_branch(house.given / "states.git")
    eventually("the deleted branch is none", lambda: environments() == (200, {"return": [["base"]]}), PATIENCE_SECONDS)
    report.found("gitfs with pygit2", "state.apply of a state in git; a deleted branch is pruned")


def who(name: str, password: str) -> dict[str, str]:
    return {"eauth": "ldap", "username": name, "password": password}
