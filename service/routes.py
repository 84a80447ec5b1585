"""Every URL and the class that serves it."""

from __future__ import annotations

from service.api.events import Events
from service.api.hook import Hook
from service.api.jobs import Job, Jobs
from service.api.keys import Key, Keys
from service.api.login import Login
from service.api.logout import Logout
from service.api.minions import Minion, Minions
from service.api.ops import Live, MetricsPage, Ready
from service.api.root import Root
from service.api.run import Run
from service.api.site import App, Static
from service.api.stats import Stats
from service.api.token import Token
from service.api.unavailable import NoWebsocket

# docs/http.md is generated from here.
API_RESOURCES: dict[str, type] = {
    "/": Root,
    "/run": Run,
    "/login": Login,
    "/logout": Logout,
    "/token": Token,
    "/minions": Minions,
    "/minions/{mid}": Minion,
    "/jobs": Jobs,
    "/jobs/{jid}": Job,
    "/keys": Keys,
    "/keys/{mid}": Key,
    "/hook": Hook,
    "/events": Events,
    "/ws": NoWebsocket,
    "/all_events": NoWebsocket,
    "/formatted_events": NoWebsocket,
    "/stats": Stats,
    "/app": App,
    "/static": Static,
}
OPS_RESOURCES: dict[str, type] = {"/livez": Live, "/readyz": Ready, "/metrics": MetricsPage}
