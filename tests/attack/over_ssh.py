"""Attacks on `client: ssh` where it is on: the inputs of salt-api's six vulnerabilities by ssh, and whatever else a low, a form or a job can carry."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import yaml

from service.demo.embedded_config import PINGER
from service.gateway.low import CREDENTIAL_NAMES
from tests.attack.scene import FORM, YAML, Attack, Scene, Seen, post
from tests.attack.ssh_traps import PERMITTED, SshTraps
from tests.probes.ssh_lows import ARGUMENTS, COMMAND, FIELDS, FUNCTIONS, SHAPES, TARGETS
from tests.real import ssh_scenes
from tests.real.sidecar import JSON, Answer

CVE = re.compile(r"CVE-\d{4}-\d+")
CVES = [scene for scene in ssh_scenes.ATTACKS if CVE.match(scene.title)]
LOWS: list[dict[str, Any]] = [*SHAPES.values(), *({name: COMMAND} for name in FIELDS)]
# A call to the master that would leave a job there, in front of one that is refused.
BEFORE = {"client": "runner", "fun": "test.arg", "arg": ["x"]}
FORM_FIELDS: tuple[list[tuple[str, str]], ...] = (
    [("ssh_priv", COMMAND)],
    [("ssh_options", "ProxyCommand=touch TRACE"), ("ssh_options", "x")],
    [("ssh_options[]", "ProxyCommand=touch TRACE")],
    [("roster_file", "TRACE")],
    [("client", "local")],
    [("client", "ssh")],
    [("tgt", "edge-2")],
    [("fun", "cmd.run")],
    [("kwarg", "{extra_filerefs: /etc/shadow}")],
    [("kwarg", "!!python/object/apply:os.system [touch TRACE]")],
    [("arg", "{__kwarg__: true, extra_filerefs: /etc/shadow}")],
    [("arg", "--no-parse=cmd")],
    [("arg", "localconfig=/etc/salt/master")],
)
YAML_TEXTS = (
    "<<: {ssh_priv: x}",
    "? ssh_priv\n: x",
    "!!str ssh_priv: x",
    '"ssh_\\x70riv": x',
    "kwarg: !!python/object/apply:os.system [touch TRACE]",
    "kwarg: &a {extra_filerefs: *a}",
    "kwarg: {[1]: 2}",
    "1: 2",
)


def quietly(send: Callable[[Scene, SshTraps], Iterator[Answer]], *expected: int) -> Callable[[Scene], Seen]:
    """Send what has to be refused, with these statuses, without a program started or a file written at the master."""

    def play(scene: Scene) -> Seen:
        traps = scene.traps
        before = traps.traces()
        statuses = Counter(answer.status for answer in send(scene, traps))
        after = traps.traces()
        now = f"{statuses.total()} sent: {dict(statuses)}; programs {after.started - before.started}, files {sorted({name for name, _, _ in before.files ^ after.files})}"
        return Seen(now, {*statuses} == {*expected} and after == before)

    return play


def filled(value: Any, traps: SshTraps) -> Any:
    """Return a value with the file in it that an attack would leave."""
    return json.loads(json.dumps(value).replace("TRACE", str(traps.injected)))


def every_way(lows: Sequence[Mapping[str, Any]], *expected: int) -> Callable[[Scene], Seen]:
    """Send lows with credentials and in a session, at both URLs, and behind one that may be run."""

    def send(scene: Scene, traps: SshTraps) -> Iterator[Answer]:
        session = scene.log_in(traps.sidecar, traps.salt.credentials)
        for low in filled([{**PERMITTED, **low} for low in lows], traps):
            for path in ("/", "/run"):
                yield post(traps.sidecar, path, [{**traps.salt.credentials, **low}])
            # What a low says of its caller counts for nothing in a session.
            if CREDENTIAL_NAMES.isdisjoint(low):
                yield post(traps.sidecar, "/", [BEFORE, low], session)
                yield post(traps.sidecar, "/", [PERMITTED, low], session)

    return quietly(send, *expected)


def the_six(scene: Scene) -> Seen:
    """Send what salt-api fell to."""
    found = {CVE.findall(attack.title)[0] for attack in CVES}
    seen = every_way([attack.low for attack in CVES], 400, 401)(scene)
    return Seen(f"{len(found)} CVEs, {seen.now}", seen.held and len(found) == 6)


def as_jobs(lows: Sequence[Mapping[str, Any]]) -> Callable[[Scene], Seen]:
    """Ask for jobs of `/v1`, and for sequences whose second step is refused."""

    def send(scene: Scene, traps: SshTraps) -> Iterator[Answer]:
        session = scene.log_in(traps.sidecar, traps.salt.credentials)
        for body in filled([{**PERMITTED, **low} for low in lows], traps):
            yield post(traps.sidecar, "/v1/jobs", body, session)
            yield post(traps.sidecar, "/v1/jobs", {"steps": [PERMITTED, body]}, session)

    return quietly(send, 422)


def bodies(who: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], str, str]]:
    """Yield media type, text and its encoding of lows with credentials, each with one thing that is refused."""
    plain = {**PERMITTED, **who}
    for fields in FORM_FIELDS:
        yield FORM, urlencode([*plain.items(), *fields]), "utf-8"
    for text in YAML_TEXTS:
        yield YAML, f"{yaml.safe_dump(plain)}{text}\n", "utf-8"
    bad = {**plain, "ssh_priv": COMMAND}
    for nested in ([[bad]], {"lowstate": [bad], **who}, [json.dumps(bad)], {"return": [bad], **who}, {**bad, "client": {"ssh": bad}}):
        yield JSON, json.dumps(nested), "utf-8"
    for charset in ("utf-16", "utf-32-le", "latin-1"):
        yield {"Content-Type": f"application/json; charset={charset}"}, json.dumps(bad), charset
    yield {"Content-Type": "text/plain"}, json.dumps(bad), "utf-8"
    # Of a name that is there twice the last one counts, and nothing in front of it.
    yield JSON, '{"client": "local", ' + json.dumps(bad)[1:], "utf-8"


def written_otherwise(_scene: Scene, traps: SshTraps) -> Iterator[Answer]:
    """Send the same in a form, in YAML, in other encodings, nested, with a name twice."""
    for media_type, text, encoding in bodies(traps.salt.credentials):
        for path in ("/", "/run"):
            yield post(traps.sidecar, path, text.replace("TRACE", str(traps.injected)).encode(encoding), media_type)


def by_another_client(scene: Scene, traps: SshTraps) -> Iterator[Answer]:
    """Ask for the runner itself, which a policy leaves to `client: ssh`."""
    session = scene.log_in(traps.sidecar, traps.salt.credentials)
    asked = {"tgt": "127.0.0.1", "fun": "test.ping"}
    for client in ("runner", "runner_async"):
        for arguments in ({"kwarg": asked}, {"arg": [*asked.values()]}, asked):
            yield post(traps.sidecar, "/", [{"client": client, **arguments, "fun": "ssh.cmd"}], session)
    yield post(traps.sidecar, "/v1/jobs", {"client": "runner", "fun": "ssh.cmd", "kwarg": asked}, session)


def without_the_right(scene: Scene, traps: SshTraps) -> Iterator[Answer]:
    """Ask as somebody who may ping, as nobody, by a token of another scope, and beyond the limits of a right."""
    pinger, limited = traps.salt.credentials_of(PINGER), traps.salt.credentials_of("deploy")
    admin, session = scene.log_in(traps.sidecar, traps.salt.credentials), scene.log_in(traps.sidecar, pinger)
    scoped = post(traps.sidecar, "/v1/tokens", {"scope": ["local:*", "runner:*", "ssh:test.ping@edge-2"]}, admin).json()["token"]
    for path in ("/", "/v1/jobs"):
        for headers in (session, {"X-Auth-Token": scoped}, {"X-Auth-Token": "0" * 64}, {}):
            yield post(traps.sidecar, path, PERMITTED, headers)
    for beyond in (
        {"fun": "cmd.run", "arg": ["touch TRACE"]},
        {"tgt": "*"},
        {"tgt": "edge-|.*", "tgt_type": "pcre"},
        {"tgt": "edge", "tgt_type": "nodegroup"},
        {"tgt": ["edge-1"], "tgt_type": "list"},
        {"fun": "test.ping.x"},
    ):
        yield post(traps.sidecar, "/", filled([{**PERMITTED, **beyond, **limited}], traps))


# Until the client was there, which is as long as these attacks are, each was a client that is disabled.
NOT_TRIED = "not tried"
ATTACKS = [
    Attack("G25", "client ssh: the inputs of the six CVEs", "ran at salt-api's master", the_six),
    Attack("G25", "every option of ssh, roster and raw shell", NOT_TRIED, every_way(LOWS, 400)),
    Attack("G26", "targets and times with a shell's words", NOT_TRIED, every_way(TARGETS, 400)),
    Attack("G26", "functions that are none, or the master's", NOT_TRIED, every_way([{"fun": fun} for fun in FUNCTIONS], 400)),
    Attack("G26", "arguments that name files of the master's", NOT_TRIED, every_way(ARGUMENTS, 400)),
    Attack("G27", "the same in forms, YAML, other encodings, nested", NOT_TRIED, quietly(written_otherwise, 400, 401)),
    Attack("G28", "all of it as jobs and steps of /v1", NOT_TRIED, as_jobs([*LOWS, *TARGETS, *({"fun": fun} for fun in FUNCTIONS), *ARGUMENTS])),
    Attack("G29", "the runner ssh.cmd past the client, with a policy", "200 without the policy", quietly(by_another_client, 401, 403)),
    Attack("G29", "without the right, by another token, beyond limits", NOT_TRIED, quietly(without_the_right, 401, 403)),
]
