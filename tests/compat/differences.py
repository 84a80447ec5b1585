"""Every difference from rest_cherrypy that we know and want, with its reason; one that is not here is a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from service.clients import Client
from tests.compat.compare import ANY, Difference, Everywhere, Kind
from tests.spellings import REFUSED, Spelling

ERRORS = frozenset({"application/json", "application/x-yaml"})
NO_STORE = frozenset({"no-store", "private", "no-cache"})
CORS = "no origin may call unless it is listed; there any may, with credentials"
NOT_BY_CHANCE = "what the caller did wrong is a 400 that says so, not a 500, which clients retry"


def _welcome(body: object) -> bool:
    return isinstance(body, dict) and set(body) == {"return", "clients"}


def _only_redacted(theirs: Any, ours: Any) -> bool:
    """Say whether the data of two events of a hook are the same but for the credentials, which we keep from the bus."""
    if not (theirs and ours):
        return False
    redacted = {name: "<redacted>" if name in {"X-Auth-Token", "Cookie"} else value for name, value in theirs["headers"].items()}
    return bool(ours == {**theirs, "headers": redacted})


EVERYWHERE: tuple[Everywhere, ...] = (
    Everywhere("error body", "different", "errors are JSON or YAML, and say why; there they are pages of HTML", lambda _theirs, ours: ours in ERRORS),
    Everywhere(
        "body", "different", "the welcome is rest_wsgi's, and `clients` are those that one may call", lambda theirs, ours: _welcome(theirs) and _welcome(ours)
    ),
    Everywhere("set-cookie", "better", "only /login and /logout set the cookie; there every answer does, refusals too", lambda _theirs, ours: ours is None),
    Everywhere("set-cookie", "better", "the cookie is HttpOnly and SameSite", lambda _theirs, ours: {"HttpOnly", "Path=/", "SameSite=Lax"} < set(ours or ())),
    Everywhere(
        "cache-control",
        "better",
        "what carries a token or belongs to one caller is kept from caches; files are checked each time",
        lambda _theirs, ours: ours in NO_STORE,
    ),
    Everywhere(
        "cache-control",
        "different",
        "answers to POST and refusals say nothing of caches, which do not keep them",
        lambda theirs, ours: theirs == "private" and ours is None,
    ),
    Everywhere("access-control-allow-origin", "different", CORS, lambda _theirs, ours: ours is None),
    Everywhere("access-control-allow-credentials", "different", CORS, lambda _theirs, ours: ours is None),
    Everywhere("access-control-allow-methods", "different", CORS, lambda _theirs, ours: ours is None),
    Everywhere("access-control-allow-headers", "different", CORS, lambda _theirs, ours: ours is None),
    Everywhere("access-control-max-age", "different", CORS, lambda _theirs, ours: ours is None),
    Everywhere("access-control-expose-headers", "better", "it names headers; there it names methods", lambda _theirs, _ours: True),
    Everywhere("allow", "different", "Allow comes with a refused method and with OPTIONS only", lambda theirs, ours: ours is None or set(theirs) < set(ours)),
    Everywhere("vary", "different", "Vary names what our answer depends on", lambda _theirs, _ours: True),
    Everywhere("event", "better", "the caller's token and cookies are kept from the event bus", _only_redacted),
)


def better(reason: str, **ours: Any) -> Difference:
    return Difference("better", _aspects(ours), reason)


def different(reason: str, **ours: Any) -> Difference:
    return Difference("different", _aspects(ours), reason)


def _aspects(ours: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-") if name != "error_body" else "error body": value for name, value in ours.items()}


NO_UPGRADE = different("501 that names /events, and the port of websockets if there is one: a WSGI server cannot give its connection away", status=501)
SITE_WELCOME = {
    "return": "They found me. I don't know how, but they found me. Run for it, Marty!",
    "clients": "local local_async local_subset local_batch runner runner_async wheel wheel_async ssh".split(),
}
NOT_THE_PAGE = "the page is for a GET that names HTML; there a client that names nothing gets it too, with a 200"
PREFLIGHT = better("a preflight is answered; there it is a 500 on every URL with sessions", status=200)

DIFFERENCES: dict[str, Difference] = {
    # The root URL
    "welcome, noise": better("a query that nobody knows is ignored", status=200),
    "PUT": different("a method that is not there is a 405 before its body is looked at", status=405),
    "preflight of /": PREFLIGHT,
    "preflight of /login": PREFLIGHT,
    "preflight of /run": different("the empty answer has our type", content_type="application/json", body=None),
    "OPTIONS without an origin": different("the empty answer has our type", content_type="application/json", body=None),
    "local, chunked": better("a chunked body is read; there it counts as empty", status=200),
    "local, expr_form": better("expr_form is taken for tgt_type; there it is ignored and the target is a glob", body={"return": [{"minion-1": True, "minion-2": True}]}),
    "wheel, empty arg": better("an empty arg is dropped; there Salt fails over it, in a 200", body=True),
    "lowstate, empty list": different("nothing to do is a 400, not an empty answer", status=400),
    "lowstate, list of strings": better(NOT_BY_CHANCE, status=400),
    "lowstate, broken YAML": better(NOT_BY_CHANCE, status=400),
    "lowstate, not UTF-8": better(NOT_BY_CHANCE, status=400),
    "no function": better(NOT_BY_CHANCE, status=400),
    "no target": better(NOT_BY_CHANCE, status=400),
    "unknown runner": better(NOT_BY_CHANCE, status=400),
    # Sessions
    "no session, inline credentials": better("the credentials in the lows count where there is no session, as in rest_wsgi", status=200),
    "session in Authorization": better("Authorization: Bearer carries a session too", status=200),
    "session, a Salt token": better("a session is a Salt token; there only /events takes one", status=200),
    "run, session token in the low": better("a session is a Salt token, so /run takes it", status=200),
    "run, wheel_async with a wrong password": better("refused; there anybody gets a jid, and the refusal is only logged", status=401),
    "run by GET": different("a method that is not there is a 405; there it is the welcome", status=405, allow=["OPTIONS", "POST"]),
    "login, double slash": better("double slashes are one", status=200),
    "login, sharedsecret as the password's name": better("sharedsecret is taken for password", status=200),
    "login, empty body": better(NOT_BY_CHANCE, status=400),
    "login, list of strings": better(NOT_BY_CHANCE, status=400),
    "logout by GET": better("a GET with the token logs out, as Rundeck asks; there it is a 500", status=200),
    "logout by GET, cookie": better("a GET by cookie does nothing, any page could cause it; there it is a 500", status=401),
    "token, without the right to runners": better("everybody may make a token of his own; there it takes the right to runner auth.mk_token", status=200),
    "token, empty body": better(NOT_BY_CHANCE, status=400),
    # Minions, jobs, keys
    "minions, query": better("a query that nobody knows is ignored", status=200),
    "minions, no function": better(NOT_BY_CHANCE, status=400),
    "keys made in a session": better("401: this URL takes credentials in the body alone", status=401),
    "keys made, wrong password": better("401", status=401),
    "keys made, without the right": better("401", status=401),
    "keys made, no name": better(NOT_BY_CHANCE, status=400),
    "keys made, empty body": better(NOT_BY_CHANCE, status=400),
    # Hooks, events
    "hook, foreign type": better("any body is taken, what is no JSON, YAML or form as it is", status=200),
    "events, token in the query": different("401, unless events.query_token is on", status=401),
    "events, salt_token in the query": different("401, unless events.query_token is on", status=401),
    "websocket": NO_UPGRADE,
    "websocket, token in the path": NO_UPGRADE,
    "tornado's websocket": NO_UPGRADE,
    "tornado's formatted websocket": NO_UPGRADE,
    "stats": better("the server's figures come under the older name too", body={"CherryPy", "Cheroot HTTPServer", "CherryPy HTTPServer"}),
    "open stats": better("the server's figures come under the older name too", body={"CherryPy", "Cheroot HTTPServer", "CherryPy HTTPServer"}),
    # Files and prefixes
    "favicon": better("a file that is not there is a 404", status=404),
    "site, the API without Accept": better(NOT_THE_PAGE, content_type="application/json", body=SITE_WELCOME),
    "site, login without Accept": better(NOT_THE_PAGE, content_type="application/json", body=ANY, x_auth_token="HEX"),
    "site, login in a browser": better(NOT_THE_PAGE, content_type="application/json", body=ANY, x_auth_token="HEX"),
    "site, out of the folder": different("404, like all that is not there", status=404),
    "site, out of the folder, encoded": different("404, like all that is not there", status=404),
    "site, out of the folder, encoded twice": different("404, like all that is not there", status=404),
    "site, events as HTML": better("the stream; there a 500", status=200),
    "site, websocket without Accept": NO_UPGRADE,
    "site, preflight": better("a preflight is answered; there it is a 500 on every URL with sessions", status=200, access_control_allow_methods=ANY, access_control_allow_headers=ANY, access_control_max_age="600"),
    "site, preflight of a stranger": PREFLIGHT,
    "prefix, welcome without a slash": better("answered without a redirect", status=200, location=None, content_type="application/json", body=SITE_WELCOME),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Respelled:
    """A difference that a field has in some spellings of its value. covers: the spellings; each of them is answered differently, and no other."""

    kind: Kind
    reason: str
    covers: Callable[[Client, str, Spelling], bool]


NUMBERS = {
    (Client.LOCAL_SUBSET, "subset"),
    (Client.LOCAL_BATCH, "timeout"),
    (Client.LOCAL_BATCH, "gather_job_timeout"),
    (Client.RUNNER, "gather_job_timeout"),
    (Client.RUNNER, "batch_wait"),
}
WHOLE_NUMBERS = {(Client.LOCAL, "gather_job_timeout"), (Client.LOCAL_BATCH, "batch_wait")}
OBJECTS = {(Client.LOCAL, "kwarg"), (Client.LOCAL_BATCH, "kwarg")}
MASTER_OBJECTS = {(Client.RUNNER, "kwarg"), (Client.RUNNER_ASYNC, "kwarg")}
WITH_NULL = {*(NUMBERS - {(Client.LOCAL_BATCH, "timeout")}), *WHOLE_NUMBERS, *MASTER_OBJECTS, (Client.LOCAL_BATCH, "batch")}
OPTIONS = {"timeout", "gather_job_timeout", "batch_wait", "full_return"}
WITH_FLAG = {(Client.LOCAL, "full_return"), (Client.RUNNER, "full_return"), (Client.LOCAL_BATCH, "failhard"), (Client.LOCAL_BATCH, "raw")}


def _text(spelling: Spelling) -> str:
    """Return a value that is written as a text; nothing for other values."""
    return spelling.value.strip() if isinstance(spelling.value, str) else ""


def _is_left_out(spelling: Spelling) -> bool:
    """Say whether it is the empty field of a form, which nobody sends on."""
    return spelling.transport == "form" and spelling.text == ""


RESPELLED = (
    Respelled(
        "better",
        "an argument that the wheel function does not take is left out; there Salt fails over it, in a 200",
        lambda client, field, spelling: client == Client.WHEEL and field in OPTIONS and spelling.means != REFUSED and not _is_left_out(spelling),
    ),
    Respelled(
        "different",
        "what has no meaning in its field is a 400 that names the field; there it is ignored, taken for something else, or a 500",
        # A share of minions is the one value that is judged there too.
        lambda _client, field, spelling: spelling.means == REFUSED and (field, spelling.text) != ("batch", '"%"'),
    ),
    Respelled(
        "better",
        "a word for no means no; there every text but the empty one means yes",
        lambda client, field, spelling: (client, field) in WITH_FLAG and spelling.means is False and _text(spelling) != "",
    ),
    Respelled(
        "better",
        "a number may be written as a text; there it is a 500, or passed to the function as a text",
        lambda client, field, spelling: (
            isinstance(spelling.means, int | float)
            and _text(spelling) != ""
            and ((client, field) in NUMBERS or ((client, field) in WHOLE_NUMBERS and "." in _text(spelling)))
        ),
    ),
    Respelled(
        "better",
        "an object may be written as JSON in a text; there only a form may do that, for the rest it is ignored, or a 500",
        lambda client, field, spelling: (
            spelling.transport != "form"
            and isinstance(spelling.means, dict)
            and ((client, field) in MASTER_OBJECTS or ((client, field) in OBJECTS and spelling.means != {}))
            and _text(spelling) != ""
        ),
    ),
    Respelled(
        "better",
        "a field that is null counts as left out; there it is a 500, or given to the function",
        lambda client, field, spelling: (client, field) in WITH_NULL and spelling.value is None,
    ),
)
