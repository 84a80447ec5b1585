"""Attacks on rights: one low with several acts, streams of others, a cookie that is sent unasked, pages that are somebody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from service.demo.embedded_config import PINGER
from tests.attack.scene import FORBIDDEN, FORM, NAMESAKE, PING, Attack, Scene, Seen, post, refused
from tests.real.callers import Stream
from tests.real.sidecar import Sidecar, ask

TEXT = {"Content-Type": "text/plain"}
EVIL = {"Origin": "https://evil.example.org"}
SPELLINGS = ["cmd.run", " cmd.run", "cmd.run\n", "CMD.RUN", "cmd.*", "*.run", "test.ping,cmd.run", "test.ping cmd.run", "cmd.run\0", "cmd.run/../test.ping"]


def several_functions(client: str, user: str = PINGER) -> Callable[[Scene], Seen]:
    """Send one permitted function and one that is not, as one low."""

    def play(scene: Scene) -> Seen:
        low = {**PING, "client": client, "fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]}
        answer = scene.sidecar.post({**low, **scene.salt.credentials_of(user)})
        seen = refused(answer)
        return Seen(seen.now, seen.held and b"uid=" not in answer.body)

    return play


def as_pinger(**fields: Any) -> Callable[[Scene], Seen]:
    """Send a ping with more fields as somebody who may ping."""
    return lambda scene: refused(scene.sidecar.post({**PING, **scene.pinger, **fields}))


def token_beside_a_name(scene: Scene) -> Seen:
    token = scene.log_in(scene.sidecar, scene.pinger)["X-Auth-Token"]
    return refused(scene.sidecar.post({**PING, "fun": "cmd.run", "arg": ["id"], **scene.admin, "token": token}))


def spellings(scene: Scene) -> Seen:
    answers = [scene.sidecar.post({**PING, "fun": fun, "arg": ["id"], **scene.pinger}) for fun in SPELLINGS]
    statuses = {answer.status for answer in answers}
    return Seen(f"{len(answers)} spellings: {sorted(statuses)}", statuses <= {400, 401} and not any(b"uid=" in answer.body for answer in answers))


def writes_to_the_master(scene: Scene) -> Seen:
    """Write what every minion will run, with the right to every wheel."""
    write = {"kwarg": {"data": "{{ never }}", "path": "attack.sls"}}
    funs = ("file_roots.write", "pillar_roots.write", "config.update_config")
    answers = [scene.sidecar.post({**scene.admin, **write, "client": client, "fun": fun}) for fun in funs for client in ("wheel", "wheel_async")]
    seen = refused(*answers)
    return Seen(seen.now, seen.held and not list(scene.folder.rglob("attack.sls")))


def refused_function(scene: Scene) -> Seen:
    """Ask for a function that `policy.rules` refuse, by other clients, forms and URLs."""
    session = scene.log_in(scene.sidecar, scene.admin)
    low = {**PING, "fun": FORBIDDEN, "arg": ["3"]}
    forms = [
        {**low, "fun": ["test.ping", FORBIDDEN], "arg": [[], ["3"]]},
        *({**low, "client": client} for client in ("local_async", "local_batch", "local_subset")),
    ]
    answers = [post(scene.sidecar, "/run", {**form, **scene.admin}) for form in forms] + [post(scene.sidecar, path, low, session) for path in ("/", "/minions")]
    return refused(*answers)


def pattern_for_a_name(scene: Scene) -> Seen:
    """Show the secret that is everybody's in sharedsecret under names that nobody has."""
    names = ["dem[o]", "d*", "dem.", "demo|x"]
    answers = [scene.sidecar.post({**PING, **scene.admin, "username": name}) for name in names]
    return refused(*answers, post(scene.sidecar, "/login", {**scene.admin, "username": names[0]}))


@contextlib.contextmanager
def reading(sidecar: Sidecar, headers: Mapping[str, str]) -> Iterator[Stream]:
    """Read the event stream of a session inside the block."""
    stream = Stream(sidecar.api_port, headers["X-Auth-Token"])
    try:
        sidecar.wait(lambda: b"retry:" in stream.read, "open")
        yield stream
    finally:
        stream.close()


def stream_of(watcher: Callable[[Scene], dict[str, str]]) -> Callable[[Scene], Seen]:
    """Read the events of somebody who is called like one who may see more, while the admin starts a job and then the reader one."""

    def play(scene: Scene) -> Seen:
        session = scene.log_in(scene.sidecar, watcher(scene))
        with reading(scene.sidecar, session) as stream:
            theirs = scene.sidecar.post({**PING, "full_return": True, **scene.admin}).value["minion-1"]["jid"]
            own = scene.sidecar.post({**PING, "full_return": True}, headers=session).value["minion-1"]["jid"]
            scene.sidecar.wait(lambda: own.encode() in stream.read, "heard of its own job")
            heard = theirs.encode() in stream.read
        return Seen("sees the admin's job" if heard else "sees its own job only", not heard)

    return play


def cookie_of_a_page(headers: Mapping[str, str]) -> Callable[[Scene], Seen]:
    """Send what a page of somebody else makes a browser send."""

    def play(scene: Scene) -> Seen:
        cookie = {"Cookie": "session_id=" + scene.log_in(scene.sidecar, scene.admin)["X-Auth-Token"]}
        text = post(scene.sidecar, "/", PING, {**TEXT, **cookie, **headers})
        form = post(scene.sidecar, "/", b"client=local&tgt=minion-1&fun=test.ping", {**FORM, **cookie, **headers})
        # As `curl -b` does it, which has to go on working.
        curl = post(scene.sidecar, "/", PING, cookie)
        seen = refused(text, form)
        return Seen(f"{seen.now}; curl -b: {curl.status}", seen.held and curl.status == 200)

    return play


def another_host(scene: Scene) -> Seen:
    return refused(ask(scene.sidecar.api_port, "GET", "/", headers={"Host": "evil.example.org"}), status=400)


def sniffing(scene: Scene) -> Seen:
    answers = [scene.sidecar.get(path) for path in ("/", "/nowhere", "/minions", "/static/app.html", "/app")] + [post(scene.sidecar, "/", b"{")]
    without = sum(answer.headers.get("x-content-type-options") != "nosniff" for answer in answers)
    return Seen(f"{without} of {len(answers)} answers without nosniff", without == 0)


def framing(scene: Scene) -> Seen:
    headers = scene.sidecar.get("/app").headers
    policy, referrer = headers.get("content-security-policy", "none"), headers.get("referrer-policy", "none")
    return Seen(f"{policy[:40]}; Referrer-Policy: {referrer}", "frame-ancestors" in policy and referrer != "none")


def dotfile(scene: Scene) -> Seen:
    return refused(scene.sidecar.get("/static/.secret"), scene.sidecar.get("/static/%2esecret"), status=404)


LEAKED = "200, uid=0(root)"
ATTACKS = [
    Attack("A1", "local: a permitted function and one that is not", LEAKED, several_functions("local")),
    Attack("A1", "the same by local_async", "200, and it ran", several_functions("local_async")),
    Attack("A1", "the same by local_batch", LEAKED, several_functions("local_batch")),
    Attack("A1", "the same by a user of one minion", LEAKED, several_functions("local", "limited")),
    Attack("A1", "an executor of the caller's choice", "200", as_pinger(module_executors=["direct_call"])),
    Attack("A1", "options of a returner", "200", as_pinger(ret_kwargs={"filename": "/nonexistent"})),
    Attack("A1", "the admin's name and password beside another's token", "all of it went to the master", token_beside_a_name),
    Attack("A1", "a function in other spellings", "400 or 401", spellings),
    Attack("A2", "file_roots.write and its like, by the admin", "200, written", writes_to_the_master),
    Attack("A2", "a function that the operator does not want", "no rules", refused_function),
    Attack("A2", "a pattern for a user's name", "200", pattern_for_a_name),
    Attack("A3", "another module's user with a name of events.see_all", "sees all events", stream_of(lambda scene: {**scene.admin, "username": "seer"})),
    Attack(
        "A3", "a user of the file module who is called like the admin", "sees the admin's jobs", stream_of(lambda scene: scene.salt.credentials_of(NAMESAKE))
    ),
    Attack("A4", "a cookie from a page of another origin", "200", cookie_of_a_page(EVIL)),
    Attack("A4", "from a sibling of our site", "200", cookie_of_a_page({"Origin": "https://sibling.x", "Sec-Fetch-Site": "same-site"})),
    Attack("A4", "from a page without an origin", "200", cookie_of_a_page({"Origin": "null"})),
    Attack("A4", "a name that was made to lead here", "200", another_host),
    Attack("A5", "content to be taken for another type", "some without nosniff", sniffing),
    Attack("A5", "our page in a frame of theirs", "no policy", framing),
    Attack("A5", "a dotfile below /static", "200", dotfile),
]
