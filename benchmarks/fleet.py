"""A simulated fleet in one process: real sign-in, the real publish channel, real encrypted returns; bad behaviour on demand."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import yaml

from benchmarks.behaviour import Behaviour, Return, answer, lies, names, targets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Salt's imports warn of its own doings.
    import salt.channel.client
    import salt.crypt

    from benchmarks.minion import Minion, Requests, options_of

CONNECTIONS = 16
# What a fleet holds back for a master that does not keep up; beyond it returns are dropped, and counted.
BACKLOG = 200_000


@dataclasses.dataclass
class Counts:
    """What the fleet did."""

    publishes: int = 0
    returns: int = 0
    failed: int = 0
    dropped: int = 0


class Fleet:
    """
    Minions that share one event loop, one subscription and a few request connections.

    uri: of the master's request port. options: one set for each minion.
    """

    def __init__(self, uri: str, options: list[dict[str, Any]], behaviour: Behaviour) -> None:
        self.counts = Counts()
        self._behaviour = behaviour
        self._requests = Requests(uri, CONNECTIONS)
        key = salt.crypt.PrivateKey.from_file(f"{options[0]['pki_dir']}/minion.pem")
        self._minions = {opts["id"]: Minion(opts, key) for opts in options}
        self._kinds = behaviour.kinds(list(self._minions))
        self._outbox: asyncio.Queue[tuple[Minion, dict[str, Any]]] = asyncio.Queue(BACKLOG)
        self._channel = salt.channel.client.AsyncPubChannel.factory(options[0])
        self._senders: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Sign every minion in, then listen to what the master publishes."""
        # The first alone: it learns the master's key, and its answer is the one to read when nothing works.
        first, *others = self._minions.values()
        await first.sign_in(self._requests)
        await asyncio.gather(*(minion.sign_in(self._requests) for minion in others))
        self._senders = [asyncio.create_task(self._send()) for _ in range(CONNECTIONS)]
        # It would announce itself on the event bus of a minion, and there is none.
        self._channel.event.destroy()
        self._channel.event = None
        await self._channel.connect()
        self._channel.on_recv(self._published)

    def stop(self) -> None:
        for sender in self._senders:
            sender.cancel()
        self._channel.close()
        self._requests.close()

    async def _published(self, payload: dict[str, Any]) -> None:
        load = payload["load"]
        self.counts.publishes += 1
        for name in targets(list(self._minions), load):
            minion = self._minions[name]
            fun, arg = load["fun"], load.get("arg") or []
            if self._kinds[name] == "hostile":
                victim = next(other for other in self._minions if other != name)
                for lie in lies(name, victim, load):
                    self._put(minion, lie, 1)
            given = answer(self._kinds[name], self._behaviour, fun, arg, minion.running)
            if given is not None:
                self._schedule(minion, load, given)

    def _schedule(self, minion: Minion, load: dict[str, Any], given: Return) -> None:
        jid = load["jid"]
        message = {
            "cmd": "_return",
            "jid": jid,
            "fun": load["fun"],
            "fun_args": load.get("arg") or [],
            "return": given.value,
            "retcode": given.retcode,
            "success": given.retcode == 0,
        }
        if "metadata" in load:
            message["metadata"] = load["metadata"]
        if not given.delay_seconds:
            self._put(minion, message, given.copies)
            return
        minion.running[jid] = load["fun"]
        asyncio.get_running_loop().call_later(given.delay_seconds, self._put, minion, message, given.copies)

    def _put(self, minion: Minion, message: dict[str, Any], copies: int) -> None:
        minion.running.pop(message.get("jid", ""), None)
        for _ in range(copies):
            if self._outbox.full():
                self.counts.dropped += 1
            else:
                self._outbox.put_nowait((minion, message))

    async def _send(self) -> None:
        while True:
            minion, message = await self._outbox.get()
            try:
                taken = await self._return(minion, message)
            except asyncio.TimeoutError:
                taken = False
            self.counts.returns += taken
            self.counts.failed += not taken

    async def _return(self, minion: Minion, message: dict[str, Any]) -> bool:
        """Send a return; a master that has forgotten the session gets a new sign-in, as from a real minion."""
        reply = await self._requests.roundtrip(minion.sealed(message))
        if isinstance(reply, bytes):
            return True
        await minion.sign_in(self._requests)
        return isinstance(await self._requests.roundtrip(minion.sealed(message)), bytes)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--master-config", type=Path, required=True, metavar="FILE", help="of the master to join; only its interface and ports are read")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="keeps the keys")
    parser.add_argument("--minions", type=int, default=10, metavar="N", help="how many, called sim-0000 and so on (default 10)")
    for field in dataclasses.fields(Behaviour):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default, help=f"default {field.default}")
    return parser.parse_args(argv)


async def run(chosen: argparse.Namespace) -> None:
    """Run a fleet until SIGTERM or SIGINT; prints one JSON line when it is ready and one at the end."""
    master = yaml.safe_load(chosen.master_config.read_text())
    host, ret_port = master.get("interface", "127.0.0.1"), master.get("ret_port", 4506)
    host = "127.0.0.1" if host == "0.0.0.0" else host
    options = options_of(chosen.folder, names(chosen.minions), host=host, ret_port=ret_port, publish_port=master.get("publish_port", 4505))
    behaviour = Behaviour(**{field.name: getattr(chosen, field.name) for field in dataclasses.fields(Behaviour)})
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    started = time.monotonic()
    fleet = Fleet(f"tcp://{host}:{ret_port}", options, behaviour)
    try:
        await fleet.start()
        print(json.dumps({"event": "ready", "minions": chosen.minions, "seconds": round(time.monotonic() - started, 1)}), flush=True)
        await over.wait()
    finally:
        fleet.stop()
    print(json.dumps({"event": "over", **dataclasses.asdict(fleet.counts)}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(arguments()))
