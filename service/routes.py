"""The table of URLs: what serves each, and what a caller must show there. No other URL is served."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from service.api.events import EventsResource
from service.api.hook import HookResource
from service.api.jobs import JobResource, JobsResource
from service.api.keys import KeyResource, KeysResource
from service.api.login import LoginResource, LogoutResource
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
from service.api_document import document_of
from service.auth.sessions import still_holds
from service.errors import (
    ConfigFault,
)
from service.http.app import Renderer, problem, rest_wsgi
from service.http.files import Folder
from service.route_rows import ApiParts, Needs, OpsParts, Route
from service.settings.settings import Settings

Parts = TypeVar("Parts")


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


def renderer_of(path: str) -> Renderer:
    """Return who makes the errors at a path, as the routes know it."""
    return next(render for above, render in FAMILIES if f"{path}/".startswith(above))


def api_document(ours: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of the API as the settings have it."""
    return document_of(API, ours, lambda url: renderer_of(url) is problem)


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
