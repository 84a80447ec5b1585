"""What a refused request leaves behind: nothing, although the garbage collector never comes by."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.payload

from service.errors import MasterUnreachable
from service.gateway.gateway import Runner
from service.gateway.transport.bus_thread import BusThread
from service.gateway.transport.request_pool import Channels
from service.wiring.process import Process
from tests.caller import Caller, Response
from tests.contract.conftest import fake_configuration
from tests.fakes import SECRET, FakeGateway

TEXT = "x" * 1_000_000
REQUESTS = 6
CREDENTIALS = {"username": "demo", "password": SECRET, "eauth": "sharedsecret"}
REFUSED = {"error": {"name": "AuthenticationError", "message": "Authentication error occurred."}}


def unreachable(_on_answer: Callable[[bytes], None]) -> None:
    raise MasterUnreachable("no connection")


def answering(value: object) -> Callable[[Callable[[bytes], None]], None]:
    """Return what answers every load with a value, as bytes or packed."""
    reply = value if isinstance(value, bytes) else salt.payload.dumps(value)

    def answer(on_answer: Callable[[bytes], None]) -> None:
        asyncio.get_running_loop().call_soon(on_answer, reply)

    return answer


def running(client: str) -> Callable[[Caller], Response]:
    return lambda caller: caller.post([low(client)])


WAYS: dict[str, Callable[[Callable[[bytes], None]], None]] = {
    "refused": answering(REFUSED),
    "no right": answering({"error": {"name": "AuthorizationError", "message": "Authorization error occurred."}}),
    "no minions": answering({"enc": "clear", "load": {"jid": None, "minions": [], "error": "no minions"}}),
    "nobody answers": answering({"enc": "clear", "load": {"jid": "20261129000000000001", "minions": ["a"]}}),
    "nothing": answering({}),
    "nonsense": answering([1]),
    "no answer": answering(b"\xc1"),
    "silence": lambda _on_answer: None,
    "unreachable": unreachable,
    "down": unreachable,
}


@dataclasses.dataclass
class Sock:
    """A channel to a master that fails in the way of its name."""

    way: str

    def ask(self, message: bytes, on_answer: Callable[[bytes], None]) -> None:
        del message
        WAYS[self.way](on_answer)

    def close(self) -> None:
        return


@dataclasses.dataclass
class Breaker:
    way: str

    def require_up(self) -> None:
        if self.way == "down":
            raise MasterUnreachable("down")

    def doubt(self) -> None:
        return

    def heard(self) -> None:
        return


class Failing(FakeGateway):
    """The gateway's own code and its own channels, to a master that fails."""

    def __init__(self, way: str, bus: BusThread, *found: Any) -> None:
        super().__init__(*found)
        options, hub, ledger = found
        self.way = way
        channels = Channels(bus, [Sock(way), Sock(way)], Breaker(way), timeout_seconds=0.05, on_rpc=lambda *_: None)
        self.runner = Runner(channels, hub, options, ledger, master_up=lambda: True)

    def fire(self, *_: Any) -> None:
        if self.way == "down":
            raise MasterUnreachable("down")


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Count memory inside the block, where only what nobody refers to is given back."""
    # pytest keeps the records of a test, whose tracebacks would keep the load.
    logging.disable()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()
        logging.disable(logging.NOTSET)


@pytest.fixture
def bus_thread() -> Iterator[BusThread]:
    thread = BusThread()
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture(params=WAYS)
def caller(request: pytest.FixtureRequest, tmp_path: Path, bus_thread: BusThread) -> Caller:
    configuration = fake_configuration(
        tmp_path, master="rest_timeout: 0.05\n", SIDECAR_AUDIT_SINKS="stdout", SIDECAR_JOBS_DEADLINE_SECONDS="0.1", SIDECAR_HOOK_REQUIRE_LOGIN="false"
    )
    process = Process(configuration, connect=lambda wanted, hub, _observer, ledger: Failing(request.param, bus_thread, wanted.master, hub, ledger))
    return Caller(process.api)


def low(client: str, **more: Any) -> dict[str, Any]:
    return {"client": client, "tgt": "*", "fun": "test.arg", "arg": [TEXT, {"a": [TEXT]}], **CREDENTIALS, **more}


def form(caller: Caller) -> Response:
    return caller.request(
        "POST", "/run", f"client=local&tgt=*&fun=nonsense name&arg={TEXT[:500_000]}".encode(), content_type="application/x-www-form-urlencoded"
    )


REQUEST: dict[str, Callable[[Caller], Response]] = {
    **{client: running(client) for client in ("local", "local_async", "local_subset", "local_batch", "runner", "runner_async", "wheel")},
    "the second low": lambda caller: caller.post([low("local_async", arg=[]), low("runner")]),
    "a token": lambda caller: caller.post([{"client": "local", "tgt": "*", "fun": "test.arg", "arg": [TEXT], "token": "a" * 64}]),
    "a session": lambda caller: caller.post([low("local")], x_auth_token="a" * 64),
    "a login": lambda caller: caller.post({**CREDENTIALS, "password": TEXT}, "/login"),
    "tokens": lambda caller: caller.post([{**CREDENTIALS, "password": TEXT}], "/token"),
    "an unknown client": lambda caller: caller.post([low("ssh_async")]),
    "a wrong field": lambda caller: caller.post([low("local", timeout=TEXT)]),
    "no JSON": lambda caller: caller.request("POST", "/run", json.dumps([low("local")]).encode()[:-1], content_type="application/json"),
    "no YAML": lambda caller: caller.request("POST", "/run", f"a: [{TEXT[:900_000]}".encode(), content_type="application/x-yaml"),
    "a form": form,
    "a webhook": lambda caller: caller.post({"a": TEXT}, "/hook/a"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", REQUEST)
def test_a_request_that_fails_leaves_its_body_nowhere(caller: Caller, name: str) -> None:
    for _ in range(2):
        REQUEST[name](caller)
    with no_collector():
        for _ in range(REQUESTS):
            status = REQUEST[name](caller).status
        left, _ = tracemalloc.get_traced_memory()

    assert left < len(TEXT), (status, left / len(TEXT))
