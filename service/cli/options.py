"""The options that several subcommands share, and the exit status of a configuration that cannot work. Only the standard library, for `health`."""

from __future__ import annotations

import argparse
import os

# sysexits.h: a configuration error; supervisors and people can tell it from a crash.
EX_CONFIG = 78


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; each stands for a variable of the environment and wins over it."""
    parser.add_argument("--master-config", metavar="FILE", help="the master configuration (SALT_MASTER_CONFIG; default /etc/salt/master)")
    parser.add_argument("--config", metavar="FILE", help="our settings (SIDECAR_CONFIG; default sidecar.yaml beside the master configuration)")
    parser.add_argument("--api-port", metavar="N", help="port of the API (SIDECAR_API_PORT; default 8001)")
    parser.add_argument("--ops-port", metavar="N", help="port of /metrics, /livez and /readyz (SIDECAR_OPS_PORT; default 9175)")


def environ_of(args: argparse.Namespace) -> dict[str, str]:
    """Return the process' environment with the command line's options in it."""
    given = {
        "SALT_MASTER_CONFIG": args.master_config,
        "SIDECAR_CONFIG": args.config,
        "SIDECAR_API_PORT": args.api_port,
        "SIDECAR_OPS_PORT": args.ops_port,
    }
    return {**os.environ, **{name: value for name, value in given.items() if value is not None}}
