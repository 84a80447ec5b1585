"""The gateway as the rest of the process sees it: it runs lows, and says how it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

import salt.loader
import salt.utils.jid
import zmq

from service.clients import Client
from service.errors import Conflict, Fault, Unauthenticated
from service.events.hub import Hub
from service.gateway.clients.batch import Batches
from service.gateway.clients.claims import Claims
from service.gateway.clients.local import Jobs, Request
from service.gateway.clients.publish import Ledger, Publisher, Sender
from service.gateway.clients.result import LowResult
from service.gateway.clients.rights import Rights
from service.gateway.clients.runner_wheel import MasterFunctions
from service.gateway.clients.signatures import Signatures
from service.gateway.clients.ssh import RUNNER, SIGNATURE, SshCalls
from service.gateway.clients.tokens import REFUSED, Tokens
from service.gateway.low import Low, session_over
from service.gateway.master.options import MasterOptions
from service.gateway.transport.bus_thread import BusThread
from service.gateway.transport.event_bus import Bus
from service.gateway.transport.event_writer import Trigger
from service.gateway.transport.monitor import Monitor, State
from service.gateway.transport.request_pool import Channels, Socket
from service.gateway.transport.wire import RequestSocket
from service.settings.settings import MasterSettings


class Observer(Protocol):
    """Hears what happens between us and the master. Called from any thread; must not block."""

    def rpc(self, cmd: str, seconds: float, fault: Fault | None) -> None:
        """One request to the master is over."""

    def bus(self, connected: bool, reason: str, cause: str) -> None:
        """The bus connection changed. cause: of a loss, `eof`, `error` or `stale`."""

    def master(self, state: State, reason: str, failures: int) -> None:
        """The master is up, busy or down now. failures: pings in a row that were not answered."""

    def probe(self, seconds: float) -> None:
        """The master answered a ping."""


class Runner:
    """Runs a low by the client it names. What the real master and the fake have in common."""

    def __init__(
        self,
        channels: Sender,
        hub: Hub,
        options: MasterOptions,
        ledger: Ledger,
        *,
        master_up: Callable[[], bool],
        on_announced: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._claims = Claims(channels, hub)
        publisher = Publisher(self._claims, options, ledger, on_announced)
        jobs = Jobs(publisher, hub, options, master_up=master_up)
        batches = Batches(jobs, failhard=bool(options.raw.get("failhard")))
        functions = MasterFunctions(
            self._claims,
            hub,
            options,
            runners=Signatures(lambda: salt.loader.runner(dict(options.raw)), {RUNNER: SIGNATURE}),
            wheels=Signatures(lambda: salt.loader.wheels(dict(options.raw))),
            new_jid=lambda: str(salt.utils.jid.gen_jid(dict(options.raw))),
            master_up=master_up,
        )
        self._ssh = SshCalls(functions, options)
        self._by_client: dict[Client, Callable[[Low, Request], LowResult]] = {
            Client.LOCAL: jobs.run,
            Client.LOCAL_ASYNC: jobs.start,
            Client.LOCAL_SUBSET: jobs.run_on_subset,
            Client.LOCAL_BATCH: batches.run,
            Client.RUNNER: functions.runner,
            Client.RUNNER_ASYNC: functions.runner_async,
            Client.WHEEL: functions.wheel,
            Client.WHEEL_ASYNC: functions.wheel_async,
            Client.SSH: self._ssh.run,
        }
        self.tokens = Tokens(self._claims, options, functions.runner)
        self.check_rights = Rights(self.tokens, options).check
        self.present = batches.present

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low; its value is what NetapiClient.run returns. Raises a Fault."""
        self._refuse_revoked(low)
        run = self._by_client[low.client]
        if not low.fields.get("jid"):
            return run(low, request)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._claims.reserve(low, request.is_kept))
            except Conflict:
                # Only who has proven who they are is told of others' jobs.
                if not self.tokens.are_good(low.proof):
                    raise Unauthenticated(REFUSED) from None
                raise
            return run(low, request)

    def start_ssh(self, low: Low, request: Request) -> LowResult:
        """Start what a low for ssh asks for, without waiting; its value is that of `runner_async`. Raises a Fault."""
        self._refuse_revoked(low)
        return self._ssh.start(low, request)

    def _refuse_revoked(self, low: Low) -> None:
        if "token" in low.fields and self.tokens.is_revoked(low.fields["token"]):
            raise session_over()


class Gateway:
    """
    One bus subscription and a few request channels to one master, for the life of the process.

    hub: gets the events. ledger: is told of every job we publish. runner: runs lows, and has the master's token calls.
    load_limit_bytes: of what the master gets for one call. fire(tag, data): puts an event on the master's bus; raises a Fault.
    """

    def __init__(self, options: MasterOptions, hub: Hub, observer: Observer, ledger: Ledger, ours: MasterSettings, *, load_limit_bytes: int) -> None:
        self._observer = observer
        self._settled = threading.Event()
        self._thread = BusThread()
        self._context = zmq.Context()
        self._ping_socket = RequestSocket(self._context, options.request_uri)
        self._monitor = Monitor(
            options.request_uri,
            self._ping,
            interval_seconds=ours.probe_seconds,
            busy_seconds=ours.busy_seconds,
            busy_ready_seconds=ours.busy_ready_seconds,
            on_change=self._master_changed,
            on_gone=self._master_gone,
            on_probe=self._probed,
            at_ease=lambda: self._bus.connected,
        )
        sockets: list[Socket] = [RequestSocket(self._context, options.request_uri) for _ in range(ours.channels)]
        self._channels = Channels(
            self._thread,
            sockets,
            self._monitor,
            timeout_seconds=ours.rpc_timeout_seconds,
            on_rpc=observer.rpc,
            most_bytes=load_limit_bytes,
            most_waiting=ours.queue_calls,
        )
        self._hub = hub
        self._bus = Bus(options.bus_path, options.ipc_host, options.bus_port, deliver=hub.deliver, on_state=self._bus_changed)
        self._trigger = Trigger(self._thread, options)
        self.fire = self._trigger.fire
        self.runner = Runner(self._channels, hub, options, ledger, master_up=lambda: self._monitor.up, on_announced=self._bus.expect)

    def start(self) -> None:
        """Connect, and keep connecting, in the background; does not wait for the master."""
        self._thread.start()
        self._thread.spawn(self._monitor.run())
        self._thread.spawn(self._bus.run())

    def stop(self) -> None:
        """Close all connections and end the bus thread."""
        self._thread.stop()
        self._channels.close()
        self._trigger.close()
        self._ping_socket.close()
        self._context.destroy(linger=0)

    def settle(self, seconds: float) -> bool:
        """Wait until callers can be told the truth: master and bus are connected, or the master is known to be down; False after *seconds*."""
        return self._settled.wait(seconds)

    def master_state(self) -> tuple[bool, str]:
        """Say whether the master can be counted on, and why, without asking it."""
        return self._monitor.ready()

    def bus_state(self) -> tuple[bool, str]:
        """Say whether events arrive, and why."""
        return self._bus.connected, self._bus.reason

    async def _ping(self, timeout: float) -> object:
        return await self._ping_socket.roundtrip({"cmd": "ping"}, timeout)

    def _master_changed(self, state: State, reason: str) -> None:
        if state == "up":
            self.runner.tokens.settle_soon()
        self._settle_if_known()
        self._observer.master(state, reason, self._monitor.failures)

    def _settle_if_known(self) -> None:
        if self._monitor.down or (self._monitor.up and self._bus.connected):
            self._settled.set()

    def _master_gone(self) -> None:
        self._channels.fail_in_flight()

    def _probed(self, seconds: float) -> None:
        self._bus.check_alive()
        self._observer.probe(seconds)

    def _bus_changed(self, connected: bool, reason: str, cause: str) -> None:
        if connected:
            self._hub.opened()
            self._settle_if_known()
            self.runner.tokens.settle_soon()
        else:
            self._hub.interrupted()
            self._monitor.doubt()
        self._observer.bus(connected, reason, cause)
