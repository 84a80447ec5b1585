"""What a caller accepts: the only parser of `Accept` and `Accept-Encoding`, and the choice by them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

# RFC 9110, 12.4.2
_QUALITY = re.compile(r"[01]?\.?[0-9]{0,3}(?<=[0-9])")
_OPENMETRICS_VERSIONS = ("", "0.0.1", "1.0.0")


class MediaRange(NamedTuple):
    """One entry of the header, in lower case. quality: 1 if there is none, None for one that is malformed."""

    name: str
    parameters: dict[str, str]
    quality: float | None


def entries_of(header: str) -> Iterator[MediaRange]:
    """Yield the entries of the header; those without a name are left out."""
    for text in header.lower().split(","):
        name, *rest = (part.strip() for part in text.split(";"))
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in (part.partition("=") for part in rest)}
        quality = parameters.get("q", "1")
        if name:
            yield MediaRange(name, parameters, float(quality) if _QUALITY.fullmatch(quality) else None)


def accepted(header: str) -> dict[str, float]:
    """Return the best quality of each name; a malformed one counts as 1."""
    found: dict[str, float] = {}
    for entry in entries_of(header):
        found[entry.name] = max(1.0 if entry.quality is None else entry.quality, found.get(entry.name, 0.0))
    return found


def accepts_gzip(header: str) -> bool:
    """Say whether an `Accept-Encoding` header allows gzip."""
    found = accepted(header)
    return found.get("gzip", found.get("*", 0.0)) > 0


def exposition_format(header: str) -> Literal["text", "openmetrics"]:
    """
    Return the format of metrics that an `Accept` header prefers; anything we do not understand means text.

    prometheus_client's own chooser raises TypeError on a malformed version and echoes unknown ones, so it is not used.
    """
    openmetrics, text = 0.0, 0.0
    for name, parameters, quality in entries_of(header):
        if name == "application/openmetrics-text" and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, quality or 0.0)
        elif name in {"text/plain", "text/*"}:
            text = max(text, quality or 0.0)
    return "openmetrics" if openmetrics > 0 and openmetrics >= text else "text"
