"""Where traces go: our setting, else OpenTelemetry's own variables."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from service.errors import InvalidConfiguration
from service.observe.trace.tracing import endpoint_of
from tests.contract.conftest import fake_api

BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def test_the_endpoint_is_ours_else_that_of_the_environment() -> None:
    for setting, environ, expected in (
        (None, {}, None),
        ("http://c:4318", {BASE: "http://other"}, "http://c:4318/v1/traces"),
        ("http://c:4318/", {TRACES: "http://other/x"}, "http://c:4318/v1/traces"),
        ("http://c/in/v1/traces", {}, "http://c/in/v1/traces"),
        (None, {BASE: "http://c:4318/prefix"}, "http://c:4318/prefix/v1/traces"),
        (None, {BASE: "http://c", TRACES: "http://t/whole"}, "http://t/whole"),
        ("http://c", {"OTEL_SDK_DISABLED": "TRUE"}, None),
        (None, {BASE: "http://c", "OTEL_TRACES_EXPORTER": "none"}, None),
    ):
        assert endpoint_of(setting, environ) == expected, (setting, environ)


def test_without_the_extra_our_setting_is_a_fault_and_a_variable_only_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(InvalidConfiguration) as caught:
        fake_api(tmp_path, SIDECAR_TRACING_ENDPOINT="http://c:4318")
    for wrong in ("http://user:secret@c:4318", "c:4318", "ftp://c"):
        with pytest.raises(InvalidConfiguration):
            fake_api(tmp_path, SIDECAR_TRACING_ENDPOINT=wrong)
    api = fake_api(tmp_path, **{BASE: "http://c:4318"})

    assert "salt-sidecar[tracing]" in str(caught.value)
    assert api.process.tracing is None
