"""Builds the OpenAPI 3.1 document, whose schemas are JSON Schema 2020-12 as pydantic writes it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.errors import Fault, Forbidden
from service.http.app import PROBLEM
from service.http.media import FORM, JSON, YAML
from service.openapi.answers import Problem, RestWsgiError
from service.openapi.operations import SCHEMAS, Operation, Parameter, Schema

_REF = "#/components/schemas/{model}"
# At other statuses of a job, which `fail` asks for, there may be a fault as well.
_TOOK = (200, 202)
_PLACE = re.compile(r"\{(\w+)(:path)?\}")


@dataclasses.dataclass(frozen=True)
class Described:
    """
    One method of one URL, as the document shows it.

    url: its template, as the router has it. faults: all that it can raise. is_problem: they look as RFC 9457 wants it.
    security: alternatives; none where nothing has to be shown.
    """

    url: str
    method: str
    summary: str
    description: str
    operation: Operation
    faults: tuple[type[Fault], ...]
    is_problem: bool
    security: Sequence[str]


def document(rows: Iterable[Described], *, version: str, prefix: str, schemes: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the document. prefix: of the URLs. schemes: what a caller may show, by the names in `Described.security`; an empty name stands for nothing."""
    rows = list(rows)
    bodies = (row.operation.body if isinstance(row.operation.body, tuple) else (row.operation.body,) for row in rows)
    told = (*itertools.chain.from_iterable(bodies), *(value for row in rows for value in row.operation.answers.values()))
    schemas = _schemas_of(frozenset({Problem, RestWsgiError, *(value for value in told if isinstance(value, type))}))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(path_of(row.url), {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": "salt-sidecar", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {"schemas": {**schemas, **SCHEMAS}, "securitySchemes": dict(schemes)},
    }


@functools.cache
def _schemas_of(models: frozenset[type[BaseModel]]) -> Mapping[str, Any]:
    """Return the schemas of models by their names; they hang on nothing else, and take pydantic a quarter of a second."""
    _, schemas = models_json_schema([(model, "validation") for model in sorted(models, key=str)], ref_template=_REF)
    return MappingProxyType(schemas["$defs"])


def path_of(url: str) -> str:
    """Return a template as OpenAPI writes it, which has no word for values with slashes in them."""
    return _PLACE.sub(r"{\1}", url)


def operation_id(method: str, url: str) -> str:
    """Return the name of one method of one URL."""
    return f"{method.lower()}{re.sub(r'[^a-z0-9]+', '_', path_of(url))}".rstrip("_")


def _operation(row: Described) -> dict[str, Any]:
    places = [Parameter(name, "May have slashes in it." if many else "", {"type": "string"}, "path") for name, many in _PLACE.findall(row.url)]
    told: dict[str, Any] = {
        "tags": ["v1" if row.is_problem else "rest_cherrypy and rest_wsgi"],
        "summary": row.summary,
        "description": row.description,
        "operationId": operation_id(row.method, row.url),
        "parameters": [_parameter(one) for one in (*places, *row.operation.parameters)],
        "responses": _responses(row),
        "security": [{name: []} if name else {} for name in row.security],
    }
    body = row.operation.body
    if body is not None:
        # A form has texts alone, and models want what they say.
        kinds = (JSON, YAML) if isinstance(body, type | tuple) else (JSON, YAML, FORM)
        schema = {"anyOf": [*map(_schema, body)]} if isinstance(body, tuple) else _schema(body)
        told["requestBody"] = {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}
    return told


def _parameter(one: Parameter) -> dict[str, Any]:
    shown = {"name": one.name, "in": one.place, "required": one.place == "path", "schema": one.schema}
    return {**shown, "description": one.meaning} if one.meaning else shown


def _responses(row: Described) -> dict[str, Any]:
    """Return the answers by status; a status may be one of a value and of a fault, in media types of their own."""
    content: dict[int, dict[str, Any]] = {}
    meanings: dict[int, list[str]] = {}
    for status, answer in row.operation.answers.items():
        kinds = (JSON, YAML) if isinstance(answer, type) else answer
        content[status] = {kind: {"schema": _schema(answer)} for kind in kinds}
    for fault in row.faults:
        status = 403 if row.is_problem and issubclass(fault, Forbidden) else fault.status
        model, kinds = (Problem, (PROBLEM,)) if row.is_problem else (RestWsgiError, (JSON, YAML))
        content.setdefault(status, {}).update({kind: {"schema": _schema(model)} for kind in kinds})
        meanings.setdefault(status, []).append(f"`{fault.kind}`: {fault.meaning()}")
    links = {operation_id(*place): {"operationId": operation_id(*place), "parameters": {"jid": "$response.body#/jid"}} for place in row.operation.leads_to}
    return {
        str(status): {
            "description": " ".join(dict.fromkeys(meanings.get(status, ()))) or HTTPStatus(status).phrase,
            "content": content[status],
            **({"links": links} if links and status in _TOOK else {}),
        }
        for status in sorted(content)
    }


def _schema(of: object) -> Schema:
    if isinstance(of, type):
        return {"$ref": _REF.format(model=of.__name__)}
    return of if isinstance(of, Mapping) else {}
