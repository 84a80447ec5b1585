"""
Where the configuration is: the names in the environment, and the files they lead to; and where the ops listener is, with the file of the token it asks for.

A health check runs every few seconds and must not import pydantic and PyYAML for three options. They are read here with the standard library alone as long
as sidecar.yaml is written plainly; anything else is left to the full reading. docs/decisions/0017-cheap-health-checks.md has the reasons.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ENV_PREFIX = "SIDECAR_"
CONFIG_VARIABLE = "SIDECAR_CONFIG"
MASTER_CONFIG_VARIABLE = "SALT_MASTER_CONFIG"
DEFAULT_MASTER_CONFIG = Path("/etc/salt/master")
HOST = "127.0.0.1"
PORT = 9175
MOST_PORT = 65535
SETTINGS_CHARACTERS = 1_000_000
# A master configuration's path that is really a JSON document makes a name too long for the one beside it.
NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
# Values that YAML and pydantic take for what they look like, quoted or not.
_VALUES = {
    "host": re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|localhost"),
    "port": re.compile(r"0|[1-9][0-9]{0,4}"),
    "token_file": re.compile(r"/[A-Za-z0-9_./-]+"),
}
_SECTION = re.compile(r"(?P<name>[a-z_]+):(?P<value>| .+)")
_OPTION = re.compile(r"(?P<indent> +)(?P<name>[a-z_]+): +(?P<quote>[\"']?)(?P<value>[^\"' ]+)(?P=quote)")
# Holds nothing that could end a word of YAML, so either both of its quotes are quotes or both are letters of one word.
_QUOTED = re.compile(r"(?<![^ \[{,])(?:\"(?:[^\"\\,:\[\]{}]|:(?! ))*\"|'(?:[^',:\[\]{}]|:(?! ))*')(?=[ \]},:]|$)")
_FLOW = re.compile(r"\[[^\[\]{}]*\]|\{[^\[\]{}]*\}")
_FLOW_DEPTH = 8


class OpsAddress(NamedTuple):
    """The section `ops` of the settings, as far as a caller of the listener needs it."""

    host: str
    port: int
    token_file: Path | None


class NotPlain(Exception):
    """Only a YAML parser can tell what this is."""


def master_config_path(environ: Mapping[str, str]) -> Path:
    """Return the master configuration's path, from where rest_wsgi takes it too."""
    return Path(environ.get(MASTER_CONFIG_VARIABLE) or DEFAULT_MASTER_CONFIG)


def settings_path(environ: Mapping[str, str]) -> Path:
    """Return where sidecar.yaml is: `SIDECAR_CONFIG`, else beside the master configuration; it need not exist there."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named) if named else master_config_path(environ).parent / "sidecar.yaml"


def environ_name(dotted: str) -> str:
    """Return the environment variable of an option: `api.port` is `SIDECAR_API_PORT`."""
    return ENV_PREFIX + dotted.replace(".", "_").upper()


def quick_address(environ: Mapping[str, str]) -> OpsAddress:
    """Return what environment and sidecar.yaml say. Raises NotPlain if only the full reading can tell, or has a fault to report."""
    variables = environ_name("ops.")
    named = {name.removeprefix(variables).lower(): value for name, value in environ.items() if name.startswith(variables)}
    found = _from_file(environ) | _recognised(named)
    port, token_file = int(found.get("port", PORT)), found.get("token_file")
    if port > MOST_PORT:
        raise NotPlain
    return OpsAddress(found.get("host", HOST), port, Path(token_file) if token_file else None)


def plain_options(text: str) -> dict[str, str]:
    """
    Return the options of the section `ops` as they are written. Raises NotPlain.

    Plain: a section's name stands at the start of a line, what belongs to it is indented, and no quote, bracket or brace is open at the end of a line.
    """
    lines = _lines_of_ops(text)
    options = [option for option in map(_OPTION.fullmatch, lines) if option]
    if len({option["name"] for option in options}) < len(lines) or len({option["indent"] for option in options}) > 1:
        raise NotPlain
    return _recognised({option["name"]: option["value"] for option in options if option["quote"] or option["value"] != "null"})


def _recognised(options: dict[str, str]) -> dict[str, str]:
    if not all(name in _VALUES and _VALUES[name].fullmatch(value) for name, value in options.items()):
        raise NotPlain
    return options


def _from_file(environ: Mapping[str, str]) -> dict[str, str]:
    try:
        with settings_path(environ).open(encoding="utf-8") as file:
            text = file.read(SETTINGS_CHARACTERS)
    except OSError as exc:
        if exc.errno in NO_SUCH_FILE and CONFIG_VARIABLE not in environ:
            return {}
        raise NotPlain from None
    except ValueError:
        raise NotPlain from None
    if len(text) == SETTINGS_CHARACTERS:
        raise NotPlain
    return plain_options(text)


def _lines_of_ops(text: str) -> list[str]:
    own: list[str] = []
    section, seen = "", set()
    for line in filter(None, map(_without_comment, text.split("\n"))):
        if line.startswith(" ") and section:
            own += [line] if section == "ops" else []
            continue
        head = _SECTION.fullmatch(line)
        if not head or (head["name"] == "ops" and (head["value"] or "ops" in seen)):
            raise NotPlain
        section = head["name"]
        seen.add(section)
    return own


def _without_comment(line: str) -> str:
    """Return the line without its comment, nothing if that is all. Raises NotPlain if something stays open at its end."""
    # Tabs, and whatever else YAML may take for the end of a line, are not printable.
    if not line.isprintable():
        raise NotPlain
    if line.lstrip(" ").startswith("#"):
        return ""
    line = line.partition(" #")[0].rstrip(" ")
    rest = _QUOTED.sub("q", line)
    for _ in range(_FLOW_DEPTH):
        rest = _FLOW.sub("q", rest)
    if any(sign in rest for sign in "\"'[]{}#"):
        raise NotPlain
    return line
