"""The OpenAPI document of the API, from its table of URLs: what each method takes and answers, and what a caller may show there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from service import __version__
from service.errors import (
    AddressRefused,
    BadRequest,
    Fault,
    MasterTimeout,
    MasterUnreachable,
    NotAcceptable,
    Overloaded,
    SecretUnavailable,
    Throttled,
    Unauthenticated,
)
from service.openapi.document import Described, document
from service.openapi.operations import OF_BODIES, OPERATIONS, Schema
from service.route_rows import Needs, Route
from service.settings.settings import Settings

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


def document_of(routes: Iterable[Route[Any]], ours: Settings, is_problem: Callable[[str], bool]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes as the settings have them. is_problem(url): says whether errors there are problems."""
    schemes: dict[str, Schema] = {
        _HEADER: {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A Salt token, as `/login` makes it."},
        _BEARER: {"type": "http", "scheme": "bearer"},
        _COOKIE: {"type": "apiKey", "in": "cookie", "name": ours.session.cookie_name},
        _IN_URL: {"type": "apiKey", "in": "query", "name": "token"},
    }
    return document(_rows(routes, ours, is_problem), version=__version__, prefix=ours.api.root_prefix, schemes=schemes)


def _rows(routes: Iterable[Route[Any]], ours: Settings, is_problem: Callable[[str], bool]) -> Iterator[Described]:
    for route in routes:
        for method, operation in OPERATIONS.get(route.template, {}).items():
            needs, any_accept = route.access[method], getattr(route.resource, "any_accept", ())
            picky = () if any_accept is True or method in any_accept else (NotAcceptable,)
            faults = (*_EVERYWHERE, *picky, *_OF_GATES[needs], *(OF_BODIES if operation.body is not None else ()), *operation.faults)
            summary = (inspect.getdoc(getattr(route.resource, f"on_{method.lower()}")) or "").partition("\n")[0]
            for url in route.urls(ours):
                yield Described(url, method, summary, inspect.getdoc(route.resource) or "", operation, faults, is_problem(url), _security(needs, ours))


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
