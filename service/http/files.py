"""Files for browsers: one page, or a folder; falcon's static route serves them, we decide what is inside."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path

import falcon
from falcon.routing import StaticRoute

from service.errors import ConfigFault, NotFound
from service.http.accept import accepted
from service.http.media import JSON, vary
from service.settings.settings import SiteSettings

HTML = "text/html"
# Nobody else's page may frame ours; which scripts and styles it needs, the application knows best and can say itself.
# Another referrer policy than this one would take the Origin off the page's own calls, which `by_consent` in api/gates.py looks at.
PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'",
    "Referrer-Policy": "same-origin",
}
# Of the pages that are ours: nothing but our own files, and no caller but our own API.
OWN_PAGE_HEADERS = {
    **PAGE_HEADERS,
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_EVERY_FILE = "/files"
_JOB = re.compile("/v1/jobs/[0-9]{20}")


class Folder:
    """
    The regular files below a folder, but for those with a dot in front of their name or a folder's: `.git`, `.htpasswd`, editors' copies.

    A symbolic link is followed while it stays inside, as those of a Kubernetes ConfigMap do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._route = StaticRoute(_EVERY_FILE, self._folder)

    def serve(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer with the file of that name, relative to the folder. Raises NotFound, whatever is wrong with the name."""
        if "\0" in name or any(part.startswith(".") for part in name.split("/")) or not self._has(name):
            raise NotFound("Not Found")
        req.path = f"{_EVERY_FILE}/{name}"
        _send(self._route, req, resp)

    def _has(self, name: str) -> bool:
        try:
            found = (self._folder / name).resolve()
            # Opening a pipe would hang, a directory has no bytes.
            return found.is_relative_to(self._folder) and stat.S_ISREG(found.stat().st_mode)
        except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links, no UTF-8
            return False


class Page:
    """One file, whatever the URL below it says: pages with the history API make up their own."""

    def __init__(self, file: Path) -> None:
        # The folder has no file of an empty name, so the fallback is all that this route ever serves.
        self._route = StaticRoute(_EVERY_FILE, file.resolve().parent, fallback_filename=file.resolve().name)

    def serve(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the page."""
        req.path = _EVERY_FILE
        # Under the same URL others get the API.
        vary(resp, "Accept")
        _send(self._route, req, resp)
        if resp.content_type == HTML:
            # As rest_cherrypy says, whatever the page itself says.
            resp.content_type = f"{HTML};charset=utf-8"


class Browser:
    """
    falcon's middleware for `GET /` and for a job's URL, and its sink for URLs that no route knows.

    job_page: the URL of the page that shows a job. page: the application, None without one. page_url: where it is mounted. apart: URLs below which it is never the answer, not even where there is none.
    """

    def __init__(self, page: Page | None, page_url: str, job_page: str, apart: Iterable[str]) -> None:
        self._page = page
        self._job_page = job_page
        self._page_url = page_url
        self._apart = tuple(f"{url}/" for url in apart)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Take a browser to the page that is for it: programs get the API under the same URL."""
        if self._page and req.path == "/" and wants_page(req):
            req.path = self._page_url
        elif _JOB.fullmatch(req.path) and wants_page(req):
            req.path = self._job_page

    def unmatched(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at a URL that no route serves. Raises NotFound."""
        if self._page is None or not wants_page(req) or f"{req.path}/".startswith(self._apart):
            raise NotFound("Not Found")
        self._page.serve(req, resp)


def site_faults(site: SiteSettings) -> list[ConfigFault]:
    """Return what keeps the page or the folder from being served."""
    faults = []
    if site.app is not None and not site.app.is_file():
        faults.append(ConfigFault("site.app", f"{site.app} is no file we can read", "name the page's index.html as the sidecar sees it, or unset the option"))
    if site.static is not None and not site.static.is_dir():
        faults.append(ConfigFault("site.static", f"{site.static} is no folder we can read", "name the folder as the sidecar sees it, or unset the option"))
    return faults


def wants_page(req: falcon.Request) -> bool:
    """Say whether a browser navigates: a GET that names HTML, and likes it better than JSON."""
    if req.method not in {"GET", "HEAD"}:
        return False
    entries = accepted(req.get_header("Accept") or "")
    return entries.get(HTML, 0.0) > entries.get(JSON, 0.0)


def _send(route: StaticRoute, req: falcon.Request, resp: falcon.Response) -> None:
    try:
        route(req, resp)
    except falcon.HTTPNotFound:
        raise NotFound("Not Found") from None
    # Names carry no version, so a browser asks each time; the ETag makes that cheap.
    resp.set_header("Cache-Control", "no-cache")
    resp.set_headers(PAGE_HEADERS)
