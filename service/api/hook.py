"""`/hook`: a webhook becomes an event on the master's bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import falcon

from service.audit.records import Act, Entry
from service.audit.trail import Account
from service.auth.webhook import WebhookAdmission, segments_of
from service.errors import BadRequest, NotAcceptable
from service.http.addresses import HOLDERS
from service.http.media import decode, read_body, respond
from service.http.request_info import RequestInfo
from service.limits import Holder, Slots
from service.observe.redact import MASK

TAG = "salt/netapi/hook"
MOST_TAG_CHARACTERS = 512
# Reactors read headers, also ones that hold other people's secrets for them, so only what logs in here is masked.
_OURS = frozenset({"X-Auth-Token", "Authorization", "Proxy-Authorization", "Cookie"})


class HookResource:
    """
    Webhooks: `POST /hook/a/b` fires `salt/netapi/hook/a/b` with `{"body": text, "post": the parsed body, "headers": {...}}`.

    Header names are written `X-Github-Event`; `Remote-Addr` is among them, and credentials of this API are masked. Any body is accepted,
    even none; `post` stays empty if its type is not one that we parse. Paths may ask for a signature, a recent time, a token and certain networks: docs/events.md.
    """

    def __init__(
        self,
        fire: Callable[[str, Mapping[str, Any]], None],
        slots: Slots,
        *,
        audit: Callable[[Account, Sequence[Act]], Sequence[Entry]] = lambda _account, _acts: (),
    ) -> None:
        """audit: hears of a webhook before it is fired; it may refuse it."""
        self._fire = fire
        self._slots = slots
        self._audit = audit

    def on_post(self, req: falcon.Request, resp: falcon.Response, path: str = "") -> None:
        """Fire an event: {"success": true}."""
        segments = segments_of(path)
        info = RequestInfo.of(req.env)
        body = read_body(req)
        tag = "/".join((TAG, *segments))
        if len(tag) > MOST_TAG_CHARACTERS:
            raise BadRequest("the path cannot be an event's tag")
        admission: WebhookAdmission = req.context.admission
        headers = _headers(req.env, info.address, _OURS | admission.secret_headers)
        event = {"body": body.decode("utf-8", "backslashreplace"), "post": _parsed(req), "headers": headers}
        act = Act("hook", user=info.who.get("user.name"), eauth=info.who.get("auth.eauth"), tag=tag, fields={"body": event["body"]})
        with admission.once:
            self._audit(info, [act])
            with self._slots.take(_holder(req)):
                self._fire(tag, event)
        respond(req, resp, {"success": True})


def _holder(req: falcon.Request) -> Holder:
    """Return whose share of the slots a webhook counts to."""
    address, session, path = RequestInfo.of(req.env).address, req.context.session, req.context.admission.path
    return Holder(HOLDERS.of(address), f"webhook {path}", proven=bool(path)) if session is None else session.identity.holder_at(address)


def _parsed(req: falcon.Request) -> Any:
    try:
        return decode(req) or {}
    except NotAcceptable:
        return {}


def _headers(environ: Mapping[str, Any], address: str, secret: frozenset[str]) -> dict[str, str]:
    """Return the request's headers by the names that reactors index them with. secret: those that are masked."""
    names = {name: name[5:] for name in environ if name.startswith("HTTP_")} | {name: name for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    headers = {shown.replace("_", "-").title(): str(environ[name]) for name, shown in names.items()}
    return {name: MASK if name in secret else value for name, value in headers.items()} | {"Remote-Addr": address}
