"""The command `salt-sidecar`: which subcommands there are and what they take; each is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from service.cli.health import add_arguments as add_health_arguments
from service.jobs import JobStatus
from service.settings.locations import CONFIG_VARIABLE, MASTER_CONFIG_VARIABLE, environ_name

DESCRIPTION = "A sidecar for the salt-master that turns HTTP into Salt calls."
SOURCES = "Settings: SIDECAR_* in the environment, over sidecar.yaml, over the master's rest_wsgi section, over defaults; see docs/settings.md."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    args = parser().parse_args(argv)
    args.environ = {**os.environ, **{name: value for name, value in vars(args).items() if name.isupper() and value is not None}}
    module, _, function = args.run.partition(":")
    run: Callable[[argparse.Namespace], int | None] = getattr(importlib.import_module(module), function)
    return run(args) or 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="salt-sidecar", description=DESCRIPTION)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_sources(_command(commands, "serve", "service.cli.serve:main", "Serve until SIGTERM; JSON lines on stdout.", SOURCES))
    purpose = "Ask the ops listener how the sidecar is: exit code 0 if it is well, else 1."
    health = _command(commands, "health", "service.cli.health:main", purpose, SOURCES)
    _add_sources(health)
    add_health_arguments(health)
    purpose = "Validate settings, master configuration, sockets and the master itself; report all faults at once."
    _add_sources(_command(commands, "check", "service.cli.check:main", purpose, SOURCES))
    demo = _command(commands, "demo", "service.cli.demo:main", "Start a salt-master, minions and the sidecar on this machine, until Ctrl-C.")
    demo.add_argument(
        "--dir", type=Path, default=None, metavar="DIR", help="folder that keeps keys and passwords (default: salt-sidecar/demo in the user's cache)"
    )
    demo.add_argument("--api-port", type=int, default=8001, metavar="N", help="port of the API (default: %(default)s; 0 picks a free one)")
    demo.add_argument("--ops-port", type=int, default=9175, metavar="N", help="port of /metrics, /livez and /readyz (default: %(default)s; 0 picks a free one)")
    demo.add_argument("--minions", type=_minions, default=2, metavar="N", help="how many minions (default: %(default)s)")
    _command(commands, "smoke", "service.cli.smoke:main", "Start the demo on free ports, send one call of each client, check the answers, stop.")
    _add_audit(commands)
    _add_policy(commands)
    _add_jobs(commands)
    _add_identities(commands)
    _command(commands, "version", "service.cli:version", "Print our version, Salt's and Python's.")
    docs = _command(commands, "docs", "service.cli.docs:main", "Print the documentation that is generated from the code.")
    docs.add_argument("--write", action="store_true", help="write it to the repository's files instead")
    return top


def _add_sources(command: argparse.ArgumentParser) -> None:
    """Add the options that stand for a variable of the environment, and win over it; `args.environ` has them in it."""
    command.add_argument("--master-config", dest=MASTER_CONFIG_VARIABLE, metavar="FILE", help="the master configuration (%(dest)s; default /etc/salt/master)")
    _add_config(command)
    command.add_argument("--api-port", dest=environ_name("api.port"), metavar="N", help="port of the API (%(dest)s; default 8001)")
    command.add_argument("--ops-port", dest=environ_name("ops.port"), metavar="N", help="port of /metrics, /livez and /readyz (%(dest)s; default 9175)")


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", dest=CONFIG_VARIABLE, metavar="FILE", help="our settings (%(dest)s; default sidecar.yaml beside the master configuration)")


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "Print the HMAC that stands for a value in the audit trail, to search for it there."
    hashing = _command(commands, "audit-hash", "service.cli.audit:hash_value", purpose, "Example: salt-sidecar audit-hash - < value | grep -f - audit.jsonl")
    hashing.add_argument("value", metavar="VALUE|-", help="the value; - reads it from standard input, where no other user of the machine sees it")
    hashing.add_argument("--key-file", type=Path, metavar="FILE", help="the key (default: audit.hmac_key_file of the settings)")
    _add_config(hashing)
    purpose = "Follow the hash chain of audit files, in the order they were written; exit status 1 at the first line that breaks it."
    verify = _command(
        commands, "audit-verify", "service.cli.audit:verify", purpose, "Lines cut off at the end of the last file leave no trace; compare its last number."
    )
    verify.add_argument("files", metavar="FILE", nargs="+", help="an audit file, uncompressed; - for standard input")


def _add_policy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "Ask the policy of the settings (policy.rules)."
    asked = commands.add_parser("policy", help=purpose, description=purpose).add_subparsers(metavar="COMMAND", required=True)
    purpose = "Say what the policy would decide about a call, and why: exit code 0 if it is allowed, 1 if it is refused. The master's own rights come after it."
    test = _command(asked, "test", "service.cli.policy:main", purpose, "Example: salt-sidecar policy test anna cmd.run 'web*' --eauth pam --groups ops")
    test.add_argument("user", metavar="USER", help="the name that the caller proves, or claims in a low")
    test.add_argument("function", metavar="FUN", help="the function; of several, parted by commas, each is judged by itself")
    test.add_argument("target", metavar="TGT", nargs="?", default="*", help="the minions, for the local clients (default: %(default)s)")
    test.add_argument("--tgt-type", default="glob", metavar="TYPE", help="how TGT is read (default: %(default)s)")
    test.add_argument("--client", default="local", metavar="CLIENT", help="who runs it: local, runner, wheel, or one of their forms (default: %(default)s)")
    test.add_argument("--eauth", metavar="EAUTH", help="the eauth module; without it, it counts as not known")
    test.add_argument(
        "--groups", metavar="GROUPS", help="what a token says of the groups, parted by commas; without it they are not known, as for a password in a low"
    )
    test.add_argument("--address", default="127.0.0.1", metavar="ADDRESS", help="where the call comes from (default: %(default)s)")
    _add_config(test)


def _add_jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "Look after the store of the jobs of /v1/jobs (jobs.store), while the sidecar runs too."
    asked = commands.add_parser("jobs", help=purpose, description=purpose).add_subparsers(metavar="COMMAND", required=True)
    listing = _jobs_command(asked, "list", "List jobs of all owners, the newest first.", "Example: salt-sidecar jobs list --status in_doubt")
    listing.add_argument("--owner", metavar="EAUTH:USER", help="only this owner's")
    listing.add_argument("--status", choices=get_args(JobStatus), metavar="STATUS", help="only those in this status: %(choices)s")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="most jobs, -1 for all (default: %(default)s)")
    purpose = "Show a job and what is known of each minion, without returns: exit code 1 if there is no such job."
    _jobs_command(asked, "show", purpose).add_argument("jid", metavar="JID", help="the job's id")
    purpose = "Remove jobs that have been over for a while, with their Idempotency-Keys: the same request again runs again. Jobs that are not over stay."
    pruning = _jobs_command(asked, "prune", purpose, "The sidecar does this by itself: see jobs.keep_seconds. The file does not shrink; new jobs use its room.")
    pruning.add_argument("--older-than", type=_age, metavar="AGE", help="how long they have been over: 90, 30m, 12h or 7d (default: jobs.keep_seconds)")
    pruning.add_argument("--dry-run", action="store_true", help="say how many, and remove none")
    purpose = "Read through the store, and say who has it, its version and its size: exit code 1 if it is damaged."
    _jobs_command(asked, "check", purpose, "It reads the whole file, which may take a minute.")
    purpose = "Write a sound copy of the store, while jobs go on; a copy of its files would be none. It has all returns: keep it secret."
    _jobs_command(asked, "backup", purpose).add_argument("file", type=Path, metavar="FILE", help="the copy; it must not exist")


def _add_identities(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    purpose = "Make the key by which the sidecar proves to the master whom it logs in, unless it is there, and print what the master's configuration needs."
    key = _command(
        commands, "identity-key", "service.cli.identity_key:key", purpose, "The file is for the sidecar alone (mode 0600); no other has the private key."
    )
    key.add_argument("files", type=Path, nargs="+", metavar="FILE", help="the private key (identities.key_file), and the one that will follow it")
    key.add_argument(
        "--audience", default="salt-master", metavar="NAME", help="the master's name: what is signed for it is good at no other (default: %(default)s)"
    )
    purpose = "Write the master's eauth module `sidecar` into a folder, and print what the master's configuration needs; restart the master afterwards."
    _command(commands, "install-eauth", "service.cli.identity_key:install", purpose).add_argument("folder", type=Path, metavar="DIR", help="the folder")


def _jobs_command(asked: argparse._SubParsersAction[argparse.ArgumentParser], name: str, purpose: str, epilog: str | None = None) -> argparse.ArgumentParser:
    command = _command(asked, name, "service.cli.stored_jobs:main", purpose, epilog)
    command.set_defaults(jobs_command=name)
    if name != "backup":
        command.add_argument("--json", action="store_true", help="print JSON")
    _add_config(command)
    return command


def version(_args: argparse.Namespace) -> None:
    """Print the three versions one asks for in a bug report."""
    from importlib import metadata  # noqa: PLC0415 - the other commands do not need it

    from service import __version__  # noqa: PLC0415

    print(f"salt-sidecar {__version__}")
    print(f"salt {metadata.version('salt')}")
    print(f"python {sys.version.split()[0]}")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: str, purpose: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=purpose, description=purpose, epilog=epilog)
    command.set_defaults(run=run)
    return command


def _minions(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 20:
        raise argparse.ArgumentTypeError("between 1 and 20")
    return number


def _age(text: str) -> float:
    """Read a number of seconds, minutes, hours or days."""
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    number = float(text if factor is None else text[:-1])
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds, or one that ends in m, h or d")
    return number * (factor or 1)
