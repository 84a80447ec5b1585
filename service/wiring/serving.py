"""The life of the process: listen, serve, stop in order."""

from __future__ import annotations

from collections.abc import Mapping

from service.gateway.master.options import SALT_VERSION
from service.observe.log import log
from service.server.lifecycle import Life, Signals, run
from service.server.runtime import tame_collector, tell_systemd
from service.settings import settings
from service.wiring.configuration import Configuration
from service.wiring.listeners import api_listener, ops_listener, socket_listeners
from service.wiring.process import Process


def serve(configuration: Configuration, environ: Mapping[str, str], signals: Signals) -> int:
    """Listen, serve until a signal, stop in order; return the exit code. Raises InvalidConfiguration when a port is taken."""
    process, logger = Process(configuration), log.get()
    api, ops = api_listener(process, configuration.settings), ops_listener(process, configuration.settings.ops)
    sockets = socket_listeners(process, configuration.settings)
    process.metrics.watch_pool(api)
    process.traffic.watch(api)
    for note in configuration.notes:
        logger.warning("config.ignored", where=note.where, problem=note.problem, fix=note.fix)
    logger.info("config.loaded", source=sorted(set(configuration.told_by.values())), keys=sorted(configuration.told_by))
    logger.info(
        "app.start",
        salt_version=SALT_VERSION,
        api=f"{api.host}:{api.port}",
        ops=f"{ops.host}:{ops.port}",
        websocket=f"{api.host}:{sockets[0].port}" if sockets else "off",
        master=configuration.master.request_uri,
        config_digest=settings.digest(configuration.settings),
    )
    process.audit.note("start", {"salt_version": SALT_VERSION})
    process.start()
    life = Life(
        api,
        ops,
        configuration.settings.drain,
        on_draining=process.health.drain,
        on_reload=lambda: process.reloading.reload(environ),
        on_closing=process.end_waits,
        on_stopped=process.stop,
        on_serving=lambda: tell_systemd("READY=1", environ),
        settle=process.gateway.settle,
        sockets=sockets,
    )
    tame_collector()
    return run(life, signals)
