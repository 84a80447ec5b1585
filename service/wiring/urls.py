"""What serves each URL, and what stands in front of the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from service.auth.webhook import Webhooks
from service.http.app import build
from service.http.bearer import BearerFile
from service.http.browser import Browser
from service.http.cookies import SessionCookie
from service.http.files import Folder, Page
from service.http.paths import Paths
from service.limits import Slots

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from service.wiring.process import Process


def api_app(process: Process) -> WSGIApplication:
    """Build the API. What stands in front of the routes stands here, in its order."""
    site, routes = process.settings.site, _resources(process)
    page = Page(site.app) if site.app else None
    browser = Browser(page, site.app_path, site.static_path)
    if page is not None:
        routes |= dict.fromkeys((site.app_path, f"{site.app_path}/{{rest:path}}"), App(page))
    if site.static is not None:
        routes[f"{site.static_path}/{{name:path}}"] = Static(Folder(site.static))
    # Strangers first, whatever they ask for; OPTIONS before any route; the page last, for it wants the URL as the routes know it.
    front = [process.access, Paths(process.settings.api.root_prefix), process.cors, browser]
    return build(routes, on_crash=process.crashed, middleware=front, unmatched=browser.unmatched)


def ops_app(process: Process) -> WSGIApplication:
    """Build what probes and Prometheus see."""
    token = BearerFile(process.settings.ops.token_file)
    routes = {
        "/livez": Live(),
        "/readyz": Ready(process.health, token, process.look_for_skew),
        "/metrics": MetricsPage(process.metrics, process.refresh, token),
    }
    return build(routes, on_crash=process.crashed)


def _event_resources(process: Process) -> dict[str, object]:
    """Make what serves the event bus' URLs."""
    ours, sessions = process.settings, process.sessions
    webhooks = Webhooks(ours.hook.endpoints, require_login=ours.hook.require_login)
    hook = Hook(process.gateway.fire, webhooks, sessions, process.quick_calls, ours.hook.body_limit_bytes, audit=process.audit.begin)
    resources: dict[str, object] = {
        "/events": Events(process.streams, sessions, Slots("event streams", ours.events.streams), ours.events, process.report),
        **dict.fromkeys((ours.hook.url, f"{ours.hook.url}/{{path:path}}"), hook),
    }
    for path in ("/ws", "/all_events", "/formatted_events"):
        resources |= dict.fromkeys((path, f"{path}/{{rest:path}}"), NoWebsocket(path))
    return resources


def _resources(process: Process) -> dict[str, object]:
    """Make what serves each URL of the API."""
    commands, sessions, ours = process.commands, process.sessions, process.settings
    cookie = SessionCookie(ours.session.cookie_name, ours.session.cookie_samesite, ours.session.cookie_secure)
    return {
        "/": Root(commands, sessions),
        "/run": Run(commands),
        "/login": Login(sessions, cookie),
        "/logout": Logout(sessions, cookie),
        "/token": Token(sessions, lambda: commands.policy.lows_per_request),
        "/minions": Minions(commands, sessions),
        "/minions/{mid}": Minion(commands, sessions),
        "/jobs": Jobs(commands, sessions),
        "/jobs/{jid}": Job(commands, sessions),
        "/keys": Keys(commands, sessions),
        "/keys/{mid}": Key(commands, sessions),
        "/stats": Stats(process.traffic, sessions, require_login=ours.stats.require_login),
        **_event_resources(process),
    }
