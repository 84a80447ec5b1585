"""`/app` and `/static`: a single-page application such as SaltGUI, and its files."""

from __future__ import annotations

import falcon

from service.http.files import Folder, Page


class AppResource:
    """
    The page of `site.app`, at `site.app_path` and everything below; served only if that is set. It needs no session: the page logs in by itself.

    `GET /` and unknown URLs are answered with it too, if the request's Accept names text/html; other requests never are.
    """

    any_accept = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def on_get(self, req: falcon.Request, resp: falcon.Response, **_rest: str) -> None:
        """Answer with the page, whatever follows in the URL."""
        self._page.serve(req, resp)


class StaticResource:
    """The files below `site.static`, at `site.static_path`; served only if that is set. They need no session."""

    any_accept = True

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str = "") -> None:
        """Answer with a file, or a part of it; 304 if the caller has it already; 404 for folders and links that lead out."""
        self._folder.serve(req, resp, name)
