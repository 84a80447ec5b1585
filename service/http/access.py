"""Access lists: which networks may call at all, under which of our names, and which users from where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import falcon

from service.errors import AddressRefused, BadRequest, Unauthenticated
from service.http.addresses import Networks
from service.http.request_info import RequestInfo

EVERY_USER = "*"
_PORT = re.compile(r":\d*\Z", re.ASCII)


class Access:
    """
    The three lists; each is open while it is empty.

    hosts: what `Host` may be, with or without its port; a page whose name was made to lead here comes under its own name (DNS rebinding). users: networks by user name. Once a user is listed, the others come under `*`, and are refused if there is none.
    As falcon's middleware it stands in front of every URL of the API, also those that do not exist.
    """

    def __init__(self, networks: Iterable[str] = (), users: Mapping[str, Iterable[str]] | None = None, hosts: Iterable[str] = ()) -> None:
        self.adjust(networks, users or {}, hosts)

    def adjust(self, networks: Iterable[str], users: Mapping[str, Iterable[str]], hosts: Iterable[str]) -> None:
        """Take new lists, in a running process."""
        self._networks = Networks(networks)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._users = {name: Networks(allowed) for name, allowed in users.items()}

    @property
    def knows_users(self) -> bool:
        """Whether it matters who calls; while it does not, nobody need look a token up for it."""
        return bool(self._users)

    def admit(self, address: str, user: str) -> None:
        """Raise Unauthenticated if *user* may not call from there: 401, as rest_cherrypy's `api_acl`."""
        users = self._users
        if users and address not in users.get(user if user in users else EVERY_USER, Networks()):
            raise Unauthenticated("this user may not call from this address")

    def admit_address(self, address: str) -> None:
        """Raise AddressRefused if nobody may call from there: 403, as rest_cherrypy's `authorized_ips`."""
        if self._networks and address not in self._networks:
            raise AddressRefused("calls from this address are not allowed")

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Turn the request away before anything of it is looked at."""
        self.admit_address(RequestInfo.of(req.env).address)
        if self._hosts:
            host = req.env.get("HTTP_HOST", "").lower()
            if self._hosts.isdisjoint({host, _PORT.sub("", host)}):
                raise BadRequest("this Host is not served (api.hosts)")
