"""Every request that is sent to both servers: each endpoint, each media type, each quirk that clients rely on, each way of failing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.compat.compare import shape
from tests.compat.exchange import Request
from tests.compat.servers import FRIEND

DEMO = {"eauth": "sharedsecret", "username": "demo", "password": "@DEMO_PASSWORD@"}
PINGER = {"eauth": "file", "username": "pinger", "password": "@PINGER_PASSWORD@"}
PING = {"client": "local", "tgt": "*", "fun": "test.ping"}
ECHO = {"client": "local", "tgt": "minion-1", "fun": "demo.echo"}
NOBODY = {"client": "local_async", "tgt": "nobody", "fun": "test.ping"}
FORM = "application/x-www-form-urlencoded"
YAML = "application/x-yaml"
TEXT = "text/plain;charset=UTF-8"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PREFLIGHT = {"Origin": FRIEND, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-auth-token"}
# What metalk8s, StackStorm, SaltGUI and others send and nobody means.
NOISE = {"X-Requested-With": "XMLHttpRequest", "charset": "utf-8", "Cache-Control": "no-cache", "Pragma": "no-cache", "Upgrade-Insecure-Requests": "1"}


def post(name: str, path: str, body: Any = None, **more: Any) -> Request:
    return Request(name, "POST", path, body, **more)


def get(name: str, path: str, **more: Any) -> Request:
    return Request(name, "GET", path, **more)


def low(name: str, body: Any, **more: Any) -> Request:
    """Return a call in demo's session."""
    return Request(name, "POST", "/", body, **{"session": "demo", **more})


def jobs_started(body: Any) -> Any:
    """Return what both say of a lowstate of asynchronous calls; minions answer in any order."""
    return [{key: sorted(value) if isinstance(value, list) else value for key, value in one.items()} for one in body["return"]]


def minion_grains(body: Mapping[str, Any]) -> Any:
    return {minion: sorted(grains) if grains else grains for minion, grains in body["return"][0].items()}


ROOT = [
    get("welcome", "/"),
    get("welcome, no Accept", "/", accept=None),
    get("welcome, any type", "/", accept="*/*"),
    get("welcome, Ruby's Accept", "/", accept="*/*, application/json"),
    get("welcome, axios' Accept", "/", accept="application/json, text/plain, */*"),
    get("welcome, YAML", "/", accept=YAML),
    get("welcome, a type nobody has", "/", accept="text/csv"),
    get("welcome, HTML and nothing else", "/", accept="text/html"),
    get("welcome, a browser's Accept", "/", accept=HTML),
    get("welcome, gzip", "/", headers={"Accept-Encoding": "gzip, deflate"}),
    get("welcome, a body on a GET", "/", body="null"),
    get("welcome, noise", "/?timeout=1", headers=NOISE),
    get("welcome, HTTP/1.0", "/", version="1.0"),
    Request("welcome, HEAD", "HEAD", "/"),
    Request("PUT", "PUT", "/", session="demo"),
    Request("DELETE", "DELETE", "/", session="demo"),
    get("unknown path", "/nope"),
    get("unknown path below a known one", "/run/nope/deeper", session="demo"),
    Request("preflight of /", "OPTIONS", "/", headers=PREFLIGHT),
    Request("preflight of /run", "OPTIONS", "/run", headers=PREFLIGHT),
    Request("preflight of /login", "OPTIONS", "/login", headers=PREFLIGHT),
    Request("OPTIONS without an origin", "OPTIONS", "/run"),
    get("a call from another origin", "/", headers={"Origin": FRIEND}),
]

CALLS = [
    low("local", [PING]),
    low("local, one object", PING),
    low("local, two lows", [PING, {**ECHO, "arg": ["x"]}]),
    low("local, charset parameter", [PING], content_type="application/json; charset=UTF-8"),
    low("local, text/plain", PING, content_type=TEXT),
    low("local, YAML in", "- {client: local, tgt: '*', fun: test.ping}\n", content_type=YAML),
    low("local, text/yaml in", "client: local\ntgt: '*'\nfun: test.ping\n", content_type="text/yaml"),
    low("local, YAML out", [PING], accept=YAML),
    low("local, form", "client=local&tgt=*&fun=test.ping", content_type=FORM),
    low("local, form with charset", "client=local&tgt=*&fun=test.ping", content_type=f"{FORM};charset=utf-8"),
    low("local, form with Content-Encoding", "client=local&tgt=*&fun=test.ping", content_type=FORM, headers={"Content-Encoding": "UTF-8"}),
    low("local, form with typed arguments", "client=local&tgt=minion-1&fun=demo.echo&arg=1234&arg=true&arg=a b&arg=[1,2]&arg=1_0", content_type=FORM),
    low("local, form with one argument", "client=local&tgt=minion-1&fun=demo.echo&arg=1.50", content_type=FORM),
    low("local, form with kwarg", "client=local&tgt=minion-1&fun=demo.echo&kwarg={a: 1}", content_type=FORM),
    low("local, no Accept", [PING], accept=None),
    low("local, trailing newline", b'[{"client":"local","tgt":"*","fun":"test.ping"}]\n'),
    low("local, no Content-Type", [PING], content_type=None),
    low("local, an unknown Content-Type", [PING], content_type="application/xml"),
    post("local, double slash", "//", [PING], session="demo"),
    low("local, HTTP/1.0", [PING], version="1.0"),
    low("local, expecting 100", [PING], headers={"Expect": "100-continue"}),
    low("local, chunked", [PING], chunked=True),
    low("local, noise", [PING], headers=NOISE),
    post("local, query", "/?timeout=1", [PING], session="demo"),
    low("local, scalar argument", {**ECHO, "arg": "x"}),
    low("local, fields nobody knows", {**PING, "batch": None, "sub": None, "id_": "x", "match": "y", "full_return": False}),
    low("local, full_return", {**PING, "full_return": True}),
    low("local, unicode", {"client": "local", "tgt": "minion-1", "fun": "demo.unicode"}),
    low("local, bytes in YAML", {"client": "local", "tgt": "minion-1", "fun": "demo.blob"}, accept=YAML),
    low("local, no match", {**PING, "tgt": "nobody"}),
    low("local, expr_form", {**PING, "tgt": "minion-1,minion-2", "expr_form": "list", "timeout": 1, "gather_job_timeout": 1}),
    low("local, a raising function", {**PING, "fun": "demo.raises"}),
    low("local_async", {**PING, "client": "local_async"}, view=jobs_started),
    low("local_async, no match", NOBODY),
    low("local_batch", {**PING, "client": "local_batch", "batch": "1"}, view=lambda body: sorted(body["return"], key=str)),
    low("local_subset", {**PING, "client": "local_subset", "sub": 2}),
    low("runner", {"client": "runner", "fun": "test.arg", "arg": ["a"], "kwarg": {"b": 1}}),
    low("runner, full_return", {"client": "runner", "fun": "test.arg", "full_return": True}),
    low("runner, old style", {"client": "runner", "fun": "jobs.list_job", "jid": "@JID@"}, view=lambda body: sorted(body["return"][0])),
    low("runner_async", {"client": "runner_async", "fun": "test.arg"}),
    low("wheel", {"client": "wheel", "fun": "key.list_all"}),
    low("wheel, empty arg", {"client": "wheel", "fun": "key.list_all", "arg": []}, view=lambda body: body["return"][0]["data"]["success"]),
    low("wheel_async", {"client": "wheel_async", "fun": "key.list_all"}),
    low("lowstate, empty list", []),
    low("lowstate, empty body", b""),
    low("lowstate, null", "null"),
    low("lowstate, empty object", "{}"),
    low("lowstate, a string", '"x"'),
    low("lowstate, list of strings", '["x"]'),
    low("lowstate, broken JSON", "{"),
    low("lowstate, broken YAML", "{", content_type=YAML),
    low("lowstate, text that is no JSON", "hello", content_type="text/plain"),
    low("lowstate, not UTF-8", b"\xff\xfe"),
    low("no client", {"tgt": "*", "fun": "test.ping"}),
    low("unknown client", {**PING, "client": "nope"}),
    low("a client that is a method", {**PING, "client": "destroy"}),
    low("a client that is not enabled", {**PING, "client": "ssh"}),
    low("no function", {"client": "local", "tgt": "*"}),
    low("no target", {"client": "local", "fun": "test.ping"}),
    low("unknown runner", {"client": "runner", "fun": "nope.nope"}),
    low("type nobody has", [PING], accept="text/csv"),
]

SESSIONS = [
    low("no session", [PING], session=None),
    low("no session, inline credentials", [{**PING, **DEMO}], session=None),
    low("no session, wrong inline credentials", [{**PING, **DEMO, "password": "wrong"}], session=None),
    low("session in the cookie", [PING], session="cookie"),
    low("session in Authorization", [PING], session="bearer"),
    low("session, header in lower case", [PING], session=None, headers={"x-auth-token": "@TOKEN@"}),
    low("session, header wins over cookie", [PING], session="demo", headers={"Cookie": "session_id=deadbeef"}),
    low("session, junk header wins over cookie", [PING], session="junk", headers={"Cookie": "session_id=@TOKEN@"}),
    low("session, a jar of cookies", [PING], session=None, headers={"Cookie": "a=b; session_id=@TOKEN@; c=d"}),
    low("session, a broken jar", [PING], session=None, headers={"Cookie": ";;=;a b=c;session_id"}),
    low("session, empty header", [PING], session=None, headers={"X-Auth-Token": ""}),
    low("session, junk", [PING], session="junk"),
    low("session, a path", [PING], session="path"),
    low("session, dead", [PING], session="dead"),
    low("session, a Salt token", [PING], session="salt"),
    low("session of a user with few rights", [{**PING, "tgt": "minion-1"}], session="pinger"),
    low("session without the right", [{**PING, "fun": "test.echo", "arg": ["x"]}], session="pinger"),
    low("session without the right, runner", [{"client": "runner", "fun": "test.arg"}], session="pinger"),
    low("session without the right, wheel", [{"client": "wheel", "fun": "key.list_all"}], session="pinger"),
    low("session and another token in the low", [{**PING, "token": "deadbeef"}]),
]

RUN = [
    post("run", "/run", [{**PING, **DEMO}]),
    post("run, one object", "/run", {**PING, **DEMO}),
    post("run, trailing slash", "/run/", [{**PING, **DEMO}]),
    post("run, form", "/run", "client=local&tgt=*&fun=test.ping&eauth=sharedsecret&username=demo&password=@DEMO_PASSWORD@", content_type=FORM),
    post("run, Salt token", "/run", [{**PING, "token": "@SALT@"}]),
    post("run, session token in the low", "/run", [{**PING, "token": "@TOKEN@"}]),
    post("run, session in the header only", "/run", [PING], session="demo"),
    post("run, nothing", "/run", [PING]),
    post("run, wrong password", "/run", [{**PING, **DEMO, "password": "wrong"}]),
    post("run, no password", "/run", [{**PING, "username": "demo", "eauth": "sharedsecret"}]),
    post("run, an eauth that is not there", "/run", [{**PING, **DEMO, "eauth": "nope"}]),
    post("run, token of zeros", "/run", [{**PING, "token": "0" * 64}]),
    post("run, junk token", "/run", [{**PING, "token": "zzz"}]),
    post("run, path as token", "/run", [{**PING, "token": "../../etc/passwd"}]),
    post("run, token that is a list", "/run", [{**PING, "token": ["x"]}]),
    post("run, without the right", "/run", [{**PING, **PINGER, "fun": "test.echo", "arg": ["x"]}]),
    post("run, one good and one bad low", "/run", [{**PING, **DEMO}, {**PING, **PINGER, "fun": "cmd.run", "arg": ["id"]}]),
    post("run, wheel_async with a wrong password", "/run", [{"client": "wheel_async", "fun": "key.list_all", **DEMO, "password": "wrong"}]),
    post("run, empty body", "/run"),
    post("run, not a list", "/run", '"x"'),
    get("run by GET", "/run"),
]

LOGIN = [
    post("login", "/login", DEMO),
    post("login, list", "/login", [DEMO]),
    post("login, form", "/login", "eauth=sharedsecret&username=demo&password=@DEMO_PASSWORD@", content_type=FORM),
    post(
        "login, Rundeck's form",
        "/login",
        "eauth=sharedsecret&username=demo&password=@DEMO_PASSWORD@",
        content_type=FORM,
        accept=None,
        headers={"Content-Encoding": "UTF-8"},
    ),
    post("login, text/plain", "/login", DEMO, content_type=TEXT),
    post("login, YAML both ways", "/login", "eauth: file\nusername: pinger\npassword: '@PINGER_PASSWORD@'\n", content_type=YAML, accept=YAML),
    post("login, few rights", "/login", PINGER),
    post("login, trailing slash", "/login/", DEMO),
    post("login, double slash", "//login", DEMO),
    post("login, query", "/login?timeout=1", DEMO),
    post("login, empty token header", "/login", DEMO, headers={"X-Auth-Token": ""}),
    post("login, dead session", "/login", DEMO, session="dead"),
    post("login, live session", "/login", DEMO, session="fresh"),
    post("login, foreign cookie", "/login", DEMO, headers={"Cookie": "session_id=0123456789"}),
    post("login, further fields", "/login", {**DEMO, "remember": True}),
    post("login, token_expire", "/login", {**DEMO, "token_expire": 60}),
    post("login, sharedsecret as the password's name", "/login", {"eauth": "sharedsecret", "username": "demo", "sharedsecret": "@DEMO_PASSWORD@"}),
    post("login, token", "/login", {"token": "@SALT@", "eauth": "sharedsecret"}),
    post("login, wrong password", "/login", {**DEMO, "password": "wrong"}),
    post("login, unknown user", "/login", {**PINGER, "username": "stranger"}),
    post("login, no password", "/login", {"username": "demo", "eauth": "sharedsecret"}),
    post("login, no eauth", "/login", {"username": "demo", "password": "x"}),
    post("login, empty body", "/login"),
    post("login, empty object", "/login", "{}"),
    post("login, list of strings", "/login", '["x"]'),
    post("login, broken JSON", "/login", "{"),
    get("login by GET", "/login"),
    post("logout, empty body", "/logout", session="fresh"),
    post("logout, empty body with Content-Type", "/logout", b"", session="fresh"),
    post("logout, {}", "/logout", "{}", session="fresh"),
    post("logout, null", "/logout", "null", session="fresh"),
    post("logout, cookie", "/logout", session="fresh cookie"),
    post("logout, trailing slash", "/logout/", session="fresh"),
    post("logout, no session", "/logout"),
    post("logout, dead session", "/logout", session="dead"),
    get("logout by GET", "/logout", session="fresh"),
    get("logout by GET, cookie", "/logout", session="fresh cookie"),
    post("token", "/token", DEMO),
    post("token, list", "/token", [DEMO]),
    post("token, no password", "/token", {"username": "demo", "eauth": "sharedsecret"}),
    post("token, wrong password", "/token", {**DEMO, "password": "wrong"}),
    post("token, without the right to runners", "/token", PINGER),
    post("token, empty body", "/token"),
]

MINIONS = [
    get("minions", "/minions", session="demo", view=minion_grains),
    get("minions, trailing slash", "/minions/", session="demo", view=minion_grains),
    get("minions, one", "/minions/minion-1", session="demo", view=minion_grains),
    get("minions, one that is not there", "/minions/nobody", session="demo"),
    get("minions, glob", "/minions/minion-*", session="demo", view=minion_grains),
    get("minions, query", "/minions/minion-1?timeout=1", session="demo", view=minion_grains),
    get("minions, no session", "/minions"),
    get("minions, without the right", "/minions", session="pinger"),
    post("minions start a job", "/minions", {"tgt": "*", "fun": "test.ping"}, session="demo", view=jobs_started),
    post("minions start jobs", "/minions", [{"tgt": "*", "fun": "test.ping"}] * 2, session="demo", view=jobs_started),
    post("minions start a job, links", "/minions", {"tgt": "*", "fun": "test.ping"}, session="demo", view=lambda body: body["_links"]),
    post("minions start a job, trailing slash", "/minions/", {"tgt": "*", "fun": "test.ping"}, session="demo", view=jobs_started),
    post("minions start a job, form", "/minions", "tgt=*&fun=test.ping", content_type=FORM, session="demo", view=jobs_started),
    post("minions start a job, client is overruled", "/minions", {**PING, "client": "runner"}, session="demo", view=jobs_started),
    post("minions, no match", "/minions", {"tgt": "nobody", "fun": "test.ping"}, session="demo"),
    post("minions, no function", "/minions", {"tgt": "*"}, session="demo"),
    post("minions start a job without a session", "/minions", {"tgt": "*", "fun": "test.ping"}),
    get("jobs", "/jobs", session="demo", view=shape),
    get("jobs, trailing slash", "/jobs/", session="demo", view=shape),
    get("jobs, query", "/jobs?timeout=1", session="demo", view=shape),
    get("jobs, one", "/jobs/@JID@", session="demo"),
    get("jobs, one, query", "/jobs/@JID@?timeout=1", session="demo"),
    get("jobs, one, YAML", "/jobs/@JID@", session="demo", accept=YAML),
    get("jobs, one, a body on a GET", "/jobs/@JID@", session="demo", body="null"),
    get("jobs, one, a type without a body", "/jobs/@JID@", session="demo", headers={"Content-Type": "application/json"}),
    get("jobs, one that is not there", "/jobs/20200101000000000000", session="demo"),
    get("jobs, no jid at all", "/jobs/nope", session="demo"),
    get("jobs, no session", "/jobs"),
    get("jobs, without the right", "/jobs", session="pinger"),
]

FORGET = {"client": "wheel", "fun": "key.delete", "match": "made-*"}
KEYS = [
    get("keys", "/keys", session="demo"),
    get("keys, trailing slash", "/keys/", session="demo"),
    get("keys, one", "/keys/minion-1", session="demo"),
    get("keys, one that is not there", "/keys/nobody", session="demo"),
    get("keys, no session", "/keys"),
    get("keys, without the right", "/keys", session="pinger"),
    post("keys made", "/keys", {"mid": "made-1", "keysize": 2048, "force": True, **DEMO}, after=FORGET),
    post("keys made, a type is asked for", "/keys", [{"mid": "made-1", "force": True, **DEMO}], accept="application/x-tar", after=FORGET),
    post("keys made, form", "/keys", "mid=made-1&force=true&eauth=sharedsecret&username=demo&password=@DEMO_PASSWORD@", content_type=FORM, after=FORGET),
    post("keys made in a session", "/keys", {"mid": "made-2"}, session="demo", after=FORGET),
    post("keys made, wrong password", "/keys", {"mid": "made-2", **DEMO, "password": "wrong"}, after=FORGET),
    post("keys made, without the right", "/keys", {"mid": "made-2", **PINGER}, after=FORGET),
    post("keys made, no name", "/keys", DEMO, after=FORGET),
    post("keys made, empty body", "/keys", after=FORGET),
]

HOOK_TAG = "salt/netapi/hook"
HOOKS = [
    post("hook", "/hook", {"a": [1, None]}, session="demo", event=HOOK_TAG),
    post("hook, path", "/hook/@CALL@/a/b", {}, session="demo", event=f"{HOOK_TAG}/@CALL@/a/b"),
    post("hook, trailing slash", "/hook/@CALL@/", "{}", session="demo", event=f"{HOOK_TAG}/@CALL@"),
    post("hook, empty body", "/hook/@CALL@", session="demo", event=f"{HOOK_TAG}/@CALL@"),
    post("hook, form", "/hook/@CALL@", "a=1&a=2&b=x", content_type=FORM, session="demo", event=f"{HOOK_TAG}/@CALL@"),
    post("hook, text", "/hook/@CALL@", "hello", content_type="text/plain", session="demo", event=f"{HOOK_TAG}/@CALL@"),
    post("hook, YAML", "/hook/@CALL@", "a: 1\n", content_type=YAML, session="demo", event=f"{HOOK_TAG}/@CALL@"),
    post(
        "hook, GitHub's headers",
        "/hook/@CALL@",
        {},
        session="cookie",
        event=f"{HOOK_TAG}/@CALL@",
        headers={"X-GitHub-Event": "push", "x-hub-signature-256": "sha256=0"},
    ),
    post("hook, broken JSON", "/hook/@CALL@", "{", session="demo"),
    post("hook, foreign type", "/hook/@CALL@", "x", content_type="application/xml", session="demo"),
    post("hook, no session", "/hook/@CALL@", {}),
    post("hook, junk session", "/hook/@CALL@", {}, session="junk"),
    get("hook by GET", "/hook/@CALL@", session="demo"),
    post("open hook", "@PREFIX@/calls/@CALL@", {"a": 1}, variant="open", event=f"{HOOK_TAG}/@CALL@"),
    post("open hook, junk session", "@PREFIX@/calls/@CALL@", {"a": 1}, session="junk", variant="open", event=f"{HOOK_TAG}/@CALL@"),
]

EVENTS = [
    get("events", "/events", session="demo", accept="text/event-stream", stream=True),
    get("events, trailing slash", "/events/", session="demo", accept="text/event-stream", stream=True),
    get("events, cookie", "/events", session="cookie", accept="text/event-stream", stream=True),
    get("events, Salt token", "/events", session="salt", accept="text/event-stream", stream=True),
    get("events, pepper's Accept", "/events", session="demo", stream=True, headers={"Content-Type": "application/json"}),
    get("events, Ruby's Accept", "/events", session="demo", accept=YAML, stream=True),
    get("events, no Accept", "/events", session="demo", accept=None, stream=True),
    get("events, HTML", "/events", session="demo", accept="text/html", stream=True),
    get("events, a body", "/events", session="demo", body="null", stream=True),
    get("events, no session", "/events", accept="text/event-stream"),
    get("events, junk", "/events", session="junk", accept="text/event-stream"),
    get("events, a path", "/events", session="path", accept="text/event-stream"),
    get("events, dead session", "/events", session="dead", accept="text/event-stream"),
    get("events, token in the query", "/events?token=@TOKEN@", accept="text/event-stream"),
    get("events, salt_token in the query", "/events?salt_token=@SALT@", accept="text/event-stream"),
    get("websocket", "/ws", session="demo", accept=None),
    get("websocket, token in the path", "/ws/@TOKEN@", accept=None),
    get("tornado's websocket", "/all_events/@SALT@", accept=None),
    get("tornado's formatted websocket", "/formatted_events/@SALT@", accept=None),
    get("stats", "/stats", session="demo", view=lambda body: {key.rpartition(" ")[0] or key for key in body}),
    get("stats, no session", "/stats"),
    get("open stats", "@PREFIX@/stats", variant="open", view=lambda body: {key.rpartition(" ")[0] or key for key in body}),
]

SITE = [
    get("app, none configured", "/app", accept=HTML),
    get("static, none configured", "/static/main.css"),
    get("favicon", "/favicon.ico"),
    get("site in a browser", "/", accept=HTML, variant="site"),
    get("site, query", "/?minionid=x", accept=HTML, variant="site"),
    get("site, unknown path in a browser", "/nope/deeper", accept=HTML, variant="site"),
    get("site, app", "/app", accept=HTML, variant="site"),
    get("site, app and slash", "/app/", accept=HTML, variant="site"),
    get("site, below app", "/app/some/view", accept=HTML, variant="site"),
    get("site, app for anybody", "/app", accept="*/*", variant="site"),
    get("site, the API asked for JSON", "/", variant="site"),
    get("site, the API asked for anything", "/", accept="*/*", variant="site"),
    get("site, the API without Accept", "/", accept=None, variant="site"),
    get("site, script", "/static/scripts/main.js", accept="*/*", variant="site"),
    get("site, stylesheet", "/static/main.css", accept="text/css,*/*;q=0.1", variant="site"),
    get("site, picture", "/static/logo.svg", accept="*/*", variant="site"),
    get("site, text", "/static/salt-auth.txt", accept="text/plain", variant="site"),
    get("site, page among the files", "/static/motd.html", accept=HTML, variant="site"),
    get("site, JSON file", "/static/data.json", accept="*/*", variant="site"),
    get("site, file in a browser", "/static/main.css", accept=HTML, variant="site"),
    Request("site, HEAD of a file", "HEAD", "/static/main.css", variant="site"),
    get("site, range of a file", "/static/main.css", variant="site", headers={"Range": "bytes=0-3"}),
    get("site, missing file", "/static/salt-motd.txt", accept="text/plain", variant="site"),
    get("site, missing file in a browser", "/static/nope.html", accept=HTML, variant="site"),
    get("site, folder", "/static/scripts", accept="*/*", variant="site"),
    get("site, the folder itself", "/static/", accept="*/*", variant="site"),
    get("site, out of the folder", "/static/../outside.txt", accept="*/*", variant="site"),
    get("site, out of the folder, encoded", "/static/%2e%2e/outside.txt", accept="*/*", variant="site"),
    get("site, out of the folder, encoded twice", "/static/..%2foutside.txt", accept="*/*", variant="site"),
    get("site, NUL in a name", "/static/main.css%00.txt", accept="*/*", variant="site"),
    post("site, login without Accept", "/login", DEMO, accept=None, variant="site"),
    post("site, login in a browser", "/login", DEMO, accept=HTML, variant="site"),
    post("site, login by fetch", "/login", DEMO, content_type=TEXT, variant="site"),
    get("site, events", "/events", session="demo", accept="text/event-stream", variant="site", stream=True),
    get("site, events as HTML", "/events", session="demo", accept="text/html", variant="site", stream=True),
    get("site, websocket without Accept", "/ws", session="demo", accept=None, variant="site"),
    Request("site, preflight", "OPTIONS", "/login", headers=PREFLIGHT, accept="*/*", variant="site"),
    Request("site, preflight of a stranger", "OPTIONS", "/login", headers={**PREFLIGHT, "Origin": "http://evil.example.org"}, accept="*/*", variant="site"),
    get("site, a call from the listed origin", "/", headers={"Origin": FRIEND}, variant="site"),
    get("site, a call from a stranger", "/", headers={"Origin": "http://evil.example.org"}, variant="site"),
    get("prefix, welcome", "/salt-api/", variant="open"),
    get("prefix, welcome without a slash", "/salt-api", variant="open"),
    post("prefix, login", "/salt-api/login", DEMO, variant="open"),
    post("prefix, call", "/salt-api/", [PING], session="demo", variant="open"),
    get("prefix, outside of it", "/", variant="open"),
    get("prefix, an endpoint outside of it", "/stats", variant="open"),
    get("prefix, half of it", "/salt", variant="open"),
]

REQUESTS: list[Request] = [*ROOT, *CALLS, *SESSIONS, *RUN, *LOGIN, *MINIONS, *HOOKS, *EVENTS, *SITE, *KEYS]
