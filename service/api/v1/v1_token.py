"""`/v1/token`: an id token becomes a Salt token (RFC 8693)."""

from __future__ import annotations

import time
from collections.abc import Mapping

import falcon

from service.errors import BadRequest, IdentityRefused
from service.http.media import decode, respond
from service.identities.exchange import IdTokenExchange
from service.openapi.answers import ExchangedToken

_TYPE = "urn:ietf:params:oauth:token-type:"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
# Of a caller whose certificate says who they are (RFC 8705, section 2).
BY_CERTIFICATE = "client_credentials"
# What each field of an exchange may be; further ones would ask for what is not done here.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "grant_type": (GRANT,),
    "subject_token_type": (f"{_TYPE}id_token", f"{_TYPE}jwt"),
    "requested_token_type": (f"{_TYPE}access_token",),
}


class V1TokenResource:
    """
    Token exchange (RFC 8693), where `identities.issuers` is set: an id token of one of them becomes a Salt token of the account that a rule gives it.
    With `identities.proxy_secret_file` a client certificate does (RFC 8705).

    At every other URL of `/v1` the id token itself does too, as `Authorization: Bearer`. docs/identities.md.
    """

    def __init__(self, exchange: IdTokenExchange | None) -> None:
        """exchange: None where no id token is taken."""
        self._exchange = exchange

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Exchange `subject_token`, an id token; `grant_type` and `subject_token_type` as the RFC has them, as a form or as JSON; or `grant_type=client_credentials` alone, for the client certificate that a proxy has verified."""
        if self._exchange is None:
            raise IdentityRefused("nobody is proven here but by a login (identities.issuers, identities.proxy_secret_file)", why="issuer")
        body = decode(req)
        by_certificate = isinstance(body, dict) and body == {"grant_type": BY_CERTIFICATE}
        session = self._exchange.login_by_certificate(req.env) if by_certificate else self._exchange.login(_subject(body), req.env)
        shown = ExchangedToken(access_token=session.token, issued_token_type=f"{_TYPE}access_token", expires_in=max(0, int(session.expire - time.time())))
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, shown.model_dump())


def _subject(body: object) -> str:
    """Return the id token. Raises BadRequest, with the field, for anything but an exchange of one."""
    if not isinstance(body, dict):
        raise BadRequest("send the fields of RFC 8693: grant_type, subject_token and subject_token_type")
    unknown = next((str(name) for name in body if name not in {*FIELDS, "subject_token"}), None)
    if unknown is not None:
        raise BadRequest("only grant_type, subject_token, subject_token_type and requested_token_type are taken", field=unknown[:64])
    for name, values in FIELDS.items():
        if body.get(name, values[0] if name == "requested_token_type" else None) not in values:
            raise BadRequest(f"{name} must be {' or '.join(values)}", field=name)
    subject = body.get("subject_token")
    if not isinstance(subject, str) or not subject:
        raise BadRequest("subject_token must be an id token", field="subject_token")
    return subject
