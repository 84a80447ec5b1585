"""Tracing: whether there is any, and where spans go. Knows OpenTelemetry only by name; spans.py makes them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from service.errors import ConfigFault

_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_TRACES: Final = "/v1/traces"


def destination(setting: str | None, environ: Mapping[str, str]) -> tuple[str | None, tuple[ConfigFault, ...]]:
    """
    Return where traces go, and what is worth a word of it. setting: `tracing.endpoint`.

    OpenTelemetry's variables may be everybody's on this machine, so what they ask for and cannot be had is no fault.
    """
    endpoint = endpoint_of(setting, environ)
    missing = lacking() if endpoint else None
    return (None, (missing,)) if missing else (endpoint, ())


def endpoint_of(setting: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the URL that takes spans: ours, else that of OpenTelemetry's own variables; None when nobody wants any."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if traces := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") if setting is None else None:
        return traces
    base = setting or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not base:
        return None
    return base if setting and urlsplit(base).path.strip("/") else base.rstrip("/") + _TRACES


def lacking() -> ConfigFault | None:
    """Return what is missing to trace at all."""
    try:
        for package in _PACKAGES:
            importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as exc:
        fix = "install salt-sidecar[tracing], or unset tracing.endpoint and OTEL_EXPORTER_OTLP_ENDPOINT"
        return ConfigFault("tracing.endpoint", f"{exc.name} is not installed, so there are no traces", fix)
    return None
