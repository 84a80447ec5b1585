"""The life of the process with fake listeners: order, reload, limits."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from service.errors import ConfigFault, InvalidConfiguration
from service.server.lifecycle import SETTLE_SECONDS, Life, Signals, run
from service.server.listener import Listener
from service.settings.settings import DrainSettings


class FakeListener:
    """Writes down what it is told, and sends signals to this process at chosen steps."""

    connection_limit = 100
    lives = True

    def __init__(self, name: str, diary: list[str], at: Callable[[str], None] = lambda _step: None) -> None:
        self._name = name
        self._diary = diary
        self._at = at

    def _step(self, what: str) -> None:
        self._diary.append(f"{self._name} {what}")
        self._at(what)

    def start(self) -> None:
        self._step("start")

    def close_after_answer(self) -> None:
        self._step("close_after_answer")

    def close_accepting(self) -> None:
        self._step("close port")

    def wait_idle(self, deadline: float, give_up: Callable[[], bool]) -> bool:
        self._step("wait")
        return not give_up()

    def close(self) -> None:
        self._step("close")

    def stop(self) -> None:
        self._step("stop")

    def alive(self) -> bool:
        return self.lives

    def in_flight(self) -> int:
        return 0


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield Signals()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def diary() -> list[str]:
    return []


def tell(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def life(diary: list[str], at: dict[str, tuple[int, ...]], **changes: Any) -> Life:
    api = FakeListener("api", diary, lambda step: tell(*at.get(step, ())))
    parts: dict[str, Any] = {
        "api": api,
        "ops": cast("Listener", FakeListener("ops", diary)),
        "drain": DrainSettings(notice_seconds=0, drain_seconds=1),
        "on_draining": lambda: diary.append("not ready"),
        "on_reload": lambda: diary.append("reload"),
        "on_stopped": lambda: diary.append("stopped"),
        "on_closing": lambda: diary.append("closing"),
        "on_serving": lambda: diary.append("serving"),
    }
    return Life(**{**parts, **changes})


def test_the_drain_has_an_order(diary: list[str], signals: Signals) -> None:
    assert run(life(diary, {"start": (signal.SIGTERM,)}), signals) == 0

    assert diary == [
        "ops start",
        "api start",
        "serving",
        "not ready",
        "api close_after_answer",
        "api close port",
        "closing",
        "api wait",
        "api stop",
        "ops stop",
        "stopped",
    ]


def test_nobody_is_let_in_before_the_first_look_at_the_master_is_over(diary: list[str], signals: Signals) -> None:
    looks = iter([False, False, True])

    def settle(seconds: float) -> bool:
        assert seconds < SETTLE_SECONDS
        diary.append("settle")
        return next(looks)

    run(life(diary, {"start": (signal.SIGTERM,)}, settle=settle), signals)

    assert diary[:6] == ["ops start", *["settle"] * 3, "api start", "serving"]


def test_signals_are_obeyed_while_the_master_says_nothing(diary: list[str], signals: Signals) -> None:
    told = iter([signal.SIGHUP, signal.SIGTERM])

    def settle(_seconds: float) -> bool:
        tell(next(told))
        return False

    assert run(life(diary, {}, settle=settle), signals) == 0

    assert diary[:5] == ["ops start", "reload", "api start", "serving", "not ready"]


def test_websockets_end_with_the_port_of_the_api(diary: list[str], signals: Signals) -> None:
    run(life(diary, {"start": (signal.SIGTERM,)}, sockets=[FakeListener("sockets", diary)]), signals)

    assert diary[:3] == ["ops start", "api start", "sockets start"]
    assert diary[-8:] == ["api close port", "sockets close", "closing", "api wait", "api stop", "sockets stop", "ops stop", "stopped"]


def test_a_dead_loop_of_the_websockets_ends_the_process(diary: list[str], signals: Signals) -> None:
    dead = FakeListener("sockets", diary)
    dead.lives = False

    assert run(life(diary, {"start": (signal.SIGHUP,)}, sockets=[dead]), signals) == 1


def test_a_reload_does_not_stop_the_process_even_if_it_fails(diary: list[str], signals: Signals) -> None:
    def reload() -> None:
        diary.append("reload")
        raise InvalidConfiguration([ConfigFault("log.level", "is wrong", "correct it")])

    run(life(diary, {"start": (signal.SIGHUP, signal.SIGHUP, signal.SIGINT)}, on_reload=reload), signals)

    assert diary.count("reload") == 2
    assert diary[-1] == "stopped"


def test_a_dead_loop_ends_the_process_with_1_and_without_a_drain(diary: list[str], signals: Signals) -> None:
    dead = FakeListener("api", diary, lambda step: tell(signal.SIGHUP) if step == "start" else None)
    dead.lives = False

    assert run(life(diary, {}, api=dead), signals) == 1

    assert diary == ["ops start", "api start", "serving", "reload", "api stop", "ops stop", "stopped"]


def test_a_second_signal_in_the_notice_time_skips_the_drain(diary: list[str], signals: Signals) -> None:
    drain = DrainSettings(notice_seconds=600, drain_seconds=1)

    run(life(diary, {"start": (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM)}, drain=drain), signals)

    assert diary == ["ops start", "api start", "serving", "not ready", "api close_after_answer", "api stop", "ops stop", "stopped"]


def test_the_notice_time_ends_by_itself(diary: list[str], signals: Signals) -> None:
    drain = DrainSettings(notice_seconds=0.01, drain_seconds=1)

    run(life(diary, {"start": (signal.SIGTERM,), "wait": (signal.SIGHUP, signal.SIGINT)}, drain=drain), signals)

    assert "api wait" in diary
    assert "reload" not in diary


def test_the_limit_of_open_files_grows_to_what_the_listeners_need(diary: list[str], signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (200, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limit: limits.append(limit))

    run(life(diary, {"start": (signal.SIGTERM,)}), signals)

    assert limits == [(856, resource.RLIM_INFINITY)]


def test_signals_are_caught_as_soon_as_somebody_can_wait_for_them(signals: Signals) -> None:
    assert signal.getsignal(signal.SIGHUP) not in {signal.SIG_DFL, signal.SIG_IGN}
    assert signals.next(0.001) is None
