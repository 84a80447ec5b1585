"""What we take from the `rest_wsgi` and `rest_cherrypy` sections of the master configuration, where they mean the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service.errors import ConfigFault, did_you_mean

CHERRYPY = "rest_cherrypy"
TLS_OPTIONS = frozenset({"ssl_crt", "ssl_key", "ssl_chain"})
# Where such a path does not exist the page stays unmounted, and the start goes on: the sidecar need not see the master's disk.
PATHS = frozenset({"app", "static"})


def _url(value: Any) -> Any:
    """`app`, `/app` and `/app/` are the same there."""
    return "/" + value.strip("/") if isinstance(value, str) else value


def _prefix(value: Any) -> Any:
    return "" if value == "/" else _url(value)


def _users(value: Any) -> Any:
    return value.get("users") or {} if isinstance(value, Mapping) else value


def _same(value: Any) -> Any:
    return value


# rest_cherrypy's name: ours, and how its value becomes ours.
OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "port": ("api.port", _same),
    "host": ("api.host", _same),
    "root_prefix": ("api.root_prefix", _prefix),
    "max_request_body_size": ("api.body_limit_bytes", _same),
    "authorized_ips": ("access.networks", _same),
    "api_acl": ("access.users", _users),
    "app": ("site.app", _same),
    "app_path": ("site.app_path", _url),
    "static": ("site.static", _same),
    "static_path": ("site.static_path", _url),
    "stats_disable_auth": ("stats.require_login", lambda value: not value),
    "webhook_url": ("hook.url", _url),
    "webhook_disable_auth": ("hook.require_login", lambda value: not value),
}
# These ask for nothing that a caller would notice; they are left without a word.
SILENT = frozenset({"disable_ssl", "debug", "thread_pool", "queue_size", "socket_queue_size", "expire_responses", "collect_stats", "log_access_file", "log_error_file"})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Inherited:
    """
    values: by group and option. sources: where each came from, by our dotted name.
    notes: what is not taken over although an operator may count on it.
    """

    values: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[ConfigFault, ...] = ()


def inherit(raw: Mapping[str, Any]) -> Inherited:
    """Read both sections of the master configuration; `rest_wsgi` wins."""
    section = raw.get(CHERRYPY) or {}
    if not isinstance(section, Mapping):
        note = ConfigFault(CHERRYPY, "is not a mapping, so nothing is taken from it", "correct it in the master configuration, or remove it")
        return _with_rest_wsgi(raw, Inherited(notes=(note,)))
    notes = _notes(section)
    values: dict[str, dict[str, Any]] = {}
    sources = {}
    for name, (dotted, convert) in OPTIONS.items():
        if section.get(name) is None or (name in PATHS and _missing(section[name])):
            continue
        if name == "max_request_body_size" and section[name] == 0:
            continue  # "no limit" there; we keep ours
        group, option = dotted.split(".")
        values.setdefault(group, {})[option] = convert(section[name])
        sources[dotted] = f"{CHERRYPY}.{name}"
    return _with_rest_wsgi(raw, Inherited(values, sources, tuple(notes)))


def _with_rest_wsgi(raw: Mapping[str, Any], rest: Inherited) -> Inherited:
    section = raw.get("rest_wsgi") or {}
    if not isinstance(section, Mapping):
        note = ConfigFault("rest_wsgi", "is not a mapping, so nothing is taken from it", "write `rest_wsgi: {port: 8001}`, or remove it")
        return dataclasses.replace(rest, notes=(*rest.notes, note))
    notes = (*rest.notes, *_unread("rest_wsgi", section, {"port": "api.port"}))
    if "port" not in section:
        return dataclasses.replace(rest, notes=notes)
    values = {**rest.values, "api": {**rest.values.get("api", {}), "port": section["port"]}}
    return Inherited(values, {**rest.sources, "api.port": "rest_wsgi.port"}, notes)


def _notes(section: Mapping[str, Any]) -> list[ConfigFault]:
    notes = []
    if TLS_OPTIONS & set(section) and not section.get("disable_ssl"):
        problem = "asks for TLS, which the sidecar does not speak: this listener is plain HTTP"
        notes.append(
            ConfigFault(
                f"{CHERRYPY}.ssl_crt", problem, "put a proxy with the certificate in front, see docs/migrate.md, and declare it in access.trusted_proxies"
            )
        )
    notes += [
        ConfigFault(f"{CHERRYPY}.{name}", f"{section[name]} does not exist here, so nothing is served from it", f"mount it at that path, or set site.{name}")
        for name in sorted(PATHS & set(section))
        if section[name] is not None and _missing(section[name])
    ]  # fmt: skip
    return [*notes, *_unread(CHERRYPY, {name: section[name] for name in section if name not in {*SILENT, *TLS_OPTIONS}}, OPTIONS)]


def _unread(where: str, section: Mapping[Any, Any], known: Mapping[str, Any]) -> list[ConfigFault]:
    """Return a note for all names that we do not know, if there are any."""
    unread = sorted(str(name) for name in section if name not in known)
    questions = "".join(did_you_mean(name, known) for name in unread[:5])
    told = ConfigFault(
        where, f"{', '.join(unread)[:200]} means nothing here", f"{questions}{'See' if questions else 'see'} docs/migrate.md for what to use instead"
    )
    return [told] if unread else []


def _missing(path: Any) -> bool:
    return isinstance(path, str) and not Path(path).exists()
