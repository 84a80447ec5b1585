"""The application: every error looks like one of rest_wsgi's, with the keys that it lacks."""

from __future__ import annotations

import sys
from typing import Any

import falcon
import pytest

from service.errors import BadRequest, Fault, Forbidden, JobTimeout, MasterUnreachable, NotAcceptable, Overloaded, Throttled, TooLarge
from service.http.app import build
from service.http.media import respond_json
from service.http.middleware import Canonical
from service.http.request_info import RequestInfo
from tests.caller import Caller, Response, open_to_all


class Resource:
    """Answers a GET, and fails a POST as it is told."""

    failure: BaseException | None = None

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        respond_json(resp, {"ok": True})

    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        assert self.failure is not None
        raise self.failure


class Site:
    """The application under its outermost layer."""

    def __init__(self) -> None:
        self.resource = Resource()
        self.crashes: list[tuple[str, type[BaseException] | None]] = []
        self.info: list[RequestInfo] = []
        app = build(
            open_to_all({"/": self.resource, "/things/{name}": self.resource}),
            on_crash=lambda info: self.crashes.append((info.request_id, sys.exc_info()[0])),
        )
        self.caller = Caller(Canonical(app, self, lambda info, _seconds, _complete: self.info.append(info)))

    def http_started(self) -> None:
        pass

    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str, *, request_id: str, trace_id: str | None) -> None:
        pass

    def fail(self, failure: BaseException) -> Response:
        self.resource.failure = failure
        return self.caller.request("POST", x_request_id="r-1")


@pytest.fixture
def site() -> Site:
    return Site()


def error(code: int, reason: str, kind: str, **details: Any) -> dict[str, Any]:
    return {"return": f"{code}: {reason}", "status": code, "error": kind, "request_id": "r-1", **details}


def test_an_answer_is_json_without_a_charset(site: Site) -> None:
    response = site.caller.get("/", x_request_id="r-1")

    assert (response.status, response.json(), response.headers["content-type"]) == (200, {"ok": True}, "application/json")
    assert response.headers["x-request-id"] == "r-1"
    assert response.headers["content-length"] == str(len(response.body))


def test_an_unknown_path_is_not_found(site: Site) -> None:
    response = site.caller.get("/nowhere", x_request_id="r-1")

    assert (response.status, response.json()) == (404, error(404, "Not Found", "NotFound"))
    assert site.info[0].route == "unmatched"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_told_the_right_ones(site: Site, method: str) -> None:
    response = site.caller.request(method, "/", x_request_id="r-1")

    assert response.status == 405
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))
    assert response.json() == error(405, "Method Not Allowed", "MethodNotAllowed")
    assert site.info[0].route == "/"


@pytest.mark.parametrize("method", ["FUZZ", "get"])
def test_a_method_that_nobody_knows_is_refused(site: Site, method: str) -> None:
    assert site.caller.request(method, "/").status in {400, 405}


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (BadRequest("no", field="fun"), error(400, "no", "BadRequest", field="fun")),
        (Forbidden("no right"), error(401, "no right", "Forbidden")),
        (NotAcceptable("JSON required"), error(406, "JSON required", "NotAcceptable")),
        (TooLarge("big"), error(413, "big", "TooLarge")),
        (JobTimeout("late", jid="1", completed=[{"a": b"x"}], jids=["1"]), error(504, "late", "JobTimeout", jid="1", completed=[{"a": "x"}], jids=["1"])),
        (BadRequest("no", field=None), error(400, "no", "BadRequest")),
        (Fault("odd"), error(500, "odd", "Fault")),
    ],
)
def test_a_fault_says_what_happened_and_under_which_id(site: Site, fault: Fault, body: dict[str, Any]) -> None:
    response = site.fail(fault)

    assert (response.status, response.json()) == (fault.status, body)
    assert "retry-after" not in response.headers
    assert (site.info[0].error, site.info[0].error_type, site.info[0].status) == (fault.reason, type(fault).__name__, fault.status)
    assert site.crashes == []


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Throttled("x", retry_after_seconds=9.2), "10"),
        (Overloaded("x", retry_after_seconds=0.01), "1"),
        (MasterUnreachable("x", retry_after_seconds=0), "1"),
    ],
)
def test_a_fault_that_passes_says_when_to_come_back_in_whole_seconds(site: Site, fault: Fault, seconds: str) -> None:
    assert site.fail(fault).headers["retry-after"] == seconds


def test_a_crash_is_reported_inside_its_exception_and_tells_the_caller_only_the_id(site: Site) -> None:
    response = site.fail(ZeroDivisionError("hunter2"))

    assert (response.status, response.json()) == (500, error(500, "internal error; the log tells more under this request_id", "Fault"))
    assert site.crashes == [("r-1", ZeroDivisionError)]
    assert "hunter2" not in str(site.info[0])


def test_what_falcon_itself_refuses_looks_the_same(site: Site) -> None:
    response = site.fail(falcon.HTTPBadRequest(title="Malformed header", headers={"X-Why": "y"}))

    assert (response.status, response.json()) == (400, error(400, "Malformed header", "Fault"))
    assert response.headers["x-why"] == "y"


def test_an_error_of_falcons_without_a_title_has_some_words(site: Site) -> None:
    failure = falcon.HTTPError(418)
    failure.title = ""

    assert site.fail(failure).json()["return"] == "418: error"


def test_a_long_reason_is_cut_in_the_account(site: Site) -> None:
    site.fail(BadRequest("x" * 10_000))

    assert len(site.info[0].error or "") == 500


@pytest.mark.parametrize("path", ["/things/a", "/things/b/"])
def test_the_account_has_the_template_of_the_path(site: Site, path: str) -> None:
    class Things:
        def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
            respond_json(resp, name)

    app = build(open_to_all({"/things/{name}": Things()}), on_crash=lambda _facts: None)
    response = Caller(Canonical(app, site, lambda info, _seconds, _complete: site.info.append(info))).get(path)

    assert (response.status, site.info[0].route) == (200, "/things/{name}")
