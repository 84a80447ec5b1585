"""From the frames of a stream to the messages of a websocket, as rest_cherrypy and rest_tornado send them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

# Events as the fan-out has rendered them, to the messages that a websocket gets.
Render = Callable[[bytes], list[bytes]]


def lines_of(rendered: bytes) -> list[bytes]:
    """
    Return the JSON of each event in what the fan-out has rendered.

    Source: streaming/rendering.py, `frame`: there are line ends around it, and none inside.
    """
    return [event.rpartition(b"\ndata: ")[2] for event in rendered.split(b"\n\n")[:-1]]


def prefixed(rendered: bytes) -> list[bytes]:
    """Return the events as rest_cherrypy's `/ws` sends them. Source: salt/netapi/rest_cherrypy/app.py, WebsocketEndpoint."""
    return [b"data: %b\n\n" % line for line in lines_of(rendered)]


@dataclasses.dataclass(frozen=True)
class MessageForm:
    """
    The messages of one URL.

    render: makes what renders for one websocket. acknowledges: whether each message of the caller is answered. globs: the tags of the events that it is made of, all when empty.
    """

    render: Callable[[], Render]
    acknowledges: bool = False
    globs: Sequence[str] = ()


# rest_cherrypy's `/ws`, and rest_tornado's `/all_events`.
CHERRYPY = MessageForm(lambda: prefixed, acknowledges=True)
# Source: salt/netapi/rest_tornado/saltnado_websockets.py, AllEventsHandler.
TORNADO = MessageForm(lambda: lines_of)
