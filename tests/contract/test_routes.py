"""The table of URLs is all there is: what is served stands there, under its name, and asks for what it says there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import falcon
import falcon.inspect
import pytest
from structlog.testing import capture_logs

from service import routes
from service.api.websocket import NoWebsocketResource
from service.errors import Fault
from service.http.app import ErrorBody
from service.http.media import respond_json
from service.route_rows import Needs, Route
from service.routes import API, OPS
from service.settings.settings import Settings
from service.socket_routes import SOCKETS
from tests.caller import Caller
from tests.contract.conftest import Api, fake_api, requests_of

MOVED = {"SIDECAR_HOOK_URL": "/moved/hook", "SIDECAR_SITE_APP_PATH": "/page", "SIDECAR_SITE_STATIC_PATH": "/files"}
OF_THE_SITE = {"/app", "/static"}


def all_of(folder: Path) -> dict[str, str]:
    """Return the settings that switch on all that they can."""
    (folder / "index.html").write_text("<html>")
    (folder / "token").write_text("a token")
    return {"SIDECAR_SITE_APP": f"{folder}/index.html", "SIDECAR_SITE_STATIC": str(folder), "SIDECAR_OPS_TOKEN_FILE": f"{folder}/token"}


@pytest.fixture(params=[{}, MOVED], ids=["in their places", "moved"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Api:
    """The application with all that the settings can switch on."""
    return fake_api(tmp_path, **all_of(tmp_path), **request.param)


def router_of(app: Any) -> tuple[set[tuple[str, str, frozenset[str]]], int]:
    """Return what falcon serves, URL by URL, and how many answers it has for all other URLs."""
    found = falcon.inspect.inspect_app(app)
    assert not found.static_routes
    ours = {(one.path, one.class_name, frozenset(method.method for method in one.methods if not method.internal)) for one in found.routes}
    return ours, len(found.sinks)


def declared(table: Iterable[Route[Any]], ours: Settings) -> set[tuple[str, str, frozenset[str]]]:
    """Return what the table says, likewise; what answers GET answers HEAD."""
    return {
        (url, route.resource.__name__, frozenset({*route.access, *(("HEAD",) if "GET" in route.access else ())})) for route in table for url in route.urls(ours)
    }


@pytest.mark.costly
def test_what_is_served_is_what_the_table_declares(api: Api) -> None:
    process = api.process

    assert router_of(process.api.app) == (declared(API, process.reloading.settings), 1)
    assert router_of(process.ops.app) == (declared(OPS, process.reloading.settings), 0)
    assert router_of(process.sockets.app) == (declared(SOCKETS, process.reloading.settings), 0)
    assert {route.template for route in SOCKETS} == {route.template for route in API if route.resource is NoWebsocketResource}


@pytest.mark.costly
def test_without_a_page_and_files_all_the_rest_is_served(tmp_path: Path) -> None:
    process = fake_api(tmp_path).process

    assert router_of(process.api.app)[0] == declared((route for route in API if route.template not in OF_THE_SITE), process.reloading.settings)


def test_every_url_is_logged_under_the_name_in_the_table(api: Api) -> None:
    urls = [(url.replace(":path", ""), route.template) for route in API for url in route.urls(api.process.reloading.settings)]

    with capture_logs() as lines:
        for url, _ in urls:
            # Nobody serves PUT, so nothing happens anywhere.
            api.caller.request("PUT", url.format(mid="a", jid="1", tid="2", path="b", rest="c", name="d"), b"")

    assert [line["http.route"] for line in requests_of(lines)] == [template for _, template in urls]


def as_problem(fault: Fault, _known: Mapping[str, str]) -> ErrorBody:
    """Write a fault as RFC 9457 wants it."""
    return ErrorBody({"title": fault.meaning(), "status": fault.status, "detail": fault.reason, **fault.details}, "application/problem+json")


@pytest.mark.parametrize("prefix", ["", "/salt"])
@pytest.mark.parametrize("path", ["/minions/a", "/minions/a/nobody/serves", "//minions/a/"])
@pytest.mark.parametrize("networks", ["", "10.0.0.0/8"])
def test_a_family_of_routes_has_error_bodies_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, path: str, networks: str) -> None:
    monkeypatch.setattr(routes, "FAMILIES", (("/minions/a/", as_problem), *routes.FAMILIES))
    caller = Caller(fake_api(tmp_path, SIDECAR_API_ROOT_PREFIX=prefix, SIDECAR_ACCESS_NETWORKS=networks).process.api)

    for url, its_type in ((path, "application/problem+json"), ("/minions/b", "application/json"), ("/minions/abc", "application/json")):
        answer = caller.get(prefix + url)

        assert (answer.headers["content-type"], answer.json()["status"]) == (its_type, answer.status), url
        assert answer.status in ({403} if networks else {401, 404}), url
        assert ("detail" in answer.json(), "error" in answer.json()) == (its_type != "application/json", its_type == "application/json"), url


TABLE: tuple[Route[Any], ...] = (*API, *OPS, *SOCKETS)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def forget(_resource: object, _req: falcon.Request, resp: falcon.Response, **_values: str) -> None:
    """Answer a request without asking for anything."""
    respond_json(resp, "STOLEN")


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """The application, its resources all forgetful, with every method."""
    folder = tmp_path_factory.mktemp("forgetful")
    with pytest.MonkeyPatch.context() as patched:
        for resource in {route.resource for route in TABLE}:
            patched.setattr(resource, "any_accept", True, raising=False)
            for method in METHODS:
                patched.setattr(resource, f"on_{method.lower()}", forget, raising=False)
        return fake_api(folder, **all_of(folder))


# What asks for nothing, and what only the resource can ask for.
OPEN = frozenset({Needs.NOTHING, Needs.BODY, Needs.SESSION_OR_BODY})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.template)
def test_a_resource_that_forgets_to_ask_is_called_only_as_the_table_says(forgetful: Api, route: Route[Any], method: str) -> None:
    process = forgetful.process
    caller = Caller(process.ops if route in OPS else process.sockets if route in SOCKETS else process.api)
    url = route.urls(forgetful.process.reloading.settings)[0].replace("{name:path}", "a").format(mid="a", jid="1", tid="2")
    access: Mapping[Any, Needs] = route.access
    needs = access.get("GET" if method == "HEAD" else method)

    for token in ("", "0123456789abcdef" * 4):
        # One that names a session which is over is turned away where none is needed, too.
        is_open = needs in OPEN - ({Needs.SESSION_OR_BODY} if token else set())
        answer = caller.request(method, url, b"{}" if method == "POST" else b"", x_auth_token=token)

        assert answer.status == (405 if needs is None else 200 if is_open else 401), answer.body


@pytest.mark.parametrize("route", OPS, ids=lambda route: route.template)
def test_the_ops_listener_asks_for_its_token_where_the_table_says_so(api: Api, route: Route[Any]) -> None:
    ops = Caller(api.process.ops)

    for method, needs in route.access.items():
        refused = ops.request(method, route.template, b"").status == 401
        assert refused == (needs is not Needs.NOTHING), method
