"""Serves the table of URLs, and the middleware in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from service.http.access import Access
from service.http.app import Paths, build
from service.http.cors import Cors
from service.http.facts import Facts
from service.http.files import Browser
from service.routes import API, OPS, ApiParts, OpsParts, Parts, Route, pageless_urls, renderer_of
from service.settings.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def api_app(parts: ApiParts, access: Access, cors: Cors, on_crash: Callable[[Facts], None]) -> WSGIApplication:
    """Build the API. What stands in front of the routes stands here, in its order."""
    ours = parts.settings
    browser = Browser(parts.page, ours.site.app_path, pageless_urls(ours))
    # Strangers first, whatever they ask for; OPTIONS before any route; the page last, for it wants the URL as the routes know it.
    paths = Paths(ours.api.root_prefix)
    front = [access, paths, cors, browser]
    resources, labels = _served(API, parts, ours)
    return build(
        resources,
        labels=labels,
        on_crash=on_crash,
        middleware=front,
        unmatched=browser.unmatched,
        # A stranger is turned away before `paths` has rewritten the request's path.
        renderer_of=lambda req: renderer_of(paths.inside(req.env["PATH_INFO"]) or "/"),
    )


def ops_app(parts: OpsParts, ours: Settings, on_crash: Callable[[Facts], None]) -> WSGIApplication:
    """Build what probes and Prometheus see."""
    resources, labels = _served(OPS, parts, ours)
    return build(resources, labels=labels, on_crash=on_crash)


def _served(table: Iterable[Route[Parts]], parts: Parts, ours: Settings) -> tuple[dict[str, object], dict[str, str]]:
    """Return the resource, and the name of the route, by URL template."""
    resources: dict[str, object] = {}
    labels: dict[str, str] = {}
    for route in table:
        resource = route.build(parts)
        if resource is not None:
            for url in route.urls(ours):
                resources[url], labels[url] = resource, route.template
    return resources, labels
