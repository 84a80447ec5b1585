"""What a row of a table of URLs says, what the resources are made of, and the gate for each thing that a caller must show."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from service.api import gates
from service.api.login import SessionCookie
from service.audit.trail import Audit
from service.auth.guard import Guard
from service.auth.sessions import Sessions
from service.auth.webhook import Webhooks
from service.commands import Commands
from service.fleet.minion_tracker import Fleet
from service.http.app import Gate
from service.http.files import Page
from service.identities.exchange import IdTokenExchange
from service.jobs.submission import Submissions
from service.limits import Slots
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.traffic import Traffic
from service.observe.report.report import Report
from service.openapi.operations import Method
from service.readiness import Readiness
from service.secrets.secret_file import BearerFile
from service.settings.settings import Settings
from service.streaming.fanout import Streams
from service.tokens.scoped_tokens import ScopedTokens

Parts = TypeVar("Parts")


class Needs(enum.Enum):
    """
    What a caller must show. Each has a gate, which is passed before the resource is called (`api_gates`, `ops_gates`).

    tests/contract/test_auth_matrix.py calls every route without it.
    """

    NOTHING = "nothing: the answer holds no secret"
    SESSION = "a session, of whatever user; while the master cannot be asked, one that it knew lately (`session.offline_seconds`)"
    WHOLE_SESSION = "as SESSION, and not by a scoped token"
    HEADER_SESSION = "as SESSION, by `X-Auth-Token`"
    URL_SESSION = "a session, and not by a scoped token; with `events.query_token` its token may stand in the URL"
    PATH_SESSION = "as WHOLE_SESSION, and by a cookie alone for pages of ours only; its token may stand in the path"
    STATS_SESSION = "as WHOLE_SESSION, unless `stats.require_login` is off"
    RIGHT = "a session, and the master lets its user do this"
    WEBHOOK = "the session, signature, token and network that `hook.require_login` and `hook.endpoints` ask for"
    # The contract puts credentials inside what the resource runs, so it is the resource that gives them to Commands or Sessions, which refuse a call without.
    BODY = "credentials in the body"
    SESSION_OR_BODY = "a session, or credentials in the body"
    OPS_BEARER = "the token in `ops.token_file`, if one is set"


@dataclasses.dataclass(frozen=True)
class Route(Generic[Parts]):
    """
    One row of the table.

    template: the route's name in the docs, the log and the metrics. resource: the class that `build` makes; the docs are its docstrings.
    build(parts): None when the settings do not ask for the route. access: by method; no other method is served.
    at(settings): the URL templates, when they are not just `template`. moved_by: the option that says where.
    pageless: below it a browser never gets the page, not even where nothing is served: it may be a stream's, a webhook's or a file's.
    """

    template: str
    resource: type
    build: Callable[[Parts], object | None]
    access: Mapping[Method, Needs]
    at: Callable[[Settings], tuple[str, ...]] | None = None
    moved_by: str | None = None
    pageless: bool = False

    def urls(self, ours: Settings) -> tuple[str, ...]:
        """Return the URL templates that the route is served at."""
        return self.at(ours) if self.at else (self.template,)


@dataclasses.dataclass(frozen=True)
class ApiParts:
    """What the API's resources are made of. fire: puts an event on the bus. jobs: who takes jobs in; raises StorageUnavailable."""

    settings: Settings
    commands: Commands
    guard: Guard
    sessions: Sessions
    fire: Callable[[str, Mapping[str, Any]], None]
    streams: Streams
    audit: Audit
    report: Report
    metrics: Metrics
    traffic: Traffic
    jobs: Callable[[], Submissions]
    fleet: Fleet
    tokens: ScopedTokens
    exchange: IdTokenExchange | None

    @functools.cached_property
    def page(self) -> Page | None:
        """What browsers get, if the settings name it."""
        return Page(self.settings.site.app) if self.settings.site.app else None

    @functools.cached_property
    def stream_slots(self) -> Slots:
        """The slots of streams, of whatever kind: each has a thread."""
        return Slots("event streams", self.settings.events.streams, share=self.settings.limits.share)

    @property
    def cookie(self) -> SessionCookie:
        """The session cookie as the settings want it."""
        ours = self.settings.session
        return SessionCookie(ours.cookie_name, ours.cookie_samesite, ours.cookie_secure)


@dataclasses.dataclass(frozen=True)
class OpsParts:
    """What the ops listener's resources are made of. skew: see api/ops.py."""

    health: Readiness
    metrics: Metrics
    token: BearerFile
    skew: Callable[[], str]


def api_gates(parts: ApiParts, may_share: Callable[[str], bool]) -> dict[Needs, Gate]:
    """Return the gate for each thing that a caller of the API must show. may_share: see `gates.by_consent`."""
    ours, sessions = parts.settings, parts.sessions
    webhooks = Webhooks(ours.hook.endpoints, require_login=ours.hook.require_login, on_fault=parts.report.secret_unreadable, judging=parts.guard.judging)
    of, of_lately, find = (gates.by_consent(one, ours.session.cookie_name, may_share) for one in (sessions.of, sessions.of_lately, sessions.find))
    whole = gates.unscoped(of)
    session, lately, whole_lately = (gates.exchanging(gates.session(one), parts.exchange) for one in (of, of_lately, gates.unscoped(of_lately)))
    return {
        Needs.NOTHING: gates.nothing,
        Needs.SESSION: lately,
        Needs.WHOLE_SESSION: whole_lately,
        Needs.HEADER_SESSION: gates.header_session(of_lately),
        Needs.URL_SESSION: gates.url_session(whole) if ours.events.query_token else gates.session(whole),
        Needs.STATS_SESSION: whole_lately if ours.stats.require_login else gates.nothing,
        Needs.RIGHT: session,
        Needs.WEBHOOK: gates.webhook(webhooks, whole, ours.hook.body_limit_bytes),
        Needs.BODY: gates.nothing,
        Needs.SESSION_OR_BODY: gates.session(find),
    }


def ops_gates(parts: OpsParts) -> dict[Needs, Gate]:
    """Return the gate for each thing that a caller of the ops listener must show."""
    return {Needs.NOTHING: gates.nothing, Needs.OPS_BEARER: gates.bearer(parts.token.is_sent)}
