"""`/ws`, `/all_events` and `/formatted_events`: the master's event bus as messages of a websocket."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable

import falcon

from service.auth.sessions import StreamSessions, still_holds
from service.errors import NotOffered
from service.http.request_info import RequestInfo
from service.limits import Slots
from service.settings.settings import EventSettings
from service.streaming.fanout import Streams
from service.streaming.messages import MessageForm
from service.streaming.readers import view_of
from service.streaming.sse import StreamReport
from service.streaming.subscription import End, Subscription, Upgrade

# The parameter of `/ws` that asks for jobs and minions instead of events.
FORMATTED = "format_events"


class NoWebsocketResource:
    """
    Websockets are not served at this port, but at that of `websocket.port`, if it is set: a proxy in front of both leads them there.

    docs/events.md has the messages, which are those of rest_cherrypy and rest_tornado. `/events` carries the same events.
    """

    any_accept = True

    def __init__(self, port: int | None) -> None:
        """port: where websockets are served, None: nowhere."""
        self._words = "websockets are not offered (websocket.port)" if port is None else f"websockets are served at port {port} (websocket.port)"

    def on_get(self, _req: falcon.Request, _resp: falcon.Response, rest: str = "") -> None:
        """Answer 501, name the port of websockets, if there is one, and point to `/events`."""
        del rest
        raise NotOffered(f"{self._words}; GET /events streams the same events (Server-Sent Events)")


class WebsocketResource:
    """
    The event stream as messages of a websocket, at the port of `websocket.port`. It begins when the caller has sent `websocket client ready`.

    The token may stand in the path too, as with rest_cherrypy and rest_tornado. `?tag=` selects events, as at `/events`.
    Rights, filters and slots are those of `/events`.
    """

    any_accept = True

    def __init__(
        self,
        streams: Streams,
        sessions: StreamSessions,
        slots: Slots,
        settings: EventSettings,
        report: StreamReport,
        *,
        on_lag: Callable[[float], None],
        plain: MessageForm,
        formatted: MessageForm,
    ) -> None:
        """on_lag(seconds): how old events were when their connection had them. plain, formatted: the messages without and with `?format_events`."""
        self._streams = streams
        self._sessions = sessions
        self._slots = slots
        self._settings = settings
        self._report = report
        self._on_lag = on_lag
        self._plain, self._formatted = plain, formatted

    def on_get(self, req: falcon.Request, resp: falcon.Response, token: str = "") -> None:
        """Grant the websocket that is asked for. token: stands for `X-Auth-Token`; the gate has read it."""
        del token
        identity, info = req.context.session.identity, RequestInfo.of(req.env)
        form = self._formatted if req.has_param(FORMATTED) else self._plain
        globs = req.get_param_as_list("tag") or form.globs
        view = view_of(identity, globs, everybody=self._settings.visibility == "everybody")
        with contextlib.ExitStack() as held:
            held.enter_context(self._slots.take(identity.holder_at(info.address)))
            info.kind = "websocket"
            self._report.stream_opened(info.request_id, view.told, kind=info.kind)
            give_back = held.pop_all()

        def closed(reason: End, sent: int, dropped: int) -> None:
            give_back.close()
            self._report.stream_closed(info.request_id, reason, sent, dropped, time.monotonic() - info.started)

        Upgrade.of(req.env).subscription = resp.stream = Subscription(
            self._streams,
            view,
            form,
            heartbeat_seconds=self._settings.heartbeat_seconds,
            alive=functools.partial(still_holds, self._sessions.of, req.env),
            on_lag=self._on_lag,
            on_closed=closed,
        )
