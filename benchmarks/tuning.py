"""`make tuning`: what a return costs a master with each of its settings, measured beside a master that has none of them, and docs/tuning.md from that."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cases import PATIENT, PING, SIDECAR, Case
from benchmarks.probes import owner_of, process_seconds, written_bytes
from benchmarks.rig import Rig, prepared
from benchmarks.run import RESULTS, about
from benchmarks.tuning_page import PAGE, page
from benchmarks.tuning_settings import SETTINGS, Setting
from benchmarks.worker_profile import profile
from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, StartFailed, until
from service.demo.embedded_config import write_yaml
from service.demo.processes import command_line, session_members

MINIONS = 10
CALLERS = 8
# Of each caller, in a round: the same work for every setting, however slow the machine is.
REQUESTS = 6
# Until every worker has loaded what it loads for the first return and the first publish.
WARM_UP_REQUESTS, WARM_UPS = 2, 5
# Nobody begins a request after this; a measurement that ended so is no measurement.
LONGEST_SECONDS = 300.0
# Of the samples of py-spy, and of the load before them.
PROFILE_SECONDS, LEAD_SECONDS = 30.0, 3.0
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
# What Salt logs unless it is told otherwise; our embedded master says more.
SALTS_OWN = {"log_level_logfile": "warning"}
PUBLISHER = "EventPublisher"
# What Salt writes into the command line of a process, without the number of a worker.
ROLES = ("MWorkerQueue", "MWorker", "EventMonitor", "BatchManager", "PubServerChannel", "Maintenance", "EventReturn", "Engine", "FileserverUpdate")


class Bench:
    """
    A master that is started anew with each setting, with a sidecar and a fleet of its own, which stay; and another one with Salt's defaults.

    Both work at the same time: what else the machine does meanwhile makes both dearer. memory: a folder on a tmpfs.
    """

    def __init__(self, rig: Rig, usual: Rig, memory: Path) -> None:
        self._rig = rig
        self._usual = usual
        self._memory = memory
        self._defaults = yaml.safe_load(rig.salt.master_config.read_text(encoding="utf-8"))

    def measure(self, setting: Setting) -> dict[str, Any]:
        """Measure a setting, and the defaults beside it. CPU times are of all the master's processes, per return. Raises StartFailed, OSError or RuntimeError."""
        self._change(setting)
        with ThreadPoolExecutor(2) as pool:
            varied, usual = pool.submit(loaded, self._rig, setting), pool.submit(loaded, self._usual, SETTINGS[0])
            return {**varied.result(), "beside": usual.result(), "load": round(os.getloadavg()[0], 1)}

    def profile(self, seconds: float) -> dict[str, Any]:
        """Sample the workers of the master with Salt's defaults under the same load; see worker_profile.shares."""
        case = case_of(SETTINGS[0], each=0)
        workers = [pid for pid, role in roles(self._usual).items() if role == "MWorker"]
        load = threading.Thread(target=self._usual.measure, args=(SIDECAR, case), kwargs={"seconds": LEAD_SECONDS + seconds, "alone": False})
        load.start()
        time.sleep(LEAD_SECONDS)
        try:
            return profile(workers, seconds)
        finally:
            load.join()

    def _change(self, setting: Setting) -> None:
        """Start the master anew with a setting, wait for the sidecar to have noticed, and open a session; the fleet may have to sign in anew."""
        salt, peer = self._rig.salt, self._rig.peers[SIDECAR]
        options = {name: value.format(folder=self._rig.folder) if isinstance(value, str) else value for name, value in setting.master.items()}
        if setting.in_memory:
            options["cachedir"] = str(self._memory / "cache")
        salt.stop_master()
        write_yaml(salt.master_config, {**self._defaults, **options})
        salt.start_master()
        if not any(calls.get(f"http://127.0.0.1:{peer.ops_port}/readyz") == 200 for _ in until(PATIENCE_SECONDS)):
            raise StartFailed(f"the sidecar does not find the master with {setting.name}")
        peer.log_in(salt.credentials)
        warm_up(self._rig, setting)


def case_of(setting: Setting, each: int) -> Case:
    """Return what callers ask for. each: how many requests of each caller; 0 for no limit."""
    return Case(setting.name, setting.shown, {**PING, **PATIENT}, "returns", CALLERS, (), (SIDECAR,), minions=MINIONS, each=each)


def warm_up(rig: Rig, setting: Setting) -> None:
    """Let every worker load what it loads for the first return and the first publish. Raises RuntimeError if the fleet does not answer."""
    for _ in range(WARM_UPS):
        sample = rig.measure(SIDECAR, case_of(setting, WARM_UP_REQUESTS), seconds=LONGEST_SECONDS, alone=False)
        if not sample["lost"]:
            return
    raise RuntimeError(f"the fleet did not come back: {sample['faults']}")


def loaded(rig: Rig, setting: Setting) -> dict[str, Any]:
    """Load a master once; return what that cost it."""
    case, peer = case_of(setting, REQUESTS), rig.peers[SIDECAR]
    if setting.credentials == "inline":
        case, peer.headers = dataclasses.replace(case, low={**case.low, **rig.salt.credentials}), {}
    who = roles(rig)
    cpu, written = {pid: process_seconds(pid) for pid in who}, sum(map(written_bytes, who))
    sample = rig.measure(SIDECAR, case, seconds=LONGEST_SECONDS, alone=False)
    return figures(sample, parts(who, cpu), sum(map(written_bytes, who)) - written)


@contextlib.contextmanager
def made_ready() -> Iterator[Bench]:
    """Give a bench in folders that are gone afterwards."""
    with contextlib.ExitStack() as held:
        memory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="salt-sidecar-tuning-", dir=MEMORY)))
        rig, usual = (held.enter_context(prepared(SALTS_OWN)) for _ in range(2))
        for one in (rig, usual):
            # The sidecar waits for a master that takes its time; then the fleet need not.
            held.enter_context(one.using(SIDECAR))
            one.use_fleet(MINIONS)
        warm_up(usual, SETTINGS[0])
        yield Bench(rig, usual, memory)


def role_of(pid: int) -> str:
    """Return what a process of the master does; Salt writes it into its command line."""
    words = command_line(pid).split()
    return next((role for role in ROLES if any(word.startswith(role) for word in words)), "the others")


def roles(rig: Rig) -> dict[int, str]:
    """Return what each process of the master does, by process id."""
    members = session_members(rig.salt.pids["master"])
    return {pid: role_of(pid) for pid in members} | dict.fromkeys(filter(None, [owner_of(rig.bus_path, members)]), PUBLISHER)


def parts(who: Mapping[int, str], before: Mapping[int, float]) -> dict[str, float]:
    """Return the CPU seconds of each kind of process since *before*."""
    used: defaultdict[str, float] = defaultdict(float)
    for pid, role in who.items():
        used[role] += process_seconds(pid) - before[pid]
    return used


def figures(sample: Mapping[str, Any], used: Mapping[str, float], written: float) -> dict[str, Any]:
    """Return what is kept of a round. The first request of a load warms up, and is in what processes used, but not in its rate."""
    if sample["lost"] or sample["requests"] != CALLERS * REQUESTS:
        raise RuntimeError(f"{sample['lost']} of {sample['requests']} requests were lost: {sample['faults']}")
    returns = (1 + sample["requests"]) * MINIONS
    return {
        "return_us": round(1e6 * sum(used.values()) / returns, 1),
        "written_kb": round(written / returns / 1024, 2),
        "rate": round(sample["rate"] * MINIONS, 1),
        "p50_ms": sample["p50_ms"],
        "processes": {role: round(1e6 * seconds / returns, 1) for role, seconds in used.items()},
    }


def run(bench: Bench, settings: tuple[Setting, ...], rounds: int, results: dict[str, Any], keep: Path) -> None:
    """Measure every setting in turn, then again; keep what there is after each, so that nothing is lost when a run is stopped."""
    for number in range(rounds):
        samples: dict[str, Any] = {}
        results["rounds"].append(samples)
        for setting in settings:
            begun = time.monotonic()
            try:
                sample = bench.measure(setting)
            except (StartFailed, RuntimeError, OSError, KeyError, subprocess.TimeoutExpired) as exc:
                sample = {"failed": f"{type(exc).__name__}: {exc}"[:2000]}
            samples[setting.name] = sample
            keep.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            shown = sample.get("failed") or f"{sample['return_us']} us a return, {sample['beside']['return_us']} beside it"
            print(f"round {number + 1} of {rounds}, {setting.name}, {time.monotonic() - begun:.0f} s: {shown}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these settings alone: " + ", ".join(setting.name for setting in SETTINGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="sample the workers with py-spy afterwards; needs .venv-bench")
    parser.add_argument("--into", type=Path, metavar="FILE", help="add rounds to these results")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def main() -> None:
    """Run, keep the results, write the page."""
    chosen = arguments()
    facts = about()
    keep = chosen.into or RESULTS / f"tuning-{facts['date'][:16].replace(':', '')}.json"
    results: dict[str, Any] = json.loads(keep.read_text(encoding="utf-8")) if chosen.into else {"about": facts, "rounds": []}
    only = chosen.only.split(",") if chosen.only else [setting.name for setting in SETTINGS]
    with made_ready() as bench:
        run(bench, tuple(setting for setting in SETTINGS if setting.name in only), chosen.rounds, results, keep)
        if chosen.profile:
            results["profile"] = {**bench.profile(PROFILE_SECONDS), "date": facts["date"], "load": round(os.getloadavg()[0], 1)}
    keep.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    counted = max(RESULTS.glob("messages-*.json"), default=None)
    chosen.page.write_text(page(results, json.loads(counted.read_text(encoding="utf-8")) if counted else None), encoding="utf-8")
    print(f"kept in {keep}, written to {chosen.page}")
    if failed := [name for samples in results["rounds"] for name, sample in samples.items() if "failed" in sample]:
        sys.exit(f"not measured in each round: {', '.join(failed)}")


if __name__ == "__main__":
    main()
