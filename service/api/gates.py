"""The gates in front of the URLs: what a caller must show before a resource is called at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import falcon

from service.auth.identity import Session
from service.auth.sessions import is_cookie_alone
from service.auth.webhook import Webhooks, segments_of
from service.errors import Forbidden, TooLarge, Unauthenticated
from service.http.app import Gate
from service.http.media import read_body
from service.http.request_info import RequestInfo
from service.secrets.secret_file import sent_token

_TOKEN_PARAMETERS = ("token", "salt_token")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


# Returns whose session a WSGI request names, None if it may go without. Raises Unauthenticated.
Find = Callable[[Mapping[str, Any]], Session | None]


def nothing(_req: falcon.Request, _resp: falcon.Response, _params: Mapping[str, str]) -> None:
    """Let everybody pass."""


def by_consent(find: Find, cookie_name: str, may_share: Callable[[str], bool]) -> Find:
    """
    Find sessions, but none by a cookie alone for a page that is not ours: browsers send cookies along with what any page asks for.

    may_share(origin): says whether pages of that origin may use the cookie. What reads only is left to the browser, which keeps the answer from other pages.
    """
    meant = by_meant_cookie(find, cookie_name, may_share)
    return lambda environ: (find if environ["REQUEST_METHOD"] in _SAFE_METHODS else meant)(environ)


def by_meant_cookie(find: Find, cookie_name: str, may_share: Callable[[str], bool]) -> Find:
    """Find sessions, but whatever the method none by a cookie alone for a page that is not ours: any page may read the websocket that it opens."""

    def found(environ: Mapping[str, Any]) -> Session | None:
        if is_cookie_alone(environ, cookie_name) and not _is_meant(environ, may_share):
            raise Unauthenticated("a cookie alone does not count for a page of another origin (cors.origins, cors.credentials): send X-Auth-Token")
        return find(environ)

    return found


def _is_meant(environ: Mapping[str, Any], may_share: Callable[[str], bool]) -> bool:
    """Say whether the user of a cookie means the request: it comes from a page that may use the cookie, or from no browser."""
    origin = environ.get("HTTP_ORIGIN", _origin_of(environ.get("HTTP_REFERER")))
    if origin is None:
        return not any(name.startswith("HTTP_SEC_FETCH_") for name in environ)
    return _is_ours(origin.lower(), environ.get("HTTP_HOST", "").lower()) or may_share(origin)


def _origin_of(url: str | None) -> str | None:
    return url and "/".join(url.split("/", 3)[:3])


def _is_ours(origin: str, host: str) -> bool:
    """Say whether an origin is the host that the request was sent to. The scheme says nothing: a proxy in front of us may speak TLS."""
    scheme, _, name = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and bool(host) and name.removesuffix(port) == host.removesuffix(port)


def unscoped(find: Find) -> Find:
    """Find sessions, but none by a scoped token: what is not a call that its scope could cover is not for it."""

    def found(environ: Mapping[str, Any]) -> Session | None:
        found = find(environ)
        if found is not None and found.scope is not None:
            raise Forbidden("a scoped token runs what its scope names and reads its own jobs; this needs a session")
        return found

    return found


def session(find: Find) -> Gate:
    """Let sessions pass, and leave what was found as `session` in the request's context."""

    def gate(req: falcon.Request, _resp: falcon.Response, _params: Mapping[str, str]) -> None:
        req.context.session = find(req.env)

    return gate


def header_session(find: Find) -> Gate:
    """Let sessions pass whose token is in `X-Auth-Token`: a cookie is sent along with any page's image."""
    inner = session(find)

    def gate(req: falcon.Request, resp: falcon.Response, params: Mapping[str, str]) -> None:
        if not (req.get_header("X-Auth-Token") or "").strip():
            raise Unauthenticated("GET /logout needs X-Auth-Token; a cookie counts for POST only")
        inner(req, resp, params)

    return gate


class Bearers(Protocol):
    """Exchanges id tokens; see identities/exchange.py."""

    def token_of(self, id_token: str, environ: Mapping[str, Any]) -> str:
        """Return the Salt token for an id token."""

    def forget(self, id_token: str) -> None:
        """Take no Salt token for it that was taken before."""


def exchanging(gate: Gate, bearers: Bearers | None) -> Gate:
    """Let an id token pass at `/v1` in the place of a Salt token, in either header: the Salt token that it is exchanged for stands for `X-Auth-Token`. bearers: None: none passes."""

    def exchanged(req: falcon.Request, resp: falcon.Response, params: Mapping[str, str]) -> None:
        id_token = _id_token(req)
        if id_token is None or bearers is None:
            gate(req, resp, params)
            return
        req.env["HTTP_X_AUTH_TOKEN"] = bearers.token_of(id_token, req.env)
        try:
            gate(req, resp, params)
        except Unauthenticated:
            bearers.forget(id_token)
            raise

    return exchanged


def _id_token(req: falcon.Request) -> str | None:
    """Return what stands for a token if it has a JWT's three parts, which no Salt token has."""
    token = (req.get_header("X-Auth-Token") or "").strip() or sent_token(req.get_header("Authorization") or "")
    return token if token.count(".") == 2 and RequestInfo.of(req.env).route.startswith("/v1/") else None


def url_session(find: Find) -> Gate:
    """Let sessions pass; a token in the query stands for `X-Auth-Token`, if there is none."""
    inner = session(find)

    def gate(req: falcon.Request, resp: falcon.Response, params: Mapping[str, str]) -> None:
        token = next((value for name in _TOKEN_PARAMETERS if (value := req.get_param(name))), None)
        if token and not req.get_header("X-Auth-Token"):
            req.env["HTTP_X_AUTH_TOKEN"] = token
        inner(req, resp, params)

    return gate


def path_session(find: Find) -> Gate:
    """Let sessions pass; a token in the path stands for `X-Auth-Token`, whatever that says, as with rest_cherrypy."""
    inner = session(find)

    def gate(req: falcon.Request, resp: falcon.Response, params: Mapping[str, str]) -> None:
        if token := params.get("token"):
            req.env["HTTP_X_AUTH_TOKEN"] = token
        inner(req, resp, params)

    return gate


def webhook(webhooks: Webhooks, find: Find, body_limit_bytes: int) -> Gate:
    """
    Let calls pass as the rules of their path want it, and leave their `session`, if they need one, and their `admission` in the request's context.

    The body is read, for its signature. Raises BadRequest for a path that can be none, TooLarge.
    """

    def gate(req: falcon.Request, _resp: falcon.Response, params: Mapping[str, str]) -> None:
        segments = segments_of(params.get("path", ""))
        address = RequestInfo.of(req.env).address
        webhooks.admit_address(segments, address)
        req.context.session = find(req.env) if webhooks.needs_login(segments) else None
        req.context.admission = webhooks.check(segments, _body(req, body_limit_bytes), req.get_header, address)

    return gate


def _body(req: falcon.Request, limit_bytes: int) -> bytes:
    too_large = TooLarge(f"a webhook's body may have {limit_bytes} bytes (hook.body_limit_bytes)")
    if (req.content_length or 0) > limit_bytes:
        raise too_large
    body = read_body(req)
    if len(body) > limit_bytes:
        raise too_large
    return body


def bearer(is_sent: Callable[[str], bool]) -> Gate:
    """Let pass who has the ops token. is_sent(authorization): says whether a header holds it."""

    def gate(req: falcon.Request, resp: falcon.Response, _params: Mapping[str, str]) -> None:
        if not is_sent(req.get_header("Authorization") or ""):
            resp.set_header("WWW-Authenticate", 'Bearer realm="ops"')
            raise Unauthenticated("the bearer token of ops.token_file is missing or wrong")

    return gate
