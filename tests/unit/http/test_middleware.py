"""The outermost layer: one account for each request, closed exactly once, however the request ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from service.http.middleware import NOSNIFF, Canonical, log_fields
from service.http.request_info import ENVIRON_KEY, RequestInfo


class Observed:
    """An application under the layer, and what the layer told."""

    def __init__(self, body: Iterable[bytes] | Exception, *, status: str = "200 OK") -> None:
        self._body = body
        self._status = status
        self.started = 0
        self.finished: list[tuple[str, str, int]] = []
        self.lines: list[tuple[RequestInfo, bool]] = []
        self.headers: list[tuple[str, str]] = []
        self.layer = Canonical(self._app, self, lambda info, _seconds, complete: self.lines.append((info, complete)))

    def http_started(self) -> None:
        self.started += 1

    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str, *, request_id: str, trace_id: str | None) -> None:
        assert seconds >= 0
        self.finished.append((method, route, code))

    def _app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ[ENVIRON_KEY].route = "/"
        if isinstance(self._body, Exception):
            raise self._body
        start_response(self._status, [("Content-Type", "application/json")])
        return self._body

    def call(self, method: str = "GET", **environ: str) -> Any:
        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self.headers = headers
            return lambda _data: None

        return self.layer({"REQUEST_METHOD": method, "PATH_INFO": "/", **environ}, start_response)


class Body:
    """An answer that fails where it is told, and notes that it was closed."""

    def __init__(self, *, fails: bool = False, fails_to_close: bool = False) -> None:
        self._fails = fails
        self._fails_to_close = fails_to_close
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"
        if self._fails:
            raise ConnectionResetError
        yield b"678"

    def close(self) -> None:
        self.closed += 1
        if self._fails_to_close:
            raise OSError("close")


def test_a_request_has_one_line_when_the_server_closes_the_answer() -> None:
    observed = Observed([b"12345", b"678"], status="404 Not Found")
    answer = observed.call()
    before = list(observed.lines)
    sent = b"".join(answer)
    answer.close()
    answer.close()

    assert (before, sent) == ([], b"12345678")
    ((info, complete),) = observed.lines
    assert (info.status, info.sent_bytes, complete) == (404, 8, True)
    assert (observed.started, observed.finished) == (1, [("GET", "/", 404)])


def test_the_answer_carries_the_request_id_of_the_account() -> None:
    observed = Observed([])
    observed.call(HTTP_X_REQUEST_ID="mine").close()

    assert observed.headers == [("Content-Type", "application/json"), ("X-Request-ID", "mine"), NOSNIFF]
    assert observed.lines[0][0].request_id == "mine"


def test_an_aborted_request_has_its_line_and_says_so() -> None:
    body = Body()
    observed = Observed(body)
    answer = observed.call()
    next(iter(answer))
    answer.close()

    ((info, complete),) = observed.lines
    assert (info.sent_bytes, complete, body.closed) == (5, False, 1)


def test_a_request_that_nobody_reads_has_its_line() -> None:
    observed = Observed(Body())
    observed.call().close()

    assert [(info.sent_bytes, complete) for info, complete in observed.lines] == [(0, False)]


def test_an_answer_that_breaks_has_its_line() -> None:
    observed = Observed(Body(fails=True))
    answer = observed.call()
    with pytest.raises(ConnectionResetError):
        list(answer)
    answer.close()

    assert [(info.sent_bytes, complete) for info, complete in observed.lines] == [(5, False)]


def test_an_answer_that_cannot_be_closed_has_its_line() -> None:
    observed = Observed(Body(fails_to_close=True))
    answer = observed.call()
    list(answer)
    with pytest.raises(OSError, match="close"):
        answer.close()

    assert [complete for _, complete in observed.lines] == [True]


def test_an_application_that_crashes_has_its_line_with_500() -> None:
    observed = Observed(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        observed.call()

    assert [(info.status, complete) for info, complete in observed.lines] == [(500, False)]
    assert observed.finished == [("GET", "/", 500)]


FACTS = RequestInfo(
    request_id="r-1", method="POST", path="/" + "p" * 1000, address="192.0.2.1", user_agent=None, body_bytes=7, started=0.0, route="/", status=200, sent_bytes=9
)


def test_the_line_of_a_request_is_flat_and_leaves_out_what_is_not_known() -> None:
    info = dataclasses.replace(FACTS, lows=[{"client": "local", "jid": None, "outcome": "ok"}])

    assert log_fields(info, 0.12345678, complete=True) == {
        "request_id": "r-1",
        "http.request.method": "POST",
        "http.route": "/",
        "url.path": "/" + "p" * 511,
        "http.response.status_code": 200,
        "http.request.body.size": 7,
        "http.response.body.size": 9,
        "client.address": "192.0.2.1",
        "duration_s": 0.123457,
        "aborted": False,
        "salt.lows": [{"client": "local", "outcome": "ok"}],
    }


def test_the_line_of_a_failed_request_names_the_fault() -> None:
    fields = log_fields(dataclasses.replace(FACTS, error="no", error_type="BadRequest", method="X" * 99), 0.0, complete=False)

    assert (fields["error.type"], fields["error.message"], fields["aborted"]) == ("BadRequest", "no", True)
    assert fields["http.request.method"] == "X" * 16
    assert "salt.lows" not in fields
