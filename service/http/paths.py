"""The URL as the routes know it: without prefix, doubled slashes in front, or slashes at the end."""

from __future__ import annotations

from collections.abc import Iterable

import falcon

from service.errors import ConfigFault, NotFound
from service.settings.settings import Settings

# Where these are by default is free when the settings move them.
MOVABLE = frozenset({"app", "static", "hook"})


class Paths:
    """falcon's middleware in front of the router."""

    def __init__(self, root_prefix: str = "") -> None:
        self._prefix = root_prefix.rstrip("/")

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """
        Rewrite the path: a base URL with a slash at its end gives `//login`, and `/login/` is `/login`.

        Raises NotFound outside the prefix.
        """
        path = self.inside(req.path)
        if path is None:
            raise NotFound("Not Found")
        req.path = path

    def inside(self, path: str) -> str | None:
        """Return a path as the routes know it, None outside the prefix."""
        path = "/" + path.strip("/")
        if path != self._prefix and not path.startswith(self._prefix + "/"):
            return None
        return "/" + path[len(self._prefix) :].strip("/")


def url_faults(ours: Settings, templates: Iterable[str]) -> list[ConfigFault]:
    """Return the URLs that the settings move onto one of *templates*, or onto each other."""
    moved = {"site.app_path": ours.site.app_path, "site.static_path": ours.site.static_path, "hook.url": ours.hook.url}
    taken = {template.split("/")[1] for template in templates} - {"", *MOVABLE}
    faults = []
    for name, url in moved.items():
        first = url.split("/")[1]
        if first in taken:
            faults.append(ConfigFault(name, f"/{first} is the URL of something else", "choose another one"))
        taken.add(first)
    return faults
