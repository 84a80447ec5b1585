"""`salt-sidecar jobs`: what the store of `/v1/jobs` has, how it is, and what may go; while the sidecar runs too."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import sys
import syslog
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from service.errors import InvalidConfiguration
from service.jobs.stores.place import file_of
from service.jobs.stores.store_file import StoreFile, StoreState
from service.settings.sources import load


def main(args: argparse.Namespace) -> int:
    """Do what was asked; 78 for settings with faults, or a file that is none or cannot be read."""
    try:
        ours = load(args.environ).jobs
        return _COMMANDS[args.jobs_command](args, StoreFile(file_of(ours.store)), ours.keep_seconds, ours.revise_seconds)
    except InvalidConfiguration as exc:
        for fault in exc.faults:
            print(f"FAULT  {fault}", file=sys.stderr)
        return os.EX_CONFIG


def _list(args: argparse.Namespace, store: StoreFile, _keep: float, _revise: float) -> int:
    jobs = store.jobs(args.owner, args.status, args.limit)
    if args.json:
        print(json.dumps(jobs))
    else:
        rows = [(job["jid"], job["status"], _moment(job["since"]), job["owner"], job["request"]["fun"], job["request"]["tgt"]) for job in jobs]
        _print_table(("JID", "STATUS", "SINCE", "OWNER", "FUN", "TGT"), rows)
    return 0


def _show(args: argparse.Namespace, store: StoreFile, _keep: float, _revise: float) -> int:
    """Return 1 if there is no such job."""
    job = store.job(args.jid)
    if job is None:
        print(f"{args.jid}: there is no such job", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(job))
        return 0
    minions = job.pop("minions")
    counts = Counter(part["status"] for part in minions.values())
    for name, value in (*_told(job), ("minions", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none")):
        print(f"{name:13}{_plain(value)}")
    rows = [(minion, part["status"], part["reason"] or part["why"] or "", part["retcode"], _moment(part["at"])) for minion, part in minions.items()]
    _print_table(("MINION", "STATUS", "REASON", "RETCODE", "AT"), rows)
    return 0


def _prune(args: argparse.Namespace, store: StoreFile, keep: float, revise: float) -> int:
    """Return 64 for an age at which the sidecar, which runs, may still correct jobs."""
    age = keep if args.older_than is None else args.older_than
    if age < revise and store.is_held:
        print(f"the sidecar runs, and corrects a job for {revise:g} s after its end (jobs.revise_seconds): name a greater age, or stop it", file=sys.stderr)
        return os.EX_USAGE
    before = time.time() - age
    count = store.prunable(before) if args.dry_run else store.prune(before)
    if not args.dry_run:
        _note(f"prune: {count} jobs removed that were over before {_moment(before)}")
    print(json.dumps({"removed": 0 if args.dry_run else count, "found": count}) if args.json else f"{count} jobs {'would be ' if args.dry_run else ''}removed")
    return 0


def _check(args: argparse.Namespace, store: StoreFile, _keep: float, _revise: float) -> int:
    """Return 1 if the store is damaged."""
    state = store.state()
    print(json.dumps(dataclasses.asdict(state)) if args.json else "\n".join(_lines_of(state)))
    return 1 if state.damage else 0


def _back_up(args: argparse.Namespace, store: StoreFile, _keep: float, _revise: float) -> int:
    """Return 73 if the copy cannot be made there."""
    try:
        args.file.touch(mode=0o600, exist_ok=False)
    except OSError as exc:
        print(f"{args.file}: {exc.strerror}", file=sys.stderr)
        return os.EX_CANTCREAT
    try:
        store.back_up(args.file)
    except InvalidConfiguration:
        args.file.unlink()
        raise
    _note(f"backup: copied to {args.file.resolve()}")
    return 0


def _note(what: str) -> None:
    """Leave a line in the system's log, where there is one. The audit trail is the sidecar's alone: who runs this could write whatever they like there."""
    syslog.openlog("salt-sidecar", facility=syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, f"jobs {_plain(what)} (uid {os.getuid()}, {os.environ.get('SUDO_USER', 'no sudo')})")


def _lines_of(state: StoreState) -> Iterator[str]:
    yield f"file         {state.path}, version {state.version}, {'a sidecar has it' if state.held else 'nobody has it'}"
    yield f"jobs         {', '.join(f'{count} {status}' for status, count in state.jobs.items()) or 'none'}"
    yield f"size         {_mebibytes(state.bytes)} of jobs, {_mebibytes(state.file_bytes)} of files, {_mebibytes(state.free_bytes)} free on the volume"
    if not state.kept_back:
        yield "NOTE         nothing is kept back for a full volume: new jobs are refused until there is room for that, 2 MiB"
    yield from (f"FAULT        {text}" for text in state.damage)
    yield "damaged: stop the sidecar and restore a backup, or move the file away" if state.damage else "all well"


def _told(job: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what there is to say of a job, in the order of interest."""
    asked = job["request"]
    yield from ((name, job[name]) for name in ("jid", "parent", "status", "cause", "owner", "key") if job.get(name) is not None)
    yield from ((name, asked[name]) for name in ("fun", "tgt", "tgt_type", "cause_url") if asked[name] is not None)
    yield from ((name, _moment(job[name])) for name in ("since", "deadline", "finished") if job[name] is not None)
    yield from ((name, job[name]) for name in ("expected", "revision"))
    if job["strays"]:
        yield "foreign", f"{job['strays']} returns of another function came under its jid"


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    cells = [head, *(tuple(map(_plain, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _plain(value: object) -> str:
    """Return a value for a terminal: what callers and minions have chosen must not steer it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isprintable() else json.dumps(text)


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, StoreFile, float, float], int]] = {
    "list": _list,
    "show": _show,
    "prune": _prune,
    "check": _check,
    "backup": _back_up,
}
