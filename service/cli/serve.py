"""`salt-sidecar serve`: the production entry point."""

from __future__ import annotations

import argparse
import gc
import os
import pwd
import sys

from service.errors import ConfigFault, InvalidConfiguration
from service.observe.log import log


def uid_faults(uid: int | None = None) -> list[ConfigFault]:
    """Return why Salt could not even be imported: it looks our uid's name up while it is."""
    uid = os.geteuid() if uid is None else uid
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return [ConfigFault("uid", f"uid {uid} has no entry in /etc/passwd, and Salt asks for its name", "run as a user that exists, in our image 450")]
    return []


def main(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; return the exit code."""
    from service.server.runtime import tame_malloc  # noqa: PLC0415 - only who serves needs ctypes

    # What a start makes is modules, and stays: to look through it for garbage is a tenth of the start. `tame_collector` begins with that when all is there.
    gc.disable()
    tame_malloc(os.environ)
    # First of all: from here on only JSON leaves this process, whatever Salt prints when it is imported.
    log.install()
    try:
        return _serve(args.environ)
    except InvalidConfiguration as exc:
        for fault in exc.faults:
            log.get().error("config.invalid", where=fault.where, problem=fault.problem, fix=fault.fix)
        return os.EX_CONFIG
    finally:
        gc.enable()
        log.close()
        sys.stdout.flush()


def _serve(environ: dict[str, str]) -> int:
    """Read the configuration and serve. Raises InvalidConfiguration."""
    if faults := uid_faults():
        raise InvalidConfiguration(faults)
    from service.gateway.master.quiet_salt import tame_salt  # noqa: PLC0415 - it imports Salt

    tame_salt()
    from service.server.lifecycle import Signals  # noqa: PLC0415
    from service.wiring.configuration import read_configuration  # noqa: PLC0415
    from service.wiring.serving import serve  # noqa: PLC0415

    signals = Signals()
    configuration = read_configuration(environ)
    ours = configuration.settings.log
    if not log.install(ours.level, ours.queue_lines, ours.format):
        log.get().warning("config.ignored", where="log.format", problem="console is for terminals, and standard output is not one", fix="set it to json or ecs")
    return serve(configuration, environ, signals)
