"""Builds a falcon application in which every error is one of ours, and looks as its family of URLs wants it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import falcon

from service.errors import Fault, Forbidden, MethodNotAllowed, NotFound
from service.http.body_memory import BodyMemory
from service.http.media import JSON, check_accept, respond, respond_json
from service.http.request_info import RequestInfo

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

PROBLEM = "application/problem+json"
# Raises a fault for who may not pass; gets the values of the URL template too.
Gate = Callable[[falcon.Request, falcon.Response, Mapping[str, str]], None]


@dataclasses.dataclass(frozen=True)
class ErrorBody:
    """What a fault becomes. media_type: None for JSON or YAML, as the caller accepts. status: None for the fault's own."""

    value: dict[str, Any]
    media_type: str | None = None
    status: int | None = None


# Makes the body of a fault, with what else is known of its request: `request_id` and `trace_id`, where there are such.
Renderer = Callable[[Fault, Mapping[str, str]], ErrorBody]


@dataclasses.dataclass(frozen=True)
class Served:
    """
    What is served at a URL template.

    label: its name in the log and the metrics. gates: by method, passed before the resource is called, whatever that does by itself.
    A method without a gate is not served; what answers GET answers HEAD.
    """

    resource: object
    label: str
    gates: Mapping[str, Gate]

    @property
    def methods(self) -> list[str]:
        """The methods that are served."""
        return sorted({*self.gates, *(("HEAD",) if "GET" in self.gates else ())})


def build(
    routes: Mapping[str, Served],
    *,
    on_crash: Callable[[RequestInfo], None],
    middleware: Sequence[Any] = (),
    unmatched: Callable[..., None] | None = None,
    renderer_of: Callable[[str], Renderer] = lambda _path: rest_wsgi,
    body_memory: BodyMemory | None = None,
) -> WSGIApplication:
    """
    Return a WSGI application that serves *routes*, by URL template.

    middleware: falcon's, in front of the routes, in this order. unmatched: answers where no route does.
    renderer_of: who makes the errors at a path, which may match no route. body_memory: for all bodies together.
    A resource with `any_accept`, which may name methods, is called whatever the caller's Accept header says.
    on_crash(info) is called inside the `except` of an exception that is no fault; the caller gets a 500 with the request id.
    """
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App(middleware=[body_memory or BodyMemory(), *middleware, _Route(routes)])
    app.req_options.strip_url_path_trailing_slash = True
    app.resp_options.default_media_type = JSON
    for template, served in routes.items():
        resource = served.resource
        if hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
            vars(resource)["on_head"] = resource.on_get
        app.add_route(template, resource)
    if unmatched is not None:
        app.add_sink(unmatched)

    def fault(req: falcon.Request, resp: falcon.Response, fault: Fault, _params: dict[str, Any]) -> None:
        info = RequestInfo.of(req.env)
        info.error, info.error_type = fault.reason[:500], fault.kind
        if fault.retry_after_seconds is not None:
            resp.set_header("Retry-After", str(max(1, math.ceil(fault.retry_after_seconds))))
        known = {"request_id": info.request_id, **({"trace_id": info.trace_id} if info.trace_id else {})}
        # A stranger is turned away before `Paths` has rewritten the request's path.
        body = renderer_of(req.env["PATH_INFO"])(fault, known)
        if body.media_type is None:
            respond(req, resp, body.value, body.status or fault.status)
        else:
            respond_json(resp, body.value, body.status or fault.status)
            resp.content_type = body.media_type

    def http_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: dict[str, Any]) -> None:
        resp.set_headers(error.headers or {})
        fault(req, resp, _http_fault(error), params)

    def crashed(req: falcon.Request, resp: falcon.Response, _exc: Exception, params: dict[str, Any]) -> None:
        on_crash(RequestInfo.of(req.env))
        fault(req, resp, Fault("internal error; the log tells more under this request_id"), params)

    app.add_error_handler(Exception, crashed)
    app.add_error_handler(falcon.HTTPError, http_error)
    app.add_error_handler(Fault, fault)
    return cast("WSGIApplication", app)


class Paths:
    """falcon's middleware that makes the URL what the routes know: without prefix, doubled slashes in front, or slashes at the end."""

    def __init__(self, root_prefix: str = "") -> None:
        self._prefix = root_prefix.rstrip("/")

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """
        Rewrite the path: a base URL with a slash at its end gives `//login`, and `/login/` is `/login`.

        Raises NotFound outside the prefix.
        """
        path = self.inside(req.path)
        if path is None:
            raise NotFound("Not Found")
        req.path = path

    def inside(self, path: str) -> str | None:
        """Return a path as the routes know it, None outside the prefix."""
        path = "/" + path.strip("/")
        if path != self._prefix and not path.startswith(self._prefix + "/"):
            return None
        return "/" + path[len(self._prefix) :].strip("/")


class _Route:
    """Tells the account which route matched, and turns callers away who would take none of our types, or do not pass the gate."""

    def __init__(self, routes: Mapping[str, Served]) -> None:
        self._routes = routes

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: object, params: dict[str, Any]) -> None:
        served = self._routes[req.uri_template or ""]
        RequestInfo.of(req.env).route = served.label
        any_accept = getattr(resource, "any_accept", ())
        if any_accept is not True and req.method not in any_accept:
            check_accept(req)
        gate = served.gates.get("GET" if req.method == "HEAD" else req.method)
        if gate is None:
            raise falcon.HTTPMethodNotAllowed([*served.methods, "OPTIONS"])
        gate(req, resp, params)

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool) -> None:
        """Close what falcon would drop: HEAD has no body, however it was made."""
        if req.method == "HEAD" and resp.stream is not None:
            getattr(resp.stream, "close", lambda: None)()
            resp.stream = None


def _http_fault(error: falcon.HTTPError) -> Fault:
    """Translate what falcon itself finds wrong."""
    if isinstance(error, falcon.HTTPNotFound):
        return NotFound("Not Found")
    if isinstance(error, falcon.HTTPMethodNotAllowed):
        return MethodNotAllowed("Method Not Allowed")
    fault = Fault(error.title or "error")
    fault.status = error.status_code
    return fault


def problem(fault: Fault, known: Mapping[str, str]) -> ErrorBody:
    """Return a fault as RFC 9457 writes it; a right that is missing is 403 here, and no reason to log in again."""
    status = 403 if isinstance(fault, Forbidden) else fault.status
    title = falcon.code_to_http_status(status).partition(" ")[2]
    body = {"type": "about:blank", "title": title, "status": status, "detail": fault.reason, "error": fault.kind}
    return ErrorBody({**body, **known, **fault.details}, PROBLEM, status)


def rest_wsgi(fault: Fault, known: Mapping[str, str]) -> ErrorBody:
    """Return a fault as rest_wsgi writes it, "STATUS: reason" under `return`, with further keys that it lacks."""
    return ErrorBody({"return": f"{fault.status}: {fault.reason}", "status": fault.status, "error": fault.kind, **known, **fault.details})
