"""The table of URLs: what serves each, and what a caller must show there. No other URL is served."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from service import __version__
from service.api import gates
from service.api.events import EventsResource
from service.api.hook import HookResource
from service.api.jobs import JobResource, JobsResource
from service.api.keys import KeyResource, KeysResource
from service.api.login import LoginResource, LogoutResource, SessionCookie
from service.api.minions import MinionResource, MinionsResource
from service.api.ops import LiveResource, MetricsResource, ReadyResource
from service.api.pages.docs_page import DocsResource
from service.api.pages.openapi_json import OpenApiResource
from service.api.pages.site import AppResource, StaticResource
from service.api.pages.ui import UiPage, UiResource
from service.api.root import RootResource
from service.api.run import RunResource
from service.api.stats import StatsResource
from service.api.token import TokenResource
from service.api.v1.v1_caller import V1CapabilitiesResource, V1MinionsResource, V1SessionResource
from service.api.v1.v1_ci import V1CiResource
from service.api.v1.v1_events import V1EventsResource
from service.api.v1.v1_jobs import V1JobResource, V1JobsResource, V1MinionResource, V1RelaunchResource
from service.api.v1.v1_reports import V1JunitResource, V1LogResource
from service.api.v1.v1_token import V1TokenResource
from service.api.v1.v1_tokens import V1ScopedTokenResource, V1ScopedTokensResource
from service.api.websocket import NoWebsocketResource
from service.audit.trail import Audit
from service.auth.guard import Guard
from service.auth.sessions import Sessions, still_holds
from service.auth.webhook import Webhooks
from service.commands import Commands
from service.errors import (
    AddressRefused,
    BadRequest,
    ConfigFault,
    Fault,
    MasterTimeout,
    MasterUnreachable,
    NotAcceptable,
    Overloaded,
    SecretUnavailable,
    Throttled,
    Unauthenticated,
)
from service.fleet.minion_tracker import Fleet
from service.http.app import Gate, Renderer, problem, rest_wsgi
from service.http.files import Folder, Page
from service.identities.exchange import IdTokenExchange
from service.jobs.submission import Submissions
from service.limits import Slots
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.traffic import Traffic
from service.observe.report.report import Report
from service.openapi.document import Described, document
from service.openapi.operations import OF_BODIES, OPERATIONS, Method, Schema
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


def _and_below(url: str, name: str = "rest") -> tuple[str, str]:
    return url, f"{url}/{{{name}:path}}"


def _events(parts: ApiParts) -> EventsResource:
    return EventsResource(parts.streams, parts.sessions, parts.stream_slots, parts.settings.events, parts.report, on_lag=parts.metrics.stream_lag)


def _job_events(parts: ApiParts) -> V1EventsResource:
    alive = functools.partial(still_holds, parts.sessions.of)
    return V1EventsResource(parts.jobs, parts.stream_slots, parts.settings.events, parts.report, alive)


def _metrics_page(parts: OpsParts) -> MetricsResource:
    def refresh() -> None:
        parts.metrics.ready({name: check.ok for name, check in parts.health.report().items()})

    return MetricsResource(parts.metrics, refresh)


def _no_websocket(path: str) -> Route[ApiParts]:
    # What may follow was a token, so it is no part of the route's name.
    def build(parts: ApiParts) -> NoWebsocketResource:
        return NoWebsocketResource(parts.settings.websocket.port)

    return Route(path, NoWebsocketResource, build, {"GET": Needs.NOTHING}, at=lambda _: _and_below(path), pageless=True)


API: tuple[Route[ApiParts], ...] = (
    Route("/", RootResource, lambda parts: RootResource(parts.commands), {"GET": Needs.NOTHING, "POST": Needs.SESSION_OR_BODY}),
    Route("/run", RunResource, lambda parts: RunResource(parts.commands), {"POST": Needs.BODY}),
    Route("/login", LoginResource, lambda parts: LoginResource(parts.sessions, parts.cookie), {"GET": Needs.NOTHING, "POST": Needs.BODY}),
    Route("/logout", LogoutResource, lambda parts: LogoutResource(parts.sessions, parts.cookie), {"GET": Needs.HEADER_SESSION, "POST": Needs.SESSION}),
    Route("/token", TokenResource, lambda parts: TokenResource(parts.sessions, lambda: parts.commands.policy.lows_per_request), {"POST": Needs.BODY}),
    Route("/minions", MinionsResource, lambda parts: MinionsResource(parts.commands), {"GET": Needs.RIGHT, "POST": Needs.RIGHT}),
    Route("/minions/{mid}", MinionResource, lambda parts: MinionResource(parts.commands), {"GET": Needs.RIGHT}),
    Route("/jobs", JobsResource, lambda parts: JobsResource(parts.commands), {"GET": Needs.RIGHT}),
    Route("/jobs/{jid}", JobResource, lambda parts: JobResource(parts.commands), {"GET": Needs.RIGHT}),
    Route(
        "/v1/jobs",
        V1JobsResource,
        lambda parts: V1JobsResource(parts.jobs, parts.commands.sync_jobs, parts.settings.api.root_prefix),
        {"GET": Needs.SESSION, "POST": Needs.RIGHT},
    ),
    Route(
        "/v1/jobs/{jid}",
        V1JobResource,
        lambda parts: V1JobResource(parts.jobs, parts.commands.sync_jobs, parts.settings.api.root_prefix),
        {"GET": Needs.SESSION, "DELETE": Needs.SESSION},
    ),
    Route(
        "/v1/jobs/{jid}/relaunch",
        V1RelaunchResource,
        lambda parts: V1RelaunchResource(parts.jobs, parts.commands.sync_jobs, parts.settings.api.root_prefix),
        {"POST": Needs.SESSION},
    ),
    Route("/v1/jobs/{jid}/events", V1EventsResource, _job_events, {"GET": Needs.SESSION}, pageless=True),
    Route("/v1/jobs/{jid}/log", V1LogResource, lambda parts: V1LogResource(parts.jobs), {"GET": Needs.SESSION}),
    Route("/v1/jobs/{jid}/junit", V1JunitResource, lambda parts: V1JunitResource(parts.jobs), {"GET": Needs.SESSION}),
    Route("/v1/jobs/{jid}/minions/{mid}", V1MinionResource, lambda parts: V1MinionResource(parts.jobs), {"GET": Needs.SESSION}),
    Route("/v1/ci.py", V1CiResource, lambda _: V1CiResource(), {"GET": Needs.NOTHING}, pageless=True),
    Route("/v1/token", V1TokenResource, lambda parts: V1TokenResource(parts.exchange, parts.tokens), {"POST": Needs.BODY}),
    Route("/v1/session", V1SessionResource, lambda _: V1SessionResource(), {"GET": Needs.SESSION}),
    Route("/v1/capabilities", V1CapabilitiesResource, lambda parts: V1CapabilitiesResource(parts.settings, parts.commands, parts.jobs), {"GET": Needs.SESSION}),
    Route(
        "/v1/tokens",
        V1ScopedTokensResource,
        lambda parts: V1ScopedTokensResource(parts.tokens, parts.audit),
        {"GET": Needs.WHOLE_SESSION, "POST": Needs.WHOLE_SESSION},
    ),
    Route("/v1/tokens/{tid}", V1ScopedTokenResource, lambda parts: V1ScopedTokenResource(parts.tokens, parts.audit), {"DELETE": Needs.WHOLE_SESSION}),
    Route("/v1/minions", V1MinionsResource, lambda parts: V1MinionsResource(parts.commands, parts.fleet), {"GET": Needs.RIGHT}),
    Route("/openapi.json", OpenApiResource, lambda parts: OpenApiResource(functools.partial(api_document, parts.settings)), {"GET": Needs.NOTHING}),
    Route(
        "/docs",
        DocsResource,
        lambda parts: DocsResource(parts.settings.api.root_prefix),
        {"GET": Needs.NOTHING},
        at=lambda _: ("/docs", "/docs/{name}"),
        pageless=True,
    ),
    Route(
        "/ui",
        UiResource,
        lambda parts: UiResource(UiPage(parts.settings.api.root_prefix)),
        {"GET": Needs.NOTHING},
        at=lambda _: ("/ui", "/ui/{name}"),
        pageless=True,
    ),
    Route("/keys", KeysResource, lambda parts: KeysResource(parts.commands), {"GET": Needs.RIGHT, "POST": Needs.BODY}),
    Route("/keys/{mid}", KeyResource, lambda parts: KeyResource(parts.commands), {"GET": Needs.RIGHT}),
    Route(
        "/hook",
        HookResource,
        lambda parts: HookResource(parts.fire, parts.commands.quick_calls, audit=parts.audit.begin),
        {"POST": Needs.WEBHOOK},
        at=lambda ours: _and_below(ours.hook.url, "path"),
        moved_by="hook.url",
        pageless=True,
    ),
    Route("/events", EventsResource, _events, {"GET": Needs.URL_SESSION}, pageless=True),
    *(_no_websocket(path) for path in ("/ws", "/all_events", "/formatted_events")),
    Route("/stats", StatsResource, lambda parts: StatsResource(parts.traffic), {"GET": Needs.STATS_SESSION}),
    Route(
        "/app",
        AppResource,
        lambda parts: AppResource(parts.page) if parts.page else None,
        {"GET": Needs.NOTHING},
        at=lambda ours: _and_below(ours.site.app_path),
        moved_by="site.app_path",
    ),
    Route(
        "/static",
        StaticResource,
        lambda parts: StaticResource(Folder(parts.settings.site.static)) if parts.settings.site.static else None,
        {"GET": Needs.NOTHING},
        at=lambda ours: (f"{ours.site.static_path}/{{name:path}}",),
        moved_by="site.static_path",
        pageless=True,
    ),
)
OPS: tuple[Route[OpsParts], ...] = (
    Route("/livez", LiveResource, lambda _: LiveResource(), {"GET": Needs.NOTHING}),
    Route("/readyz", ReadyResource, lambda parts: ReadyResource(parts.health, parts.token, parts.skew), {"GET": Needs.NOTHING}),
    Route("/metrics", MetricsResource, _metrics_page, {"GET": Needs.OPS_BEARER}),
)
# How errors look below a URL, also where nobody serves it; the first that fits counts.
FAMILIES: tuple[tuple[str, Renderer], ...] = (("/v1/", problem), ("/", rest_wsgi))
# What bounds the metrics' label `route`.
API_TEMPLATES = tuple(route.template for route in API)


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


def renderer_of(path: str) -> Renderer:
    """Return who makes the errors at a path, as the routes know it."""
    return next(render for above, render in FAMILIES if f"{path}/".startswith(above))


def pageless_urls(ours: Settings) -> frozenset[str]:
    """Return the URLs below which a browser never gets the page."""
    return frozenset(url.partition("/{")[0] for route in API if route.pageless for url in route.urls(ours))


def url_faults(ours: Settings) -> list[ConfigFault]:
    """Return the URLs that the settings move onto one that stays where it is, or onto each other."""
    taken = {_first(route.template) for route in API if route.moved_by is None} - {""}
    faults = []
    for route in API:
        if route.moved_by is not None:
            first = _first(route.urls(ours)[0])
            if first in taken:
                faults.append(ConfigFault(route.moved_by, f"/{first} is the URL of something else", "choose another one"))
            taken.add(first)
    return faults


def _first(url: str) -> str:
    return url.split("/")[1]


_HEADER, _BEARER, _COOKIE, _IN_URL, _NOBODY = "header", "bearer", "cookie", "query", ""
_ANYWHERE = (_HEADER, _BEARER, _COOKIE)
# What every URL can raise, and the gate for each thing that a caller must show.
_EVERYWHERE: tuple[type[Fault], ...] = (BadRequest, AddressRefused, Fault)
_BY_ASKING: tuple[type[Fault], ...] = (Unauthenticated, Throttled, Overloaded, MasterUnreachable, MasterTimeout)
_OF_GATES: Mapping[Needs, tuple[type[Fault], ...]] = {
    **dict.fromkeys(Needs, _BY_ASKING),
    Needs.NOTHING: (),
    Needs.WEBHOOK: (*_BY_ASKING, SecretUnavailable),
}


def api_document(ours: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of the API as the settings have it."""
    schemes: dict[str, Schema] = {
        _HEADER: {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A Salt token, as `/login` makes it."},
        _BEARER: {"type": "http", "scheme": "bearer"},
        _COOKIE: {"type": "apiKey", "in": "cookie", "name": ours.session.cookie_name},
        _IN_URL: {"type": "apiKey", "in": "query", "name": "token"},
    }
    return document(_rows(ours), version=__version__, prefix=ours.api.root_prefix, schemes=schemes)


def _rows(ours: Settings) -> Iterator[Described]:
    for route in API:
        for method, operation in OPERATIONS.get(route.template, {}).items():
            needs, any_accept = route.access[method], getattr(route.resource, "any_accept", ())
            picky = () if any_accept is True or method in any_accept else (NotAcceptable,)
            faults = (*_EVERYWHERE, *picky, *_OF_GATES[needs], *(OF_BODIES if operation.body is not None else ()), *operation.faults)
            summary = (inspect.getdoc(getattr(route.resource, f"on_{method.lower()}")) or "").partition("\n")[0]
            for url in route.urls(ours):
                yield Described(
                    url, method, summary, inspect.getdoc(route.resource) or "", operation, faults, renderer_of(url) is problem, _security(needs, ours)
                )


def _security(needs: Needs, ours: Settings) -> tuple[str, ...]:
    """Return what a caller may show."""
    if needs is Needs.STATS_SESSION and not ours.stats.require_login:
        return ()
    if needs is Needs.URL_SESSION and ours.events.query_token:
        return (*_ANYWHERE, _IN_URL)
    others: Mapping[Needs, tuple[str, ...]] = {
        Needs.NOTHING: (),
        Needs.BODY: (),
        Needs.HEADER_SESSION: (_HEADER,),
        **dict.fromkeys((Needs.SESSION_OR_BODY, Needs.WEBHOOK), (*_ANYWHERE, _NOBODY)),
    }
    return others.get(needs, _ANYWHERE)
