"""The proof of concept: Salt's own channels and event class on one thread, with nothing checked, bounded or told; what the project started from."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import salt.channel.client
import salt.config
import salt.utils.event
import tornado.ioloop

from benchmarks.floor import START_SECONDS

CHANNELS = 4
ANSWER_SECONDS = 15.0


class Proof:
    """One subscription to the bus and a few request channels, all Salt's, for any number of threads that wait."""

    def __init__(self, master_config: str) -> None:
        self._options = salt.config.client_config(master_config)
        self._loop = asyncio.new_event_loop()
        # By jid; whoever comes first, a return or who waits for it, makes it.
        self._inboxes: dict[str, queue.SimpleQueue[bytes]] = {}
        self._free: asyncio.Queue[Any] = asyncio.Queue()  # the loop's alone
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError("Salt's classes did not connect")

    def call(self, tgt: str | list[str], fun: str, token: str) -> dict[str, Any]:
        """Publish a job; return what each minion answers to it."""
        tgt_type = "glob" if isinstance(tgt, str) else "list"
        load = {"cmd": "publish", "tgt": tgt, "tgt_type": tgt_type, "fun": fun, "arg": [], "key": "", "ret": "", "jid": ""}
        reply = self._send({**load, "user": "proof", "kwargs": {"token": token}})["load"]
        inbox = self._inboxes.setdefault(reply["jid"], queue.SimpleQueue())
        returns: dict[str, Any] = {}
        while not returns.keys() >= set(reply["minions"]):
            _, data = salt.utils.event.SaltEvent.unpack(inbox.get(timeout=ANSWER_SECONDS))
            returns[data["id"]] = data["return"]
        del self._inboxes[reply["jid"]]
        return returns

    def _send(self, load: dict[str, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(self._over_a_channel(load), self._loop).result(ANSWER_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        io_loop = tornado.ioloop.IOLoop.current()
        event = salt.utils.event.get_event("master", sock_dir=self._options["sock_dir"], opts=self._options, listen=True, io_loop=io_loop)
        event.set_event_handler(self._take)
        for _ in range(CHANNELS):
            channel = salt.channel.client.AsyncReqChannel.factory(self._options, io_loop=io_loop, crypt="clear", master_uri=self._options["master_uri"])
            await channel.connect()
            self._free.put_nowait(channel)
        self._ready.set()
        await asyncio.Event().wait()

    async def _over_a_channel(self, load: dict[str, Any]) -> Any:
        channel = await self._free.get()
        try:
            return await channel.send(load, timeout=ANSWER_SECONDS, tries=1)
        finally:
            self._free.put_nowait(channel)

    async def _take(self, raw: bytes) -> None:
        parts = raw.partition(b"\n\n")[0].split(b"/")
        if len(parts) == 5 and parts[1] == b"job" and parts[3] == b"ret":
            self._inboxes.setdefault(parts[2].decode(), queue.SimpleQueue()).put(raw)
