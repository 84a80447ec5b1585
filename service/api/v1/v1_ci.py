"""`/v1/ci.py`: the program `salt-ci`, to be copied to where a pipeline runs."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

import falcon

SERVICE = Path(__file__).parent.parent.parent
MAIN = "from service.ci.program import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class V1CiResource:
    """
    `salt-ci`, one file for Python 3.8 and later, which needs nothing else.

    docs/ci.md says how pipelines use it. The file is a Python zip application (PEP 441).
    """

    any_accept = True

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the file; its `ETag` is its SHA-256."""
        tag = _tag()
        resp.etag = tag
        resp.set_header("Cache-Control", "no-cache")
        if tag in (req.if_none_match or ()):
            resp.status = falcon.HTTP_304
            return
        resp.data = application()
        resp.content_type = "application/octet-stream"
        resp.set_header("Content-Disposition", 'attachment; filename="ci.py"')


@functools.cache
def application() -> bytes:
    """Return the program as one file: the same bytes for the same version."""
    made = io.BytesIO(b"#!/usr/bin/env python3\n")
    made.seek(0, io.SEEK_END)
    with zipfile.ZipFile(made, "a") as archive:
        texts = {
            str(path.relative_to(SERVICE.parent)): path.read_text(encoding="utf-8")
            for path in (SERVICE / "__init__.py", *sorted((SERVICE / "ci").glob("*.py")))
        }
        for name, text in {"__main__.py": MAIN, **texts}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return made.getvalue()


@functools.cache
def _tag() -> str:
    return hashlib.sha256(application()).hexdigest()
