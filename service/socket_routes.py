"""The table of the URLs that are websockets, at a port of their own; the API's table has the same templates, for who asks there."""

from __future__ import annotations

from collections.abc import Callable

from service.api import gates
from service.api.websocket import WebsocketResource
from service.http.app import Gate
from service.http.media import encode
from service.route_rows import ApiParts, Needs, Route
from service.settings.settings import Settings
from service.streaming import formatted, messages
from service.streaming.messages import MessageForm


def _route(path: str, plain: Callable[[ApiParts], MessageForm], shown: Callable[[ApiParts], MessageForm]) -> Route[ApiParts]:
    """Return the row of a path, below which a token may stand. plain, shown: the messages without and with `?format_events`."""

    def build(parts: ApiParts) -> WebsocketResource:
        return WebsocketResource(
            parts.streams,
            parts.sessions,
            parts.stream_slots,
            parts.settings.events,
            parts.report,
            on_lag=parts.metrics.stream_lag,
            plain=plain(parts),
            formatted=shown(parts),
        )

    def at(_ours: Settings) -> tuple[str, ...]:
        return path, f"{path}/{{token:path}}"

    return Route(path, WebsocketResource, build, {"GET": Needs.PATH_SESSION}, at=at, pageless=True)


def _cherrypy(parts: ApiParts) -> MessageForm:
    return formatted.formatted(formatted.CHERRYPY, encode, _forgotten(parts), acknowledges=True)


def _tornado(parts: ApiParts) -> MessageForm:
    return formatted.formatted(formatted.TORNADO, encode, _forgotten(parts))


def _forgotten(parts: ApiParts) -> Callable[[int], None]:
    return lambda count: parts.metrics.stream_dropped("picture_full", count)


SOCKETS: tuple[Route[ApiParts], ...] = (
    _route("/ws", lambda _: messages.CHERRYPY, _cherrypy),
    # rest_tornado does not know `?format_events`.
    _route("/all_events", lambda _: messages.TORNADO, lambda _: messages.TORNADO),
    _route("/formatted_events", _tornado, _tornado),
)


def socket_gates(parts: ApiParts, may_share: Callable[[str], bool]) -> dict[Needs, Gate]:
    """Return the gate for what a caller of a websocket must show. may_share: see `gates.by_consent`."""
    meant = gates.by_meant_cookie(parts.sessions.of, parts.settings.session.cookie_name, may_share)
    return {Needs.PATH_SESSION: gates.path_session(gates.unscoped(meant))}
