"""`/docs`: the API, for people."""

from __future__ import annotations

import html
from pathlib import Path

import falcon

from service.http.files import HTML, OWN_PAGE_HEADERS, Folder

# Swagger UI as npm has it, and what starts it; docs/decisions/0025-swagger-ui.md.
FILES = Path(__file__).parent.parent.parent / "openapi" / "page"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>salt-sidecar</title>
<link rel="icon" href="data:,">
<link rel="service-desc" href="{prefix}/openapi.json">
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{prefix}/docs/swagger-ui-bundle.js"></script>
<script src="{prefix}/docs/start.js"></script>
</body>
</html>
"""


class DocsResource:
    """Swagger UI over `/openapi.json`, to read and to try. It loads nothing from elsewhere, and runs no script but its own files."""

    any_accept = True

    def __init__(self, prefix: str) -> None:
        """prefix: of our URLs."""
        self._page = _PAGE.format(prefix=html.escape(prefix)).encode()
        self._files = Folder(FILES)

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str = "") -> None:
        """Answer with the page, or one of its files."""
        if name:
            self._files.serve(req, resp, name)
        else:
            resp.data = self._page
            resp.content_type = f"{HTML};charset=utf-8"
            resp.set_header("Cache-Control", "no-cache")
        resp.set_headers(OWN_PAGE_HEADERS)
