"""What a job's function gets: kept, so that it can be given again, where nothing in it looks like a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from service.jobs.job_request import JobRequest
from service.observe.redact import is_secret, redact

LIMIT_BYTES = 64 * 1024
# In a text or a name: all that `redact_text` would change, in much less time, and more. Pillar data is what secrets are kept in.
_SUSPECT = re.compile(
    r"""(?i)passw|passphrase|pwd|secret|token|credential|authorization|bearer|cookie|priv|pillar|-----BEGIN|://[^/\s]*@|(?:(?<!\w)|_)key["']?\s*[:=]"""
)


def kept(request: JobRequest, *, secrets_too: bool) -> bytes | None:
    """Return the inputs of a job as JSON; None where they look secret, are too large, or would not come back as they are."""
    inputs = request.inputs
    try:
        text = json.dumps(inputs)
    except (TypeError, ValueError, RecursionError):
        return None
    # Looked through only if it is short: that takes time.
    if len(text) > LIMIT_BYTES or json.loads(text) != inputs or (not secrets_too and looks_secret(request.functions, inputs)):
        return None
    return text.encode()


def request_of(asked: Mapping[str, Any], inputs: Mapping[str, Any]) -> JobRequest:
    """Return what a job was asked for. asked: what is stored of it. inputs: what its function gets."""
    return JobRequest.model_validate({**{name: value for name, value in asked.items() if name in JobRequest.model_fields}, **inputs})


def looks_secret(functions: Collection[str], inputs: Mapping[str, Any]) -> bool:
    """Say whether a function, a name or a text in what it gets, tells of a secret. What is nested deeper than `redact` looks counts as one."""
    return any(map(is_secret, functions)) or redact(inputs) != inputs or any(map(_SUSPECT.search, _texts(inputs)))


def _texts(value: Any) -> Iterator[str]:
    """Yield all names and texts inside a value."""
    if isinstance(value, str):
        yield value
    for one in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _texts(one)
