"""What a pipeline writes on the command line, and the request that it means."""

from __future__ import annotations

import argparse
import json
from typing import Any, NoReturn

from service.ci.remote import EXIT_USAGE

USAGE = """
examples:
  salt-ci run 'web*' cmd.run 'systemctl is-active app' --deadline 300
  salt-ci apply 'web*' app --batch 1,10%,50% --stop-after 1 --junit report.xml
  salt-ci follow 20261129120000123456
  salt-ci relaunch 20261129120000123456 --failed

environment:
  SALT_API_URL                                  where the API is, such as https://salt.example.org:8000
  SALT_TOKEN, or SALT_TOKEN_FILE                a token, or
  SALT_ID_TOKEN, or SALT_ID_TOKEN_FILE          the pipeline's id token (OpenID Connect), or
  SALT_API_AUDIENCE                             for whom GitHub makes an id token when it is asked for one, or
  SALT_API_USER, SALT_API_EAUTH (file) and      who logs in, and how
  SALT_API_PASSWORD or SALT_API_PASSWORD_FILE
  SALT_API_CA                                   a file of certificates to trust beside those of the machine
  SALT_API_CERT, SALT_API_KEY                   files of a certificate and its key, for a proxy that asks for one; where nothing above is set, it is the login
Secrets are never options: everybody on a machine sees its command lines.

exit codes:
  0 succeeded, or partial    1 failed     2 no minion matched    3 minions are missing    4 timed out    5 cancelled    6 nobody can tell
  10 the server could not be reached: the same command again is safe    11 refused: again is pointless    64 wrong use
  130 interrupted: the job goes on
"""
# Those of which minions can tell state by state.
STATE_FUNCTIONS = ("state.apply", "state.highstate", "state.sls", "state.sls_id")
# Salt's letter of each type of target, what /v1/jobs calls it, and what a target of it looks like.
TARGETS = {
    "E": ("pcre", "a regular expression"),
    "L": ("list", "a list of names, with commas between them"),
    "G": ("grain", "a grain, such as os:Debian"),
    "I": ("pillar", "a value of the pillar, such as role:web"),
    "N": ("nodegroup", "a nodegroup of the master"),
    "C": ("compound", "a compound target, such as 'G@os:Debian and web*'"),
    "S": ("ipcidr", "an address or a subnet"),
    "R": ("range", "a range expression"),
}
AGAIN_ON = {
    "failed": "those that failed (the default)",
    "missing": "those of which no return is known",
    "not_run": "those whose turn never came",
    "not_ok": "all that are not well",
}
WHOM = "which minions: a glob, such as 'web*', or what -E, -L and so on make of it"
WHICH = "the job's id, as the log of its start has it"


class CiParser(argparse.ArgumentParser):
    """A parser whose complaints have the exit code of wrong use."""

    def error(self, message: str) -> NoReturn:
        """End the program with what is wrong."""
        self.print_usage()
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for. Ends the program where nobody can mean it."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = CiParser("salt-ci", description="Run Salt in a pipeline, see it happen, and end with the truth.", epilog=USAGE, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a function on minions (or a runner or wheel function: --client)", epilog=USAGE, formatter_class=formatter)
    run.add_argument("target", metavar="TARGET", help=WHOM)
    run.add_argument("fun", metavar="FUNCTION", help="such as cmd.run")
    run.add_argument("arguments", nargs="*", metavar="ARG", help="an argument, as Salt's command line takes it: VALUE or NAME=VALUE")
    run.add_argument(
        "--client",
        choices=("local", "runner", "wheel", "ssh"),
        default="local",
        help="what runs it; a runner and a wheel function have no target: say '-'; ssh: hosts of the master's roster",
    )
    apply = commands.add_parser("apply", help="apply states, or the highstate", epilog=USAGE, formatter_class=formatter)
    apply.add_argument("target", metavar="TARGET", help=WHOM)
    apply.add_argument("arguments", nargs="*", metavar="SLS", help="states; without any the highstate")
    for command in (run, apply):
        _add_job(command)
    for name, what in (
        ("follow", "show a job from its beginning to its end"),
        ("wait", "wait for a job's end, and show that alone"),
        ("cancel", "cancel a job, and wait for its end"),
    ):
        commands.add_parser(name, help=what, epilog=USAGE, formatter_class=formatter).add_argument("jid", metavar="JID", help=WHICH)
    again = commands.add_parser(
        "relaunch", help="run a job again, as a new one, on the minions that failed or on others of it", epilog=USAGE, formatter_class=formatter
    )
    again.add_argument("jid", metavar="JID", help=WHICH)
    whom = again.add_mutually_exclusive_group()
    for name, what in AGAIN_ON.items():
        whom.add_argument(f"--{name.replace('_', '-')}", dest="minions", action="store_const", const=name, help=what)
    whom.add_argument("--minions", type=lambda text: text.split(","), metavar="NAME,...", help="those with these names")
    again.set_defaults(minions="failed")
    for command in commands.choices.values():
        _add_common(command)
    return parser.parse_args(arguments)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="the API's URL (SALT_API_URL)")
    command.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for a server's first answer (60); after that it is waited for until the deadline",
    )
    command.add_argument(
        "--deadline", type=float, default=3600.0, metavar="SECONDS", help="how long the job may take: then it is judged by what is known (3600)"
    )
    command.add_argument("--json", action="store_true", help="write the job, once it is over, as JSON to standard output, and the log to standard error")
    command.add_argument("--junit", metavar="FILE", help="write a report in JUnit's XML, with a test for each minion")
    command.add_argument("--key", help="the same command with the same key gets the same job; without it the key is made of the pipeline's job, or by chance")
    command.add_argument("--cancel-on-interrupt", action="store_true", help="cancel the job when this is interrupted; without it the job goes on")


def _add_job(command: argparse.ArgumentParser) -> None:
    kind = command.add_mutually_exclusive_group()
    for letter, (name, what) in TARGETS.items():
        kind.add_argument(f"-{letter}", dest="tgt_type", action="store_const", const=name, help=f"TARGET is {what}")
    kind.add_argument("--tgt-type", dest="tgt_type", metavar="TYPE", help="or its type by name: glob (the default), pcre, list, ...")
    command.add_argument("--timeout", type=int, metavar="SECONDS", help="after so long minions that have said nothing are asked whether they run it")
    command.add_argument("--fail-on", choices=("any", "all", "none"), help="the job fails when any minion does, when all do, or never (any)")
    command.add_argument("--missing", choices=("fail", "ignore"), help="whether minions that return nothing count as failed (fail)")
    command.add_argument("--min-success", type=_number, metavar="N|N%", help="the job fails unless so many are well")
    command.add_argument("--fail-on-false", action="store_true", help="a minion that returns `false`, and no more, has failed")
    command.add_argument("--no-state-events", action="store_true", help="do not have minions tell of each state as it ends")
    command.add_argument("--dry-run", action="store_true", help="states say what they would change, and change nothing")
    command.add_argument(
        "--batch",
        type=lambda text: [_number(one) for one in text.split(",")],
        metavar="N|N%,...",
        help="in waves: with 1,10%%,50%% first one minion, then a tenth of all, then half, then the rest",
    )
    command.add_argument("--batch-wait", type=float, metavar="SECONDS", help="between two waves")
    command.add_argument("--stop-after", dest="stop_after_failures", type=_number, metavar="N|N%", help="no further wave once so many have failed")
    command.add_argument("--concurrency", metavar="GROUP", help="a name; of all jobs with the same one only one runs at a time")
    command.add_argument(
        "--when-busy",
        choices=("refuse", "queue", "cancel_running"),
        default="queue",
        help="what becomes of this one, or the other, while another job of GROUP runs (queue)",
    )


def _number(text: str) -> Any:
    return text.strip() if text.strip().endswith("%") else int(text)


def request_of(options: argparse.Namespace, cause_url: str | None) -> dict[str, Any]:
    """Return the body of a request for `/v1/jobs`. cause_url: of the pipeline."""
    positional, named = _arguments(options.arguments if options.command == "run" else [])
    fun = getattr(options, "fun", "state.apply")
    if options.command == "apply" and options.arguments:
        positional = [",".join(options.arguments)]
    request = {
        "client": getattr(options, "client", "local"),
        "fun": fun,
        "arg": positional,
        "kwarg": named,
        "deadline": options.deadline,
        "cause_url": cause_url,
    }
    if request["client"] in {"local", "ssh"}:
        request["tgt"] = options.target.split(",") if options.tgt_type == "list" else options.target
    if request["client"] == "local":
        request["state_events"] = fun in STATE_FUNCTIONS and "state_events" not in named and not options.no_state_events
    optional = "tgt_type timeout fail_on missing min_success fail_on_false dry_run batch batch_wait stop_after_failures"
    request.update({name: getattr(options, name) for name in optional.split()})
    if options.concurrency:
        request["concurrency"] = {"group": options.concurrency, "when_busy": options.when_busy}
    return {name: value for name, value in request.items() if value not in (None, False, [], {})}


def _arguments(texts: list[str]) -> Any:
    """Return arguments by place and by name; values are JSON where they can be read as that, and text else."""
    positional, named = [], {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            named[name] = _value(value)
        else:
            positional.append(_value(text))
    return positional, named


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
