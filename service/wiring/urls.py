"""Serves the table of URLs, and the middleware in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from service.http.access import Access
from service.http.app import Gate, Paths, Renderer, Served, build
from service.http.body_memory import BodyMemory
from service.http.cors import Cors
from service.http.files import Browser
from service.http.request_info import RequestInfo
from service.route_rows import ApiParts, Needs, OpsParts, Parts, Route, api_gates, ops_gates
from service.routes import API, OPS, pageless_urls, renderer_of
from service.settings.settings import Settings
from service.socket_routes import SOCKETS, socket_gates

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def api_app(parts: ApiParts, access: Access, cors: Cors, on_crash: Callable[[RequestInfo], None]) -> WSGIApplication:
    """Build the API. The middleware in front of the routes is listed here, in order."""
    ours = parts.settings
    browser = Browser(parts.page, ours.site.app_path, "/ui", pageless_urls(ours))
    # Strangers first, whatever they ask for; OPTIONS before any route; the page last, for it wants the URL as the routes know it.
    front = [access, Paths(ours.api.root_prefix), cors, browser]
    return build(
        _served(API, parts, ours, api_gates(parts, cors.may_share)),
        on_crash=on_crash,
        middleware=front,
        unmatched=browser.unmatched,
        renderer_of=api_renderers(ours.api.root_prefix),
        body_memory=BodyMemory(ours.api.body_memory_bytes, ours.api.body_values_limit),
    )


def socket_app(parts: ApiParts, access: Access, cors: Cors, on_crash: Callable[[RequestInfo], None]) -> WSGIApplication:
    """Build what judges the requests for websockets, behind the same middleware as the API's."""
    ours = parts.settings
    return build(
        _served(SOCKETS, parts, ours, socket_gates(parts, cors.may_share)),
        on_crash=on_crash,
        middleware=[access, Paths(ours.api.root_prefix), cors],
    )


def api_renderers(root_prefix: str) -> Callable[[str], Renderer]:
    """Return what tells who makes the errors at a path of the API, as it comes over the wire."""
    paths = Paths(root_prefix)
    return lambda path: renderer_of(paths.inside(path) or "/")


def ops_app(parts: OpsParts, ours: Settings, on_crash: Callable[[RequestInfo], None]) -> WSGIApplication:
    """Build what probes and Prometheus see."""
    return build(_served(OPS, parts, ours, ops_gates(parts)), on_crash=on_crash)


def _served(table: Iterable[Route[Parts]], parts: Parts, ours: Settings, gates: Mapping[Needs, Gate]) -> dict[str, Served]:
    """Return what is served, by URL template."""
    served: dict[str, Served] = {}
    for route in table:
        resource = route.build(parts)
        if resource is not None:
            one = Served(resource, route.template, {method: gates[needs] for method, needs in route.access.items()})
            served.update(dict.fromkeys(route.urls(ours), one))
    return served
