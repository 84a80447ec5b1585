"""`/v1/tokens`: scoped tokens, for scripts that should have no more rights than they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import falcon

from service.audit.records import Act
from service.audit.trail import Audit
from service.http.media import decode, moment, respond
from service.http.request_info import RequestInfo
from service.jobs.job_request import validated
from service.openapi.answers import MadeToken, TokenList, TokenView
from service.tokens.scoped_tokens import ScopedTokens
from service.tokens.token_scope import TokenRequest

if TYPE_CHECKING:
    from service.auth.identity import Session
    from service.jobs.stores.token_shelf import TokenRecord


class V1ScopedTokensResource:
    """
    Tokens that stand for a session and are good for less: some functions, on some minions, for a while, a number of times.

    Send one as `X-Auth-Token`, or as `Authorization: Bearer`. docs/tokens.md has the form of a scope.
    """

    def __init__(self, tokens: ScopedTokens, audit: Audit) -> None:
        self._tokens = tokens
        self._audit = audit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make one; the answer has it, and nothing else ever will."""
        asked, session = validated(TokenRequest, decode(req)), req.context.session
        _record(self._audit, req, session, "token")
        token, record = self._tokens.issue(session, asked.scope, asked.expires_in, asked.max_uses)
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, MadeToken(**_view(record).model_dump(), token=token).model_dump(), 201)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the caller's, the newest first."""
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, TokenList(tokens=[_view(record) for record in self._tokens.of(req.context.session)]).model_dump())


class V1ScopedTokenResource:
    """One of the caller's scoped tokens."""

    def __init__(self, tokens: ScopedTokens, audit: Audit) -> None:
        self._tokens = tokens
        self._audit = audit

    def on_delete(self, req: falcon.Request, resp: falcon.Response, tid: str) -> None:
        """Revoke it, on every sidecar of the store at once; jobs that it started go on."""
        _record(self._audit, req, req.context.session, "logout")
        self._tokens.revoke(req.context.session, tid)
        resp.status = falcon.HTTP_204


def _record(audit: Audit, req: falcon.Request, session: Session, action: str) -> None:
    who = session.identity
    audit.begin(RequestInfo.of(req.env), [Act(action, user=who.user, eauth=who.eauth, groups=who.groups)])


def _view(record: TokenRecord) -> TokenView:
    return TokenView(
        id=record.id,
        scope=list(record.scope),
        created=moment(record.since),
        expires=moment(record.expires),
        max_uses=record.max_uses,
        uses=record.uses,
        last_used=None if record.used_at is None else moment(record.used_at),
    )
