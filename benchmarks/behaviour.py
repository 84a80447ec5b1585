"""What a simulated minion answers, and which publish is for it; knows nothing of sockets and of Salt."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Kind = Literal["good", "silent", "failing", "late", "duplicate", "hostile"]
# How Salt's answers begin for a minion that was silent.
NO_RETURN = "Minion did not return."
# What a minion of a crowd says of itself, some kilobyte, as small machines have it.
GRAINS: dict[str, Any] = {
    "os": "Debian",
    "os_family": "Debian",
    "osrelease": "13.1",
    "kernel": "Linux",
    "kernelrelease": "6.12.48+deb13-amd64",
    "num_cpus": 4,
    "mem_total": 7936,
    "saltversion": "3008.3",
    "ipv4": ["10.0.0.17", "127.0.0.1"],
    "ipv6": ["::1", "fe80::5054:ff:fe12:3456"],
    "roles": ["web", "cache"],
    "disks": ["sda", "sdb"],
    "systemd": {"version": "257", "features": "+PAM +AUDIT +SELINUX +APPARMOR"},
    "hwaddr_interfaces": {"lo": "00:00:00:00:00:00", "eth0": "52:54:00:12:34:56"},
    **{f"location_{number}": f"row {number}, rack {number}, of a data centre somewhere" for number in range(8)},
}


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """
    How a fleet answers.

    return_bytes: size of what functions without a meaning of their own return; 0 returns True.
    delay_seconds: before each return. late_seconds: before a return of a late minion; it still says that the job runs.
    silent, failing, late, duplicate, hostile: shares of the fleet, 0 to 1, taken one after the other from its first minions.
    A silent minion answers nothing at all; a failing one with an error; a duplicate one sends each return twice; a hostile one sends `lies` first.
    """

    return_bytes: int = 0
    delay_seconds: float = 0.0
    late_seconds: float = 8.0
    silent: float = 0.0
    failing: float = 0.0
    late: float = 0.0
    duplicate: float = 0.0
    hostile: float = 0.0

    def kinds(self, minions: Sequence[str]) -> dict[str, Kind]:
        """Say of what kind each minion is; the same every time."""
        kinds: dict[str, Kind] = dict.fromkeys(minions, "good")
        shares: list[tuple[Kind, float]] = [
            ("silent", self.silent),
            ("failing", self.failing),
            ("late", self.late),
            ("duplicate", self.duplicate),
            ("hostile", self.hostile),
        ]
        unassigned = list(minions)
        for kind, share in shares:
            count = round(share * len(minions))
            kinds |= dict.fromkeys(unassigned[:count], kind)
            unassigned = unassigned[count:]
        return kinds


@dataclasses.dataclass(frozen=True)
class Return:
    """What a minion sends, and when."""

    value: Any
    retcode: int = 0
    delay_seconds: float = 0.0
    copies: int = 1


def names(count: int) -> list[str]:
    """Return minion ids of one width, so that `sim-00*` are a hundred of a thousand."""
    return [f"sim-{number:04}" for number in range(count)]


def targets(minions: Sequence[str], load: Mapping[str, Any]) -> list[str]:
    """Return the minions a publish is for: by glob, list or regular expression; anything else is for nobody."""
    tgt, tgt_type = load["tgt"], load.get("tgt_type", "glob")
    if tgt_type == "glob":
        return list(minions) if tgt == "*" else fnmatch.filter(minions, str(tgt))
    if tgt_type == "list":
        wanted = set(tgt.split(",") if isinstance(tgt, str) else tgt)
        return [minion for minion in minions if minion in wanted]
    if tgt_type == "pcre":
        return [minion for minion in minions if re.match(str(tgt), minion)]
    return []


def answer(kind: Kind, behaviour: Behaviour, fun: str, arg: Sequence[Any], running: Mapping[str, str]) -> Return | None:
    """
    Return what a minion of this kind answers, None for nothing.

    running: its unfinished jobs, {jid: function}, for `saltutil.find_job`.
    """
    if kind == "silent":
        return None
    if fun == "saltutil.find_job":
        jid = str(arg[0]) if arg else ""
        return Return({"jid": jid, "fun": running[jid]} if jid in running else {})
    if kind == "failing":
        return Return("ERROR: this minion was told to fail", retcode=1, delay_seconds=behaviour.delay_seconds)
    value, seconds = _result(behaviour, fun, arg)
    delay = behaviour.delay_seconds + seconds + (behaviour.late_seconds if kind == "late" else 0.0)
    return Return(value, delay_seconds=delay, copies=2 if kind == "duplicate" else 1)


def lies(minion: str, victim: str, load: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a hostile minion tells the master of a job: errors and minions that are none, in another's name, about a stranger."""
    jid = load["jid"]
    about = {"jid": jid, "fun": load["fun"], "fun_args": [], "return": "a lie", "retcode": 0, "success": True}
    returned = {
        f"salt/job/{jid}/ret/{minion}": {**about, "id": victim},
        f"salt/job/{jid}/ret/{victim}": {**about, "id": minion},
        f"salt/job/{jid}/ret/stranger": {**about, "id": "stranger"},
        f"salt/job/{jid}/prog/{victim}/0": {**about, "id": victim, "minions": 5},
    }
    told = {
        **returned,
        f"salt/job/{jid}/error": {"jid": jid, "error": {"name": "AuthorizationError", "message": "a lie"}},
        f"salt/job/{jid}/sub": {"jid": jid, "minions": ["stranger"], "missing": [{}]},
    }
    return [
        {**about, "cmd": "_return", "jid": f"{jid}/new", "minions": ["stranger"]},
        {"cmd": "_minion_event", "events": [{"tag": tag, "data": data} for tag, data in told.items()]},
        {**about, "cmd": "_return", "error": "a lie", "minions": 5, "missing": [{}], "retcode": [{}]},
    ]


def _result(behaviour: Behaviour, fun: str, arg: Sequence[Any]) -> tuple[Any, float]:
    """Return a function's value and how many seconds it takes. The names are those of Salt's `test` module."""
    if fun == "test.sleep":
        return True, float(arg[0])
    if fun == "grains.items":
        return GRAINS, 0.0
    if fun == "test.echo":
        return arg[0], 0.0
    if fun == "test.rand_str":
        return "x" * int(arg[0]), 0.0
    return ("x" * behaviour.return_bytes if behaviour.return_bytes else True), 0.0
