"""`/ui/`: the jobs, for people."""

from __future__ import annotations

import html
from pathlib import Path

import falcon

from service.http.files import HTML, OWN_PAGE_HEADERS, Folder
from service.http.media import vary

FILES = Path(__file__).parent / "files"
VIEWS = frozenset({"", "minions", "help"})


class UiPage:
    """The page, which finds out from its address what to show."""

    def __init__(self, prefix: str) -> None:
        """prefix: of our URLs."""
        self._text = (FILES / "index.html").read_text(encoding="utf-8").replace("{prefix}", html.escape(prefix)).encode()

    def serve(self, resp: falcon.Response) -> None:
        """Answer with it."""
        resp.data = self._text
        resp.content_type = f"{HTML};charset=utf-8"
        resp.set_header("Cache-Control", "no-cache")
        # Under the same URL others get the API.
        vary(resp, "Accept")
        resp.set_headers(OWN_PAGE_HEADERS)


class UiResource:
    """A page with the jobs of whoever logs in: what they are doing, what became of them, and what each minion returned. It loads nothing from elsewhere."""

    any_accept = True

    def __init__(self, page: UiPage) -> None:
        self._page = page
        self._files = Folder(FILES)

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str = "") -> None:
        """Answer with the page, or one of its files."""
        if name in VIEWS:
            self._page.serve(resp)
        else:
            self._files.serve(req, resp, name)
            resp.set_headers(OWN_PAGE_HEADERS)
