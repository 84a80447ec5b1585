"""Content negotiation for a scrape: which text format, and whether to compress it."""

from __future__ import annotations

import math
from typing import Literal

Format = Literal["text", "openmetrics"]

_OPENMETRICS_VERSIONS = ("", "0.0.1", "1.0.0")


def choose_format(accept: str) -> Format:
    """
    Return the format an `Accept` header prefers among the two we have; anything we do not understand means text.

    prometheus_client's own chooser raises TypeError on a malformed version and echoes unknown ones, so it is not used.
    """
    openmetrics, text = 0.0, 0.0
    for part in accept.split(","):
        kind, parameters, weight = _range(part)
        if kind == "application/openmetrics-text" and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, weight)
        elif kind in {"text/plain", "text/*"}:
            text = max(text, weight)
    return "openmetrics" if openmetrics > 0 and openmetrics >= text else "text"


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an `Accept-Encoding` header allows gzip."""
    return any(kind in {"gzip", "*"} and weight > 0 for kind, _, weight in map(_range, accept_encoding.split(",")))


def _range(part: str) -> tuple[str, dict[str, str], float]:
    """Return name, parameters and weight of one element of the header; a weight that is no number counts as 0."""
    kind, *rest = (piece.strip() for piece in part.split(";"))
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in (piece.partition("=") for piece in rest)}
    return kind.lower(), parameters, _weight(parameters.get("q", "1"))


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if math.isfinite(weight) else 0.0
