"""`/v1/token`: an id token (RFC 8693), or a client certificate (RFC 8705), becomes a Salt token, or a scoped one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import falcon

from service.errors import BadRequest, IdentityRefused
from service.http.media import decode, respond
from service.identities.exchange import IdTokenExchange
from service.jobs.job_request import validated
from service.openapi.answers import ExchangedToken
from service.tokens.scoped_tokens import ScopedTokens
from service.tokens.token_scope import TokenRequest

_TYPE = "urn:ietf:params:oauth:token-type:"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
# Of a caller whose certificate says who they are (RFC 8705, section 2).
BY_CERTIFICATE = "client_credentials"
# What each field of an exchange may be; further ones would ask for what is not done here.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "grant_type": (GRANT, BY_CERTIFICATE),
    "subject_token_type": (f"{_TYPE}id_token", f"{_TYPE}jwt"),
    "requested_token_type": (f"{_TYPE}access_token",),
}
SUBJECT = ("subject_token", "subject_token_type")
# Of a scoped token, as of POST /v1/tokens; `scope` has a blank between two entries (RFC 6749, section 3.3), and a form has numbers as texts.
NARROWING: Mapping[str, Callable[[str], Any]] = {"scope": str.split, "expires_in": float, "max_uses": int}


class V1TokenResource:
    """
    Token exchange (RFC 8693), where `identities.issuers` is set: an id token of one of them becomes a Salt token of the account that a rule gives it.
    With `identities.proxy_secret_file` a client certificate does (RFC 8705); with `scope` it becomes a scoped token instead.

    At every other URL of `/v1` the id token itself does too, as `Authorization: Bearer`. docs/identities.md.
    """

    def __init__(self, exchange: IdTokenExchange | None, tokens: ScopedTokens) -> None:
        """exchange: None where nobody is proven so."""
        self._exchange = exchange
        self._tokens = tokens

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Exchange `subject_token`, an id token; `grant_type` and `subject_token_type` as the RFC has them, as a form or as JSON; or `grant_type=client_credentials`, for the client certificate that a proxy has verified."""
        if self._exchange is None:
            raise IdentityRefused("nobody is proven here but by a login (identities.issuers, identities.proxy_secret_file)", why="issuer")
        body = _checked(decode(req))
        narrowed = _narrowed(body)
        session = self._exchange.login(_subject(body), req.env) if body["grant_type"] == GRANT else self._exchange.login_by_certificate(req.env)
        token, expires, scope = session.token, session.expire, None
        if narrowed is not None:
            token, record = self._tokens.issue(session, narrowed.scope, narrowed.expires_in, narrowed.max_uses)
            expires, scope = record.expires, " ".join(record.scope)
        seconds = max(0, int(expires - time.time()))
        shown = ExchangedToken(access_token=token, issued_token_type=f"{_TYPE}access_token", expires_in=seconds, scope=scope)
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, shown.model_dump(exclude_none=True))


def _checked(body: object) -> Mapping[str, Any]:
    """Return a request that asks for what can be done. Raises BadRequest, with the field."""
    if not isinstance(body, dict):
        raise BadRequest("send the fields of RFC 8693: grant_type, subject_token and subject_token_type")
    _check_field("grant_type", body.get("grant_type"), FIELDS["grant_type"])
    of_subject = SUBJECT if body["grant_type"] == GRANT else ()
    known = ("grant_type", *of_subject, "requested_token_type", *NARROWING)
    unknown = next((str(name) for name in body if name not in known), None)
    if unknown is not None:
        raise BadRequest(f"only {', '.join(known)} are taken", field=unknown[:64])
    for name, values in FIELDS.items():
        if name in body or name in of_subject:
            _check_field(name, body.get(name), values)
    return body


def _check_field(name: str, value: object, values: Sequence[str]) -> None:
    if value not in values:
        raise BadRequest(f"{name} must be {' or '.join(values)}", field=name)


def _narrowed(body: Mapping[str, Any]) -> TokenRequest | None:
    """Return what a scoped token is to be, None if none is asked for. Raises Unprocessable."""
    asked = {name: body[name] for name in NARROWING if name in body}
    for name, read in NARROWING.items():
        if isinstance(asked.get(name), str):
            with contextlib.suppress(ValueError):
                asked[name] = read(asked[name])
    return validated(TokenRequest, asked) if asked else None


def _subject(body: Mapping[str, Any]) -> str:
    """Return the id token. Raises BadRequest."""
    subject = body.get("subject_token")
    if not isinstance(subject, str) or not subject:
        raise BadRequest("subject_token must be an id token", field="subject_token")
    return subject
