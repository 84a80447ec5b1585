"""A caller that holds every answer to the OpenAPI document: its status and media type are declared there, and its value is what the model says."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from service.demo.embedded import PATIENCE_SECONDS, until
from service.http.app import PROBLEM
from service.http.files import HTML
from service.http.media import JSON
from service.openapi.answers import Problem, RestWsgiError
from service.openapi.operations import OPERATIONS
from service.routes import api_document
from service.settings.settings import Settings
from tests.caller import Caller, Response

UNTIL_OVER = "wait=30"
# Below these URLs every path is theirs.
WITH_PATHS = frozenset({"/hook", "/ws", "/all_events", "/formatted_events"})


@functools.cache
def declared() -> Mapping[str, Any]:
    """Return the document's paths, with the settings' defaults."""
    paths: Mapping[str, Any] = api_document(Settings())["paths"]
    return paths


@functools.cache
def patterns() -> Mapping[str, re.Pattern[str]]:
    return {url: re.compile(re.sub(r"\{\w+\}", "[^/]+", url) + ("(/.*)?" if url in WITH_PATHS else "")) for url in OPERATIONS}


def model_of(template: str, method: str, answer: Response) -> type[BaseModel] | None:
    """Return the model of an answer, None where it has none."""
    kind = answer.headers.get("content-type", "")
    model = OPERATIONS[template][method].answers.get(answer.status)  # type: ignore[index]
    if kind == PROBLEM:
        return Problem
    if kind != JSON or not answer.body or "content-encoding" in answer.headers:
        return None
    return model if isinstance(model, type) else RestWsgiError if answer.status >= 400 else None


def faults_of(model: type[BaseModel], body: bytes, *, partly: bool) -> list[Any]:
    """Return what is wrong with an answer. partly: members may be left out. What a minion returns may be nested deeper than pydantic's own parser goes."""
    try:
        model.model_validate_json(body, strict=True)
    except ValidationError as exc:
        faults = [fault for fault in exc.errors() if not (partly and fault["type"] == "missing")]
        return [fault for fault in faults if "recursion limit" not in fault["msg"]]
    return []


def check(method: str, path: str, answer: Response) -> None:
    """Hold an answer to what is declared of its URL."""
    path, _, query = path.partition("?")
    path = "/" + path.strip("/")
    template = next((url for url, pattern in patterns().items() if pattern.fullmatch(path)), "")
    shown = "GET" if method == "HEAD" else method
    kind = answer.headers.get("content-type", "").partition(";")[0]
    # A page is whatever an installation puts there; and a URL may have been moved.
    if shown not in OPERATIONS.get(template, {}) or kind == HTML or (answer.status == 404 and b'"NotFound"' in answer.body):
        return
    responses = declared()[template][shown.lower()]["responses"]
    assert str(answer.status) in responses, f"{method} {path}: {answer.status} is not declared: {answer.body[:200]!r}"
    if method != "HEAD" and answer.body:
        assert kind in responses[str(answer.status)]["content"], f"{method} {path}: {answer.status} is not declared as {kind}"
        model = model_of(template, shown, answer)
        assert model is None or faults_of(model, answer.body, partly="fields=" in query) == []


class DeclaredCaller(Caller):
    """Calls the API. Who waits UNTIL_OVER for a job waits for its end, also on a slow machine; the API waits a minute at most."""

    def request(self, method: str, path: str = "/", body: bytes = b"", **headers: str) -> Response:
        answer = self._checked(method, path, body, **headers)
        url, _, query = path.partition("?")
        asked = {name: value for name, value in headers.items() if name not in {"content_type", "idempotency_key"}}
        for _ in until(PATIENCE_SECONDS):
            if answer.status != 202 or UNTIL_OVER not in query.split("&"):
                break
            later = self._checked("GET", f"{answer.headers.get('location', url)}?{query}", b"", **asked)
            answer = dataclasses.replace(answer, status=later.status, body=later.body)
        return answer

    def _checked(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        answer = super().request(method, path, body, **headers)
        check(method, path, answer)
        return answer
