"""The session cookie, as it is set and cleared."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Literal

import falcon

# The last second that a cookie's date can say.
LATEST = 253_402_300_799.0


@dataclasses.dataclass(frozen=True)
class SessionCookie:
    """name, samesite, secure: as the settings of these names."""

    name: str
    samesite: Literal["lax", "strict", "none"]
    secure: Literal["auto", "always", "never"]

    def set(self, req: falcon.Request, resp: falcon.Response, token: str, expire: float) -> None:
        """Set the cookie; it lives as long as the token. expire: seconds since 1970."""
        expires = dt.datetime.fromtimestamp(min(expire, LATEST), dt.timezone.utc)
        resp.set_cookie(self.name, token, expires=expires, path="/", secure=self._secure(req), http_only=True, same_site=self.samesite.capitalize())

    def clear(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make the caller drop the cookie."""
        past = dt.datetime.fromtimestamp(0, dt.timezone.utc)
        resp.set_cookie(self.name, "", expires=past, path="/", secure=self._secure(req), http_only=True, same_site=self.samesite.capitalize())

    def _secure(self, req: falcon.Request) -> bool:
        """Say whether the cookie is for https only; on plain http Java and Go clients would drop it and could not log out."""
        return self.secure == "always" or (self.secure == "auto" and req.scheme == "https")
