"""Sends a browser that navigates to the application's page, and everybody else to the API."""

from __future__ import annotations

import falcon

from service.errors import NotFound
from service.http.files import Page, wants_page


class Browser:
    """
    falcon's middleware for `GET /`, and its sink for URLs that no route knows.

    page: the application, None without one. page_url: where it is mounted. files_url: below it a missing file stays missing.
    """

    def __init__(self, page: Page | None, page_url: str, files_url: str) -> None:
        self._page = page
        self._page_url = page_url
        # Streams and webhooks are never answered with a page, not even at URLs that do not exist below them.
        self._apart = tuple(f"{url}/" for url in (files_url, "/ws", "/events", "/hook", "/all_events", "/formatted_events"))

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Take a browser at `/` to the page."""
        if self._page and req.path == "/" and wants_page(req):
            req.path = self._page_url

    def unmatched(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at a URL that is none of ours. Raises NotFound."""
        if self._page is None or not wants_page(req) or f"{req.path}/".startswith(self._apart):
            raise NotFound("Not Found")
        self._page.serve(req, resp)
