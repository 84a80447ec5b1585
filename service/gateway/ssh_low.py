"""A low for the client ssh: what may be in it, so that the master's salt-ssh gets a host of its roster and a function, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.errors import BadRequest

# Of those that RosterMatcher knows, the ones that need nothing but the roster, and the nodegroups in the configuration. Source: salt/utils/roster_matcher.py.
SSH_TARGET_TYPES = frozenset({"glob", "list", "nodegroup", "pcre"})
# What SSHClient takes from a low besides (sanitize_kwargs, and `jid` for cmd), and what older releases took.
REFUSED_FIELDS = frozenset(
    """
    extra_filerefs extra_mods host ignore_host_keys jid known_hosts_file min_extra_mods mine no_host_keys python2_bin python3_bin rand_thin_dir raw_shell
    refresh_cache regen_thin saltfile static thin_extra_mods verbose
    """.split()
)
# Each is an option of ssh or of a roster: `ssh_priv`, `ssh_options`, `ssh_user`, `roster_file`, `rosters` and more.
REFUSED_PREFIXES = ("ssh_", "roster")
# Arguments of state functions by which a file of the master's is read that no state names. Source: salt/utils/state.py, get_sls_opts; salt/client/ssh/state.py.
REFUSED_ARGUMENTS = frozenset({"extra_filerefs", "localconfig"})
# salt-ssh runs these on the master: they read its files, render what the caller sends, or name a roster. Source: salt/client/ssh/wrapper.
AT_MASTER = frozenset({"cp", "mine", "publish", "saltcheck", "slsutil", "ssh_pki", "x509"})
AT_MASTER_FUNCTIONS = frozenset({"cmd.script", "cmd.script_retcode"})
# An option of salt-call's that salt-ssh takes from the end of the arguments. Source: salt/client/ssh/ssh_py_shim.py.
NO_PARSE = "--no-parse="
MAX_TARGET_CHARACTERS = 1024
# Blanks and quotes would end a word of a shell's, @ a user's name, and a comma a name in a list.
_HOST = re.compile(r"[\w.:*?\[\]!+-]+")
_PLAIN_HOST = re.compile(r"[\w.:+-]+")
_NODEGROUP = re.compile(r"[\w.+-]+")
# A part of a glob: a set of characters as fnmatch reads it, or a character.
_PART = re.compile(r"\[(?:!\][^\]]*|![^\]]+|\][^\]]*|[^\]!][^\]]*)\]|.", re.DOTALL)
_ARGUMENT = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)


def check_ssh(fields: dict[str, Any], fun: str, where: str) -> None:
    """Check the fields of a low for ssh, in place; `kwarg` and `timeout` have their shapes. Raises BadRequest."""
    for name in fields:
        if name in REFUSED_FIELDS or name.startswith(REFUSED_PREFIXES):
            raise BadRequest(f"{where}{name[:64]} is refused: the roster, keys and options of ssh are the master's own", field=name)
    if fun.partition(".")[0] in AT_MASTER or fun in AT_MASTER_FUNCTIONS:
        raise BadRequest(f"{where}{fun} is refused with client ssh: salt-ssh would run it on the master itself", field="fun")
    fields.setdefault("tgt_type", fields.pop("expr_form", "glob"))
    if not isinstance(fields["tgt_type"], str) or fields["tgt_type"] not in SSH_TARGET_TYPES:
        raise BadRequest(f"{where}tgt_type must be one of {', '.join(sorted(SSH_TARGET_TYPES))} with client ssh", field="tgt_type")
    if "tgt" not in fields:
        raise BadRequest(f"{where}tgt is missing: which hosts of the roster to run on, such as '*'", field="tgt")
    if not _is_target(fields["tgt"], fields["tgt_type"]):
        raise BadRequest(f"{where}tgt must name hosts by their ids in the roster, without user, blanks or quotes, as tgt_type says", field="tgt")
    arg = fields.get("arg", [])
    fields["arg"] = arg if isinstance(arg, list) else [arg]
    _check_arguments(fields, where)


def sent_target(tgt: str | list[str], tgt_type: str, nodegroups: Mapping[str, Any]) -> tuple[str, str]:
    """
    Return a target and its type as the master gets them.

    Salt takes a target that fits no host of the roster for the name of one, and connects to it with its own key. What is sent fits the same
    hosts of the roster, and is no name that any resolver knows. Source: salt/client/ssh/__init__.py, SSH._expand_target, _update_targets.
    nodegroups: the master's `ssh_list_nodegroups`. Raises BadRequest for one that is not among them.
    """
    if tgt_type == "nodegroup":
        if tgt not in nodegroups:
            raise BadRequest(f"the master has no nodegroup {str(tgt)[:64]} in ssh_list_nodegroups", field="tgt")
        tgt, tgt_type = nodegroups[str(tgt)], "list"
    if tgt_type == "list":
        names = tgt.split(",") if isinstance(tgt, str) else [str(name) for name in tgt]
        return f"{','.join(names)},", "list"
    text = str(tgt)
    if tgt_type == "pcre":
        return f"{text}(?:)", "pcre"
    # A bracket that is left open stands for itself, and ours would close it.
    *parts, last = ("[[]" if part == "[" else part for part in _PART.findall(text))
    return "".join([*parts, f"[{last}]" if _PLAIN_HOST.fullmatch(last) else last]), "glob"


def _is_target(tgt: object, tgt_type: str) -> bool:
    """Say whether a target is one that can only name hosts of the roster."""
    if tgt_type == "list":
        names = tgt.split(",") if isinstance(tgt, str) else tgt
        return isinstance(names, list) and bool(names) and all(isinstance(name, str) and _PLAIN_HOST.fullmatch(name) and _is_short(name) for name in names)
    if not isinstance(tgt, str) or not _is_short(tgt):
        return False
    if tgt_type == "pcre":
        return tgt.isprintable() and not tgt.endswith("\\") and "@" not in tgt
    return bool((_NODEGROUP if tgt_type == "nodegroup" else _HOST).fullmatch(tgt))


def _is_short(name: str) -> bool:
    return not name.startswith("-") and 0 < len(name) <= MAX_TARGET_CHARACTERS


def _check_arguments(fields: Mapping[str, Any], where: str) -> None:
    for name, field in _names(fields):
        if name in REFUSED_ARGUMENTS or not _ARGUMENT.fullmatch(name):
            raise BadRequest(f"{where}the argument {name[:64]!r} is refused with client ssh", field=field)
    if any(isinstance(one, str) and one.startswith(NO_PARSE) for one in fields["arg"]):
        raise BadRequest(f"{where}arg must not have an option of salt-call's, such as {NO_PARSE}", field="arg")


def _names(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of all keyword arguments, each with the field that has it; Salt also finds them in `arg`."""
    yield from ((name, "kwarg") for name in fields.get("kwarg", {}))
    for one in fields["arg"]:
        if isinstance(one, str) and (named := re.match(r"([^\d\W][\w.-]*)=(?!=)", one)):
            yield named[1], "arg"
        elif isinstance(one, dict) and one.get("__kwarg__") is True:
            yield from ((str(name), "arg") for name in one if name != "__kwarg__")
